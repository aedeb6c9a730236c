"""``console-gateway ticket``: sign a ticket, or look into one."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.reasons import Refusal
from gateway.settings import Attach, TargetSecurity
from gateway.settings.model import TicketSettings
from gateway.tickets import (
    EngineKeys,
    KeyFileError,
    Kind,
    Target,
    TicketDecoder,
    TicketFault,
    TicketRefused,
    TicketStyle,
    encode_ticket,
    load_certificate,
    load_signing_key,
    load_verification_key,
    looks_like_ticket,
)
from gateway.tickets.decode import check_time
from gateway.tickets.envelope import Envelope, open_envelope
from gateway.tickets.payload import parse_items, parse_payload, parse_subject

__all__ = ["ticket"]

_DEFAULTS = TicketSettings()
_FILE = click.Path(path_type=Path)
_STYLES = {style.value: style for style in TicketStyle}
_SECURITY = {how.value: how for how in TargetSecurity if how is not TargetSecurity.TICKET}
_KINDS = {kind.value: kind for kind in Kind}
_ATTACH = {how.value: how for how in Attach}
_MAX_INPUT = 131072
_MAX_SHOWN = 300
_LABEL_WIDTH = 14
_OPTIONAL = {
    "security": "Security",
    "server_name": "Server name",
    "kind": "Kind",
    "attach": "Attach",
    "subject": "Subject",
}
_SIGNATURE_FAULTS = (TicketFault.SIGNATURE_SIZE, TicketFault.SIGNATURE_MISMATCH)


def _subject(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else parse_subject(value)
    except TicketRefused as refused:
        raise click.BadParameter(refused.fault.explanation) from None


@click.group()
def ticket() -> None:
    """Sign tickets and look into them.

    A ticket is what a client puts into the gateway's URL to get to a console.
    Whoever holds one may use it, so treat it like a password while it is valid.
    """


@ticket.command(
    epilog="""\b
Examples:
  console-gateway ticket sign --key engine-key.pem \\
      --host hypervisor1.example.com --port 5900 --tls
  console-gateway ticket sign --key engine-key.pem --host hypervisor1 --port 5930 \\
      --kind spice --subject alice@example.com --attach refuse
"""
)
@click.option("--key", required=True, type=_FILE, help="PEM file with the engine's RSA key, not encrypted.")
@click.option(
    "--certificate",
    type=_FILE,
    help="PEM file with the certificate of that key, to put into the ticket. The gateway does not need it.",
)
@click.option(
    "--host", required=True, help="Console server: name, IPv4 address, or IPv6 address without brackets."
)
@click.option("--port", required=True, type=click.IntRange(1, 65535), help="TCP port of the console.")
@click.option(
    "--tls/--no-tls", default=False, show_default=True, help="Secure the leg to the console with TLS."
)
@click.option(
    "--security",
    type=click.Choice(sorted(_SECURITY)),
    help="How to secure it, whatever --tls says: by VeNCrypt inside RFB, by TLS at once, or as the console "
    "shows by speaking first or not. Tickets of engines do not say it.",
)
@click.option(
    "--server-name",
    help="Name or address that the console's certificate must be for, if that is not --host. "
    "Tickets of engines do not say it.",
)
@click.option(
    "--kind",
    type=click.Choice(sorted(_KINDS)),
    help="What the console speaks. Without it, the gateway finds out. Tickets of engines do not say it.",
)
@click.option(
    "--attach",
    type=click.Choice(list(_ATTACH)),
    help="What happens to others on the console: they stay, they have to leave, or they stay and the bearer "
    "of this ticket is turned away. Without it, sessions.attach decides. Tickets of engines do not say it.",
)
@click.option(
    "--subject",
    metavar="WHO",
    callback=_subject,
    help="Who the ticket is for: a name that limits, the audit and the list of sessions go by. "
    "Tickets of engines do not say it.",
)
@click.option(
    "--lifetime",
    type=click.IntRange(1, 86400),
    default=120,
    show_default=True,
    help="Seconds from now in which the ticket can be used.",
)
@click.option(
    "--style",
    type=click.Choice(sorted(_STYLES)),
    default=TicketStyle.ENGINE.value,
    show_default=True,
    help="Whose way of writing to follow; the gateway takes them all.",
)
def sign(
    key: Path,
    certificate: Path | None,
    host: str,
    port: int,
    tls: bool,
    security: str | None,
    server_name: str | None,
    kind: str | None,
    attach: str | None,
    subject: str | None,
    lifetime: int,
    style: str,
) -> None:
    """Sign a ticket for a console and print it.

    The ticket goes behind the first slash of the gateway's URL:
    wss://gateway.example.com:6100/TICKET
    """
    try:
        signing_key = load_signing_key(key)
        carried = load_certificate(certificate) if certificate is not None else None
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None
    if carried is not None and carried.public_key() != signing_key.public_key():
        raise click.ClickException(f"{certificate}: not the certificate of the key in {key}; name the pair")
    how = _SECURITY[security] if security is not None else None
    try:
        text = encode_ticket(
            signing_key,
            Target(
                host=host,
                port=port,
                tls=tls,
                security=how,
                server_name=server_name,
                kind=_KINDS[kind] if kind is not None else None,
            ),
            certificate=carried,
            valid_from=datetime.datetime.now(datetime.UTC),
            lifetime=datetime.timedelta(seconds=lifetime),
            subject=subject,
            attach=_ATTACH[attach] if attach is not None else None,
            style=_STYLES[style],
        )
    except ValueError as error:
        hint = "'--host'" if server_name is None else "'--host' or '--server-name'"
        raise click.BadParameter(str(error), param_hint=hint) from None
    click.echo(text)


@ticket.command(
    epilog="""\b
Examples:
  console-gateway ticket inspect --certificate engine.pem TICKET
  console-gateway ticket sign ... | console-gateway ticket inspect -
"""
)
@click.argument("text", metavar="TICKET")
@click.option(
    "--certificate",
    type=_FILE,
    multiple=True,
    help="PEM file with the engine's certificate or public key. Without it nothing is verified. "
    "May be given again while one key follows another.",
)
@click.option(
    "--skew",
    type=click.FloatRange(0, 300),
    default=_DEFAULTS.skew,
    show_default=True,
    help="Tolerated clock difference in seconds, as in tickets.skew.",
)
@click.option(
    "--max-lifetime",
    type=click.FloatRange(1, 86400),
    default=_DEFAULTS.max_lifetime,
    show_default=True,
    help="Longest validity in seconds, as in tickets.max_lifetime.",
)
@click.option(
    "--max-size",
    type=click.IntRange(1024, 65536),
    default=_DEFAULTS.max_size,
    show_default=True,
    help="Longest ticket in characters, as in tickets.max_size.",
)
def inspect(
    text: str, certificate: tuple[Path, ...], skew: float, max_lifetime: float, max_size: int
) -> None:
    """Show what is in a ticket and judge it.

    Tells whether a gateway with the same settings would take the ticket now.
    TICKET is the ticket, the URL with the ticket in it, or '-' to read either
    from standard input. Exits with 1 if the ticket would be refused.
    """
    settings = TicketSettings(skew=skew, max_lifetime=max_lifetime, max_size=max_size)
    try:
        keys = [load_verification_key(path) for path in certificate]
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None
    path = _path_of(_input(text))
    if not looks_like_ticket(path):
        raise click.ClickException(
            f"This is no ticket, and the gateway would answer {Refusal.NOT_FOUND.status}: too short or long, "
            "or with characters that no ticket has. It may have been cut off, wrapped or quoted."
        )
    now = time.time()
    envelope: Envelope | None = None
    refused: TicketRefused | None = None
    try:
        envelope = open_envelope(path, max_size)
        _judge(path, envelope, keys, settings, now)
    except TicketRefused as caught:
        refused = caught
    rows = [*_contents(envelope, now), *_verdict(envelope, refused, bool(keys))]
    for label, value in rows:
        click.echo(f"{label:<{_LABEL_WIDTH}}{value}")
    if refused is not None:
        raise click.exceptions.Exit(1)


def _input(text: str) -> str:
    if text == "-":
        text = sys.stdin.buffer.read(_MAX_INPUT + 1).decode("ascii", errors="replace")
    if len(text) > _MAX_INPUT:
        raise click.UsageError(f"More than {_MAX_INPUT} characters; give one ticket alone.")
    return text.strip()


def _path_of(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme.lower() not in {"wss", "ws", "https", "http"} or "/" not in rest:
            raise click.UsageError("A URL must have the form wss://HOST:PORT/TICKET.")
        text = rest.partition("/")[2].partition("#")[0].partition("?")[0]
    text = text.removeprefix("/")
    if not text:
        raise click.UsageError("There is no ticket; give it as argument, or '-' to read standard input.")
    return text


def _judge(
    path: str, envelope: Envelope, keys: list[RSAPublicKey], settings: TicketSettings, now: float
) -> None:
    if keys:
        TicketDecoder(EngineKeys(keys), settings, lambda: now).decode(path)
    else:
        check_time(envelope, settings, now)
        parse_payload(envelope.data)


def _contents(envelope: Envelope | None, now: float) -> Iterator[tuple[str, str]]:
    if envelope is None:
        return
    begin, end = envelope.valid_from.timestamp(), envelope.valid_to.timestamp()
    yield "Ticket id", envelope.id
    yield "Signed order", ", ".join(envelope.order)
    yield "Salt", envelope.salt
    yield "Valid from", f"{envelope.valid_from:%Y-%m-%d %H:%M:%S} UTC"
    yield "Valid to", f"{envelope.valid_to:%Y-%m-%d %H:%M:%S} UTC"
    yield "Lifetime", f"{end - begin:.0f} s"
    if now < begin:
        yield "Now", f"begins in {begin - now:.0f} s"
    else:
        yield "Now", f"ends in {end - now:.0f} s" if now <= end else f"ended {now - end:.0f} s ago"
    try:
        items = parse_items(envelope.data)
    except TicketRefused:
        yield "Target", "cannot be read"
        return
    yield from _data_rows(items)


def _data_rows(items: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield "Host", _shown(items["host"])
    yield "Port", _shown(items["port"])
    tls = items["ssl_target"]
    yield "TLS", _shown(tls) if isinstance(tls, bool) else f"{_json(tls)} (neither true nor false)"
    for name, label in _OPTIONAL.items():
        if items.get(name) is not None:
            yield label, _shown(items[name])
    if items.get("path"):
        yield "Path", _shown(items["path"])
    if items.get("token"):
        token = items["token"]
        yield "Token", f"{len(token)} characters, not shown" if isinstance(token, str) else "not a string"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return _json(value)
    if not isinstance(value, str):
        return f"{_json(value)} (not a string)"
    plain = value and value.isascii() and value.isprintable() and len(value) <= _MAX_SHOWN
    return value if plain else _json(value)


def _json(value: object) -> str:
    """JSON in plain ASCII: nothing in a ticket can command the terminal."""
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _verdict(
    envelope: Envelope | None, refused: TicketRefused | None, has_keys: bool
) -> Iterator[tuple[str, str]]:
    if envelope is not None:
        if not has_keys:
            yield "Signature", "NOT VERIFIED: name the engine's certificate with --certificate"
        elif refused is not None and refused.fault in _SIGNATURE_FAULTS:
            yield "Signature", "WRONG"
        else:
            yield "Signature", "verified"
    if refused is not None:
        fault = refused.fault
        yield "Verdict", f"refused with HTTP status {fault.refusal.status}, in the log: {fault.label}"
        yield "Reason", fault.explanation
    elif has_keys:
        yield "Verdict", "accepted"
    else:
        yield "Verdict", "none: well-formed, but anybody can have written it"
