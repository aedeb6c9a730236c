"""Fuzz target: tickets.  Only refusals are raised, and nothing is granted that was not signed.

The one genuine ticket is a sample made elsewhere, so that the same bytes mean
the same input on every machine; the key that signed it is not here.
"""

from __future__ import annotations

import base64
import itertools
import json
import urllib.parse
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.settings.model import TicketSettings
from gateway.tickets import EngineKeys, Grant, TicketDecoder, TicketRefused, looks_like_ticket
from gateway.tickets.armour import armour
from gateway.tickets.envelope import open_envelope
from gateway.tickets.payload import parse_payload
from tests.fuzz.source import Source
from tests.unit.tickets.samples import NOW, WORKED_EXAMPLE

__all__ = ["SEEDS", "fuzz"]

_TEXT: Final = base64.b64decode(WORKED_EXAMPLE)
_FIELDS: Final[dict[str, str]] = json.loads(_TEXT)
_NAMES: Final = ("salt", "data", "validFrom", "validTo")
_SPARE: Final = (*_NAMES, "certificate", "digest", "signature", "v2_signature", "signedFields", "", "other")
_LENGTHS: Final = {"salt": 12, "validFrom": 14, "validTo": 14}
_ORDERS: Final = tuple(itertools.permutations(_NAMES))
_MAX_SIZE: Final = TicketSettings().max_size


def _decoder() -> TicketDecoder:
    key = x509.load_pem_x509_certificate(_FIELDS["certificate"].encode("ascii")).public_key()
    assert isinstance(key, RSAPublicKey)
    # A skew so large that the clock alone would not notice if the two dates changed places.
    return TicketDecoder(EngineKeys([key]), TicketSettings(skew=300), lambda: NOW)


_DECODER: Final = _decoder()
_GRANT: Final = _DECODER.decode(WORKED_EXAMPLE)
_ENVELOPE: Final = open_envelope(WORKED_EXAMPLE, _MAX_SIZE)

SEEDS = (
    b"\x00" + WORKED_EXAMPLE[:300].encode("ascii"),
    b"\x01\x00\x00\x10\x01\x00A",
    b"\x02\x00\x00\x10\x01\x00A",
    b"\x03\x05\x03salt",
    b"\x04\x00\x00\x10\x01\x00A",
    b"\x05" + urllib.parse.unquote(_FIELDS["data"]).encode("ascii"),
)


def fuzz(data: bytes) -> None:
    """Offer what ``data`` is or makes of the genuine ticket.

    :raises AssertionError: when something was granted that was not signed; whatever else is raised is a
        defect as well.
    """
    source = Source(data)
    match source.byte() % 6:
        case 0:
            _offer(source.rest().decode("latin-1"))
        case 1:
            _offer(source.edited(WORKED_EXAMPLE.encode("ascii")).decode("latin-1"))
        case 2:
            _offer(armour(source.edited(_TEXT)))
        case 3:
            _offer(armour(_recut(source)))
        case 4:
            _aim(source.edited(_FIELDS["data"].encode("ascii")).decode("latin-1"))
        case _:
            _aim(source.rest().decode("latin-1"))


def _offer(ticket: str) -> None:
    """A ticket gets the genuine grant or none, for signed text and signature that are the genuine ones."""
    grant = _decoded(ticket)
    if grant is None:
        return
    envelope = open_envelope(ticket, _MAX_SIZE)
    assert grant == _GRANT, f"another grant: {ticket}"
    assert envelope.signature == _ENVELOPE.signature, f"another signature: {ticket}"
    assert envelope.message == _ENVELOPE.message, f"another message: {ticket}"
    assert looks_like_ticket(ticket), f"granted, but never asked for at the door: {ticket}"


def _decoded(ticket: str) -> Grant | None:
    try:
        return _DECODER.decode(ticket)
    except TicketRefused as error:
        refused = error
    # What is logged is short, and nothing that hangs on the exception holds the ticket.
    line = str(refused)
    assert len(line) < 100, line
    assert line.isprintable(), line
    cause = refused.__context__
    assert cause is None or isinstance(cause, TicketRefused), f"keeps {cause!r}"
    return None


def _recut(source: Source) -> bytes:
    """The genuine signature over the genuine bytes, shared out among other fields in another order."""
    names = list(source.pick(_ORDERS)) if source.byte() & 1 else []
    while not names or (len(names) < 6 and source.byte() & 1):
        names.append(source.pick(_SPARE))
    message = _ENVELOPE.message.decode("ascii")
    if set(names) == set(_NAMES) and source.byte() & 1:
        # Each field gets as many characters as it needs, whatever they are.
        places = list(itertools.accumulate(_LENGTHS.get(name, len(message) - 40) for name in names[:-1]))
    else:
        places = [source.number(len(message)) for _ in names[1:]]
    pieces = [message[a:b] for a, b in itertools.pairwise((0, *sorted(places), len(message)))]
    fields = dict(_FIELDS)
    if source.byte() & 1:
        fields = {name: fields[name] for name in ("v2_signature", *_NAMES)}
    fields |= dict(zip(names, pieces, strict=True))
    fields |= {"signedFields": ",".join(names), "v2_signature": _FIELDS["v2_signature"]}
    return json.dumps(fields).encode("ascii")


def _aim(data: str) -> None:
    """The contents of a signed ticket: what is accepted is plain and has one reading."""
    try:
        payload = parse_payload(data)
    except TicketRefused:
        return
    target = payload.target
    assert 1 <= target.port <= 65535, target
    assert target.host.isascii(), target
    assert target.host.isprintable(), target
    assert not set(target.host) & set(" /%@?#[]\\"), target
    assert target.token is None or target.path is not None, "a token without a path"
    items = {
        "host": target.host,
        "port": str(target.port),
        "ssl_target": target.tls,
        "path": target.path,
        "token": target.token,
        "security": target.security and target.security.value,
        "server_name": target.server_name,
        "kind": target.kind and target.kind.value,
        "attach": payload.attach and payload.attach.value,
        "subject": payload.subject,
    }
    if payload.subject is not None:
        assert payload.subject.isascii(), payload
        assert payload.subject.isprintable(), payload
        assert 1 <= len(payload.subject) <= 256, payload
    text = json.dumps(items)
    # A text with many brackets is not parsed at all, wherever they are.
    text = "{" + text[1:].replace("{", "\\u007b").replace("[", "\\u005b")
    assert parse_payload(urllib.parse.quote(text)) == payload, "reads differently when written anew"
