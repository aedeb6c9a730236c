"""What heads of HTTP/1.1 requests and responses have in common (RFC 9112, sections 2 and 5), without I/O.

Strict, so that everybody who looks at a head sees the same one.  The grammar
of the first line is the business of whoever knows which kind it is.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

__all__ = ["HEAD_END", "MAX_HEADERS", "BadHead", "Fields", "Head", "split_head"]

HEAD_END: Final = b"\r\n\r\n"
"""What a head ends with."""

MAX_HEADERS: Final = 100
"""Most header fields that a head may have."""

Fields: TypeAlias = tuple[tuple[str, str], ...]
"""Header fields in order, names in lower case, values without surrounding white space."""

# Nothing is given back by a repetition, or white space could be divided in two in as many ways as it is long.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([\t -~\x80-\xff]*+)")


class BadHead(Exception):
    """The bytes are no head."""


class Head:
    """A head's fields; which other attributes there are is the first line's to say."""

    __slots__ = ()

    fields: Fields

    def values(self, name: str) -> list[str]:
        """All values of the field ``name`` (lower case)."""
        return [value for key, value in self.fields if key == name]

    def tokens(self, name: str) -> list[str]:
        """The items of a comma-separated field, trimmed and in lower case."""
        # By name: what else is white space in Latin-1 is none in HTTP (RFC 9110, section 5.6.3).
        return [item.strip(" \t").lower() for value in self.values(name) for item in value.split(",")]


def split_head(data: bytes) -> tuple[bytes, Fields]:
    """The first line of a head that ends with an empty line, not yet judged, and its header fields.

    :raises BadHead: for anything but CRLF-separated lines of RFC 9112's grammar (no folding, no bare CR
        or LF), or more than :data:`MAX_HEADERS` fields.
    """
    if not data.endswith(HEAD_END):
        raise BadHead("unfinished")
    first, *lines = data[: -len(HEAD_END)].split(b"\r\n")
    if len(lines) > MAX_HEADERS:
        raise BadHead("too many header fields")
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BadHead("header field")
        fields.append((match[1].decode("ascii").lower(), match[2].strip().decode("latin-1")))
    return first, tuple(fields)
