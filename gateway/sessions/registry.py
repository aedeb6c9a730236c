"""The sessions that live now, and how many may."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.reasons import Refusal
from gateway.settings import LimitSettings

if TYPE_CHECKING:
    from gateway.sessions.session import Session

__all__ = ["Full", "Place", "Registry"]


class Full(Exception):
    """No further session is admitted; ``refusal`` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.label)
        self.refusal = refusal


class Registry:
    """Counts places and lists sessions.

    A place is taken before the upgrade is answered and given back when the
    session has ended, so that no limit can be raced.
    """

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._taken = 0
        self._clients: Counter[str] = Counter()
        self._closed = False
        self.sessions: dict[str, Session] = {}
        """Live sessions by id."""

    def take_place(self, client: str) -> Place:
        """Take a place for a session of the client address ``client``.

        :raises Full: when a limit is reached or :meth:`close` was called.
        """
        if self._closed:
            raise Full(Refusal.SHUTTING_DOWN)
        if self._taken >= self._limits.sessions:
            raise Full(Refusal.SESSION_LIMIT)
        if self._clients[client] >= self._limits.sessions_per_client:
            raise Full(Refusal.CLIENT_LIMIT)
        self._taken += 1
        self._clients[client] += 1
        return Place(self, client)

    def open(self) -> None:
        """Admit sessions again."""
        self._closed = False

    def close(self) -> None:
        """Admit no more sessions."""
        self._closed = True

    def _give_back(self, client: str) -> None:
        self._taken -= 1
        self._clients[client] -= 1
        if not self._clients[client]:
            # Addresses that left must not pile up.
            del self._clients[client]


class Place:
    """A place taken in a :class:`Registry`."""

    __slots__ = ("_registry", "client")

    def __init__(self, registry: Registry, client: str) -> None:
        self._registry: Registry | None = registry
        self.client = client

    def give_back(self) -> None:
        """Free the place; idempotent."""
        registry, self._registry = self._registry, None
        if registry is not None:
            registry._give_back(self.client)
