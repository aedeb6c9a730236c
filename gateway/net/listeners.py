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
        self._serve: tuple[Any, Accepted] | None = None
        self._acceptors: dict[Listener, Acceptor] = {}

    def bind(
        self, endpoints: Iterable[tuple[str, bool]], check: Callable[[Listener], None] | None = None
    ) -> None:
        """Bind; does nothing when that was done and not undone by :meth:`close`.

        :param endpoints: in the forms of the settings, and whether TLS is spoken there.
        :param check: raises for a listener that is not to be.
        :raises BindError: when one cannot be bound.
        """
        if not self._is_bound:
            self.bound = _open_all(endpoints, check)
            self._is_bound = True

    def accept(self, reactor: Any, accepted: Accepted) -> None:
        """Begin to accept.

        :param reactor: provides ``IReactorFDSet`` and ``IReactorTime``.
        """
        self._serve = reactor, accepted
        self._accept_from(self.bound)

    def change(self, endpoints: Iterable[tuple[str, bool]]) -> None:
        """Listen on these from now on: those that are new are bound before the others are closed.

        :raises BindError: when one cannot be bound; nothing is changed then.
        """
        wanted = list(endpoints)
        present = {(listener.name, listener.tls): listener for listener in self.bound}
        fresh = _open_all([each for each in wanted if each not in present], None)
        kept = [present.pop(each) for each in wanted if each in present]
        for listener in present.values():
            self._drop(listener)
        self.bound = kept + fresh
        self._accept_from(fresh)

    def close(self) -> None:
        """Stop accepting and close every socket; idempotent."""
        for listener in self.bound:
            self._drop(listener)
        self.bound = []
        self._is_bound = False
        self._serve = None

    def leave(self) -> None:
        """Stop accepting and leave every socket to the process that goes on serving it; idempotent."""
        for listener in self.bound:
            acceptor = self._acceptors.pop(listener, None)
            if acceptor is not None:
                acceptor.leave()
            else:
                listener.leave()
        self.bound = []
        self._is_bound = False
        self._serve = None

    def _accept_from(self, listeners: Iterable[Listener]) -> None:
        if self._serve is not None:
            reactor, accepted = self._serve
            for listener in listeners:
                self._acceptors[listener] = Acceptor(reactor, listener, partial(accepted, listener))

    def _drop(self, listener: Listener) -> None:
        acceptor = self._acceptors.pop(listener, None)
        if acceptor is not None:
            acceptor.close()
        else:
            listener.close()


def _open_all(
    endpoints: Iterable[tuple[str, bool]], check: Callable[[Listener], None] | None
) -> list[Listener]:
    opened: list[Listener] = []
    try:
        for name, tls in endpoints:
            # One by one, so that those opened before a failure are known.
            opened.append(open_listener(name, parse_endpoint(name), tls=tls))
            if check is not None:
                check(opened[-1])
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened
