"""Token buckets by key, in memory that has a bound.

A bucket holds up to ``burst`` tokens, begins full and gains ``rate`` tokens a
second.  It is kept as one number, the time at which it will be full again
(the virtual scheduling of ITU-T I.371's generic cell rate algorithm); one that
is full says nothing and is forgotten.

Where more keys come than may be remembered, as in a flood from many addresses,
the bucket that goes is the oldest of those that are at least half full: who has
spent most of a bucket is remembered before those who came once, for as long as
these take no more than half of the room.  Whoever is forgotten begins with a
full bucket, so that nobody is refused for want of memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from twisted.internet.interfaces import IReactorTime

__all__ = ["Buckets"]

_ROUNDING: Final = 1e-3
"""Part of a token by which sums of times may be off: the clock counts from 1970."""
_SWEPT: Final = 2
"""Buckets that are looked at for each that is spent from; more than one, so that the full ones get fewer."""


class Buckets:
    """A bucket for each key; every call takes constant time."""

    def __init__(self, clock: IReactorTime, burst: int, rate: float, limit: int) -> None:
        """
        :param clock: tells the time; where it jumps, buckets neither overflow nor stay empty for longer than
            they take to fill.
        :param burst: tokens in a full bucket, at least one.
        :param rate: tokens gained per second.
        :param limit: buckets remembered at the most, at least one.
        """
        self._clock = clock
        # Oldest first, by when they were last changed; the fuller half of all buckets and the emptier one.
        self._light: OrderedDict[Hashable, float] = OrderedDict()
        self._heavy: OrderedDict[Hashable, float] = OrderedDict()
        self.change(burst, rate, limit)

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._light) + len(self._heavy)

    def change(self, burst: int, rate: float, limit: int) -> None:
        """Go by other numbers from now on; who has emptied a bucket still has."""
        self._period = 1 / rate
        self._span = burst / rate
        self._limit = limit
        while len(self) > limit:
            self._forget_one()

    def wait(self, key: Hashable) -> float:
        """Seconds until a token is in the bucket; 0 when there is one."""
        missing = self._missing(key) + self._period - self._span
        return missing if missing > _ROUNDING * self._period else 0.0

    def take(self, key: Hashable) -> bool:
        """Take a token; false, and nothing changed, when there is none."""
        missing = self._missing(key) + self._period
        if missing - self._span > _ROUNDING * self._period:
            return False
        self._set(key, missing)
        self._sweep()
        if len(self) > self._limit:
            self._forget_one()
        return True

    def give_back(self, key: Hashable) -> None:
        """Put back a token that was taken; a full bucket does not overflow."""
        self._set(key, self._missing(key) - self._period)

    def _missing(self, key: Hashable) -> float:
        """Seconds until the bucket is full."""
        buckets = self._light if key in self._light else self._heavy
        full = buckets.get(key)
        if full is None:
            return 0.0
        now = self._clock.seconds()
        if full > now + self._span:
            # The clock was put back, or the bucket is smaller than it was: it is as empty as can be.
            buckets[key] = full = now + self._span
        return max(full - now, 0.0)

    def _set(self, key: Hashable, missing: float) -> None:
        self._light.pop(key, None)
        self._heavy.pop(key, None)
        if missing > _ROUNDING * self._period:
            # A token that was a moment early leaves no more missing than all of them.
            missing = min(missing, self._span)
            buckets = self._light if 2 * missing <= self._span else self._heavy
            buckets[key] = self._clock.seconds() + missing

    def _sweep(self) -> None:
        """Forget the oldest where they are full: nothing fills for longer than a span."""
        now = self._clock.seconds()
        for buckets in (self._light, self._heavy):
            for _ in range(_SWEPT):
                if not buckets:
                    break
                key, full = next(iter(buckets.items()))
                if full > now:
                    # Not for longer than that, where the clock was put back.
                    buckets[key] = min(full, now + self._span)
                    break
                del buckets[key]

    def _forget_one(self) -> None:
        # Were the emptier ones never forgotten, those who come now would be, and could do as they please.
        heavy = len(self._heavy) > self._limit // 2 or not self._light
        (self._heavy if heavy else self._light).popitem(last=False)
