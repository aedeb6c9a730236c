"""Legs whose other end speaks WebSocket (RFC 6455): framing, control frames, the closing handshake."""

from __future__ import annotations

from typing import Final

from gateway.net.channel import BLOCKED, Channel
from gateway.net.poller import Poller
from gateway.relay.frames import (
    FrameDecoder,
    FrameReader,
    Opcode,
    close_payload,
    control_frame,
    text_frame,
    write_header,
)
from gateway.relay.legs import HEADROOM, Leg, Peer, read_buffer

__all__ = ["VISITS", "FramedLeg", "WebSocketLeg"]

VISITS: Final = 4
"""How often in a ping interval a leg is asked for signs of life: silence is measured to a quarter of it."""

_window: Final = read_buffer[HEADROOM:]


class FramedLeg(Leg):
    """A side that speaks WebSocket, its opening handshake done; which end it is, a subclass knows."""

    __slots__ = (
        "_between",
        "_close_frame",
        "_decoder",
        "_early",
        "_heard",
        "_queued",
        "_silence",
        "messages_sent",
    )

    def __init__(
        self, channel: Channel, poller: Poller, decoder: FrameReader, *, unsent: bytes, early: bytes
    ) -> None:
        """
        :param decoder: of what the other end sends.
        :param unsent: bytes of the opening handshake that the socket did not take yet.
        :param early: bytes that arrived behind the opening handshake, :data:`BUFFER_SIZE` at most.
        """
        super().__init__(channel, poller)
        self._decoder = decoder
        self._early = early
        self._between: dict[Opcode, bytes] = {}
        self._close_frame = b""
        self._heard = True
        self._queued = 0
        self._silence = 0
        self.messages_sent = 0
        """Data frames given to this side, each of them a message."""
        self.pending = unsent or None

    @property
    def messages_received(self) -> int:
        """Data frames received from this side, those of fragmented messages counted one by one."""
        return self._decoder.data_frames

    def join(self, peer: Peer) -> None:
        self.peer = peer
        # First, because the peer may not take all of it, and because it may be all there is.
        self._take_early()
        if not self._finishing:
            super().join(peer)

    def finish(self, code: int | None = None, reason: str = "") -> None:
        super().finish(code, reason)
        self._take_early()

    def heartbeat(self) -> bool:
        """Called :data:`VISITS` times per ping interval: false when the other end is to be given up."""
        if self.is_closed:
            return True
        # A send buffer is writable again only when much of it is free: until then, bytes that leave it tell.
        before, self._queued = self._queued, self._channel.queued()
        if self._heard or self._queued < before or not self.reading:
            # While the peer is the slow one, nothing is read and silence means nothing.
            self._heard = False
            self._silence = 0
            return True
        self._silence += 1
        if self._silence == VISITS:
            self._guarded(self._control, Opcode.PING, b"")
        return self._silence < 2 * VISITS

    def _read(self) -> None:
        count = self._channel.recv_into(_window)
        if count > 0:
            self._heard = True
            self._decode(count)
        elif count == BLOCKED:
            self._watch()
        elif self._finishing:
            self._close()
        else:
            self._reached_end()

    def _take_early(self) -> None:
        early, self._early = self._early, b""
        if early:
            self._guarded(self._decode_early, early)

    def _decode_early(self, early: bytes) -> None:
        _window[: len(early)] = early
        self._decode(len(early))

    def _decode(self, count: int) -> None:
        """Pass on what the first ``count`` bytes of the window bring."""
        raise NotImplementedError

    def _answer(self) -> None:
        """See to a ping, a close frame or a violation."""
        decoder = self._decoder
        if decoder.ping is not None:
            ping, decoder.ping = decoder.ping, None
            if not self._finishing:
                self._control(Opcode.PONG, ping)
        if decoder.ended:
            self._heard_out()

    def _heard_out(self) -> None:
        """The other end has nothing more to say: it sent a close frame, or broke the protocol."""
        decoder = self._decoder
        if self._finishing:
            if self.pending is None and not self.is_closed:
                # Our close frame is out already.
                self._hang_up()
            return
        assert self.owner is not None
        if decoder.error is not None:
            self.owner.violated(self, decoder.error)
        else:
            self.owner.said_close(self, decoder.close_code)

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        self._interject(opcode, self._control_frame(opcode, payload))

    def _interject(self, opcode: Opcode, frame: bytes) -> None:
        """Send a frame between data frames; of those that wait, the latest of each kind stays."""
        if self.pending is None:
            self._send(frame)
        else:
            self._between[opcode] = frame

    def _flush(self) -> None:
        pending = self.pending
        super()._flush()
        if self.pending is not pending:
            # Room in the socket's buffer was made by the other end.
            self._heard = True

    def _flushed(self) -> None:
        if self._between:
            waiting = b"".join(self._between.values())
            self._between.clear()
            self._send(waiting)

    def _prepare_goodbye(self, code: int | None, reason: str) -> None:
        self._close_frame = self._control_frame(Opcode.CLOSE, close_payload(code, reason))

    def _goodbye(self) -> None:
        frame, self._close_frame = self._close_frame, b""
        if frame:
            self._send(frame)
            if self.pending is not None:
                return
        if self._eof:
            # Nobody is there to answer.
            self._close()
        elif self._decoder.ended:
            self._hang_up()

    def _control_frame(self, opcode: Opcode, payload: bytes) -> bytes:
        """A control frame as this side sends it."""
        raise NotImplementedError

    def _hang_up(self) -> None:
        """Both ends have said all they had to: see to the end of the connection (section 7.1.1)."""
        raise NotImplementedError


class WebSocketLeg(FramedLeg):
    """The server's side of a WebSocket connection."""

    __slots__ = ("notices",)

    _decoder: FrameDecoder

    def __init__(
        self, channel: Channel, poller: Poller, *, max_message: int, unsent: bytes = b"", early: bytes = b""
    ) -> None:
        """:param max_message: largest message accepted, in bytes; for the others see :class:`FramedLeg`."""
        super().__init__(channel, poller, FrameDecoder(max_message), unsent=unsent, early=early)
        self.notices = False
        """Whether the client agreed to text messages; for whoever began the session to say."""

    def notify(self, text: str) -> None:
        """Send a text message between the console's messages, if the client takes such; never raises.

        While bytes are pending it waits, and takes the place of one that waits already.

        :param text: at most :data:`~gateway.relay.frames.MAX_TEXT` bytes of UTF-8.
        """
        if not self.notices or self._finishing:
            return
        try:
            frame = text_frame(text)
        except ValueError:
            self.log.failure("A notice cannot be sent")
        else:
            self._guarded(self._interject, Opcode.TEXT, frame)

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        assert isinstance(buffer, memoryview)
        self.messages_sent += 1
        try:
            self._send(buffer[write_header(buffer, start, end) : end])
        except OSError as error:
            self._broke(error)

    def _decode(self, count: int) -> None:
        decoder = self._decoder
        if decoder.ended:
            return
        payload = decoder.feed(_window[:count])
        peer = self.peer
        if payload and peer is not None:
            self.received += len(payload)
            peer.put(payload, 0, len(payload))
        if decoder.ping is not None or decoder.ended:
            self._answer()

    def _control_frame(self, opcode: Opcode, payload: bytes) -> bytes:
        return control_frame(opcode, payload)

    def _hang_up(self) -> None:
        # The server goes first, and the client's answer is its end.
        self._channel.shutdown_write()
