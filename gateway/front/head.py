"""The head of an HTTP/1.1 request (RFC 9112), parsed strictly and without I/O.

Only what decides where a connection goes is looked at here; Autobahn and
twisted.web parse again what they are given.  Being strict first means that all
of them see the same request.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from gateway.net.http_head import MAX_HEADERS, BadHead, Fields, Head, split_head

__all__ = ["MAX_HEADERS", "BadHead", "RequestHead", "parse_head"]

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([!-~]+) HTTP/(1\.[01])")


@attrs.frozen
class RequestHead(Head):
    """Method, target and header fields of a request."""

    method: str
    target: str
    """The request target as sent: printable ASCII."""
    fields: Fields

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
        or LF), or more than :data:`~gateway.net.http_head.MAX_HEADERS` fields.
    """
    line, fields = split_head(data)
    first = _REQUEST_LINE.fullmatch(line)
    if first is None:
        raise BadHead("request line")
    return RequestHead(first[1].decode("ascii"), first[2].decode("ascii"), fields)
