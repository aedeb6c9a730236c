"""The outermost layer of a ticket: base64 text in a request path.

RFC 4648, section 4 (standard alphabet) or section 5 (URL-safe alphabet), with
or without padding.  In the path, the four characters outside letters and
digits and the padding may be percent-escaped (RFC 3986, section 2.1).
Everything that is accepted has exactly one meaning: text that is not the
canonical encoding of its bytes is refused.
"""

from __future__ import annotations

import binascii
import re

from gateway.tickets.faults import TicketFault, TicketRefused

__all__ = ["armour", "decode_base64", "looks_like_ticket", "unarmour"]

SHORTEST = 256
"""No ticket is shorter, in characters: its signature alone takes more."""
LONGEST = 65536
"""No setting admits a longer one, in characters."""

_SHAPE = re.compile(r"[A-Za-z0-9+/=_-]*+(?:%(?:2[BbDdFf]|3[Dd]|5[Ff])[A-Za-z0-9+/=_-]*+)*+")
_ESCAPES = {"%2B": "+", "%2D": "-", "%2F": "/", "%3D": "=", "%5F": "_"}
_ESCAPE = re.compile("|".join(_ESCAPES), re.IGNORECASE)
_TO_STANDARD = str.maketrans("-_", "+/")


def looks_like_ticket(path: str) -> bool:
    """Whether a request path may be a ticket at all, so that anything else can be "not found".

    :param path: the raw path after its leading slash, without query.
    :return: true if it has a ticket's length and only characters (or escapes
        of characters) of the base64 alphabets.  Takes linear time.
    """
    return SHORTEST <= len(path) <= LONGEST and _SHAPE.fullmatch(path) is not None


def unarmour(path: str, max_size: int) -> bytes:
    """Bytes of the ticket's JSON text.

    :param path: the raw path after its leading slash, without query.
    :param max_size: longest path accepted, in characters.
    :raises TicketRefused: it is too long, or not one canonical base64 text.
    """
    if len(path) > max_size:
        raise TicketRefused(TicketFault.TOO_LONG)
    text = path
    if "%" in text:
        text = _ESCAPE.sub(lambda match: _ESCAPES[match[0].upper()], text)
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise TicketRefused(TicketFault.NOT_BASE64)
        text = text.translate(_TO_STANDARD)
    if not text.endswith("="):
        text += "=" * (-len(text) % 4)
    raw = decode_base64(text)
    if not raw:
        raise TicketRefused(TicketFault.NOT_BASE64)
    return raw


def armour(raw: bytes) -> str:
    """Standard base64 of the JSON text, padded, on one line."""
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes | None:
    """Bytes of a padded standard base64 text, or ``None`` if it is not their canonical encoding."""
    try:
        raw = binascii.a2b_base64(text)
    except ValueError:
        return None
    # The decoder skips foreign characters and ignores surplus bits; the comparison leaves neither a chance.
    return raw if armour(raw) == text else None
