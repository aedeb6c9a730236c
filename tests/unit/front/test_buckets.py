"""Token buckets: what they let through, what they remember, and clocks that jump."""

from __future__ import annotations

import sys
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.front.buckets import Buckets

NOW = 1_900_000_000.0
"""What a wall clock shows: so large that little of a float is left for fractions."""
RATES = st.sampled_from((0.001, 0.2, 1 / 3, 1.0, 7.0, 20.0, 1000.0))
BURSTS = st.integers(1, 50)


def clock_at(now: float = NOW) -> Clock:
    clock = Clock()
    clock.rightNow = now
    return clock


class BucketTests(SynchronousTestCase):
    def test_burst(self) -> None:
        for burst, rate in ((20, 0.2), (200, 20.0), (1, 0.001), (7, 1 / 3)):
            buckets = Buckets(clock_at(), burst, rate, 10)
            self.assertEqual([buckets.take("a") for _ in range(burst + 3)], [True] * burst + [False] * 3)
            # Others have their own.
            self.assertTrue(buckets.take("b"))

    def test_refill(self) -> None:
        clock = clock_at()
        buckets = Buckets(clock, 3, 0.5, 10)
        self.assertEqual(buckets.wait("a"), 0)
        for _ in range(3):
            self.assertEqual(buckets.wait("a"), 0)
            buckets.take("a")
        self.assertAlmostEqual(buckets.wait("a"), 2, 5)
        clock.advance(1.5)
        self.assertAlmostEqual(buckets.wait("a"), 0.5, 5)
        self.assertFalse(buckets.take("a"))
        clock.advance(0.5)
        self.assertEqual(buckets.wait("a"), 0)
        self.assertTrue(buckets.take("a"))
        self.assertFalse(buckets.take("a"))
        clock.advance(1000)
        self.assertEqual([buckets.take("a") for _ in range(4)], [True, True, True, False])

    def test_give_back(self) -> None:
        buckets = Buckets(clock_at(), 2, 0.001, 10)
        for _ in range(50):
            self.assertTrue(buckets.take("a"))
            buckets.give_back("a")
        self.assertEqual(len(buckets), 0)
        buckets.give_back("a")
        self.assertEqual([buckets.take("a") for _ in range(3)], [True, True, False])
        buckets.give_back("a")
        self.assertEqual([buckets.take("a") for _ in range(2)], [True, False])

    def test_change(self) -> None:
        clock = clock_at()
        buckets = Buckets(clock, 100, 1.0, 10)
        for _ in range(100):
            buckets.take("a")
        buckets.change(5, 1.0, 10)
        self.assertFalse(buckets.take("a"))
        clock.advance(1)
        self.assertTrue(buckets.take("a"))
        for number in range(10):
            buckets.take(number)
        buckets.change(5, 1.0, 3)
        self.assertEqual(len(buckets), 3)
        # Who has spent most is the last to be forgotten.
        self.assertFalse(buckets.take("a"))

    @given(BURSTS, RATES, st.lists(st.floats(0, 100), max_size=60), st.data())
    def test_never_more(self, burst: int, rate: float, pauses: list[float], data: st.DataObject) -> None:
        """Between any two moments, no more than a burst and what was gained since."""
        clock = clock_at()
        buckets = Buckets(clock, burst, rate, 4)
        taken: list[float] = []
        for pause in pauses:
            clock.advance(pause)
            for _ in range(data.draw(st.integers(1, 2 * burst))):
                free = buckets.wait("a") == 0
                self.assertIs(buckets.take("a"), free)
                if free:
                    taken.append(clock.seconds())
        for first, begin in enumerate(taken):
            admitted = len(taken) - first
            self.assertLessEqual(admitted, burst + rate * (taken[-1] - begin) + 0.05)

    @given(BURSTS, RATES, st.floats(0, 1000))
    def test_never_less(self, burst: int, rate: float, pause: float) -> None:
        clock = clock_at()
        buckets = Buckets(clock, burst, rate, 4)
        while buckets.take("a"):
            pass
        clock.advance(pause)
        got = 0
        while buckets.take("a"):
            got += 1
        self.assertGreaterEqual(got, min(burst, int(rate * pause - 0.05)))

    @given(BURSTS, RATES, st.lists(st.floats(-1e6, 1e6), max_size=30))
    def test_clock_that_jumps(self, burst: int, rate: float, jumps: list[float]) -> None:
        """Nobody waits for longer than an empty bucket takes to fill, and nobody gets more than a burst."""
        clock = clock_at()
        buckets = Buckets(clock, burst, rate, 4)
        for jump in jumps:
            clock.rightNow += jump
            got = 0
            while buckets.take("a"):
                got += 1
            self.assertLessEqual(got, burst)
            wait = buckets.wait("a")
            self.assertLessEqual(wait, 1 / rate * 1.01)
            clock.advance(wait)
            self.assertTrue(buckets.take("a"))

    def test_a_moment_early(self) -> None:
        """A token that is not quite there, and is given, does not make the bucket a full one."""
        clock = clock_at()
        buckets = Buckets(clock, 5, 0.2, 4)
        self.assertEqual([buckets.take("a") for _ in range(6)], [True] * 5 + [False])
        for _ in range(20):
            clock.advance(5 - 0.004)
            self.assertEqual([buckets.take("a") for _ in range(3)], [True, False, False])

    def test_clock_that_is_put_back(self) -> None:
        """Others' tokens do not come back by it, nor does anybody wait for longer than a bucket fills."""
        clock = clock_at()
        buckets = Buckets(clock, 2, 1.0, 10)
        for key in ("a", "b"):
            self.assertEqual([buckets.take(key) for _ in range(3)], [True, True, False])
        clock.rightNow -= 3600
        self.assertEqual([buckets.take("c") for _ in range(3)], [True, True, False])
        self.assertEqual([buckets.take(key) for key in ("a", "b")], [False, False])
        clock.advance(3)
        self.assertTrue(buckets.take("d"))
        self.assertLess(len(buckets), 4)

    def test_clock_that_stands_still(self) -> None:
        buckets = Buckets(clock_at(0.0), 2, 5.0, 4)
        self.assertEqual([buckets.take("a") for _ in range(5)], [True, True, False, False, False])


class MemoryTests(SynchronousTestCase):
    def test_full_ones_are_forgotten(self) -> None:
        clock = clock_at()
        buckets = Buckets(clock, 20, 0.2, 100_000)
        for number in range(1000):
            buckets.take(number)
        self.assertEqual(len(buckets), 1000)
        clock.advance(101)
        for number in range(1000, 1600):
            buckets.take(number)
        self.assertEqual(len(buckets), 600)

    def test_the_worst_are_remembered(self) -> None:
        """A flood of others does not wash away who has emptied a bucket."""
        buckets = Buckets(clock_at(), 20, 0.001, 100)
        for number in range(50):
            while buckets.take(("bad", number)):
                pass
        for number in range(10_000):
            self.assertTrue(buckets.take(number))
            self.assertLessEqual(len(buckets), 100)
        self.assertFalse(any(buckets.take(("bad", number)) for number in range(50)))

    def test_nobody_is_locked_out(self) -> None:
        """Where everybody is bad, the oldest are forgotten, and whoever is new is heard."""
        buckets = Buckets(clock_at(), 4, 0.001, 100)
        for number in range(1000):
            self.assertEqual(sum(buckets.take(number) for _ in range(6)), 4)
            self.assertLessEqual(len(buckets), 100)
        self.assertEqual([buckets.wait(number) > 0 for number in range(1000)], [False] * 900 + [True] * 100)
        # Nor is whoever comes now forgotten at once, who could then do as they please.
        for number in range(1000, 1040):
            buckets.take(number)
        for number in range(1000, 1040):
            self.assertEqual(sum(buckets.take(number) for _ in range(6)), 3)

    @given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 60), st.floats(0, 5), st.booleans())))
    def test_bound(self, limit: int, events: list[tuple[int, float, bool]]) -> None:
        clock = clock_at()
        buckets = Buckets(clock, 3, 0.5, limit)
        for key, pause, back in events:
            clock.advance(pause)
            (buckets.give_back if back else buckets.take)(key)
            self.assertLessEqual(len(buckets), limit)

    def test_a_flood(self) -> None:
        limit = 10_000
        buckets = Buckets(clock_at(), 20, 0.2, limit)

        def flood(begin: int, end: int) -> None:
            for number in range(begin, end):
                buckets.take(number.to_bytes(4, "big"))

        flood(0, 2 * limit)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        flood(2 * limit, 4 * limit)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        flood(4 * limit, 200_000)
        self.assertEqual(len(buckets), limit)
        self.assertLess(held, 300 * limit + sys.getsizeof(buckets._light))
