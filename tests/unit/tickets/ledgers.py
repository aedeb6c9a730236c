"""What the tests of all ledgers share: clocks, results, and the rules that each of them must keep."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from gateway.settings import Use
from gateway.tickets.ledger import Claim, Ledger, LedgerRefusal, LedgerRefused, UsePolicy

__all__ = ["GROUP", "SINGLE", "SKEW", "START", "UNLIMITED", "Rules", "claim", "ended", "refused", "result"]

START = 1_900_000_000.0
SKEW = 5.0
SINGLE = UsePolicy(Use.SINGLE)
GROUP = UsePolicy(Use.GROUP, count=3, window=15)
UNLIMITED = UsePolicy(Use.UNLIMITED)

_Result = TypeVar("_Result")


def result(waiting: Coroutine[Any, Any, _Result] | defer.Deferred[_Result]) -> _Result:
    """What it returns or raises, which must be now."""
    outcome: list[Any] = []
    if not isinstance(waiting, defer.Deferred):
        waiting = defer.Deferred.fromCoroutine(waiting)
    waiting.addBoth(outcome.append)
    assert outcome, "it has not finished"
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    value: _Result = outcome[0]
    return value


def claim(
    ledger: Ledger, ticket: str, policy: UsePolicy = GROUP, *, valid: float = 120
) -> Coroutine[Any, Any, Claim]:
    """Claim a ticket that is valid until so many seconds after the start."""
    return ledger.claim(ticket, datetime.datetime.fromtimestamp(START + valid, datetime.UTC), policy)


def refused(
    ledger: Ledger, ticket: str, policy: UsePolicy = GROUP, *, valid: float = 120
) -> LedgerRefusal | None:
    """Why a claim is refused; ``None`` where it is not, and it is released unused then."""
    try:
        result(claim(ledger, ticket, policy, valid=valid)).release(used=False)
    except LedgerRefused as refusal:
        return refusal.reason
    return None


def ended(ledger: Ledger, ticket: str) -> bool:
    """End a group."""
    return result(ledger.end(ticket))


class Rules:
    """Tests of the rules, for a case whose setUp sets ``wall``, ``make`` and ``ledger``."""

    wall: Clock
    make: Callable[..., Ledger]
    ledger: Ledger

    def test_a_single_use(self) -> None:
        first = result(claim(self.ledger, "t", SINGLE))
        assert (first.group, first.index) == ("t", 0)
        assert refused(self.ledger, "t", SINGLE) is LedgerRefusal.USED_UP
        first.release()
        assert refused(self.ledger, "t", SINGLE) is LedgerRefusal.GROUP_ENDED
        assert refused(self.ledger, "u", SINGLE) is None
        assert refused(self.ledger, "u", SINGLE) is LedgerRefusal.USED_UP

    def test_channels_of_one_client(self) -> None:
        for index in range(3):
            assert result(claim(self.ledger, "t")).index == index
            self.wall.advance(2)
        assert refused(self.ledger, "t") is LedgerRefusal.USED_UP

    def test_one_that_left_makes_no_room(self) -> None:
        for _ in range(3):
            assert refused(self.ledger, "t") is None
        assert refused(self.ledger, "t") is LedgerRefusal.USED_UP

    def test_the_window(self) -> None:
        first = result(claim(self.ledger, "t"))
        self.wall.advance(15)
        second = result(claim(self.ledger, "t"))
        self.wall.advance(0.001)
        assert refused(self.ledger, "t") is LedgerRefusal.WINDOW_OVER
        first.release()
        assert refused(self.ledger, "t") is LedgerRefusal.WINDOW_OVER
        second.release()
        assert refused(self.ledger, "t") is LedgerRefusal.GROUP_ENDED

    def test_a_clock_set_back_opens_no_window(self) -> None:
        result(claim(self.ledger, "t"))
        self.wall.advance(60)
        assert refused(self.ledger, "t") is LedgerRefusal.WINDOW_OVER
        self.wall.rightNow -= 100
        assert refused(self.ledger, "t") is LedgerRefusal.WINDOW_OVER

    def test_a_page_that_probes(self) -> None:
        result(claim(self.ledger, "t")).release(used=False)
        self.wall.advance(3)
        real = result(claim(self.ledger, "t"))
        real.release()
        assert refused(self.ledger, "t") is LedgerRefusal.GROUP_ENDED

    def test_a_probe_and_nothing_more(self) -> None:
        assert refused(self.ledger, "t") is None
        self.wall.advance(16)
        assert refused(self.ledger, "t") is LedgerRefusal.GROUP_ENDED

    def test_over_when_the_last_left_after_use(self) -> None:
        first, second = (result(claim(self.ledger, "t")) for _ in range(2))
        first.release(used=True)
        second.release(used=False)
        assert refused(self.ledger, "t") is LedgerRefusal.GROUP_ENDED

    def test_not_over_while_one_is_left(self) -> None:
        first = result(claim(self.ledger, "t"))
        result(claim(self.ledger, "t")).release(used=True)
        assert refused(self.ledger, "t") is None
        first.release(used=False)
        assert refused(self.ledger, "t") is LedgerRefusal.GROUP_ENDED

    def test_released_once(self) -> None:
        first, _ = (result(claim(self.ledger, "t")) for _ in range(2))
        first.release()
        first.release()
        assert refused(self.ledger, "t") is None

    def test_ended_by_the_operator(self) -> None:
        for policy, ticket in ((SINGLE, "s"), (GROUP, "g"), (UNLIMITED, "u")):
            assert not ended(self.ledger, ticket)
            result(claim(self.ledger, ticket, policy))
            assert ended(self.ledger, ticket)
            assert ended(self.ledger, ticket)
            assert refused(self.ledger, ticket, policy) is LedgerRefusal.GROUP_ENDED

    def test_unlimited(self) -> None:
        for _ in range(20):
            result(claim(self.ledger, "t", UNLIMITED)).release()
            self.wall.advance(5)
        assert result(claim(self.ledger, "t", UNLIMITED)).index == 20
        # What was counted still counts when the policy is changed.
        assert refused(self.ledger, "t", SINGLE) is LedgerRefusal.USED_UP

    def test_forgotten_when_expired(self) -> None:
        assert refused(self.ledger, "t") is None
        self.wall.advance(120 + SKEW)
        assert result(self.ledger.size()) == 1
        self.wall.advance(0.001)
        assert result(self.ledger.size()) == 0

    def test_not_forgotten_while_a_member_is_left(self) -> None:
        assert refused(self.ledger, "t", UNLIMITED) is None
        members = [result(claim(self.ledger, "t", UNLIMITED)) for _ in range(2)]
        self.wall.advance(1000)
        for member in members:
            assert result(self.ledger.size()) == 1
            member.release()
        assert result(self.ledger.size()) == 0

    def test_no_return_of_what_was_forgotten(self) -> None:
        assert refused(self.ledger, "t", valid=100) is None
        self.wall.advance(1000)
        assert result(self.ledger.size()) == 0
        self.wall.rightNow -= 990
        for policy in (SINGLE, GROUP, UNLIMITED):
            assert refused(self.ledger, "t", policy, valid=100) is LedgerRefusal.WINDOW_OVER
        assert refused(self.ledger, "other", valid=101) is None

    def test_full(self) -> None:
        ledger = self.make(limit=3)
        members = [result(claim(ledger, name)) for name in "abc"]
        assert refused(ledger, "d", valid=9000) is LedgerRefusal.LEDGER_FULL
        assert refused(ledger, "a") is None
        members[0].release()
        assert refused(ledger, "d", valid=9000) is LedgerRefusal.LEDGER_FULL
        self.wall.advance(126)
        assert refused(ledger, "d", valid=9000) is None
        assert refused(ledger, "e", valid=9000) is LedgerRefusal.LEDGER_FULL
        assert result(ledger.size()) == 3

    def test_forgets_in_small_portions(self) -> None:
        for number in range(250):
            assert refused(self.ledger, str(number), valid=number / 1000) is None
        self.wall.advance(50)
        assert [result(self.ledger.size()) for _ in range(4)] == [150, 50, 0, 0]

    def test_a_race(self) -> None:
        attempts = [defer.Deferred.fromCoroutine(claim(self.ledger, "t", SINGLE)) for _ in range(50)]
        outcomes: list[Any] = result(defer.DeferredList(attempts, consumeErrors=True))
        failures = [outcome.value for _, outcome in outcomes if isinstance(outcome, Failure)]
        refusals = [failure.reason for failure in failures if isinstance(failure, LedgerRefused)]
        assert refusals == [LedgerRefusal.USED_UP] * 49

    def test_closed(self) -> None:
        member = result(claim(self.ledger, "t"))
        result(self.ledger.close())
        result(self.ledger.close())
        member.release()
        assert refused(self.ledger, "u") is LedgerRefusal.UNAVAILABLE
        for ask in (self.ledger.size, lambda: self.ledger.end("t")):
            with pytest.raises(LedgerRefused) as caught:
                result(ask())
            assert caught.value.reason is LedgerRefusal.UNAVAILABLE

    def test_what_is_no_ticket(self) -> None:
        later = datetime.datetime.fromtimestamp(START + 60, datetime.UTC)
        for ticket, valid_to in (("", later), ("x" * 129, later), ("x", later.replace(tzinfo=None))):
            with pytest.raises(ValueError, match=r"id has|time zone"):
                result(self.ledger.claim(ticket, valid_to, GROUP))
        assert result(self.ledger.size()) == 0
