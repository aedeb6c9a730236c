"""Fuzz target: request heads (RFC 9112).  Only ``BadHead`` is raised; what is accepted has one reading.

Autobahn parses again what the door accepts, with a looser grammar; here both
must find the same request.
"""

from __future__ import annotations

from typing import Final

from autobahn.websocket.protocol import parseHttpHeader

from gateway.front.head import MAX_HEADERS, BadHead, RequestHead, parse_head
from tests.fuzz.source import Source
from tests.support.http import upgrade

__all__ = ["SEEDS", "fuzz"]

_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_VALUE: Final = frozenset({9, *range(32, 127), *range(128, 256)})
_TARGET: Final = frozenset(range(33, 127))
_NAMES: Final = (b"Host", b"Upgrade", b"Origin", b"Content-Length", b"Transfer-Encoding", b"Connection")
_SAMPLE: Final = upgrade("/ticket", {"Origin": "https://engine.example.com"})

SEEDS = (
    b"\x00" + _SAMPLE,
    b"\x00GET / HTTP/1.1\r\nUpgrade: h2c, \x85websocket\r\n\r\n",
    b"\x01\x00\x00\x10\x01\x00A",
    b"\x02GET\x00/x\x00\x01\x05value",
)


def fuzz(data: bytes) -> None:
    """Parse ``data``, or what it makes of a request.

    :raises AssertionError: when a promise is not kept; whatever else is raised is a defect as well.
    """
    source = Source(data)
    match source.byte() % 3:
        case 0:
            _read(source.rest())
        case 1:
            _read(source.edited(_SAMPLE))
        case _:
            _write(source)


def _read(data: bytes) -> None:
    """Whatever the bytes are: refused, or a head that is written and read as the same again."""
    try:
        head = parse_head(data)
    except BadHead:
        return
    assert len(head.fields) <= MAX_HEADERS
    assert data.count(b"\r") == data.count(b"\n") == len(head.fields) + 2, "a line end inside a line"
    assert parse_head(_text(head, b"HTTP/1.1")) == head, "reads differently when written anew"
    _compare(data, head)


def _write(source: Source) -> None:
    """A head of good parts is read as these parts."""
    method = _only(_TOKEN, source.take(5)) or "GET"
    target = _only(_TARGET, source.take(1 + source.byte())) or "/"
    fields: list[tuple[str, str]] = []
    while not source.empty and len(fields) < MAX_HEADERS:
        usual = source.byte()
        name = source.pick(_NAMES) if usual & 1 else source.take(1 + usual % 16)
        value = _only(_VALUE, source.take(source.byte())).strip(" \t")
        fields.append((_only(_TOKEN, name).lower() or "x", value))
    head = RequestHead(method, target, tuple(fields))
    text = _text(head, source.pick((b"HTTP/1.1", b"HTTP/1.0")))
    assert parse_head(text) == head, "not read as it was written"
    _compare(text, head)


def _only(allowed: frozenset[int], data: bytes) -> str:
    return bytes(byte for byte in data if byte in allowed).decode("latin-1")


def _text(head: RequestHead, version: bytes) -> bytes:
    lines = [f"{head.method} {head.target} ".encode("ascii") + version]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in head.fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _compare(data: bytes, head: RequestHead) -> None:
    """Autobahn finds the same in what the door gives it: no field more, none less, no other value."""
    line, fields, counts = parseHttpHeader(data.replace(b"\x85", b"?"))
    assert line.split() == [head.method, head.target, line.rpartition(" ")[2]], "another request line"
    names = [name for name, _ in head.fields]
    assert counts == {name: names.count(name) for name in names}, "other fields"
    for name in counts:
        # It also trims white space of Latin-1.
        values = [value.replace("\x85", "?").strip() for value in head.values(name)]
        assert fields[name] == ", ".join(values), f"another value of {name}"
    tokens = [item.strip().lower() for item in fields.get("upgrade", "").split(",")]
    # Not the other way round: white space of Latin-1 is none to us, and a page answers.
    assert "websocket" in tokens or not head.wants_websocket, "an upgrade that Autobahn does not see"
