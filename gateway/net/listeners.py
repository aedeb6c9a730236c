"""Listening sockets that are bound, served and closed together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from gateway.net.listen import Acceptor, Listener, open_listener
from gateway.settings import parse_endpoint

__all__ = ["ListenerSet"]

Accepted = Callable[[Listener, socket.socket, Any], None]
"""Takes a new connection: the listener that it came through, its socket, and its address."""


class ListenerSet:
    """Binds all of some endpoints or none.

    :ivar bound: what is bound: the real addresses, where a port was 0.
    """

    def __init__(self) -> None:
        self.bound: list[Listener] = []
        self._is_bound = False
        self._acceptors: list[Acceptor] = []

    def bind(
        self, endpoints: Iterable[tuple[str, bool]], check: Callable[[Listener], None] | None = None
    ) -> None:
        """Bind; does nothing when that was done and not undone by :meth:`close`.

        :param endpoints: in the forms of the settings, and whether TLS is spoken there.
        :param check: raises for a listener that is not to be.
        :raises BindError: when one cannot be bound.
        """
        if self._is_bound:
            return
        try:
            for name, tls in endpoints:
                # One by one, so that those bound before a failure are known.
                listener = open_listener(name, parse_endpoint(name), tls=tls)
                self.bound.append(listener)
                if check is not None:
                    check(listener)
        except BaseException:
            self.close()
            raise
        self._is_bound = True

    def accept(self, reactor: Any, accepted: Accepted) -> None:
        """Begin to accept.

        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        """
        self._acceptors += [
            Acceptor(reactor, listener, partial(accepted, listener)) for listener in self.bound
        ]

    def close(self) -> None:
        """Stop accepting and close every socket; idempotent."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()
        for listener in self.bound:
            # Bound, but perhaps never accepted from.
            listener.close()
        self.bound.clear()
        self._is_bound = False
