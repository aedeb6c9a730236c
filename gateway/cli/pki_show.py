"""``console-gateway pki show``: what certificates, requests and CA directories say."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console

from gateway.cli.present import Column, pairs, table, terminal, write_json
from gateway.pki import PkiError
from gateway.pki.describe import (
    CertificateView,
    DirectoryView,
    RequestView,
    describe_directory,
    describe_file,
)

__all__ = ["show"]

_COLUMNS = [
    Column("Serial", whole=True),
    Column("Status", whole=True),
    Column("Ends", whole=True),
    Column("Days", right=True, whole=True, rank=1),
    Column("File", rank=2),
    Column("Subject", rank=3),
]


@click.command(
    epilog="""\b
Examples:
  console-gateway pki show /etc/console-gateway/tls.pem
  console-gateway pki show gw.example.com.req
  console-gateway pki show /etc/pki/ovirt-engine
  console-gateway pki show --json ca | jq '.issued[] | select(.days_left < 30)'
""",
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--ca-file",
    type=click.Choice(["ca", "qemu-ca"]),
    default="ca",
    show_default=True,
    help="Of a directory: which CA's certificate.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(path: Path, ca_file: str, as_json: bool) -> None:
    """Show a chain of certificates, a request, or what a CA has signed.

    FILE is a PEM file, or the directory of a CA. Private keys are never shown.
    """
    now = datetime.datetime.now(datetime.UTC)
    try:
        directory = describe_directory(path, now, ca_file=ca_file) if path.is_dir() else None
        file = describe_file(path, now) if directory is None else []
    except PkiError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        write_json(json.dumps(_object(directory or file), indent=2))
        return
    console = terminal()
    if directory is not None:
        _show_directory(console, directory)
    elif isinstance(file, RequestView):
        _show_request(console, file)
    else:
        for place, view in enumerate(file):
            if place:
                console.print()
            _show_certificate(console, view)


def _object(view: DirectoryView | RequestView | list[CertificateView]) -> dict[str, Any]:
    if isinstance(view, list):
        return {"certificates": [attrs.asdict(each, value_serializer=_plain) for each in view]}
    found = attrs.asdict(view, value_serializer=_plain)
    return {"request": found} if isinstance(view, RequestView) else found


def _show_directory(console: Console, view: DirectoryView) -> None:
    _show_certificate(console, view.ca)
    key = {True: "encrypted", False: "not encrypted", None: "cannot be read by you"}[view.encrypted]
    console.print(pairs([("CA key", key), ("Next serial", view.next_serial)]))
    console.print()
    if not view.issued:
        console.print("No certificates yet.")
        return
    rows = [
        [each.serial, each.status, f"{each.ends:%F}", f"{each.days_left:.0f}", each.file or "-", each.subject]
        for each in view.issued
    ]
    console.print(table(console, _COLUMNS, rows))


def _show_request(console: Console, view: RequestView) -> None:
    rows = [("Request for", view.subject), ("Names", _listed(view.names)), ("Key", view.key)]
    console.print(pairs(rows))


def _show_certificate(console: Console, view: CertificateView) -> None:
    left = f"{view.days_left:.0f} days left" if view.days_left > 0 else "EXPIRED"
    rows = [
        ("Subject", view.subject),
        ("Names", _listed(view.names)),
        ("Issuer", "itself" if view.issuer == view.subject else view.issuer),
        ("Serial", view.serial),
        ("Valid", f"{view.begins:%F %T} to {view.ends:%F %T} UTC, {left}"),
        ("Key", view.key),
        ("Signed with", view.signature),
        ("Usage", _listed([*view.usage, *view.purposes])),
        ("SHA-256", view.sha256),
    ]
    console.print(pairs(rows))


def _listed(values: list[str]) -> str:
    return ", ".join(values) or "none"


def _plain(_instance: type, _attribute: Any, value: object) -> object:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime.datetime) else value
