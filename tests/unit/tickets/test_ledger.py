"""The ledger in memory, and the vocabulary of all ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import Use
from gateway.tickets.ledger import LedgerError, LedgerRefusal, LedgerRefused, MemoryLedger, UsePolicy
from tests.unit.tickets.ledgers import SKEW, START, UNLIMITED, Rules, claim, result


class MemoryLedgerTests(Rules, SynchronousTestCase):
    def setUp(self) -> None:
        self.wall = Clock()
        self.wall.advance(START)
        self.make = lambda limit=1000: MemoryLedger(limit=limit, skew=SKEW, now=self.wall.seconds)
        self.ledger = self.make()

    def test_long_lives_do_not_hide_what_is_due(self) -> None:
        """Groups whose members stay for long are looked at once, not before every claim."""
        staying = [result(claim(self.ledger, f"long {number}", UNLIMITED)) for number in range(300)]
        for member in staying:
            result(claim(self.ledger, member.group, UNLIMITED)).release()
        result(claim(self.ledger, "short", valid=100)).release()
        self.wall.advance(1000)
        for _ in range(4):
            result(self.ledger.size())
        self.assertEqual(result(self.ledger.size()), 300)
        for member in staying:
            member.release()
        for _ in range(3):
            result(self.ledger.size())
        self.assertEqual(result(self.ledger.size()), 0)


class VocabularyTests(SynchronousTestCase):
    def test_policy(self) -> None:
        self.assertEqual(UsePolicy(), UsePolicy(Use.GROUP, 2, 15.0))
        for wrong in ({"count": 0}, {"window": -1.0}, {"window": float("nan")}):
            with pytest.raises(ValueError, match=r"count|window"):
                UsePolicy(**wrong)

    def test_names(self) -> None:
        self.assertEqual([use.value for use in Use], ["single", "group", "unlimited"])
        names = "used-up window-over group-ended ledger-full ledger-unavailable"
        self.assertEqual([refusal.value for refusal in LedgerRefusal], names.split())
        self.assertEqual(str(LedgerRefused(LedgerRefusal.USED_UP)), "used-up")

    def test_an_error_is_one_line(self) -> None:
        self.assertEqual(str(LedgerError(Path("/a b"), "no; do")), "/a b: no; do")
        self.assertEqual(str(LedgerError(Path("/a\nb"), "no; do")), "'/a\\nb': no; do")
