"""How late the event loop is: a call that is due every second, and when it really comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["LoopLag"]

_INTERVAL: Final = 1.0
"""Seconds between two samples."""


class LoopLag:
    """Samples by how much the event loop is late.

    Everything that a process of one loop does waits for its turn, so this is what every session waits at
    least when something else takes long.
    """

    def __init__(self, clock: IReactorTime, interval: float = _INTERVAL) -> None:
        """
        :param clock: the reactor whose loop is meant.
        :param interval: seconds between two samples.
        """
        self._clock = clock
        self._interval = interval
        self._observers: list[Callable[[float], None]] = []
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self._sampled = 0.0

    @property
    def latest(self) -> float:
        """By how many seconds the latest sample was late, or the next one is already."""
        if self._call is None:
            return 0.0
        return max(self._sampled, self._clock.seconds() - self._due)

    def observe(self, observer: Callable[[float], None]) -> None:
        """Call ``observer`` with every sample, in seconds."""
        self._observers.append(observer)

    def start(self) -> None:
        """Begin to sample; idempotent."""
        if self._call is None:
            self._sampled = 0.0
            self._schedule()

    def stop(self) -> None:
        """Sample no more; idempotent."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _schedule(self) -> None:
        self._due = self._clock.seconds() + self._interval
        self._call = self._clock.callLater(self._interval, self._sample)

    def _sample(self) -> None:
        self._sampled = late = max(0.0, self._clock.seconds() - self._due)
        self._schedule()
        for observer in self._observers:
            observer(late)
