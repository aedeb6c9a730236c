"""From a target to a signed ticket.

The format is described in :mod:`.envelope` and :mod:`.payload`.  Engines and
their tools write it in slightly different styles, and a decoder has to take
them all; so the styles are part of the encoder and of its tests.
"""

from __future__ import annotations

import base64
import datetime
import enum
import json
import os
import urllib.parse

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, calculate_max_pss_salt_length
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.settings import Attach
from gateway.tickets.armour import armour
from gateway.tickets.envelope import format_stamp
from gateway.tickets.faults import TicketRefused
from gateway.tickets.grant import Target
from gateway.tickets.payload import Payload, parse_payload

__all__ = ["TicketStyle", "encode_ticket"]

SALT_SIZE = 8
"""Random bytes in a ticket."""


class TicketStyle(enum.Enum):
    """How a ticket is written down.  All styles say the same."""

    ENGINE = "engine"
    """As the engine does for its REST interface."""
    WEB_ADMIN = "web-admin"
    """As the engine does for its web interface: the browser has encoded the target."""
    LIBRARY = "library"
    """As the engine's Python tools do."""


@attrs.frozen
class _Layout:
    signed: tuple[str, ...]
    fields: tuple[str, ...]
    separators: tuple[str, str]


_JAVA = _Layout(
    signed=("salt", "data", "validFrom", "validTo"),
    fields=("salt", "data", "certificate", "signedFields", "validFrom", "v2_signature", "validTo"),
    separators=(",", ":"),
)
_PYTHON = _Layout(
    signed=("salt", "validFrom", "validTo", "data"),
    fields=("salt", "validFrom", "validTo", "data", "signedFields", "v2_signature", "certificate"),
    separators=(", ", ": "),
)


def encode_ticket(
    key: RSAPrivateKey,
    target: Target,
    *,
    certificate: x509.Certificate | None,
    valid_from: datetime.datetime,
    lifetime: datetime.timedelta,
    subject: str | None = None,
    attach: Attach | None = None,
    salt: bytes | None = None,
    style: TicketStyle = TicketStyle.ENGINE,
) -> str:
    """Sign a ticket for a console.

    :param key: the engine's key.
    :param target: the console; a decoder must be able to accept it.
    :param certificate: the engine's certificate, to be carried along for
        whoever wants it; the gateway does not.
    :param valid_from: start of validity, with time zone; parts of a second are dropped.
    :param lifetime: length of validity, in whole seconds.
    :param subject: who it is for: 1 to 256 characters of printable ASCII, no space at either end.
    :param attach: what happens to others on the console; otherwise the gateway's settings say it.
    :param salt: 8 bytes that make the ticket unique; random by default.
    :param style: how to write it.
    :return: the ticket, to follow the first slash of the gateway's URL.
    :raises ValueError: an argument is outside of what a ticket can say.
    """
    if valid_from.tzinfo is None:
        raise ValueError("valid_from needs a time zone")
    if lifetime < datetime.timedelta(0) or lifetime.microseconds:
        raise ValueError("lifetime must be a whole number of seconds, not negative")
    if salt is None:
        salt = os.urandom(SALT_SIZE)
    elif len(salt) != SALT_SIZE:
        raise ValueError(f"salt must have {SALT_SIZE} bytes")

    try:
        valid_to = valid_from + lifetime
    except OverflowError:
        raise ValueError("the ticket would end after the year 9999") from None

    layout = _PYTHON if style is TicketStyle.LIBRARY else _JAVA
    values = {
        "salt": armour(salt),
        "data": _encode_payload(Payload(target, subject, attach), style),
        "validFrom": format_stamp(valid_from),
        "validTo": format_stamp(valid_to),
        "signedFields": ",".join(layout.signed),
    }
    if certificate is not None:
        values["certificate"] = _encode_certificate(certificate, style)
    message = "".join(values[name] for name in layout.signed).encode("ascii")
    values["v2_signature"] = armour(_sign(key, message))
    text = json.dumps(
        {name: values[name] for name in layout.fields if name in values}, separators=layout.separators
    )
    return armour(text.encode("ascii"))


def _encode_payload(payload: Payload, style: TicketStyle) -> str:
    target = payload.target
    items: dict[str, object] = {"host": target.host, "port": str(target.port), "ssl_target": target.tls}
    if style is TicketStyle.ENGINE:
        items = {"port": items.pop("port"), **items}
    if style is TicketStyle.WEB_ADMIN or target.path is not None or target.token is not None:
        items |= {"path": target.path, "token": target.token}
    if target.security is not None:
        items["security"] = target.security.value
    if target.server_name is not None:
        items["server_name"] = target.server_name
    if target.kind is not None:
        items["kind"] = target.kind.value
    if payload.attach is not None:
        items["attach"] = payload.attach.value
    if payload.subject is not None:
        items["subject"] = payload.subject
    text = json.dumps(items, separators=(",", ":"))
    # Decoders count brackets before they parse; those inside of a subject are not to count.
    text = "{" + text[1:].replace("{", "\\u007b").replace("[", "\\u005b")
    if style is TicketStyle.ENGINE:
        # Form encoding, but for its plus sign in place of a space: decoders take that for a plus sign.
        data = urllib.parse.quote(text, safe="*").replace("~", "%7E")
    else:
        data = urllib.parse.quote(text, safe=";,/?:@&=+$-_.!~*'()#")
    try:
        same = parse_payload(data) == payload
    except TicketRefused as refused:
        raise ValueError(refused.fault.explanation) from None
    if not same:
        raise ValueError(
            "The target is not in its plainest form: final dot, empty path, or token without path."
        )
    return data


def _encode_certificate(certificate: x509.Certificate, style: TicketStyle) -> str:
    if style is TicketStyle.LIBRARY:
        return certificate.public_bytes(Encoding.PEM).decode("ascii")
    text = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")
    lines = "".join(f"{text[start : start + 76]}\r\n" for start in range(0, len(text), 76))
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"


def _sign(key: RSAPrivateKey, message: bytes) -> bytes:
    salt_length = calculate_max_pss_salt_length(key, SHA256())
    return key.sign(message, PSS(MGF1(SHA256()), salt_length), SHA256())
