"""WebSocket framing (RFC 6455, section 5) without I/O.

:class:`FrameDecoder` turns the bytes of a client into payload and control frames,
:func:`write_header` puts a frame header in front of a payload where it lies.
What a server sends, :mod:`gateway.relay.remote` decodes.
Payload is streamed: a frame is passed on as it arrives and never assembled, so
the size of a message costs no memory.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

from gateway.relay.masking import Unmask
from gateway.relay.masking import unmask as native_unmask

__all__ = [
    "MAX_HEADER",
    "MAX_TEXT",
    "FrameDecoder",
    "FrameError",
    "FrameReader",
    "Opcode",
    "close_payload",
    "control_frame",
    "parse_close",
    "parse_length",
    "text_frame",
    "write_header",
]

MAX_HEADER: Final = 10
"""Longest header of an unmasked frame, in bytes."""
MAX_TEXT: Final = 4096
"""Longest text message that is sent, in bytes."""

_WINDOW: Final = 4096
"""Bytes looked at together for frame headers."""
_MAX_CONTROL: Final = 125
_MASKED: Final = 0x80
_WHOLE_BINARY: Final = 0x82
_WHOLE_TEXT: Final = 0x81
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


class FrameReader:
    """What there is to know of a peer's stream of frames, whichever peer it is.

    A close frame or a violation sets :attr:`ended`, and the rest is ignored.
    """

    __slots__ = (
        "_control",
        "_control_opcode",
        "_fragmented",
        "_head",
        "_left",
        "_max_message",
        "_message",
        "close_code",
        "data_frames",
        "ended",
        "error",
        "ping",
    )

    def __init__(self, max_message: int) -> None:
        """:param max_message: largest message accepted, in bytes, over all its fragments."""
        self._max_message = max_message
        self._head = b""
        self._left = 0
        self._control_opcode = 0
        self._control = b""
        self._fragmented = False
        self._message = 0
        self.ping: bytes | None = None
        """Payload of the latest ping, for the caller to take: one pong may answer several (5.5.3)."""
        self.data_frames = 0
        """Frames so far that are no control frames, those without payload included."""
        self.ended = False
        """Nothing more is decoded: a close frame was received, or :attr:`error` is set."""
        self.close_code: int | None = None
        """The code in the close frame, where there was one."""
        self.error: FrameError | None = None
        """How the peer broke the protocol."""

    def _fail(self, error: FrameError) -> None:
        # Its frames would keep this decoder, and through it the session, in a cycle.
        self.error = error.with_traceback(None)
        self.ended = True

    def _check(self, first: int, second: int) -> None:
        """Refuse what the first two bytes of a header already show to be wrong."""
        opcode = first & 0x0F
        if first & 0x70:
            raise FrameError(1002, "reserved bit set without an extension")
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
        self.data_frames += 1

    def _control_received(self) -> None:
        opcode, self._control_opcode = self._control_opcode, 0
        payload, self._control = self._control, b""
        if opcode == Opcode.PING:
            self.ping = payload
        elif opcode == Opcode.CLOSE:
            self.close_code = parse_close(payload)
            self.ended = True


class FrameDecoder(FrameReader):
    """Decode the byte stream of a client: binary messages and control frames, all masked.

    Feed it any cut of the stream, and it returns payload; :attr:`ping` holds
    what a pong is owed for.
    """

    __slots__ = ("_key", "_unmask")

    def __init__(self, max_message: int, unmask: Unmask = native_unmask) -> None:
        """
        :param max_message: largest message accepted, in bytes, over all its fragments.
        :param unmask: ``unmask(data, key)`` for a four-byte key that starts at the data's first byte.
        """
        super().__init__(max_message)
        self._unmask = unmask
        self._key = b""

    def feed(self, data: bytes | memoryview) -> bytes:
        """Decode ``data`` and return the payload that it brought.

        ``data`` is read during the call only: it may lie in a buffer that is used again.
        """
        if self.ended:
            return b""
        pieces: list[bytes] = []
        size = len(data)
        position = 0
        try:
            while position < size:
                # Long payloads are unmasked from where they lie, headers and short frames from a small copy.
                if not self._left:
                    position += self._scan(bytes(data[position : position + _WINDOW]), pieces)
                if self._left and position < size:
                    take = min(self._left, size - position)
                    self._take(data[position : position + take], pieces)
                    position += take
                if self.ended:
                    break
        except FrameError as error:
            self._fail(error)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _scan(self, window: bytes, pieces: list[bytes]) -> int:
        """Decode frames that ``window`` holds to their ends, and the header of one that it does not.

        :returns: how many bytes were used.
        """
        kept = len(self._head)
        if kept:
            # A header was cut; the bytes kept of it are fewer than a header's.
            window = self._head + window
            self._head = b""
        unmask = self._unmask
        limit = self._max_message
        size = len(window)
        position = 0
        while size - position >= 2:
            first = window[position]
            second = window[position + 1]
            if first != _WHOLE_BINARY or second < _MASKED or self._fragmented:
                # What is wrong with the first two bytes does not wait for the others.
                self._check(first, second)
            length = second & 0x7F
            body = position + (6 if length < 126 else 8 if length == 126 else 14)
            if body > size:
                break
            if length >= 126:
                length = parse_length(window[position + 2 : body - 4])
            end = body + length
            if first == _WHOLE_BINARY and end <= size and length <= limit:
                # Most frames by far: key and pointer events, each in one piece.
                self.data_frames += 1
                pieces.append(unmask(window[body:end], window[body - 4 : body]))
                position = end
                continue
            self._enter(first, length)
            self._key = window[body - 4 : body]
            self._left = length
            if length:
                return body - kept
            if self._control_opcode:
                self._control_received()
                if self.ended:
                    return body - kept
            position = body
        self._head = window[position:]
        return size - kept

    def _take(self, masked: bytes | memoryview, pieces: list[bytes]) -> None:
        """Unmask what has come of the payload of the frame that was entered."""
        piece = self._unmask(masked, self._key)
        taken = len(piece)
        self._left -= taken
        if self._left:
            turn = taken & 3
            self._key = self._key[turn:] + self._key[:turn]
        if not self._control_opcode:
            pieces.append(piece)
            return
        self._control += piece
        if not self._left:
            self._control_received()

    def _check(self, first: int, second: int) -> None:
        if second < _MASKED:
            raise FrameError(1002, "client frame is not masked")
        super()._check(first, second)


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


def text_frame(text: str) -> bytes:
    """An unmasked, unfragmented text frame.

    :raises ValueError: the text is longer than :data:`MAX_TEXT` bytes, or is no Unicode text.
    """
    payload = text.encode("utf-8")
    if len(payload) > MAX_TEXT:
        raise ValueError(f"text message longer than {MAX_TEXT} bytes")
    if len(payload) < 126:
        return bytes((_WHOLE_TEXT, len(payload))) + payload
    return _SHORT.pack(_WHOLE_TEXT, 126, len(payload)) + payload


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


def parse_length(field: bytes | memoryview) -> int:
    """A frame's extended payload length of 16 or 64 bits (section 5.2).

    :raises FrameError: 1002 for a negative one, or one that is not in its shortest form.
    """
    length = int.from_bytes(field, "big")
    if length >> 63:
        raise FrameError(1002, "frame length has its most significant bit set")
    if length < (126 if len(field) == 2 else 65536):
        raise FrameError(1002, "frame length is not in its shortest form")
    return length
