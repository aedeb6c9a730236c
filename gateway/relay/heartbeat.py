"""Pings for all sessions from one timer (RFC 6455, section 5.5.2)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from gateway.relay.framed import VISITS, FramedLeg

__all__ = ["Heartbeat"]


class Heartbeat:
    """A timer wheel: each turn visits one slot, so each leg is visited so many times per interval.

    A silence is noticed when it has lasted between four and five quarters of
    the interval, a client that does not answer exactly one interval later.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        """:param interval: seconds of silence before a ping, and again before giving up; 0 for no pings."""
        slots = max(1, round(interval / VISITS))
        self._slots: list[dict[FramedLeg, Callable[[], None]]] = [{} for _ in range(slots)]
        self._turn = 0
        self._loop = LoopingCall(self._visit)
        self._loop.clock = clock
        self._period = interval / VISITS / slots

    def start(self) -> None:
        """Begin to ping."""
        if self._period:
            self._loop.start(self._period, now=False)

    def stop(self) -> None:
        """Stop pinging."""
        if self._loop.running:
            self._loop.stop()

    def add(self, leg: FramedLeg, dead: Callable[[], None]) -> Callable[[], None]:
        """Visit ``leg`` from now on and call ``dead`` when it is to be given up; returns the way to stop."""
        # The slot just visited: its next turn is as far away as can be.
        slot = self._slots[self._turn - 1]
        slot[leg] = dead

        def remove() -> None:
            slot.pop(leg, None)

        return remove

    def _visit(self) -> None:
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % len(self._slots)
        for leg, dead in list(slot.items()):
            try:
                if not leg.heartbeat():
                    dead()
            except Exception:
                # A defect in one session must not end the others' pings.
                self.log.failure("Unexpected error in a heartbeat")
