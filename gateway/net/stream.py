"""An accepted connection as a Twisted transport, for as long as HTTP is spoken on it.

A :class:`Stream` drives a :class:`~gateway.net.channel.Channel` from the
reactor: TLS handshake under a time limit, then bytes to a protocol.  It knows
nothing of HTTP.  :meth:`Stream.detach` gives the channel away, after which the
stream is dead and keeps nothing alive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet import error, main
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IProtocol,
    IPushProducer,
    IReactorFDSet,
    IReactorTime,
    IReadWriteDescriptor,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.net.channel import BLOCKED, RECORD_SIZE, Channel

__all__ = ["Stream"]

_LINGER: Final = 1.0
"""Seconds an orderly closed connection may still deliver bytes that nobody reads.

Closing a socket with unread bytes resets it, and the reset can overtake the
answer that was just written.
"""

_DRAIN: Final = 30.0
"""Seconds a closing connection has to take what was written; a client that reads nothing gets no more."""

_SCRATCH = memoryview(bytearray(RECORD_SIZE))
"""Read buffer shared by all streams; its contents never outlive one event."""


@implementer(IReadWriteDescriptor, ITransport, IConsumer, IPushProducer)
class Stream:
    """Transport of one client connection until its hand-over or its end."""

    disconnecting = False

    def __init__(
        self,
        reactor: Any,
        channel: Channel,
        *,
        peer: IAddress,
        host: IAddress,
        secure: bool,
        ended: Callable[[], None],
    ) -> None:
        """
        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        :param secure: whether ``channel`` speaks TLS.
        :param ended: called once, when the stream is detached or lost.
        """
        self._fds: IReactorFDSet = reactor
        self._clock: IReactorTime = reactor
        self._channel: Channel | None = channel
        self._protocol: IProtocol | None = None
        self._peer = peer
        self._host = host
        self.secure = secure
        self._ended = ended
        self._handshaking = True
        self._reading = True
        self._lingering = False
        self._out = bytearray()
        self._producer: Any = None
        self._producer_paused = False
        self._timer: Any = None
        self.accepted = self._clock.seconds()
        """When the connection was accepted, or took up another purpose, by the reactor's clock."""

    # -- life ------------------------------------------------------------------

    def start(self, protocol: IProtocol, handshake_timeout: float) -> None:
        """Begin the TLS handshake; ``protocol`` is connected when it is done.

        :param handshake_timeout: seconds after which an unfinished handshake is aborted.
        """
        self._protocol = protocol
        if self.secure:
            self._timer = self._clock.callLater(handshake_timeout, self.abortConnection)
            self._fds.addReader(self)
        else:
            self._secured()

    def switch(self, protocol: IProtocol) -> None:
        """Connect another protocol in place of the present one, which is only forgotten."""
        self._protocol = protocol
        protocol.makeConnection(self)

    def detach(self) -> tuple[Channel, bytes]:
        """Give away the channel and the bytes that were written but not sent yet."""
        assert self._channel is not None
        channel, unsent = self._channel, bytes(self._out)
        self._release()
        return channel, unsent

    def loseConnection(self) -> None:
        """Send what was written, say goodbye, and close."""
        if self._channel is None or self.disconnecting:
            return
        self.disconnecting = True
        if self._out:
            self._cancel_timer()
            self._timer = self._clock.callLater(_DRAIN, self.abortConnection)
        else:
            self._linger()

    def abortConnection(self) -> None:
        """Close now with a reset."""
        self._lose(Failure(error.ConnectionAborted()), abort=True)

    def connectionLost(self, reason: Failure) -> None:
        """The connection ended; called by the reactor too."""
        self._lose(reason, abort=False)

    # -- events from the reactor -----------------------------------------------

    def doRead(self) -> Any:
        """The socket is readable."""
        channel = self._channel
        if channel is None:
            return None
        try:
            if self._handshaking:
                self._shake()
                return None
            if channel.write_wants_read:
                self._fds.addWriter(self)
            count = channel.recv_into(_SCRATCH)
        except OSError:
            return main.CONNECTION_LOST
        if count == BLOCKED:
            if channel.read_wants_write:
                self._fds.addWriter(self)
        elif count == 0:
            return main.CONNECTION_DONE
        elif not self.disconnecting and self._protocol is not None:
            self._protocol.dataReceived(bytes(_SCRATCH[:count]))
        return None

    def doWrite(self) -> Any:
        """The socket is writable."""
        channel = self._channel
        if channel is None:
            return None
        if self._handshaking:
            self._fds.removeWriter(self)
            try:
                self._shake()
            except OSError:
                return main.CONNECTION_LOST
            return None
        if channel.read_wants_write:
            failed = self.doRead()
            if failed is not None or self._channel is None:
                return failed
        if not self._flush():
            return main.CONNECTION_LOST
        return None

    def fileno(self) -> int:
        return self._channel.fileno() if self._channel is not None else -1

    def logPrefix(self) -> str:
        return "client"

    # -- ITransport, IConsumer, IPushProducer ----------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data``, keeping what the socket does not take at once."""
        if self._channel is None or self.disconnecting:
            return
        self._out += data
        if not self._flush():
            # Writers do not expect to be torn down inside write().
            self._fds.addReader(self)
        elif self._out and self._producer is not None and not self._producer_paused:
            self._producer_paused = True
            self._producer.pauseProducing()

    def writeSequence(self, iovec: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(iovec))

    def getPeer(self) -> IAddress:
        """The client's address."""
        return self._peer

    def getHost(self) -> IAddress:
        """The address that the client connected to."""
        return self._host

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have a push producer paused while bytes wait, see ``IConsumer``."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not streaming:
            raise ValueError("only push producers are supported")
        if self._channel is None:
            producer.stopProducing()
        else:
            self._producer = producer

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._reading = False
        self._fds.removeReader(self)

    def resumeProducing(self) -> None:
        """Read again."""
        self._reading = True
        if self._channel is not None:
            self._fds.addReader(self)

    def stopProducing(self) -> None:
        """The consumer has gone."""
        self.loseConnection()

    # -- helpers ----------------------------------------------------------------

    def _shake(self) -> None:
        assert self._channel is not None
        if self._channel.handshake():
            self._secured()
        elif self._channel.read_wants_write:
            self._fds.addWriter(self)

    def _secured(self) -> None:
        assert self._channel is not None
        assert self._protocol is not None
        self._cancel_timer()
        self._fds.addReader(self)
        self._handshaking = False
        self._protocol.makeConnection(self)

    def _flush(self) -> bool:
        """Send what can be sent; false when the connection is broken."""
        channel = self._channel
        assert channel is not None
        if self._out:
            try:
                count = channel.send(bytes(self._out))
            except OSError:
                self._out.clear()
                return False
            if count > 0:
                del self._out[:count]
        if self._out:
            if not channel.write_wants_read:
                self._fds.addWriter(self)
            return True
        self._fds.removeWriter(self)
        if self.disconnecting:
            self._linger()
        elif self._producer is not None and self._producer_paused:
            self._producer_paused = False
            self._producer.resumeProducing()
        return True

    def _linger(self) -> None:
        assert self._channel is not None
        if self._lingering:
            return
        self._lingering = True
        self._channel.shutdown_write()
        self._fds.addReader(self)
        self._cancel_timer()
        self._timer = self._clock.callLater(_LINGER, self.connectionLost, Failure(main.CONNECTION_DONE))

    def _lose(self, reason: Failure, *, abort: bool) -> None:
        channel, protocol, producer = self._channel, self._protocol, self._producer
        if channel is None:
            return
        # The reactor must let go of the descriptor before it is closed: a number may be used again at once.
        self._release()
        if abort:
            channel.abort()
        else:
            channel.close()
        if producer is not None:
            producer.stopProducing()
        # A protocol that was never connected has nothing to lose.
        if protocol is not None and not self._handshaking:
            protocol.connectionLost(reason)

    def _release(self) -> None:
        self._cancel_timer()
        self._fds.removeReader(self)
        self._fds.removeWriter(self)
        self._channel = self._protocol = self._producer = None
        self._out.clear()
        ended, self._ended = self._ended, _nothing
        ended()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _nothing() -> None:
    """Stands for a callback that was called already."""
