"""``console-gateway pki sign`` and ``renew``: certificates from a CA in a directory."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.password import PasswordSource, password_options
from gateway.pki import Authority, PasswordNeeded, PkiError, days_left, parse_chain, read_file, subject_text
from gateway.pki.altnames import alt_names_text, names_of
from gateway.pki.armour import MAX_PEM
from gateway.pki.authority import DEFAULT_DAYS, MAX_DAYS
from gateway.pki.errors import printable
from gateway.pki.requests import load_request

__all__ = ["NOTHING_DUE", "keep_keys", "renew", "sign", "told"]

NOTHING_DUE: Final = 3
"""Exit code of ``renew`` for a certificate that is good for long enough."""

_DIRECTORY: Final = Path("/etc/pki/ovirt-engine")
_FILE: Final = click.Path(path_type=Path)
_BROWSER_DAYS: Final = 825
"""Some browsers refuse servers' certificates of longer life, of whatever CA."""

_directory = click.option(
    "--directory", type=_FILE, default=_DIRECTORY, show_default=True, help="The CA's directory."
)
_ca_file = click.option(
    "--ca-file",
    type=click.Choice(["ca", "qemu-ca"]),
    default="ca",
    show_default=True,
    help="Which CA of the directory signs.",
)
_days = click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=DEFAULT_DAYS,
    show_default=True,
    help="Life from now. It never ends after the CA's own.",
)
_timeout = click.option(
    "--timeout",
    type=click.FloatRange(0, 3600),
    default=20,
    show_default=True,
    help="Seconds to wait while another run signs.",
)
_cert_dir = click.option(
    "--cert-dir",
    default="certs",
    show_default=True,
    help="Where NAME.cer is, relative to the CA's directory.",
)
_san = click.option(
    "--san",
    multiple=True,
    metavar="NAMES",
    help="Alternative names, such as DNS:gw.example.com,IP:192.0.2.1. May be given again.",
)


@click.command(
    epilog="""\b
Examples:
  console-gateway pki sign --name=websocket-proxy-gw.example.com --san=DNS:gw.example.com \\
      --subject="/C=US/O=Example/CN=gw.example.com"
  console-gateway pki sign --directory ca --in tls.req --out tls.pem --san DNS:gw.example.com,IP:192.0.2.1
  console-gateway pki sign --directory ca --in tls.req --out tls.pem --requested-names --days 90
""",
)
@click.option("--name", help="Sign requests/NAME.req to certs/NAME.cer, both in the CA's directory.")
@click.option("--in", "source", type=_FILE, help="Sign this request instead; - is standard input.")
@click.option("--out", type=_FILE, help="With --in: the certificate; - is standard output.")
@click.option(
    "--subject", help="Subject, instead of the request's, such as /C=US/O=Example/CN=gw.example.com."
)
@_san
@click.option(
    "--requested-names",
    is_flag=True,
    help="Take the names that the request asks for as well. They are printed.",
)
@_days
@click.option("--ku", metavar="USAGES", help="Key usage, instead of what a TLS server needs.")
@click.option("--eku", metavar="USAGES", help="Extended key usage, names or OIDs, instead of serverAuth.")
@click.option("--ca-url", metavar="URL", help="Say in the certificate that the CA's own is to be had there.")
@_timeout
@_ca_file
@_cert_dir
@click.option(
    "--req-dir",
    default="requests",
    show_default=True,
    help="Where NAME.req is, relative to the CA's directory.",
)
@_directory
@password_options
def sign(
    name: str | None,
    source: Path | None,
    out: Path | None,
    san: tuple[str, ...],
    days: int,
    timeout: float,
    ca_file: str,
    cert_dir: str,
    req_dir: str,
    directory: Path,
    password: PasswordSource,
    **terms: Any,
) -> None:
    """Sign a request.

    The options are those of the engine's pki-enroll-request.sh. The names in the certificate are those of
    --san (or of the environment's OVIRT_SAN); without them, the common name if it is a host name or address.
    A certificate that is there already is kept beside the new one, with the time in its name.
    """
    if (name is None) == (source is None) or (source is None) != (out is None):
        raise click.UsageError("Give --name, or both --in and --out.")
    terms["san"] = list(san) or os.environ.get("OVIRT_SAN") or None
    with told():
        authority = _opened(directory, ca_file, password)
        if name is not None:
            path = authority.enrol(
                name, days=days, timeout=timeout, cert_dir=cert_dir, req_dir=req_dir, **terms
            )
            _tell(path, read_file(path, MAX_PEM), days)
            return
        assert source is not None
        assert out is not None
        data = sys.stdin.buffer.read(MAX_PEM + 1) if str(source) == "-" else read_file(source, MAX_PEM)
        target = None if str(out) == "-" else out
        if target is not None:
            keep_keys(target)
        with _named("standard input" if str(source) == "-" else str(source)):
            load_request(data)
        pem = authority.sign(data, days=days, timeout=timeout, out=target, **terms)
        if target is None:
            click.echo(pem, nl=False)
        _tell(out, pem, days)


@click.command(
    epilog=f"""\b
Examples:
  console-gateway pki renew websocket-proxy-gw.example.com --within 30
  console-gateway pki renew gw --directory ca && systemctl reload console-gateway
\b
Exit codes:
  0  renewed
  1  could not be renewed; everything is as it was
  {NOTHING_DUE}  nothing to do: more days are left
""",
)
@click.argument("name")
@click.option(
    "--within",
    type=click.FloatRange(0, 36500),
    default=60,
    show_default=True,
    help="Renew if so many days are left, or fewer.",
)
@_san
@_days
@_timeout
@_ca_file
@_cert_dir
@_directory
@password_options
def renew(
    name: str,
    within: float,
    san: tuple[str, ...],
    days: int,
    timeout: float,
    ca_file: str,
    cert_dir: str,
    directory: Path,
    password: PasswordSource,
) -> None:
    """Sign the certificate certs/NAME.cer again if it ends soon.

    Key, subject, names and usage stay as they are, so that only the certificate has to be brought to the
    gateway again. Only the certificates that this CA signed can be renewed.
    """
    with told():
        authority = _opened(directory, ca_file, password)
        path = authority.renew(
            name, within=within, days=days, san=san or None, timeout=timeout, cert_dir=cert_dir
        )
        if path is None:
            file = directory / cert_dir / f"{name}.cer"
            left = days_left(parse_chain(read_file(file, MAX_PEM))[0], datetime.datetime.now(datetime.UTC))
            click.echo(f"{file}: {left:.0f} days left, not renewed")
            sys.exit(NOTHING_DUE)
        _tell(path, read_file(path, MAX_PEM), days)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Errors of the library as one line, and exit code 1."""
    try:
        yield
    except PkiError as error:
        raise click.ClickException(str(error)) from None


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors say what they are about."""
    try:
        yield
    except PkiError as error:
        raise PkiError(f"{what}: {error}") from None


def keep_keys(path: Path) -> None:
    """Make sure that no private key is overwritten by what is not one.

    :raises PkiError: the file is one.
    """
    if path.is_file() and b"PRIVATE KEY-----" in read_file(path, MAX_PEM):
        raise PkiError(f"{path}: holds a private key, and is kept; choose another --out")


def _opened(directory: Path, ca_file: str, password: PasswordSource) -> Authority:
    given = password.given()
    try:
        return Authority.open(directory, ca_file=ca_file, password=given)
    except PasswordNeeded:
        if given is not None:
            raise
    return Authority.open(directory, ca_file=ca_file, password=password.asked("the CA's key"))


def _tell(path: Path, pem: bytes, days: int) -> None:
    """What was signed; on standard error, since standard output may be the certificate."""
    certificate = parse_chain(pem)[0]
    names = ", ".join(alt_names_text(names_of(certificate.extensions))) or "no names"
    subject = printable(subject_text(certificate.subject)) or "(empty)"
    click.echo(f"{path}: {subject}, {names}, until {certificate.not_valid_after_utc:%F}", err=True)
    if days > _BROWSER_DAYS:
        click.echo(f"Note: some browsers refuse certificates of more than {_BROWSER_DAYS} days.", err=True)
