"""Fuzz target: who proxies say the client is, in headers of the PROXY protocol and in fields of HTTP.

Only the errors that are promised are raised, nothing behind a header is taken,
the outcome does not depend on how a stream is cut, and nobody in front of a
trusted proxy can say who he is.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from gateway.front.forwarded import BadForwarded, Clients
from gateway.net import (
    MAX_PROXY_HEADER,
    BadProxyHeader,
    ProxyDecoder,
    ProxyHeader,
    encode_proxy_header,
    ip_address,
)
from gateway.settings import ForwardedHeader, ProxySettings
from tests.fuzz.source import Source
from tests.support.proxies import binary_header, text_header

__all__ = ["SEEDS", "fuzz"]

_PAIRS: Final = (
    (("198.51.100.7", 56324), ("192.0.2.11", 443)),
    (("2001:db8::7", 1), ("2001:db8::11", 65535)),
)
_HEADERS: Final = (
    *(text_header(*pair) for pair in _PAIRS),
    b"PROXY UNKNOWN\r\n",
    *(binary_header(*pair) for pair in _PAIRS),
    binary_header(*_PAIRS[0], checksum=True, extensions=[(2, b"gateway.example.com"), (4, b"")]),
    binary_header(bytes(216), b"", family=0x31, extensions=[(1, b"h2")]),
    binary_header(),
)
_BEHIND: Final = b"\x16\x03\x01PROXY \r\n\r\n\0\r\nQUIT\n"

_PROXY: Final = IPv4Address("TCP", "192.0.2.1", 1)
_CLIENT: Final = "198.51.100.7"
_FIELDS: Final = (
    b"203.0.113.1, 198.51.100.7:80, [2001:db8::7]:1, 192.0.2.9",
    b'for=203.0.113.1;by=_x, for="[2001:db8::7]:80"; host="a\\", b", for=192.0.2.9',
    b"unknown, _hidden, , 2001:db8::7, for=unknown",
)
_CLIENTS: Final = {
    header: Clients(ProxySettings(("192.0.2.0/24",), forwarded=header))
    for header in (ForwardedHeader.X_FORWARDED_FOR, ForwardedHeader.FORWARDED)
}

SEEDS = (
    *(bytes((0, number, 7, 1)) for number in range(len(_HEADERS))),
    b"\x01" + text_header(*_PAIRS[0]),
    b"\x02\x00\x00\x05\x01\x02",
    *(bytes((3, flags, number)) + b"\x01\x02\x03" for number in range(len(_FIELDS)) for flags in (0, 1)),
    b'\x04\x01for=203.0.113.1;x="',
)


def fuzz(data: bytes) -> None:
    """Read ``data``, or what it makes of something good.

    :raises AssertionError: when a promise is not kept; whatever else is raised is a defect as well.
    """
    source = Source(data)
    match source.byte() % 5:
        case 0:
            _decode(source.edited(source.pick(_HEADERS)), source)
        case 1:
            _decode(source.rest(), source)
        case 2:
            _write(source)
        case 3:
            edited = source.byte() & 1
            field = source.pick(_FIELDS)
            _find(source.edited(field) if edited else field + source.rest())
        case _:
            _find(source.rest())


def _decode(header: bytes, source: Source) -> None:
    stream = header + _BEHIND
    whole = _outcome(stream, len(stream))
    assert whole == _outcome(stream, 1) == _outcome(stream, 1 + source.byte()), (
        "the outcome depends on the cut"
    )
    said, size = whole
    if isinstance(said, str):
        return
    assert size <= MAX_PROXY_HEADER, "too much was taken"
    if said is not None:
        # Nothing in it belongs to somebody else: without its last byte, it is not complete.
        assert _outcome(stream[: size - 1], size) == (None, size - 1), "too much was taken"
        _repeat(said)


def _outcome(stream: bytes, size: int) -> tuple[ProxyHeader | str | None, int]:
    decoder, taken = ProxyDecoder(), 0
    for at in range(0, len(stream), size):
        piece = stream[at : at + size]
        try:
            count = decoder.feed(piece)
        except BadProxyHeader as error:
            return _useful(str(error)), 0
        taken += count
        if decoder.header is not None:
            assert decoder.feed(piece) == 0, "more is taken when nothing is missing"
            break
        assert count == len(piece), "bytes of an incomplete header were left"
    return decoder.header, taken


def _repeat(said: ProxyHeader) -> None:
    """What is understood is written so that it is understood again."""
    again = encode_proxy_header(said)
    known = said.source is not None and not isinstance(said.source, UNIXAddress)
    assert _outcome(again + _BEHIND, 3) == (said if known else ProxyHeader(), len(again)), "reads differently"


def _write(source: Source) -> None:
    """What is written is read as it was meant."""
    addresses = []
    for _ in range(2):
        size = 4 if source.byte() & 1 else 16
        address = ipaddress.ip_address(source.take(size).ljust(size, b"\0"))
        addresses.append(ip_address(str(address), source.number(65535)))
    _repeat(ProxyHeader(*addresses))


def _find(value: bytes) -> None:
    text = value.decode("latin-1")
    for header in _CLIENTS:
        node = _CLIENT if header is ForwardedHeader.X_FORWARDED_FOR else f"for={_CLIENT}"
        found = _found(header, text)
        assert isinstance(found, str | IPv4Address | IPv6Address), "neither a proxy nor an address"
        client = ip_address(_CLIENT, 0)
        assert _found(header, text, node) == client, "the client chose its address"
        behind = _found(header, f"{text}, {node}")
        if behind != client:
            assert isinstance(behind, str), "the client chose its address"
            assert header is ForwardedHeader.FORWARDED, "what nobody looks at is refused"


def _found(header: ForwardedHeader, *values: str) -> object:
    """The client, or why there is none."""
    try:
        return _CLIENTS[header].find(_PROXY, lambda _: values)
    except BadForwarded as error:
        return _useful(str(error))


def _useful(text: str) -> str:
    assert 0 < len(text) < 100, "an error of no useful length"
    assert text.isprintable(), "an error in several lines"
    return text
