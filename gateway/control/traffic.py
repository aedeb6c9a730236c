"""Traffic of all sessions, those that ended included, as sums that never go backwards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.sessions.info import SessionInfo

__all__ = ["Traffic", "TrafficCount"]


class Traffic(NamedTuple):
    """What went through a session, or through many."""

    to_target: int = 0
    """Bytes without framing, and so is the next."""
    to_client: int = 0
    messages_to_target: int = 0
    """WebSocket data frames, and so is the next."""
    messages_to_client: int = 0


class TrafficCount:
    """Adds the sessions that live to those that ended, and each of them once.

    A session may leave the list of the live ones before or after its end is told.
    """

    def __init__(self) -> None:
        self._past = Traffic()
        # What was last seen of each session whose end was not told yet.
        self._seen: dict[str, Traffic] = {}

    def opened(self, info: SessionInfo) -> None:
        """A session has begun."""
        self._seen[info.id] = _of(info)

    def ended(self, info: SessionInfo) -> None:
        """A session has ended, and this is the last of it."""
        seen = self._seen.pop(info.id, Traffic())
        self._past = _sum(self._past, _greater(seen, _of(info)))

    def total(self, live: Iterable[SessionInfo]) -> Traffic:
        """Everything so far.

        :param live: the sessions that live.
        """
        for info in live:
            if info.id in self._seen:
                self._seen[info.id] = _of(info)
        return _sum(self._past, *self._seen.values())


def _of(info: SessionInfo) -> Traffic:
    return Traffic(info.to_target, info.to_client, info.messages_to_target, info.messages_to_client)


def _greater(first: Traffic, second: Traffic) -> Traffic:
    """Of each, the greater."""
    return Traffic(*map(max, first, second))


def _sum(*all_of_them: Traffic) -> Traffic:
    return Traffic(*map(sum, zip(*all_of_them, strict=True)))
