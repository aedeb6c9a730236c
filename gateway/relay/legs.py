"""Legs: the two ends of a relay, each a byte stream on a non-blocking socket.

Here are what they have in common and the plain one; those that speak
WebSocket are in :mod:`gateway.relay.framed`.

A leg reads from its own socket and *puts* what it read to its peer.  What the
peer's socket does not take at once becomes the peer's ``pending``, and while
anything is pending nothing more is read: that is the whole of back-pressure,
and it bounds the memory of a session to one read buffer per direction.

Half-close: neither RFC 6455 nor a console protocol has a use for it, so the
end of either side is the end of the session.  What was received before is
still delivered, to either side, for as long as the close timeout allows.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from twisted.logger import Logger

from gateway.net.channel import BLOCKED, RECORD_SIZE, Channel
from gateway.net.poller import GONE, PEER_CLOSED, READABLE, WRITABLE, Poller
from gateway.reasons import EndReason
from gateway.relay.frames import MAX_HEADER, FrameError

__all__ = [
    "BUFFER_SIZE",
    "HEADROOM",
    "Leg",
    "LegOwner",
    "Peer",
    "RawLeg",
    "read_buffer",
]

BUFFER_SIZE: Final = 8 * RECORD_SIZE
"""Bytes of one read, and so the most that is ever pending in one direction."""

_FLOOD_READS: Final = 16
_FLOOD_GAP: Final = 0.0005
"""So many reads of less than a TLS record in a row, each within so many seconds of the last, are a flood."""

HEADROOM: Final = 16
"""Space before a payload for the header of whatever frames it."""

read_buffer: Final = memoryview(bytearray(HEADROOM + BUFFER_SIZE))
"""Shared by all sessions of the process: contents never outlive the event that filled them."""

# Minus a frame header, so that header and payload together fill whole TLS records.
_raw_window = read_buffer[HEADROOM : HEADROOM + BUFFER_SIZE - MAX_HEADER]


class LegOwner(Protocol):
    """Who decides about the end; see :class:`gateway.relay.relay.Relay`."""

    def reached_end(self, leg: Leg) -> None:
        """The peer of this leg will send nothing more."""

    def said_close(self, leg: Leg, code: int | None) -> None:
        """The peer of this leg sent a WebSocket close frame."""

    def violated(self, leg: Leg, error: FrameError) -> None:
        """The peer of this leg broke the protocol."""

    def broke(self, leg: Leg, detail: str) -> None:
        """The connection of this leg is lost."""

    def failed(self, leg: Leg) -> None:
        """A defect of ours; it was logged."""

    def progressed(self) -> None:
        """Bytes left during an orderly end."""

    def closed(self, leg: Leg) -> None:
        """The socket of this leg is closed."""


class Peer(Protocol):
    """What a leg puts its payload to: another leg, or whoever stands for one."""

    @property
    def pending(self) -> bytes | None:
        """Bytes it was given and did not get rid of; while there are any, it is given no more."""

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        """See :meth:`Leg.put`."""

    def pause(self) -> None:
        """Put no more: bytes are pending."""

    def resume(self) -> None:
        """Put again: nothing is pending any more."""


class Leg:
    """What raw and WebSocket legs have in common: polling, writing, the orderly end."""

    log = Logger()

    __slots__ = (
        "_channel",
        "_eof",
        "_fd",
        "_finishing",
        "_poller",
        "_resting",
        "_watched",
        "excuse",
        "is_closed",
        "owner",
        "peer",
        "pending",
        "reading",
        "received",
    )

    def __init__(self, channel: Channel, poller: Poller) -> None:
        self._channel = channel
        self._fd = channel.fileno()
        self._poller = poller
        self._watched: int | None = None
        self._finishing = False
        self._resting = False
        self._eof = False
        self.owner: LegOwner | None = None
        self.peer: Peer | None = None
        self.pending: bytes | None = None
        self.reading = False
        self.received = 0
        """Payload bytes received from this side."""
        self.excuse: Callable[[], tuple[EndReason, str] | None] | None = None
        """What it means when the other side leaves before it has said anything, if anybody knows better."""
        self.is_closed = False

    # -- commands of the owner ---------------------------------------------------

    def await_peer(self) -> None:
        """Watch for the end of the connection only, until :meth:`join`."""
        self._watch()

    def join(self, peer: Peer) -> None:
        """Begin to read and put everything to ``peer``."""
        self.peer = peer
        self.reading = peer.pending is None
        self._watch()

    def pause(self) -> None:
        """Stop reading; the peer has bytes pending."""
        self.reading = False
        self._watch()

    def resume(self) -> None:
        """Read again; the peer has nothing pending."""
        if not self._finishing:
            self.reading = True
            self._watch()

    def finish(self, code: int | None = None, reason: str = "") -> None:
        """End in order: deliver what is pending, say goodbye, wait for the other side, close.

        :param code: close code for sides that have one; ``None`` for an empty close frame.
        """
        if self._finishing:
            return
        self._finishing = True
        self.peer = None
        self._prepare_goodbye(code, reason)
        self.reading = not self._eof
        if self.pending is None:
            self._guarded(self._goodbye)
        if not self.is_closed:
            self._watch()

    def abort(self) -> None:
        """Close with a reset, dropping everything."""
        self._close(abort=True)

    def give_up(self) -> None:
        """The orderly end took too long: close, with a reset where bytes were still to be sent."""
        self._close(abort=self.pending is not None)

    # -- events ------------------------------------------------------------------

    def on_event(self, events: int) -> None:
        """The poller saw something."""
        try:
            if events == READABLE and self.reading and self.pending is None and not self._resting:
                # Nearly every event is this one.
                self._read()
            else:
                self._serve(events)
        except OSError as error:
            self._broke(error)
        except Exception:
            self._failed()

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        """Send the payload in ``buffer`` from ``start`` to ``end``; never raises.

        In a memory view there is room for a frame header before it.
        """
        raise NotImplementedError

    def _read(self) -> None:
        raise NotImplementedError

    def _prepare_goodbye(self, code: int | None, reason: str) -> None:
        """Remember what the goodbye has to say."""

    def _goodbye(self) -> None:
        """Everything pending is sent: end this side's sending."""
        raise NotImplementedError

    # -- shared machinery ----------------------------------------------------------

    def _serve(self, events: int) -> None:
        if self.pending is not None and (events & (WRITABLE | GONE) or self._channel.write_wants_read):
            self._flush()
        if self.is_closed:
            return
        if self.reading and not self._resting:
            if events != WRITABLE or self._channel.read_wants_write:
                self._read()
        elif self.peer is None and not self._finishing:
            if events & (PEER_CLOSED | GONE):
                self._reached_end()
        elif events & GONE:
            # Nothing is wanted of this socket now, and a dead one reports itself for ever: look away.
            self._unwatch()

    def _guarded(self, action: Callable[..., None], *args: object) -> None:
        """Do what may break; what goes wrong ends this session and no other."""
        try:
            action(*args)
        except OSError as error:
            self._broke(error)
        except Exception:
            self._failed()

    def _failed(self) -> None:
        self.log.failure("Unexpected error in a session")
        if self.owner is not None:
            self.owner.failed(self)

    def _broke(self, error: OSError) -> None:
        if self.owner is not None and not self.is_closed:
            self.owner.broke(self, error.strerror or str(error))

    def _reached_end(self) -> None:
        self._eof = True
        self.reading = False
        if self.owner is not None:
            self.owner.reached_end(self)

    def _send(self, data: memoryview | bytes) -> None:
        """Send, or make pending what does not go; only while nothing is pending."""
        sent = self._channel.send(data)
        if sent == len(data):
            return
        self.pending = bytes(data if sent == BLOCKED else data[sent:])
        if self.peer is not None:
            self.peer.pause()
        self._watch()

    def _flush(self) -> None:
        assert self.pending is not None
        sent = self._channel.send(self.pending)
        if sent == BLOCKED:
            self._watch()
            return
        if self._finishing and self.owner is not None:
            self.owner.progressed()
        if sent < len(self.pending):
            self.pending = self.pending[sent:]
            return
        self.pending = None
        self._flushed()
        if self.is_closed or self.pending is not None:
            return
        if self._finishing:
            self._goodbye()
        elif self.peer is not None:
            self.peer.resume()
        if not self.is_closed:
            self._watch()

    def _flushed(self) -> None:
        """Everything pending went; queue what waited for that."""

    def _watch(self) -> None:
        """Tell the poller what this leg waits for."""
        channel = self._channel
        events = 0
        if self.reading and not self._resting:
            events = WRITABLE if channel.read_wants_write else READABLE
        elif self.peer is None and not self._finishing:
            events = PEER_CLOSED
        if self.pending is not None:
            events |= READABLE if channel.write_wants_read else WRITABLE
        if events == self._watched:
            return
        if self._watched is not None:
            self._poller.modify(self._fd, events)
        elif events:
            self._poller.register(self._fd, events, self.on_event)
        else:
            return
        self._watched = events

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._watched = None
            self._poller.unregister(self._fd)

    def _close(self, *, abort: bool = False) -> None:
        if self.is_closed:
            return
        self.is_closed = self._finishing = True
        self.reading = False
        self.pending = None
        self._unwatch()
        if abort:
            self._channel.abort()
        else:
            self._channel.close()
        owner, self.owner, self.peer = self.owner, None, None
        if owner is not None:
            owner.closed(self)


class RawLeg(Leg):
    """A side that speaks its console protocol without framing."""

    __slots__ = ("_last_read", "_small_reads")

    def __init__(self, channel: Channel, poller: Poller) -> None:
        super().__init__(channel, poller)
        self._small_reads = 0
        self._last_read = 0.0

    def put(self, buffer: memoryview | bytes, start: int, end: int) -> None:
        # Whoever is spoken to and answers is no flood, however quickly that goes.
        self._small_reads = 0
        try:
            self._send(buffer[start:end])
        except OSError as error:
            self._broke(error)

    def _read(self) -> None:
        count = self._channel.recv_into(_raw_window)
        if count > 0:
            if self._finishing:
                return
            self.received += count
            assert self.peer is not None
            self.peer.put(read_buffer, HEADROOM, HEADROOM + count)
            if count < RECORD_SIZE:
                self._pace()
            else:
                self._small_reads = 0
        elif count == BLOCKED:
            self._watch()
        elif self._finishing:
            self._eof = True
            self.reading = False
            if self.pending is None:
                self._close()
            else:
                self._watch()
        else:
            self._reached_end()

    def _pace(self) -> None:
        """Let a flood of small writes gather, without ever holding up one that comes alone.

        Each read costs a system call, a frame and a TLS record whatever its size.  A server that writes
        little and often enough to be read many times in a row at the shortest intervals, and unasked, is
        left alone for a moment; any pause of its own and any word of the browser's ends that.
        """
        now = monotonic()
        if now - self._last_read > _FLOOD_GAP:
            self._small_reads = 0
        self._last_read = now
        self._small_reads += 1
        if self._small_reads >= _FLOOD_READS:
            self._small_reads = 0
            self._resting = True
            self._poller.rest(self._rested)
            if not self.is_closed:
                self._watch()

    def _rested(self) -> None:
        self._resting = False
        if not self.is_closed:
            self._watch()

    def _goodbye(self) -> None:
        self._channel.shutdown_write()
        if self._eof:
            self._close()
