"""The ledger of ticket uses: which tickets were used, and whether one may be used once more.

A ticket opens one *group* of connections.  The first connection claims it and
begins the group; each connection is a member, from its claim until it is
released.  The rules, of which the first that applies decides:

1. A group that the operator ended (:meth:`Ledger.end`) takes no one any more.
2. With :attr:`Use.UNLIMITED`, everybody else is taken.
3. A group is over when no member is left and either one of those that left
   had *used* the console, or the window has passed.  A member has used the
   console if its client sent anything to it; a page that only looks whether
   something answers, or whose target could not be reached, has not.  A group
   that is over takes no one any more.
4. The group takes as many members as its policy says, counted over its whole
   life: one that left does not make room.
5. It takes them only within the window, which begins with the first claim.

So a page may probe and then connect, a SPICE client may open its channels one
after the other, and a ticket that somebody replays is refused as soon as its
user has left, the count is reached, or the window has passed.

**Time.**  All times are the wall clock's, in seconds since the epoch: tickets
are stamped with it, and a window must outlive a restart, which a monotonic
clock does not.  A clock that is set back does not open a window again: a
window is over once the clock is farther from its beginning than its length,
either way.

**Forgetting.**  A group is forgotten when its ticket has expired, by the skew
too, and no member is left.  The *horizon* is the latest expiry of all that was
forgotten.  An unknown ticket that does not expire after it is refused, since
it may be one of those; so a ticket cannot come back by a clock that is set
back, nor by a claim that was slow.  The horizon consists of the engine's
stamps alone, so a clock that is far ahead for a while does not spoil it.
"""

from __future__ import annotations

import abc
import datetime
import enum
import heapq
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from gateway.settings import Use

__all__ = [
    "Claim",
    "Group",
    "Ledger",
    "LedgerError",
    "LedgerRefusal",
    "LedgerRefused",
    "MemoryLedger",
    "UsePolicy",
    "expiry",
]

LIMIT = 100_000
"""Groups that are remembered, unless told otherwise."""
SKEW = 5.0
"""Seconds that a ticket may be used beyond its validity, unless told otherwise."""
SWEEP = 100
"""Groups that are forgotten at most before a claim is judged, so that no claim waits for many."""
_LONGEST_ID = 128


class LedgerRefusal(enum.Enum):
    """Why a ticket may not be used; the value is its name in logs."""

    USED_UP = "used-up"
    """As many connections as it may open have been opened."""
    WINDOW_OVER = "window-over"
    """Too late to join its group, or so late that it may have been used and forgotten."""
    GROUP_ENDED = "group-ended"
    """Its group is over: everybody left, or the operator ended it."""
    LEDGER_FULL = "ledger-full"
    """It cannot be written down, and nothing may be forgotten yet."""
    UNAVAILABLE = "ledger-unavailable"
    """The ledger cannot be asked: its storage fails, is too slow, or is closed."""


class LedgerRefused(Exception):
    """A ticket may not be used, or the ledger cannot be asked; ``reason`` says why."""

    def __init__(self, reason: LedgerRefusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


class LedgerError(Exception):
    """A ledger cannot be opened.  ``str()`` is one line that names the file and the remedy."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        name = str(self.path)
        return f"{name if name.isprintable() else ascii(name)}: {self.problem}"


@attrs.frozen
class UsePolicy:
    """How a ticket may be used.

    :param count: connections that one ticket opens at most, for ``Use.GROUP``.
    :param window: time from the first of them to the last, in seconds, for ``Use.GROUP``.
    """

    use: Use = Use.GROUP
    count: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    window: float = attrs.field(default=15.0, validator=attrs.validators.ge(0))


@attrs.define
class Group:
    """What is remembered of one ticket, and the rules; see the module's text."""

    expires: float
    begun: float
    claims: int = 0
    """Members so far, those that left included."""
    live: int = 0
    """Members that have not left."""
    used: bool = False
    """Whether one that left had used the console."""
    ended: bool = False
    """Whether the operator ended it."""

    def join(self, policy: UsePolicy, now: float) -> int:
        """Index of a new member; the first is 0.

        :raises LedgerRefused: the rules do not let it in; nothing is changed.
        """
        refusal = self._judge(policy, now)
        if refusal is not None:
            raise LedgerRefused(refusal)
        self.claims += 1
        self.live += 1
        return self.claims - 1

    def leave(self, used: bool) -> None:
        """A member left."""
        self.live -= 1
        self.used = self.used or used

    def _judge(self, policy: UsePolicy, now: float) -> LedgerRefusal | None:
        if self.ended:
            return LedgerRefusal.GROUP_ENDED
        if policy.use is Use.UNLIMITED or not self.claims:
            return None
        late = abs(now - self.begun) > policy.window
        if not self.live and (self.used or late):
            return LedgerRefusal.GROUP_ENDED
        if self.claims >= (1 if policy.use is Use.SINGLE else policy.count):
            return LedgerRefusal.USED_UP
        return LedgerRefusal.WINDOW_OVER if late else None


class Claim:
    """A connection's membership in the group of its ticket.

    :ivar group: id of the group, which is its ticket's.
    :ivar index: which member this is; the first is 0.
    """

    __slots__ = ("_leave", "group", "index")

    def __init__(self, group: str, index: int, leave: Callable[[str, int, bool], None]) -> None:
        self.group = group
        self.index = index
        self._leave: Callable[[str, int, bool], None] | None = leave

    def release(self, *, used: bool = True) -> None:
        """The connection has ended.  Idempotent; never raises and never waits.

        :param used: whether its client sent anything to the console.
        """
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(self.group, self.index, used)


class Ledger(abc.ABC):
    """Remembers which tickets were used.  All claims of a ticket are judged one after the other."""

    @abc.abstractmethod
    async def claim(self, ticket_id: str, valid_to: datetime.datetime, policy: UsePolicy) -> Claim:
        """Use a ticket for one connection.

        A claim that succeeds after its caller was cancelled is released unused.

        :param ticket_id: :attr:`gateway.tickets.Grant.id` of a verified ticket.
        :param valid_to: end of the ticket's validity, with time zone.
        :raises LedgerRefused: it may not be used.
        :raises ValueError: the id is empty or longer than 128 characters, or the time has no zone.
        """

    @abc.abstractmethod
    async def end(self, ticket_id: str) -> bool:
        """Let no connection join a ticket's group any more; its members stay.

        :return: whether there is such a group.
        :raises LedgerRefused: with ``UNAVAILABLE``.
        """

    @abc.abstractmethod
    async def size(self) -> int:
        """How many groups are remembered.

        :raises LedgerRefused: with ``UNAVAILABLE``.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Write down what is known and let go of the storage; everything is refused from now on.  Idempotent.

        Members that are left count as having left after use.
        """


def expiry(ticket_id: str, valid_to: datetime.datetime, skew: float) -> float:
    """When a ticket can no longer be used, in seconds since the epoch.

    :raises ValueError: as :meth:`Ledger.claim`.
    """
    if not 1 <= len(ticket_id) <= _LONGEST_ID:
        raise ValueError(f"a ticket's id has 1 to {_LONGEST_ID} characters")
    if valid_to.tzinfo is None:
        raise ValueError("the end of validity has no time zone")
    return valid_to.timestamp() + skew


class MemoryLedger(Ledger):
    """A ledger of one process, which forgets everything when that ends.

    :param limit: groups remembered at most.
    :param skew: how long a ticket is accepted beyond its validity, in seconds.
    :param now: the wall clock, in seconds since the epoch.
    """

    def __init__(
        self, *, limit: int = LIMIT, skew: float = SKEW, now: Callable[[], float] = time.time
    ) -> None:
        self._limit = limit
        self._skew = skew
        self._now = now
        self._groups: dict[str, Group] = {}
        # Each group has at most one place here, and every group without members has one.
        self._due: list[tuple[float, str]] = []
        self._queued: set[str] = set()
        self._horizon = float("-inf")
        self._closed = False

    async def claim(self, ticket_id: str, valid_to: datetime.datetime, policy: UsePolicy) -> Claim:
        """See :meth:`Ledger.claim`; never waits."""
        expires = expiry(ticket_id, valid_to, self._skew)
        now = self._sweep()
        group = self._groups.get(ticket_id)
        if group is None:
            if expires <= self._horizon:
                raise LedgerRefused(LedgerRefusal.WINDOW_OVER)
            if len(self._groups) >= self._limit:
                raise LedgerRefused(LedgerRefusal.LEDGER_FULL)
            group = self._groups[ticket_id] = Group(expires, now)
        return Claim(ticket_id, group.join(policy, now), self._leave)

    async def end(self, ticket_id: str) -> bool:
        """See :meth:`Ledger.end`; never waits."""
        self._sweep()
        group = self._groups.get(ticket_id)
        if group is None:
            return False
        group.ended = True
        return True

    async def size(self) -> int:
        """See :meth:`Ledger.size`; never waits."""
        self._sweep()
        return len(self._groups)

    async def close(self) -> None:
        """See :meth:`Ledger.close`; never waits."""
        self._closed = True

    def _leave(self, ticket_id: str, index: int, used: bool) -> None:
        group = self._groups[ticket_id]
        group.leave(used)
        if not group.live and ticket_id not in self._queued:
            self._queued.add(ticket_id)
            heapq.heappush(self._due, (group.expires, ticket_id))

    def _sweep(self) -> float:
        """Forget some groups that nobody needs any more; returns the time."""
        if self._closed:
            raise LedgerRefused(LedgerRefusal.UNAVAILABLE)
        now = self._now()
        for _ in range(SWEEP):
            if not self._due or self._due[0][0] >= now:
                break
            expires, ticket_id = heapq.heappop(self._due)
            self._queued.remove(ticket_id)
            if not self._groups[ticket_id].live:
                del self._groups[ticket_id]
                self._horizon = max(self._horizon, expires)
        return now
