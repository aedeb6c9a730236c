"""Fuzz target: the WebSocket frame decoder (RFC 6455, section 5) against an independent one.

The decoder must not raise, keep more than a header and a control payload,
write outside of what it was promised, or depend on where the stream is cut.
What it accepts and refuses is compared with another implementation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import attrs
from websockets.frames import Close, Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import Protocol, Side

from gateway.relay.frames import FrameDecoder, FrameReader, Opcode
from gateway.relay.masking import unmask_slowly
from tests.fuzz.source import Source

__all__ = ["SEEDS", "cut", "fuzz", "written"]

_LIMITS = (1 << 24, 70_000, 1000, 125, 0)
_WRONG = (0x81, 0x01, 0xC2, 0x83, 0x09, 0x08, 0x80, 0x00, 0x82, 0x8B)
"""First bytes that are wrong, always or at the wrong time."""
_CLOSES = (
    b"",
    b"\x03",
    b"\x03\xe8",
    b"\x03\xe8bye",
    b"\x03\xed",
    b"\x03\xe8\xff",
    b"\x0f\xa0\xc3\xa4",
    b"\x03\xe8\xc3",
)
_SIZES = (0, 1, 3, 4, 5, 124, 125, 126, 127, 999, 1000, 1001, 65535, 65536, 70_000, 70_001)
_MAX_WIRE = 200_000
_MAX_KEPT = 125 + 13 + 4
_ONLY_OURS = ("shortest", "most significant")

SEEDS = (
    b"\x00\x00" + b"\x82\x85abcd" + b"hello" + b"\x89\x80wxyz" + b"\x88\x82abcd" + b"\x62\x8a",
    b"\x00\x01" + bytes(range(64)),
    b"\x02\x00" + b"\x02\x81aaaax" + b"\x80\xfe\x00\x7ebbbb" + bytes(126),
)


@attrs.frozen
class _Outcome:
    """What a decoder made of a stream; equal for every cut of it."""

    payload: bytes
    last_ping: bytes | None
    ended: bool
    close_code: int | None
    error: tuple[int, str] | None


def fuzz(data: bytes) -> None:
    """Decode the stream that ``data`` is or describes, in several cuts.

    :raises AssertionError: when a promise is not kept; whatever else is raised is a defect as well.
    """
    source = Source(data)
    limit = source.pick(_LIMITS)
    how = source.byte()
    places = [source.number(_MAX_WIRE) for _ in range(how >> 4)]
    wire = written(source) if how & 1 else source.rest()[:_MAX_WIRE]
    whole, _ = _decode([wire], limit)
    pieces, _ = _decode(cut(wire, places), limit)
    assert pieces == whole, "the outcome depends on the cut"
    if len(wire) <= 2000:
        single, pings = _decode((wire[at : at + 1] for at in range(len(wire))), limit)
        assert single == whole, "the outcome depends on the cut, byte by byte"
    else:
        pings = None
    _compare(wire, limit, whole, pings)


def written(source: Source, *, masked: bool = True) -> bytes:
    """Frames as ``source`` says: good ones mostly, so that one reaches far into the decoder.

    :param masked: as a client sends them.
    """
    wire = b""
    inside = False
    while not source.empty and len(wire) < _MAX_WIRE // 2:
        flags = source.byte()
        first, payload = _frame(source, source.byte() % 16, inside)
        if first & 0x08 == 0:
            inside = first < 0x80
        size = len(payload)
        form = 0 if size < 126 else 1 if size < 65536 else 2
        if flags > 250:
            # Not the shortest form.
            form = min(2, form + 1)
        mask = 0x80 if masked != (flags & 0x7C == 0x7C) else 0
        wire += bytes((first, mask | (size, 126, 127)[form]))
        wire += size.to_bytes((2, 8)[form - 1], "big") if form else b""
        if mask:
            key = source.take(4).ljust(4, b"k")
            wire += key
            payload = unmask_slowly(payload, key)
        wire += payload
    return wire


def _frame(source: Source, kind: int, inside: bool) -> tuple[int, bytes]:
    """First byte and payload of a frame.

    :param inside: a fragmented message has begun.
    """
    if kind < 10:
        first = (0x00 if inside else 0x02) | (0x80 if kind & 1 else 0)
        size = source.pick(_SIZES) if kind < 6 else source.byte()
        return first, source.take(min(size, 100)).ljust(size, b"p")
    if kind < 13:
        return (0x89, 0x8A, 0x89)[kind - 10], source.take(source.byte() % 126)
    if kind == 13:
        return 0x88, source.pick(_CLOSES) or source.take(source.byte() % 126)
    first = source.pick(_WRONG) if kind == 14 else source.byte()
    size = source.byte()
    return first, source.take(size).ljust(size, b"p")


def cut(wire: bytes, places: list[int]) -> Iterable[bytes]:
    """The pieces of a stream between these places."""
    borders = sorted({0, *(place % (len(wire) + 1) for place in places), len(wire)})
    return (wire[begin:end] for begin, end in itertools.pairwise(borders))


def _decode(pieces: Iterable[bytes], limit: int) -> tuple[_Outcome, list[bytes]]:
    decoder = FrameDecoder(limit)
    payload = b""
    pings: list[bytes] = []
    for piece in pieces:
        # A buffer that is used again, as the relay's is: nothing may be kept of it but copies.
        room = bytearray(piece)
        got = decoder.feed(memoryview(room))
        assert room == piece, "written to what was fed"
        assert len(got) <= len(piece) + _MAX_KEPT, "more payload than bytes"
        room[:] = bytes(len(room))
        payload += got
        if decoder.ping is not None:
            pings.append(decoder.ping)
            decoder.ping = None
        if not decoder.ended:
            assert decoder.error is None
            values = (getattr(decoder, name) for name in (*FrameReader.__slots__, *FrameDecoder.__slots__))
            kept = sum(len(value) for value in values if isinstance(value, bytes))
            assert kept <= _MAX_KEPT, f"{kept} bytes kept"
    error = decoder.error
    assert error is None or decoder.ended
    return (
        _Outcome(
            payload,
            pings[-1] if pings else None,
            decoder.ended,
            decoder.close_code,
            (error.code, str(error)) if error is not None else None,
        ),
        pings,
    )


def _compare(wire: bytes, limit: int, ours: _Outcome, pings: list[bytes] | None) -> None:
    """Hold an outcome against that of an independent server without a limit."""
    theirs, frames = _judged(wire)
    data = b"".join(f.data for f in frames if f.opcode in (TheirOpcode.BINARY, TheirOpcode.CONT))
    if ours.error is None:
        assert ours.payload.startswith(data), "payload differs"
        if theirs.parser_exc is not None:
            # They do not take a close frame inside a fragmented message, which section 5.4 allows.
            assert ours.ended, f"refused elsewhere: {theirs.parser_exc}"
            assert "incomplete fragmented" in str(theirs.parser_exc), (
                f"refused elsewhere: {theirs.parser_exc}"
            )
        else:
            assert ours.ended == (theirs.close_rcvd is not None), "only one saw the end"
        if theirs.close_rcvd is not None:
            assert ours.close_code == _code(theirs.close_rcvd), "close code differs"
        if pings is not None:
            assert pings == [f.data for f in frames if f.opcode is TheirOpcode.PING], "pings differ"
        return
    code, why = ours.error
    at = _first_refused(wire, limit)
    if code == 1009:
        assert _judged(wire[:at])[0].parser_exc is None, "above the limit and refused elsewhere before that"
    elif code == 1003:
        assert wire[at - 2] & 0x0F == Opcode.TEXT
    elif not any(words in why for words in _ONLY_OURS):
        refused = _completed(wire, at) if "close" not in why or "reserved" in why else wire[:at]
        assert _judged(refused)[0].parser_exc is not None, f"accepted elsewhere: {why}"


def _judged(wire: bytes) -> tuple[Protocol, list[Frame]]:
    protocol = Protocol(Side.SERVER, max_size=None)
    protocol.receive_data(wire)
    return protocol, [event for event in protocol.events_received() if isinstance(event, Frame)]


def _code(close: Close) -> int | None:
    return None if close.code == 1005 else close.code


def _first_refused(wire: bytes, limit: int) -> int:
    """How many bytes it takes until the decoder refuses."""
    low, high = 1, len(wire)
    while low < high:
        middle = (low + high) // 2
        if _decode([wire[:middle]], limit)[0].error is None:
            low = middle + 1
        else:
            high = middle
    return low


def _completed(wire: bytes, at: int) -> bytes:
    """The stream up to a frame refused for its first two bytes, with that frame made whole.

    The independent decoder judges a frame only when all of it is there.
    """
    second = wire[at - 1]
    size = min(second & 0x7F, 126)
    length = size.to_bytes(2, "big") if size == 126 else b""
    return (
        wire[: at - 1]
        + bytes((second & 0x80 | size,))
        + length
        + bytes(4 if second & 0x80 else 0)
        + bytes(size)
    )
