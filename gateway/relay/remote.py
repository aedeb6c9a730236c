"""The gateway as a WebSocket client: the leg to a console server that speaks WebSocket (RFC 6455).

Here the roles of the frame codec are turned round.  What is sent is masked, each
frame with a key of its own that nobody can foresee (section 5.3).  What is
received must not be, so that its payload goes to the browser from the buffer
that it was read into.
"""

from __future__ import annotations

from os import urandom
from typing import Final

from gateway.net.channel import Channel
from gateway.net.poller import Poller
from gateway.relay.framed import FramedLeg
from gateway.relay.frames import (
    FrameError,
    FrameReader,
    Opcode,
    control_frame,
    parse_length,
    write_header,
)
from gateway.relay.legs import BUFFER_SIZE, HEADROOM, read_buffer
from gateway.relay.masking import unmask

__all__ = ["RemoteWebSocketLeg", "ServerFrameDecoder", "masked_control_frame", "masked_frame"]

_KEY_SIZE: Final = 4
_MASKED: Final = 0x80
_WHOLE_BINARY: Final = 0x82
_NO_LIMIT: Final = 1 << 64
"""Nothing is assembled: how much a server says in one message is its own business."""

# Shared by all sessions of the process: contents never outlive the event that filled them.
_masked_buffer: Final = memoryview(bytearray(HEADROOM + BUFFER_SIZE))


class ServerFrameDecoder(FrameReader):
    """Decode the byte stream of a server: binary messages and control frames, none masked.

    Feed it any cut of the stream; :attr:`ping` holds what a pong is owed for.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_NO_LIMIT)

    def feed(self, buffer: memoryview, start: int, end: int) -> tuple[int, int]:
        """Decode what lies in ``buffer`` from ``start`` to ``end``, and gather its payload there.

        The first piece stays where it is and the others are moved up behind it.  ``buffer`` needs
        :data:`~gateway.relay.legs.HEADROOM` bytes before ``start``, and has at least as many before the
        payload; it is read during the call only.

        :returns: where the payload begins and ends.
        """
        begin = fill = position = start
        if self._head:
            # A header was cut; the bytes kept of it are fewer than a header's.
            position -= len(self._head)
            buffer[position:start] = self._head
            self._head = b""
        try:
            while not self.ended:
                if self._left or self._control_opcode:
                    stop = min(position + self._left, end)
                    self._left -= stop - position
                    if self._control_opcode:
                        self._control += buffer[position:stop]
                    elif fill == begin:
                        begin, fill = position, stop
                    else:
                        buffer[fill : fill + stop - position] = buffer[position:stop]
                        fill += stop - position
                    position = stop
                    if self._left:
                        break
                    if self._control_opcode:
                        self._control_received()
                else:
                    header = self._begin_frame(buffer, position, end)
                    if not header:
                        self._head = bytes(buffer[position:end])
                        break
                    position += header
        except FrameError as error:
            self._fail(error)
        return begin, fill

    def _begin_frame(self, buffer: memoryview, position: int, end: int) -> int:
        """Take the header at ``position`` and return its size, or 0 when not all of it is there."""
        room = end - position
        if room < 2:
            return 0
        first = buffer[position]
        second = buffer[position + 1]
        if first != _WHOLE_BINARY or second >= _MASKED or self._fragmented:
            # What is wrong with the first two bytes does not wait for the others.
            self._check(first, second)
        header = 2 if second < 126 else 4 if second == 126 else 10
        if room < header:
            return 0
        length = second if header == 2 else parse_length(buffer[position + 2 : position + header])
        self._enter(first, length)
        self._left = length
        return header

    def _check(self, first: int, second: int) -> None:
        if second >= _MASKED:
            raise FrameError(1002, "server frame is masked")
        super()._check(first, second)


class RemoteWebSocketLeg(FramedLeg):
    """The client's side of a WebSocket connection to a console server.

    KubeVirt drops the connection without a close frame when a machine stops,
    so that this is as orderly an end as any.
    """

    __slots__ = ()

    _decoder: ServerFrameDecoder

    def __init__(self, channel: Channel, poller: Poller, *, early: bytes = b"") -> None:
        """
        :param early: bytes that arrived behind the response to the opening handshake,
            :data:`~gateway.relay.legs.BUFFER_SIZE` at most.
        """
        super().__init__(channel, poller, ServerFrameDecoder(), unsent=b"", early=early)

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        self.messages_sent += 1
        try:
            self._send(masked_frame(buffer[start:end]))
        except OSError as error:
            self._broke(error)

    def _decode(self, count: int) -> None:
        decoder = self._decoder
        if decoder.ended:
            return
        begin, end = decoder.feed(read_buffer, HEADROOM, HEADROOM + count)
        peer = self.peer
        if begin < end and peer is not None:
            self.received += end - begin
            peer.put(read_buffer, begin, end)
        if decoder.ping is not None or decoder.ended:
            self._answer()

    def _control_frame(self, opcode: Opcode, payload: bytes) -> bytes:
        return masked_control_frame(opcode, payload)

    def _prepare_goodbye(self, code: int | None, reason: str) -> None:
        decoder = self._decoder
        if decoder.error is not None:
            code = decoder.error.code
        elif decoder.ended:
            # Who said why it leaves gets its own code back (section 5.5.1).
            code = decoder.close_code
        super()._prepare_goodbye(code, "")

    def _hang_up(self) -> None:
        # It is for the server to end the connection (section 7.1.1), unless it cannot be relied on.
        if self._decoder.error is not None:
            self._channel.shutdown_write()


def masked_frame(payload: memoryview | bytes) -> memoryview:
    """A masked, unfragmented binary frame, in memory that the next call uses again.

    :param payload: at most :data:`~gateway.relay.legs.BUFFER_SIZE` bytes.
    """
    key = urandom(_KEY_SIZE)
    end = HEADROOM + len(payload)
    _masked_buffer[HEADROOM:end] = unmask(payload, key)
    _masked_buffer[HEADROOM - _KEY_SIZE : HEADROOM] = key
    # The key comes between header and payload: the header is that of as large a frame so much further ahead.
    begin = write_header(_masked_buffer, HEADROOM - _KEY_SIZE, end - _KEY_SIZE)
    _masked_buffer[begin + 1] |= _MASKED
    return _masked_buffer[begin:end]


def masked_control_frame(opcode: Opcode, payload: bytes = b"") -> bytes:
    """A masked control frame; ``payload`` is at most 125 bytes."""
    frame = control_frame(opcode, payload)
    key = urandom(_KEY_SIZE)
    return bytes((frame[0], frame[1] | _MASKED)) + key + unmask(payload, key)
