"""Connections that trusted proxies pass on, from their acceptance to the end of their PROXY header.

The header is taken off the socket to the byte and by looking first
(``MSG_PEEK``), since TLS is bound to the socket and reads what follows from
there.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from gateway.net.clients import NetworkSet
from gateway.net.proxy_protocol import MAX_PROXY_HEADER, BadProxyHeader, ProxyDecoder, ProxyHeader
from gateway.settings import ProxySettings

__all__ = ["Announced", "NotAnnounced", "TrustedProxies", "client_text"]

Begin = Callable[[ProxyHeader], None]
"""Goes on with a connection when its header was read."""


class NotAnnounced(enum.Enum):
    """Why a connection was closed before its client was known: ``(label, text for the log)``."""

    UNTRUSTED = ("untrusted-proxy", "not in proxies.networks")
    """Whoever connected is no trusted proxy."""
    MALFORMED = ("bad-proxy-header", "no good PROXY header")
    """What came is no header, or none that can be understood."""
    TIMEOUT = ("proxy-header-timeout", "no PROXY header in time")
    """None came in time."""

    def __init__(self, label: str, text: str) -> None:
        self.label = label
        self.text = text


class TrustedProxies:
    """Who is believed when it says for whom it speaks."""

    def __init__(self, settings: ProxySettings) -> None:
        """:raises ValueError: when *settings* were not checked, and have mistakes."""
        self._networks = NetworkSet(settings.networks)
        self._unix = settings.unix

    def __contains__(self, address: IAddress) -> bool:
        if isinstance(address, UNIXAddress):
            return self._unix
        host: str = getattr(address, "host", "")
        return host in self._networks


def client_text(address: IAddress) -> str:
    """A client's address as limits, log and audit have it."""
    return str(getattr(address, "host", "unix"))


class Announced:
    """Waits for the headers of connections."""

    def __init__(
        self,
        reactor: Any,
        trusted: TrustedProxies,
        timeout: float,
        closed: Callable[[str, NotAnnounced, str], None],
    ) -> None:
        """
        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        :param timeout: seconds that a header may take.
        :param closed: is told of connections that were closed: whose, why, and perhaps some detail.
        """
        self.reactor = reactor
        self.trusted = trusted
        self.timeout = timeout
        self.closed = closed
        self._waiting: set[_Reader] = set()

    def __len__(self) -> int:
        """Connections that wait."""
        return len(self._waiting)

    def take(self, sock: socket.socket, peer: IAddress, begin: Begin) -> None:
        """Read the header of a connection.

        :param sock: not blocking; closed unless ``begin`` is called.
        :param peer: who connected.
        :param begin: called at once, or later, or never.
        """
        if peer not in self.trusted:
            sock.close()
            self.closed(client_text(peer), NotAnnounced.UNTRUSTED, "")
            return
        reader = _Reader(self, sock, peer, begin)
        self._waiting.add(reader)
        # Proxies send the header with the first bytes of their client, or before: it is mostly there.
        reader.doRead()

    def close(self) -> None:
        """Drop every connection that waits."""
        for reader in list(self._waiting):
            reader.drop()

    def over(self, reader: _Reader) -> None:
        """A connection does not wait any more."""
        self._waiting.discard(reader)


@implementer(IReadDescriptor)
class _Reader:
    """Waits for the header of one connection."""

    def __init__(self, shared: Announced, sock: socket.socket, peer: IAddress, begin: Begin) -> None:
        self._shared = shared
        self._sock = sock
        self._peer = peer
        self._begin = begin
        self._decoder = ProxyDecoder()
        self._begun = False
        self._heard = False
        self._waits = True
        fds: IReactorFDSet = shared.reactor
        clock: IReactorTime = shared.reactor
        self._timer: Any = clock.callLater(shared.timeout, self._timed_out)
        self._fds = fds

    def doRead(self) -> None:
        """Take as much of the header as there is."""
        try:
            while self._waits and self._decoder.header is None:
                if not self._take():
                    return
        except (BlockingIOError, InterruptedError):
            if not self._begun:
                self._begun = True
                self._fds.addReader(self)
        except BadProxyHeader as error:
            self._refuse(NotAnnounced.MALFORMED, str(error))
        except OSError:
            self.drop()
        else:
            if self._waits:
                assert self._decoder.header is not None
                self._leave()
                self._go_on(self._decoder.header)

    def drop(self) -> None:
        """Close the connection."""
        self._leave()
        self._sock.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor."""
        if self._waits:
            self.drop()

    def logPrefix(self) -> str:
        return "proxy"

    def _take(self) -> bool:
        """Take a piece of the header off the socket; false when the connection ended."""
        data = self._sock.recv(MAX_PROXY_HEADER, socket.MSG_PEEK)
        if not data:
            if self._heard:
                self._refuse(NotAnnounced.MALFORMED, "it ended too early")
            else:
                # A balancer that looks whether somebody listens.
                self.drop()
            return False
        self._heard = True
        left = self._decoder.feed(data)
        while left:
            left -= len(self._sock.recv(left))
        return True

    def _go_on(self, header: ProxyHeader) -> None:
        try:
            self._begin(header)
        except BaseException:
            self._sock.close()
            raise

    def _timed_out(self) -> None:
        self._refuse(NotAnnounced.TIMEOUT)

    def _refuse(self, reason: NotAnnounced, detail: str = "") -> None:
        self.drop()
        self._shared.closed(client_text(self._peer), reason, detail)

    def _leave(self) -> None:
        self._waits = False
        if self._timer.active():
            self._timer.cancel()
        if self._begun:
            self._fds.removeReader(self)
        self._shared.over(self)
