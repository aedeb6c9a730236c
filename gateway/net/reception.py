"""Accepted sockets become streams: tuned, with TLS where it is spoken, counted and bounded."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.logger import Logger

from gateway.net.channel import Channel, SocketChannel, TlsChannel, tune
from gateway.net.stream import Stream

__all__ = ["Arrival", "Reception"]


@attrs.frozen(eq=False)
class Arrival:
    """A connection that was accepted, and what it came on."""

    stream: Stream
    sock: socket.socket
    """For what only the socket knows, such as the credentials of its peer; not to be read or written."""
    tls: SSL.Connection | None
    """For what only TLS knows, such as the client's certificate; not to be read or written."""


class Reception:
    """Makes a stream of every accepted socket, and ends them all."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        welcome: Callable[[Arrival], IProtocol],
        *,
        name: str,
        limit: int,
        handshake_timeout: float,
        context: Callable[[], SSL.Context] | None,
    ) -> None:
        """
        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        :param welcome: makes the protocol that speaks when TLS is established.
        :param name: what the limit is called in the log.
        :param limit: connections that may be open at once; others are closed.
        :param handshake_timeout: time for TLS, in seconds.
        :param context: the TLS context for the next connection, where there are TLS listeners.
        """
        self._reactor = reactor
        self._welcome = welcome
        self._name = name
        self._limit = limit
        self._handshake_timeout = handshake_timeout
        self._context = context
        self.streams: set[Stream] = set()
        """Connections that are open."""
        self._full = False

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self.streams)

    def accept(self, sock: socket.socket, address: Any, *, tls: bool) -> None:
        """Take an accepted socket."""
        if len(self.streams) >= self._limit:
            if not self._full:
                self._full = True
                self.log.warn(
                    f"{self._name} ({{limit}}) reached: new connections are closed until others finish",
                    limit=self._limit,
                )
            sock.close()
            return
        tune(sock)
        connection: SSL.Connection | None = None
        channel: Channel
        if tls:
            assert self._context is not None
            sock.setblocking(False)
            connection = SSL.Connection(self._context(), sock)
            connection.set_accept_state()
            channel = TlsChannel(sock, connection)
        else:
            channel = SocketChannel(sock)
        stream = Stream(
            self._reactor,
            channel,
            peer=_twisted_address(sock, address),
            host=_twisted_address(sock, sock.getsockname()),
            secure=tls,
            ended=lambda: self._ended(stream),
        )
        self.streams.add(stream)
        try:
            stream.start(self._welcome(Arrival(stream, sock, connection)), self._handshake_timeout)
        except Exception:
            stream.abortConnection()
            raise

    def close(self) -> None:
        """Drop every connection."""
        for stream in list(self.streams):
            stream.abortConnection()

    def _ended(self, stream: Stream) -> None:
        self.streams.discard(stream)
        if len(self.streams) <= self._limit * 3 // 4:
            self._full = False


def _twisted_address(sock: socket.socket, address: Any) -> IAddress:
    if sock.family == socket.AF_UNIX:
        return UNIXAddress(address or None)
    host = address[0].removeprefix("::ffff:")
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, address[1])
