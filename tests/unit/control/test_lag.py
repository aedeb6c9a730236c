from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.control.lag import LoopLag


class LoopLagTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = LoopLag(self.clock)
        self.samples: list[float] = []
        self.lag.observe(self.samples.append)

    def test_punctual(self) -> None:
        self.lag.start()
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.samples, [0.0] * 3)
        self.assertEqual(self.lag.latest, 0.0)

    def test_late(self) -> None:
        self.lag.start()
        self.clock.advance(3.5)
        self.assertEqual(self.samples, [2.5])
        self.assertEqual(self.lag.latest, 2.5)
        # One late sample does not make the next one late.
        self.clock.advance(1.0)
        self.assertEqual(self.samples, [2.5, 0.0])
        self.assertEqual(self.lag.latest, 0.0)

    def test_late_already(self) -> None:
        """Whoever asks before the overdue sample is taken hears of it."""
        self.lag.start()
        self.clock.rightNow += 5.0
        self.assertEqual(self.lag.latest, 4.0)
        self.assertEqual(self.samples, [])

    def test_stop(self) -> None:
        self.lag.stop()
        self.lag.start()
        self.lag.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(4.0)
        self.lag.stop()
        self.lag.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.lag.latest, 0.0)
        self.lag.start()
        self.assertEqual(self.lag.latest, 0.0)
        self.clock.advance(1.0)
        self.assertEqual(self.samples, [3.0, 0.0])
