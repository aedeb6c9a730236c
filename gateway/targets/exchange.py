"""A connection to a target while handshakes go on: read, written and secured step by step.

Everything here waits in the poller and can be cancelled; how long it may take
is the caller's business.  No byte is read beyond what a step asks for, so that
the relay finds everything else where it was.
"""

from __future__ import annotations

import socket
from typing import Final, TypeVar

from OpenSSL import SSL
from twisted.internet import defer

from gateway.net import BLOCKED, RECORD_SIZE, Channel, Poller, SocketChannel, TlsChannel
from gateway.net.poller import PEER_CLOSED, READABLE, WRITABLE
from gateway.rfb import Conversation

__all__ = ["EndOfTarget", "Exchange"]

_Event = TypeVar("_Event")

_scratch: Final = memoryview(bytearray(RECORD_SIZE))
"""Shared by all exchanges; its contents never outlive the call that filled it."""


class EndOfTarget(Exception):
    """The target ended the connection before a handshake was complete."""


class Exchange:
    """Drives a channel on behalf of sans-I/O handshakes."""

    def __init__(self, poller: Poller, channel: SocketChannel) -> None:
        """:param channel: connected; :meth:`close` is the only other owner's duty from now on."""
        self._poller = poller
        self.sock = channel.sock
        """For binding TLS to it."""
        self.channel: Channel = channel
        """What the relay is to use when all handshakes are done."""
        self.tls: SSL.Connection | None = None
        """TLS with the target, once it was begun."""
        self.shaken = False
        """Its handshake is complete."""
        self.heard = False
        """The target has said something inside TLS, and so has nothing against our certificate."""

    def close(self) -> None:
        """Drop the connection."""
        self.channel.abort()

    def readable(self) -> defer.Deferred[None]:
        """Fires when the target sent something, or its end."""
        return self._wait(READABLE)

    def left(self) -> defer.Deferred[None]:
        """Fires when the target has ended its side of the connection; what it sent before stays unread."""
        return self._wait(PEER_CLOSED)

    def peek(self, size: int) -> bytes:
        """What the target sent in the clear, ``size`` bytes at the most; it stays unread.

        :raises OSError: the connection broke.
        """
        try:
            return self.sock.recv(size, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return b""

    async def read(self, size: int) -> bytes:
        """Read ``size`` bytes at the most, inside TLS up to a whole record; empty at the end.

        :raises OSError: the connection broke.
        """
        view = _scratch if self.tls is not None else _scratch[:size]
        while True:
            count = self.channel.recv_into(view)
            if count != BLOCKED:
                self.heard = self.heard or (count > 0 and self.tls is not None)
                return bytes(view[:count])
            await self._wait(WRITABLE if self.channel.read_wants_write else READABLE)

    async def write(self, data: bytes) -> None:
        """Write all of ``data``.

        :raises OSError: the connection broke.
        """
        while data:
            count = self.channel.send(data)
            if count == BLOCKED:
                await self._wait(READABLE if self.channel.write_wants_read else WRITABLE)
            else:
                data = data[count:]

    async def start_tls(self, connection: SSL.Connection) -> None:
        """Do the TLS handshake; everything after it goes through TLS.

        :param connection: bound to this channel's socket, in connect state.
        :raises gateway.net.ChannelError: it failed.
        """
        self.tls = connection
        self.channel = channel = TlsChannel(self.sock, connection)
        while not channel.handshake():
            await self._wait(WRITABLE if channel.read_wants_write else READABLE)
        self.shaken = True

    async def talk(self, conversation: Conversation[_Event]) -> _Event:
        """Go on with a conversation until its next event.

        :raises gateway.rfb.RfbError: as the conversation does.
        :raises EndOfTarget: the target left in the middle of it.
        :raises OSError: the connection broke.
        """
        while True:
            event = conversation.next_event()
            await self.write(conversation.data_to_send())
            if event is not None:
                return event
            data = await self.read(conversation.wanted)
            if not data:
                raise EndOfTarget("the target ended the connection during the handshake")
            conversation.receive_data(data)

    def _wait(self, events: int) -> defer.Deferred[None]:
        fd = self.sock.fileno()
        poller = self._poller

        def ready(_: int) -> None:
            poller.unregister(fd)
            waiting.callback(None)

        waiting: defer.Deferred[None] = defer.Deferred(lambda _: poller.unregister(fd))
        poller.register(fd, events, ready)
        return waiting
