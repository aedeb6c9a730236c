"""Who the client of a request is, as trusted proxies say: ``X-Forwarded-For``, or ``Forwarded`` (RFC 7239).

Every proxy adds the address of its own peer at the end of the field.  It is
therefore read from its end and only as far as the proxies are trusted: the
first address that is not a trusted proxy's is the client, and what stands in
front of it is the client's own invention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from twisted.internet.interfaces import IAddress

from gateway.net import TrustedProxies, ip_address
from gateway.settings import ForwardedHeader, ProxySettings

__all__ = ["MAX_HOPS", "BadForwarded", "Clients"]

MAX_HOPS: Final = 32
"""Trusted proxies that a request may have passed."""

_PORT: Final = r"(?::(?:([0-9]{1,5})|_[A-Za-z0-9._-]{1,64}))?"
_NODE: Final = re.compile(
    rf"(?:([0-9.]{{7,15}})|\[([0-9A-Fa-f:.]{{2,45}})\]|(unknown|_[A-Za-z0-9._-]{{1,64}})){_PORT}"
)
"""RFC 7239, section 6."""
_BARE_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}")

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED: Final = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_PAIR: Final = re.compile(rf"({_WORD})=({_WORD}|{_QUOTED})")
_SEPARATOR: Final = re.compile(r"[ \t]*+([;,])[ \t]*+")
_ESCAPED: Final = re.compile(r"\\(.)")

Values = Callable[[str], Iterable[str]]
"""All values of the header field with a lower-case name, in order."""


class BadForwarded(Exception):
    """A trusted proxy sent a field that makes no sense; the text says what it is, and quotes nothing."""


class Clients:
    """Finds the client behind trusted proxies."""

    def __init__(self, settings: ProxySettings) -> None:
        """:raises ValueError: when *settings* were not checked, and have mistakes."""
        self._trusted = TrustedProxies(settings)
        self._field = settings.forwarded.value
        self._hops = {
            ForwardedHeader.NONE: None,
            ForwardedHeader.X_FORWARDED_FOR: _x_forwarded_for,
            ForwardedHeader.FORWARDED: _forwarded,
        }[settings.forwarded]

    def find(self, peer: IAddress, values: Values) -> IAddress:
        """The client of a request.

        :param peer: who sent it, perhaps according to the PROXY protocol.
        :returns: ``peer`` itself unless that is a trusted proxy.  Where a proxy names nobody, or hides who it
            is, the proxy is the client.  A port that is not known is 0.
        :raises BadForwarded: what a trusted proxy sent is malformed, or there were too many of them.
        """
        if self._hops is None or peer not in self._trusted:
            return peer
        client, hops = peer, self._hops(values(self._field))
        for _ in range(MAX_HOPS):
            hop = next(hops, None)
            if hop is None:
                return client
            client = hop
            if client not in self._trusted:
                return client
        raise BadForwarded(f"more than {MAX_HOPS} proxies")


def _x_forwarded_for(values: Iterable[str]) -> Iterator[IAddress | None]:
    """The last address first; an item is not looked at before it is asked for."""
    for value in reversed(list(values)):
        for item in reversed(value.split(",")):
            # Empty items of a list do not count (RFC 9110, section 5.6.1.2).
            if text := item.strip(" \t"):
                yield _bare_node(text)


def _forwarded(values: Iterable[str]) -> Iterator[IAddress | None]:
    """The same; a field is read from its beginning, because a string may hold what looks like more of it."""
    for value in reversed(list(values)):
        for element in reversed(_elements(value)):
            node = element.get("for")
            yield None if node is None else _node(node)


def _bare_node(text: str) -> IAddress | None:
    """An address as proxies write it where there is no standard: IPv6 with or without brackets."""
    if text.count(":") > 1 and _BARE_IPV6.fullmatch(text):
        return _address(text, 0)
    return _node(text)


def _node(text: str) -> IAddress | None:
    """An address, perhaps with a port; ``None`` for one that is unknown or hidden.

    :raises BadForwarded: when it is none of these.
    """
    match = _NODE.fullmatch(text)
    if match is None:
        raise BadForwarded("no address")
    ipv4, ipv6, hidden, port = match.groups()
    number = int(port or 0)
    if number > 65535:
        raise BadForwarded("no port")
    if hidden:
        return None
    if (ipv4 is None) != (":" in (ipv6 or "")):
        raise BadForwarded("no address")
    return _address(ipv4 or ipv6, number)


def _address(host: str, port: int) -> IAddress:
    try:
        return ip_address(host, port)
    except ValueError:
        raise BadForwarded("no address") from None


def _elements(value: str) -> list[dict[str, str]]:
    """The elements of a field, each with its parameters by lower-case names (RFC 7239, section 4).

    White space around a semicolon is not in the grammar, but harmless and seen.

    :raises BadForwarded: for anything else.
    """
    elements: list[dict[str, str]] = [{}]
    at, end = 0, len(value)
    fresh = True
    while at < end:
        separator = _SEPARATOR.match(value, at)
        if separator is not None:
            if separator[1] == ",":
                elements.append({})
            at, fresh = separator.end(), True
            continue
        pair = _PAIR.match(value, at) if fresh else None
        if pair is None:
            raise BadForwarded("no list of parameters")
        name, text = pair[1].lower(), pair[2]
        if name in elements[-1]:
            raise BadForwarded("a parameter that is there twice")
        elements[-1][name] = _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text
        at, fresh = pair.end(), False
    return [element for element in elements if element]
