"""Where clients come in: the listening sockets of consoles, and the fronts behind them.

A reload makes a new front, which takes new connections; the old one keeps those
that it has.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import attrs
from OpenSSL import SSL
from twisted.internet.task import deferLater
from twisted.web.resource import IResource

from gateway.front import Front, Gate, Watch
from gateway.net import Listener, ListenerSet
from gateway.running import Running
from gateway.sessions import Events, Registry, Uses
from gateway.settings import AbuseSettings, Settings
from gateway.targets import OwnAddress
from gateway.tickets import Grant

__all__ = ["Entrance"]

_BEAT: Final = 0.02
"""Seconds between two looks at how many connections are left that may become sessions."""


class Entrance:
    """Lets clients in, with the settings that it was given last.

    :ivar pages: what is served beside consoles, by name, from the next :meth:`open` on.
    :ivar watch: what client addresses did, whatever the settings were.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        registry: Registry,
        events: Events,
        decoder: Callable[[Settings], Callable[[str], Grant]],
        pages: dict[str, IResource],
        recording: Callable[[], bool],
    ) -> None:
        """
        :param decoder: makes what verifies tickets.
        :param recording: whether a session would be recorded as the settings demand.
        """
        self._reactor = reactor
        self._registry = registry
        self._events = events
        self._decoder = decoder
        self._recording = recording
        self._sockets = ListenerSet()
        self._fronts: list[Front] = []
        self._announced: tuple[str, ...] = ()
        """The listeners on which proxies say who the client is."""
        self.pages = pages
        self.watch = Watch(reactor, _abuse(settings), settings.limits)

    @property
    def listeners(self) -> list[Listener]:
        """What is bound."""
        return self._sockets.bound

    @property
    def own_addresses(self) -> list[OwnAddress]:
        """Those of the listeners, where no target is to be."""
        addresses = [listener.sock.getsockname() for listener in self.listeners]
        return [OwnAddress(address[0], address[1]) for address in addresses if isinstance(address, tuple)]

    @property
    def handshakes(self) -> int:
        """Connections that are not a session."""
        return sum(front.handshakes_open for front in self._fronts)

    def bind(self, settings: Settings) -> None:
        """Bind every listening socket, or none; does nothing when that was done.

        :raises gateway.net.BindError: when one cannot be bound.
        """
        self._sockets.bind(_endpoints(settings))

    def change(self, settings: Settings) -> None:
        """Listen where other settings say, and hold addresses to what they allow; :meth:`open` has to follow.

        :raises gateway.net.BindError: when a new socket cannot be bound; nothing is changed then.
        """
        self._sockets.change(_endpoints(settings))
        self.watch.change(_abuse(settings), settings.limits)

    def open(self, settings: Settings, context: SSL.Context | None, running: Running) -> None:
        """Take new connections with these settings; those that are there stay where they are.

        :param context: for TLS with clients.
        """
        gate = Gate(
            self._reactor,
            settings.front,
            self._decoder(settings),
            self._registry,
            Uses(running.ledger, settings.uses),
            self._events,
            self.watch,
            recording=self._recording,
        )
        front = Front(
            running.reactor,
            settings.front,
            gate,
            running.sessions.start,
            max_handshakes=settings.limits.handshakes,
            context=None if context is None else lambda: context,
            watch=self.watch,
            proxies=settings.proxies,
        )
        for name, resource in self.pages.items():
            front.add_pages(name, resource)
        front.begin()
        for former in [each for each in self._fronts if not each.handshakes_open]:
            former.end()
            self._fronts.remove(former)
        self._fronts.append(front)
        self._announced = settings.proxies.listeners

    def accept(self, running: Running) -> None:
        """Begin to accept; :meth:`open` has come before."""
        self._sockets.accept(running.reactor, self._accept)

    async def settle(self, seconds: float) -> None:
        """Let connections that were accepted become sessions, for so long, and drop the rest."""
        end = self._reactor.seconds() + seconds
        while self.handshakes and self._reactor.seconds() < end:
            await deferLater(self._reactor, _BEAT)
        for front in self._fronts:
            front.end()
        self._fronts.clear()

    def leave(self) -> None:
        """Stop accepting, and leave the sockets to another process."""
        self._sockets.leave()

    def close(self) -> None:
        """Stop accepting, and close the sockets; idempotent."""
        self._sockets.close()

    def _accept(self, listener: Listener, sock: socket.socket, address: Any) -> None:
        announced = listener.name in self._announced
        self._fronts[-1].accept(sock, address, tls=listener.tls, announced=announced)


def _endpoints(settings: Settings) -> list[tuple[str, bool]]:
    """Where consoles are served, and whether TLS is spoken there."""
    listen = settings.listen
    return [*((name, True) for name in listen.tls), *((name, False) for name in listen.plain)]


def _abuse(settings: Settings) -> AbuseSettings:
    """What is held against whom: never against a proxy that speaks for others."""
    return attrs.evolve(settings.abuse, exempt=(*settings.abuse.exempt, *settings.proxies.networks))
