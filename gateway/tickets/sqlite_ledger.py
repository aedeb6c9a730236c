"""A ledger that survives: the front of :mod:`gateway.tickets.ledger_file` in the reactor.

The reactor never touches the disk.  Requests wait in a queue of bounded length
in their order; whenever the one worker thread is free, it gets all that wait,
serves them in one transaction and so with one write to the disk.  Where the
storage fails or is too slow, claims are refused and nothing is assumed.
"""

from __future__ import annotations

import datetime
import functools
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from gateway.tickets.ledger import (
    LIMIT,
    SKEW,
    Claim,
    Ledger,
    LedgerRefusal,
    LedgerRefused,
    UsePolicy,
    expiry,
)
from gateway.tickets.ledger_file import (
    Answer,
    ClaimRequest,
    EndRequest,
    LeaveRequest,
    LedgerFile,
    Request,
    SizeRequest,
)

__all__ = ["SqliteLedger"]

TIMEOUT = 5.0
"""Seconds to answer a request, unless told otherwise."""
QUEUE = 256
"""Requests that may wait for an answer, unless told otherwise."""
_RETRY = 1.0
"""Seconds until releases are written again that could not be."""

Run = Callable[[Callable[[], list[Answer] | None]], "defer.Deferred[list[Answer] | None]"]
"""Calls a function outside of the reactor; a Deferred of its result."""


@attrs.define(eq=False)
class _Job:
    """A request, and who waits for its answer: for a release nobody does."""

    request: Request
    answer: defer.Deferred[Answer] | None = None
    limit: IDelayedCall | None = None


class SqliteLedger(Ledger):
    """A ledger in a SQLite file, for one or several processes of one host.

    What was claimed stays claimed when the process or the host is killed.  A
    claim that could not be answered in time may still have been written: then
    its ticket has one use less.

    :param reactor: its clock limits the time of requests; the worker calls back
        into it.  Open the ledger after the process has become a daemon.
    :param path: the file, on a local file system; see :class:`LedgerFile`.
    :param limit: groups remembered at most.
    :param skew: how long a ticket is accepted beyond its validity, in seconds.
    :param timeout: to answer a request, in seconds; two of them to close, and
        half of one to wait for another process that writes.
    :param queue: requests that may wait for an answer.
    :param now: the wall clock, in seconds since the epoch.
    :param run: calls functions outside of the reactor, one at a time, instead
        of a thread of the ledger's own.
    :raises LedgerError: the file cannot be used.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        path: Path,
        *,
        limit: int = LIMIT,
        skew: float = SKEW,
        timeout: float = TIMEOUT,
        queue: int = QUEUE,
        now: Callable[[], float] = time.time,
        run: Run | None = None,
    ) -> None:
        self._clock = reactor
        self._path = path
        self._skew = skew
        self._timeout = timeout
        self._queue = queue
        self._file = LedgerFile(path, limit, timeout / 2, now)
        self._pool: ThreadPool | None = None
        if run is None:
            self._pool = _DaemonPool(0, 1, "ledger")
            self._pool.start()
            run = functools.partial(deferToThreadPool, reactor, self._pool)
        self._run: Run = run
        self._waiting: list[_Job] = []
        self._asked = 0
        self._running = False
        self._idle: defer.Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._failing = False
        self._closed = False

    async def claim(self, ticket_id: str, valid_to: datetime.datetime, policy: UsePolicy) -> Claim:
        """See :meth:`Ledger.claim`."""
        expires = expiry(ticket_id, valid_to, self._skew)
        answer = await self._ask(ClaimRequest(ticket_id, expires, policy))
        if isinstance(answer, LedgerRefusal):
            raise LedgerRefused(answer)
        return Claim(ticket_id, answer, self._leave)

    async def end(self, ticket_id: str) -> bool:
        """See :meth:`Ledger.end`."""
        return await self._ask(EndRequest(ticket_id)) == 1

    async def size(self) -> int:
        """See :meth:`Ledger.size`."""
        size = await self._ask(SizeRequest())
        assert isinstance(size, int)
        return size

    async def close(self) -> None:
        """See :meth:`Ledger.close`; gives a storage up that does not answer."""
        if self._closed:
            return
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._running:
            self._idle = defer.Deferred()
            self._idle.addTimeout(self._timeout, self._clock)
            try:
                await self._idle
            except defer.TimeoutError:
                # The thread may never come back; it does not keep the process.
                self._complain("the storage does not answer")
                return
        left = [job.request for job in self._waiting]
        closing = self._run(functools.partial(self._file.close, left))
        try:
            await closing.addTimeout(self._timeout, self._clock)
        except defer.TimeoutError:
            self._complain("the storage does not answer")
            return
        except sqlite3.Error as error:
            self._complain(str(error))
        if self._pool is not None:
            self._pool.stop()

    # -- requests --------------------------------------------------------------------

    def _ask(self, request: Request) -> defer.Deferred[Answer]:
        """Queue a request; fails with ``LedgerRefused`` when it cannot be answered."""
        if self._closed or self._asked >= self._queue:
            return defer.fail(LedgerRefused(LedgerRefusal.UNAVAILABLE))
        job = _Job(request)
        answer = job.answer = defer.Deferred(lambda _: self._abandon(job))
        job.limit = self._clock.callLater(self._timeout, self._expire, job)
        self._asked += 1
        self._waiting.append(job)
        self._turn()
        return answer

    def _leave(self, ticket: str, member: int, used: bool) -> None:
        self._waiting.append(_Job(LeaveRequest(ticket, member, used)))
        if not self._closed:
            self._turn()

    def _expire(self, job: _Job) -> None:
        answer, job.limit = job.answer, None
        self._abandon(job)
        assert answer is not None
        answer.errback(LedgerRefused(LedgerRefusal.UNAVAILABLE))

    def _abandon(self, job: _Job) -> None:
        """Nobody waits for the answer any more."""
        self._settle(job)
        if job in self._waiting:
            self._waiting.remove(job)

    def _settle(self, job: _Job) -> defer.Deferred[Answer] | None:
        answer, job.answer = job.answer, None
        limit, job.limit = job.limit, None
        if limit is not None:
            limit.cancel()
        if answer is not None:
            self._asked -= 1
        return answer

    # -- the worker ----------------------------------------------------------------------

    def _turn(self) -> None:
        """Have the worker serve all that wait, if it is free."""
        if self._running or not self._waiting:
            return
        jobs, self._waiting = self._waiting, []
        self._running = True
        serving = self._run(functools.partial(self._file.serve, [job.request for job in jobs]))
        serving.addCallbacks(self._served, self._failed, (jobs,), {}, (jobs,), {})
        serving.addErrback(lambda failure: self.log.failure("Unexpected error in the ledger", failure))

    def _served(self, answers: list[Answer] | None, jobs: list[_Job]) -> None:
        assert answers is not None
        if self._failing:
            self._failing = False
            self.log.info("ledger can be used again file={file}", file=str(self._path))
        self._running = False
        for job, answer in zip(jobs, answers, strict=True):
            waiter = self._settle(job)
            if waiter is not None:
                waiter.callback(answer)
            elif isinstance(job.request, ClaimRequest) and isinstance(answer, int):
                # Too late for whoever asked.
                self._leave(job.request.ticket, answer, False)
        self._next()

    def _failed(self, failure: Failure, jobs: list[_Job]) -> None:
        if not self._failing:
            self._failing = True
            self.log.error(
                "ledger cannot be used file={file} problem={problem!r}; tickets are refused until it can",
                file=str(self._path),
                problem=failure.getErrorMessage(),
            )
        if not failure.check(sqlite3.Error):
            self.log.failure("Unexpected error in the ledger", failure)
        self._running = False
        # A release is not lost: its member would count as live.
        releases = [job for job in jobs if isinstance(job.request, LeaveRequest)]
        self._waiting = releases + self._waiting
        for job in jobs:
            waiter = self._settle(job)
            if waiter is not None:
                waiter.errback(LedgerRefused(LedgerRefusal.UNAVAILABLE))
        self._next()

    def _next(self) -> None:
        """Go on, at once unless there are only releases that failed."""
        if self._asked or not self._failing:
            self._turn()
        elif self._waiting and self._retry is None and not self._closed:
            self._retry = self._clock.callLater(_RETRY, self._try_again)
        idle = self._idle
        if idle is not None and not self._running:
            self._idle = None
            idle.callback(None)

    def _try_again(self) -> None:
        self._retry = None
        self._turn()

    def _complain(self, problem: str) -> None:
        self.log.error(
            "ledger was not closed in order file={file} problem={problem!r}",
            file=str(self._path),
            problem=problem,
        )


class _DaemonPool(ThreadPool):
    """A pool whose threads do not keep the process when the disk does not answer."""

    threadFactory = functools.partial(threading.Thread, daemon=True)  # type: ignore[assignment]
