"""JSON (RFC 8259) as tickets use it: one flat object without repeated keys."""

from __future__ import annotations

import enum
import json

__all__ = ["JsonFault", "parse_object"]

_MAX_BRACKETS = 8
"""Opening brackets and braces in a text, in or out of strings; a real ticket has at most two."""


class JsonFault(enum.Enum):
    """Why a text is not one of our objects."""

    NESTED = enum.auto()
    INVALID = enum.auto()
    DUPLICATE_KEY = enum.auto()
    NOT_OBJECT = enum.auto()


class _DuplicateKeyError(Exception):
    """Raised through the JSON decoder, never further."""


def parse_object(text: str) -> dict[str, object] | JsonFault:
    """Members of the one object in a text, or what is wrong with it.

    Faults are returned, not raised: a JSON exception keeps the whole text, and
    an exception raised while handling it would carry that along.  The bracket
    limit is checked before parsing, so depth cannot exhaust the stack.
    """
    if text.count("{") + text.count("[") > _MAX_BRACKETS:
        return JsonFault.NESTED
    try:
        value = _DECODER.decode(text)
    except _DuplicateKeyError:
        return JsonFault.DUPLICATE_KEY
    except ValueError:
        return JsonFault.INVALID
    return value if isinstance(value, dict) else JsonFault.NOT_OBJECT


def _reject_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _DuplicateKeyError
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_reject_duplicates)
