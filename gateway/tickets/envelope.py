r"""The signed envelope: a flat JSON object of strings, and the message that its signature covers.

========================  ======  =======================================================
field                     signed  content
========================  ======  =======================================================
``salt``                  yes     base64 of 8 random bytes
``validFrom, validTo``    yes     UTC time as ``YYYYMMDDhhmmss``
``data``                  yes     JSON of the target, percent-encoded (:mod:`.payload`)
``signedFields``          no      the names of the four signed fields, in signing order
``v2_signature``          no      base64 of the RSASSA-PSS signature (:mod:`.decode`)
``certificate``           no      the signer's certificate; ignored, the key is pinned
``digest, signature``     no      remains of the older format; ignored
========================  ======  =======================================================

The signed message M is the plain concatenation of the four values in the
order of ``signedFields``, which is not itself signed.  **No separators are
signed, so bytes could wander from one field to another.**  Strict grammar
keeps them in place: a genuine M can be read in one way only.

1. All four fields are signed, each once, and nothing else is.  ``salt`` has
   12 characters and each date 14, so ``data`` has ``len(M) - 40`` in every
   reading.
2. ``salt`` matches ``[A-Za-z0-9+/]{11}=`` and dates are digits, so none of
   them has a ``%`` or a ``{``.  ``data`` must begin with one of the two, as
   ``{`` or its escape ``%7B`` (:func:`.payload.parse_items` sees to it).  So
   ``data`` begins at the first ``%`` or ``{`` of M in every reading; with (1),
   it is the same text in every reading.
3. The 40 characters around ``data`` are ``salt`` and the dates.  ``data``
   starts at 0, 12, 14, 26, 28 or 40, which says whether ``salt`` is before it
   and how many dates are.  ``salt`` has the only ``=`` there, at its end, so
   it stands still too, and what is left are the two dates.
4. Only the names of the two dates can be exchanged, through the order in
   ``signedFields``.  Then the ticket ends before it begins, which is refused
   (:attr:`.TicketFault.LIFETIME_NEGATIVE`), unless both dates are equal, and
   then nothing has changed.
"""

from __future__ import annotations

import datetime
import hashlib
import re

import attrs

from gateway.tickets.armour import decode_base64, unarmour
from gateway.tickets.faults import TicketFault, TicketRefused
from gateway.tickets.jsontext import JsonFault, parse_object

__all__ = ["SIGNED_NAMES", "Envelope", "format_stamp", "open_envelope"]

SIGNED_NAMES = frozenset({"salt", "data", "validFrom", "validTo"})
"""The fields that are signed, all of them, in any order."""

_REQUIRED = SIGNED_NAMES | {"signedFields"}
_IGNORED = frozenset({"certificate", "digest", "signature"})
_KNOWN = _REQUIRED | _IGNORED | {"v2_signature"}

_SIGNED_FIELDS_SIZE = 128
_JSON_FAULTS = {
    JsonFault.NESTED: TicketFault.NESTED,
    JsonFault.INVALID: TicketFault.NOT_JSON,
    JsonFault.DUPLICATE_KEY: TicketFault.DUPLICATE_KEY,
    JsonFault.NOT_OBJECT: TicketFault.NOT_OBJECT,
}

# Eight bytes leave four bits for the last letter, so only every fourth letter can stand there.
_SALT = re.compile(r"[A-Za-z0-9+/]{10}[AEIMQUYcgkosw048]=")
_STAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})")
_STAMP_FORMAT = "{0.year:04}{0.month:02}{0.day:02}{0.hour:02}{0.minute:02}{0.second:02}"
_ID_CONTEXT = b"console-gateway ticket id\0"


@attrs.frozen
class Envelope:
    """A ticket whose form is right.  Nothing in it has been verified."""

    id: str
    """Derived from the signature; safe to log."""
    order: tuple[str, ...]
    """The four signed names, in signing order."""
    salt: str
    valid_from: datetime.datetime
    valid_to: datetime.datetime
    data: str = attrs.field(repr=False)
    """The target as it was signed; may hold a secret."""
    message: bytes = attrs.field(repr=False)
    """What the signature covers."""
    signature: bytes = attrs.field(repr=False)


def open_envelope(path: str, max_size: int) -> Envelope:
    """Read a ticket's form, without judging signature, time or target.

    :param path: the raw request path after its leading slash, without query.
    :param max_size: longest path accepted, in characters.
    :raises TicketRefused: the form is wrong.
    """
    fields = _parse_fields(unarmour(path, max_size))
    signature = _parse_signature(fields)
    ticket_id = hashlib.sha256(_ID_CONTEXT + signature).hexdigest()[:16]

    order = _parse_order(fields["signedFields"], ticket_id)
    salt, data = fields["salt"], fields["data"]
    if _SALT.fullmatch(salt) is None:
        raise TicketRefused(TicketFault.SALT_GRAMMAR, ticket_id)
    valid_from = _parse_stamp(fields["validFrom"])
    valid_to = _parse_stamp(fields["validTo"])
    if valid_from is None or valid_to is None:
        raise TicketRefused(TicketFault.DATE_GRAMMAR, ticket_id)
    if not data.isascii():
        raise TicketRefused(TicketFault.DATA_GRAMMAR, ticket_id)
    return Envelope(
        id=ticket_id,
        order=order,
        salt=salt,
        valid_from=valid_from,
        valid_to=valid_to,
        data=data,
        message="".join([fields[name] for name in order]).encode("ascii"),
        signature=signature,
    )


def format_stamp(moment: datetime.datetime) -> str:
    """A UTC time as it stands in a ticket; parts of a second are dropped."""
    return _STAMP_FORMAT.format(moment.astimezone(datetime.UTC))


def _parse_fields(raw: bytes) -> dict[str, str]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None:  # raised here, so that the decoder's exception, which holds the text, is not its context
        raise TicketRefused(TicketFault.NOT_UTF8)
    members = parse_object(text)
    if isinstance(members, JsonFault):
        raise TicketRefused(_JSON_FAULTS[members])
    fields = {name: value for name, value in members.items() if isinstance(value, str)}
    if len(fields) != len(members):
        raise TicketRefused(TicketFault.NOT_STRING)
    if not fields.keys() <= _KNOWN:
        raise TicketRefused(TicketFault.FIELD_UNKNOWN)
    if not fields.keys() >= _REQUIRED:
        raise TicketRefused(TicketFault.FIELD_MISSING)
    return fields


def _parse_signature(fields: dict[str, str]) -> bytes:
    text = fields.get("v2_signature")
    if text is None:
        raise TicketRefused(
            TicketFault.LEGACY_SIGNATURE if "signature" in fields else TicketFault.FIELD_MISSING
        )
    signature = decode_base64(text)
    if not signature:
        raise TicketRefused(TicketFault.SIGNATURE_GRAMMAR)
    return signature


def _parse_order(text: str, ticket_id: str) -> tuple[str, ...]:
    # Longer than any list of the four names; what is refused need not be split first.
    names = tuple(name.strip(" \t\r\n") for name in text[:_SIGNED_FIELDS_SIZE].split(","))
    if len(text) > _SIGNED_FIELDS_SIZE or not SIGNED_NAMES.issuperset(names):
        raise TicketRefused(TicketFault.SIGNED_UNKNOWN, ticket_id)
    if len(set(names)) != len(names):
        raise TicketRefused(TicketFault.SIGNED_DUPLICATE, ticket_id)
    if len(names) != len(SIGNED_NAMES):
        raise TicketRefused(TicketFault.SIGNED_MISSING, ticket_id)
    return names


def _parse_stamp(text: str) -> datetime.datetime | None:
    match = _STAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        return datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:  # no such day or hour
        return None
