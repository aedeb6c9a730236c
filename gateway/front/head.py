"""The head of an HTTP/1.1 request (RFC 9112), parsed strictly and without I/O.

Only what decides where a connection goes is looked at here; Autobahn and
twisted.web parse again what they are given.  Being strict first means that all
of them see the same request.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

__all__ = ["MAX_HEADERS", "BadHead", "RequestHead", "parse_head"]

MAX_HEADERS: Final = 100
"""Most header fields that a request may have."""

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/(1\.[01])")
# Nothing is given back by a repetition, or white space could be divided in two in as many ways as it is long.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([\t -~\x80-\xff]*+)")


class BadHead(Exception):
    """The bytes are no request head."""


@attrs.frozen
class RequestHead:
    """Method, target and header fields of a request."""

    method: str
    target: str
    """The request target as sent: printable ASCII."""
    fields: tuple[tuple[str, str], ...]
    """Header fields in order, names in lower case, values without surrounding white space."""

    def values(self, name: str) -> list[str]:
        """All values of the field ``name`` (lower case)."""
        return [value for key, value in self.fields if key == name]

    def tokens(self, name: str) -> list[str]:
        """The items of a comma-separated field, trimmed and in lower case."""
        # By name: what else is white space in Latin-1 is none in HTTP (RFC 9110, section 5.6.3).
        return [item.strip(" \t").lower() for value in self.values(name) for item in value.split(",")]

    @property
    def wants_websocket(self) -> bool:
        """Whether an upgrade to WebSocket is asked for (RFC 6455, section 4.2.1)."""
        return "websocket" in self.tokens("upgrade")

    @property
    def has_body(self) -> bool:
        """Whether a request body is announced."""
        return bool(self.values("transfer-encoding")) or any(v != "0" for v in self.values("content-length"))


def parse_head(data: bytes) -> RequestHead:
    """Parse a request head that ends with an empty line.

    :raises BadHead: for anything but CRLF-separated lines of RFC 9112's grammar (no folding, no bare CR
        or LF), or more than :data:`MAX_HEADERS` fields.
    """
    lines = data[:-4].split(b"\r\n")
    first = _REQUEST_LINE.fullmatch(lines[0])
    if first is None or not data.endswith(b"\r\n\r\n"):
        raise BadHead("request line")
    if len(lines) - 1 > MAX_HEADERS:
        raise BadHead("too many header fields")
    fields = []
    for line in lines[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BadHead("header field")
        fields.append((match[1].decode("ascii").lower(), match[2].strip().decode("latin-1")))
    return RequestHead(first[1].decode("ascii"), first[2].decode("ascii"), tuple(fields))
