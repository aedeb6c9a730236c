from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.net.complaints import Complaints


class ComplaintsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.complaints = Complaints(self.clock)

    def test_the_same_once_in_ten_minutes(self) -> None:
        self.assertEqual(0, self.complaints.worth("a"))
        for _ in range(599):
            self.assertIsNone(self.complaints.worth("a"))
            self.clock.advance(1)
        self.assertEqual(599, self.complaints.worth("b"))
        self.clock.advance(1)
        self.assertEqual(0, self.complaints.worth("a"))

    def test_ten_a_minute_in_all(self) -> None:
        said = [self.complaints.worth(str(number)) for number in range(1000)]
        self.assertEqual([0] * 10 + [None] * 990, said)
        self.clock.advance(60)
        # What was kept back was not said yet.
        self.assertEqual(990, self.complaints.worth("500"))
        self.assertIsNone(self.complaints.worth("5"))

    def test_memory_is_bounded(self) -> None:
        for number in range(5000):
            self.complaints.worth(str(number))
            self.clock.advance(6.1)
        self.assertLessEqual(len(self.complaints._said), 1000)

    def test_a_clock_that_was_put_back(self) -> None:
        self.clock.advance(10000)
        self.complaints.worth("a")
        self.clock.rightNow = 5.0
        self.assertEqual(0, self.complaints.worth("a"))
