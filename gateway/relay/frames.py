"""WebSocket framing (RFC 6455, section 5) without I/O.

:class:`FrameDecoder` turns received bytes into payload and control frames,
:func:`write_header` puts a frame header in front of a payload where it lies.
Payload is streamed: a frame is passed on as it arrives and never assembled, so
the size of a message costs no memory.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from typing import Final

from gateway.relay.masking import unmask as native_unmask

__all__ = [
    "MAX_HEADER",
    "FrameDecoder",
    "FrameError",
    "Opcode",
    "close_payload",
    "control_frame",
    "parse_close",
    "write_header",
]

MAX_HEADER: Final = 10
"""Longest header of an unmasked frame, in bytes."""

_MAX_CONTROL: Final = 125
_MASKED: Final = 0x80
_WHOLE_BINARY: Final = 0x82
_SHORT: Final = struct.Struct("!BBH")
_LONG: Final = struct.Struct("!BBQ")


class Opcode(enum.IntEnum):
    """Frame types of RFC 6455, section 11.8."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class FrameError(Exception):
    """The peer broke the protocol; ``code`` is the close code it is owed (section 7.4.1)."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class FrameDecoder:
    """Decode the byte stream of a client: binary messages and control frames, all masked.

    Feed it any cut of the stream.  Payload goes to the buffer that the caller
    gives; :attr:`ping` holds what a pong is owed for.  A close frame or a
    violation sets :attr:`ended`, and the rest is ignored.
    """

    __slots__ = (
        "_control",
        "_control_opcode",
        "_fragmented",
        "_head",
        "_key",
        "_left",
        "_max_message",
        "_message",
        "_unmask",
        "close_code",
        "ended",
        "error",
        "ping",
    )

    def __init__(self, max_message: int, unmask: Callable[[bytes, bytes], bytes] = native_unmask) -> None:
        """
        :param max_message: largest message accepted, in bytes, over all its fragments.
        :param unmask: ``unmask(data, key)`` for a four-byte key that starts at the data's first byte.
        """
        self._max_message = max_message
        self._unmask = unmask
        self._head = b""
        self._left = 0
        self._key = b""
        self._control_opcode = 0
        self._control = b""
        self._fragmented = False
        self._message = 0
        self.ping: bytes | None = None
        """Payload of the latest ping, for the caller to take: one pong may answer several (5.5.3)."""
        self.ended = False
        """Nothing more is decoded: a close frame was received, or :attr:`error` is set."""
        self.close_code: int | None = None
        """The code in the close frame, where there was one."""
        self.error: FrameError | None = None
        """How the peer broke the protocol."""

    def feed(self, data: bytes, out: memoryview, start: int) -> int:
        """Decode ``data``, write its payload to ``out`` from ``start`` on, and return where it ends.

        ``out`` needs room for ``len(data)`` bytes from ``start`` on: payload is
        never longer than the frames that carried it.
        """
        if self.ended:
            return start
        end = start
        position = 0
        size = len(data)
        unmask = self._unmask
        if self._head:
            # A header was cut; the bytes kept of it are fewer than a header's.
            data = self._head + data
            size = len(data)
            self._head = b""
        try:
            while True:
                if self._left:
                    take = min(self._left, size - position)
                    if not take:
                        return end
                    piece = unmask(data[position : position + take], self._key)
                    position += take
                    self._left -= take
                    if self._control_opcode:
                        self._control += piece
                    else:
                        out[end : end + take] = piece
                        end += take
                    if self._left:
                        turn = take & 3
                        self._key = self._key[turn:] + self._key[:turn]
                        return end
                if self._control_opcode:
                    self._control_received()
                    if self.ended:
                        return end
                if size - position < 2:
                    break
                first = data[position]
                second = data[position + 1]
                if first != _WHOLE_BINARY or second < _MASKED or self._fragmented:
                    # What is wrong with the first two bytes does not wait for the others.
                    self._check(first, second)
                length = second & 0x7F
                header = 6 if length < 126 else 8 if length == 126 else 14
                if size - position < header:
                    break
                if length >= 126:
                    length = _long_length(data[position + 2 : position + header - 4])
                position += header
                self._enter(first, length)
                self._key = data[position - 4 : position]
                self._left = length
        except FrameError as error:
            # Its frames would keep this decoder, and through it the session, in a cycle.
            self.error = error.with_traceback(None)
            self.ended = True
            return end
        self._head = data[position:]
        return end

    def _check(self, first: int, second: int) -> None:
        """Refuse what the first two bytes of a header already show to be wrong."""
        opcode = first & 0x0F
        if first & 0x70:
            raise FrameError(1002, "reserved bit set without an extension")
        if second < _MASKED:
            raise FrameError(1002, "client frame is not masked")
        if opcode & 0x8:
            if opcode > Opcode.PONG:
                raise FrameError(1002, "reserved opcode")
            if not first & 0x80:
                raise FrameError(1002, "fragmented control frame")
            if second & 0x7F > _MAX_CONTROL:
                raise FrameError(1002, "control frame longer than 125 bytes")
        elif opcode == Opcode.TEXT:
            raise FrameError(1003, "text message")
        elif opcode == Opcode.BINARY:
            if self._fragmented:
                raise FrameError(1002, "new message inside a fragmented one")
        elif opcode == Opcode.CONTINUATION:
            if not self._fragmented:
                raise FrameError(1002, "continuation without a message")
        else:
            raise FrameError(1002, "reserved opcode")

    def _enter(self, first: int, length: int) -> None:
        """Begin the frame of a complete header that was checked."""
        if first & 0x8:
            self._control_opcode = first & 0x0F
            return
        self._message = length + (self._message if self._fragmented else 0)
        if self._message > self._max_message:
            raise FrameError(1009, "message above the limit")
        self._fragmented = first < 0x80

    def _control_received(self) -> None:
        opcode, self._control_opcode = self._control_opcode, 0
        payload, self._control = self._control, b""
        if opcode == Opcode.PING:
            self.ping = payload
        elif opcode == Opcode.CLOSE:
            self.close_code = parse_close(payload)
            self.ended = True


def write_header(buffer: memoryview, start: int, end: int) -> int:
    """Write the header of an unmasked, unfragmented binary frame in front of its payload.

    :param buffer: holds the payload from ``start`` to ``end``, with :data:`MAX_HEADER` bytes before it.
    :returns: where the frame begins.
    """
    length = end - start
    if length < 126:
        buffer[start - 2] = _WHOLE_BINARY
        buffer[start - 1] = length
        return start - 2
    if length < 65536:
        _SHORT.pack_into(buffer, start - 4, _WHOLE_BINARY, 126, length)
        return start - 4
    _LONG.pack_into(buffer, start - 10, _WHOLE_BINARY, 127, length)
    return start - 10


def control_frame(opcode: Opcode, payload: bytes = b"") -> bytes:
    """An unmasked control frame; ``payload`` is at most 125 bytes."""
    if len(payload) > _MAX_CONTROL:
        raise ValueError("control frame payload longer than 125 bytes")
    return bytes((0x80 | opcode, len(payload))) + payload


def close_payload(code: int | None, reason: str = "") -> bytes:
    """The payload of a close frame (section 5.5.1); the reason is cut to what fits."""
    if code is None:
        return b""
    text = reason.encode("utf-8")[: _MAX_CONTROL - 2]
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode("utf-8")


def parse_close(payload: bytes) -> int | None:
    """The close code of a received close frame, ``None`` where there is none.

    :raises FrameError: 1002 for a code that must not be sent (section 7.4), 1007 for a reason that is
        not UTF-8.
    """
    if not payload:
        return None
    if len(payload) == 1:
        raise FrameError(1002, "close frame with half a code")
    code = int.from_bytes(payload[:2], "big")
    if not (3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in {1004, 1005, 1006})):
        raise FrameError(1002, "close code that must not be sent")
    try:
        payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise FrameError(1007, "close reason is not UTF-8") from None
    return code


def _long_length(field: bytes) -> int:
    length = int.from_bytes(field, "big")
    if length >> 63:
        raise FrameError(1002, "frame length has its most significant bit set")
    if length < (126 if len(field) == 2 else 65536):
        raise FrameError(1002, "frame length is not in its shortest form")
    return length
