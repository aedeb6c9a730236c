"""The ledger in a file: the same rules, what survives, and what happens when the storage fails."""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from gateway.tickets.ledger import (
    Claim,
    Ledger,
    LedgerError,
    LedgerRefusal,
    LedgerRefused,
    MemoryLedger,
    UsePolicy,
)
from gateway.tickets.ledger_file import LedgerFile
from gateway.tickets.sqlite_ledger import SqliteLedger
from tests.unit.tickets.ledgers import (
    GROUP,
    SINGLE,
    SKEW,
    START,
    UNLIMITED,
    Rules,
    claim,
    ended,
    refused,
    result,
)


class HandWorker:
    """A worker that does its one task when the test says so."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Callable[[], Any], defer.Deferred[Any]]] = []

    def __call__(self, function: Callable[[], Any]) -> defer.Deferred[Any]:
        assert not self.tasks, "one at a time"
        waiting: defer.Deferred[Any] = defer.Deferred()
        self.tasks.append((function, waiting))
        return waiting

    def work(self) -> None:
        function, waiting = self.tasks.pop()
        defer.execute(function).chainDeferred(waiting)

    def break_down(self, error: Exception) -> None:
        self.tasks.pop()[1].errback(error)


@implementer(ILogObserver)
class Observer:
    """Notes what the gateway logs."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if event["log_namespace"].startswith("gateway."):
            self.events.append(event["log_format"])


class Case(SynchronousTestCase):
    """A ledger whose worker works at once, in a directory of its own."""

    def setUp(self) -> None:
        self.wall = Clock()
        self.wall.advance(START)
        self.clock = Clock()
        self.path = Path("ledger").absolute()
        self.numbers = itertools.count()
        self.make: Callable[..., Ledger] = self.make_another
        self.ledger: Ledger = self.open()
        observer = Observer()
        self.events = observer.events
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def open(self, path: Path | None = None, **options: Any) -> SqliteLedger:
        ledger = SqliteLedger(
            self.clock,
            path or self.path,
            skew=SKEW,
            now=options.pop("now", self.wall.seconds),
            run=options.pop("run", defer.execute),
            **options,
        )
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(ledger.close()))
        return ledger

    def make_another(self, limit: int = 1000) -> SqliteLedger:
        return self.open(Path(f"another-{next(self.numbers)}").absolute(), limit=limit)

    def reopen(self) -> None:
        result(self.ledger.close())
        self.ledger = self.open()


def crash(ledger: SqliteLedger) -> None:
    """As when the process is killed: the kernel closes what it had open, and nobody closes the ledger."""
    ledger._closed = True
    ledger._file._database.close()
    ledger._file._owner.close()


class SqliteLedgerTests(Rules, Case):
    """The rules that every ledger keeps."""


class RestartTests(Case):
    def test_used_stays_used(self) -> None:
        result(claim(self.ledger, "single", SINGLE))
        result(claim(self.ledger, "left")).release()
        result(claim(self.ledger, "live"))
        assert refused(self.ledger, "probed") is None
        assert refused(self.ledger, "ended") is None
        assert ended(self.ledger, "ended")
        self.reopen()
        self.assertEqual(result(self.ledger.size()), 5)
        for ticket in ("single", "left", "live", "ended"):
            self.assertIs(refused(self.ledger, ticket), LedgerRefusal.GROUP_ENDED)
        self.assertIsNone(refused(self.ledger, "probed"))

    def test_windows_go_on(self) -> None:
        for ticket in ("soon", "late"):
            assert refused(self.ledger, ticket) is None
        self.wall.advance(10)
        self.reopen()
        self.wall.advance(5)
        self.assertEqual(result(claim(self.ledger, "soon")).index, 1)
        self.wall.advance(1)
        self.assertIs(refused(self.ledger, "late"), LedgerRefusal.GROUP_ENDED)

    def test_what_was_forgotten_stays_known_as_such(self) -> None:
        assert refused(self.ledger, "t") is None
        self.wall.advance(1000)
        assert result(self.ledger.size()) == 0
        self.reopen()
        self.assertIs(refused(self.ledger, "t"), LedgerRefusal.WINDOW_OVER)

    def test_members_of_the_dead_are_forgotten_in_time(self) -> None:
        for number in range(5):
            result(claim(self.ledger, str(number), UNLIMITED))
        self.reopen()
        self.wall.advance(1000)
        self.assertEqual(result(self.ledger.size()), 0)

    def test_two_on_one_file(self) -> None:
        other = self.open()
        mine = result(claim(self.ledger, "t"))
        self.assertEqual(result(claim(other, "t")).index, 1)
        mine.release()
        self.assertEqual(result(claim(self.ledger, "t")).index, 2)
        self.assertIs(refused(other, "t"), LedgerRefusal.USED_UP)
        result(self.ledger.close())
        self.assertIs(refused(other, "t"), LedgerRefusal.USED_UP)
        result(other.close())
        self.ledger = self.open()
        self.assertIs(refused(self.ledger, "t"), LedgerRefusal.GROUP_ENDED)

    def test_locks_that_somebody_removed(self) -> None:
        """Whoever seems dead loses its members, but leaves nothing behind that is never forgotten."""
        mine = result(claim(self.ledger, "t"))
        self.path.with_name("ledger-owners").unlink()
        other = self.open()
        self.assertIs(refused(other, "t"), LedgerRefusal.GROUP_ENDED)
        mine.release()
        result(claim(self.ledger, "u"))
        assert isinstance(self.ledger, SqliteLedger)
        crash(self.ledger)
        self.wall.advance(1000)
        self.assertEqual(result(other.size()), 0)


class QueueTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.worker = HandWorker()
        self.slow = self.open(run=self.worker, timeout=5, queue=60)

    def start(self, ticket: str, policy: UsePolicy = GROUP) -> defer.Deferred[Claim]:
        return defer.Deferred.fromCoroutine(claim(self.slow, ticket, policy))

    def reason(self, attempt: defer.Deferred[Claim]) -> LedgerRefusal:
        refusal: LedgerRefused = self.failureResultOf(attempt, LedgerRefused).value
        return refusal.reason

    def test_a_race(self) -> None:
        """The first is with the worker while the others come, which are served together."""
        attempts = [self.start("t", SINGLE) for _ in range(50)]
        self.worker.work()
        self.worker.work()
        self.assertEqual(self.worker.tasks, [])
        self.assertEqual(self.successResultOf(attempts[0]).index, 0)
        self.assertEqual({self.reason(attempt) for attempt in attempts[1:]}, {LedgerRefusal.USED_UP})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_queue(self) -> None:
        attempts = [self.start(str(number)) for number in range(60)]
        self.assertIs(self.reason(self.start("one more")), LedgerRefusal.UNAVAILABLE)
        self.worker.work()
        self.worker.work()
        for attempt in [*attempts, late := self.start("later")]:
            if attempt is late:
                self.worker.work()
            self.successResultOf(attempt)

    def test_too_slow(self) -> None:
        first = self.start("t")
        second = self.start("t")
        self.clock.advance(4.9)
        self.assertNoResult(first)
        self.clock.advance(0.1)
        self.assertIs(self.reason(first), LedgerRefusal.UNAVAILABLE)
        self.assertIs(self.reason(second), LedgerRefusal.UNAVAILABLE)
        # The worker had the first already: it is claimed, and released unused.  The second never was.
        self.worker.work()
        self.worker.work()
        third = self.start("t")
        self.worker.work()
        self.assertEqual(self.successResultOf(third).index, 1)
        self.wall.advance(16)
        self.assertIs(refused(self.ledger, "t"), LedgerRefusal.WINDOW_OVER)

    def test_a_caller_that_is_cancelled(self) -> None:
        first = self.start("t", SINGLE)
        second = self.start("u", SINGLE)
        first.cancel()
        second.cancel()
        self.failureResultOf(first, defer.CancelledError)
        self.failureResultOf(second, defer.CancelledError)
        self.worker.work()
        self.worker.work()
        self.assertEqual(self.worker.tasks, [])
        self.assertIs(refused(self.ledger, "t", SINGLE), LedgerRefusal.USED_UP)
        self.assertIsNone(refused(self.ledger, "u", SINGLE))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_waits_for_what_was_asked(self) -> None:
        first = self.start("t")
        second = self.start("u")
        closing = defer.Deferred.fromCoroutine(self.slow.close())
        self.assertIs(self.reason(self.start("v")), LedgerRefusal.UNAVAILABLE)
        self.worker.work()
        self.successResultOf(first).release()
        self.worker.work()
        self.successResultOf(second)
        for _ in ("the release", "the end"):
            self.assertNoResult(closing)
            self.worker.work()
        self.successResultOf(closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIs(refused(self.ledger, "t"), LedgerRefusal.GROUP_ENDED)

    def test_close_does_not_wait_for_ever(self) -> None:
        attempt = self.start("t")
        closing = defer.Deferred.fromCoroutine(self.slow.close())
        self.assertNoResult(closing)
        self.clock.advance(5)
        self.successResultOf(closing)
        self.assertIs(self.reason(attempt), LedgerRefusal.UNAVAILABLE)
        self.worker.work()
        other = self.open(run=HandWorker())
        closing = defer.Deferred.fromCoroutine(other.close())
        self.clock.advance(5)
        self.successResultOf(closing)
        self.assertEqual(len([event for event in self.events if "not closed in order" in event]), 2)

    def test_an_error_of_ours_is_logged_and_refuses(self) -> None:
        attempt = self.start("t")
        self.worker.break_down(ZeroDivisionError())
        self.assertIs(self.reason(attempt), LedgerRefusal.UNAVAILABLE)
        self.assertIn("Unexpected error in the ledger", self.events)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class FailureTests(Case):
    def lock(self) -> sqlite3.Connection:
        """Another program that writes to the file and never ends its transaction."""
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN EXCLUSIVE")
        return other

    def impatient(self) -> None:
        """Have the ledger not wait for the other program."""
        result(self.ledger.close())
        self.ledger = self.open(timeout=0.02)

    def test_refuses_while_it_fails(self) -> None:
        self.impatient()
        member = result(claim(self.ledger, "t", UNLIMITED))
        other = self.lock()
        for _ in range(3):
            self.assertIs(refused(self.ledger, "u"), LedgerRefusal.UNAVAILABLE)
        member.release()
        self.assertEqual(len(self.events), 1)
        self.assertIn("cannot be used", self.events[0])
        self.clock.pump([1, 1])
        other.execute("ROLLBACK")
        # The release that could not be written was kept.
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.events), 2)
        self.assertIn("can be used again", self.events[1])
        self.assertIs(refused(self.ledger, "t"), LedgerRefusal.GROUP_ENDED)
        self.assertIsNone(refused(self.ledger, "u"))
        self.assertEqual(len(self.events), 2)

    def test_an_error_amid_a_transaction(self) -> None:
        """Nothing of it is left, and the next one goes well."""
        times = iter([START, None, START, START])

        def now() -> float:
            time = next(times)
            if time is None:
                raise ZeroDivisionError
            return time

        ledger = self.open(now=now)
        self.assertIsNone(refused(ledger, "t", UNLIMITED))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.events), 2)
        self.assertIs(refused(ledger, "u"), None)
        self.assertEqual(len(self.events), 3)

    def test_close_when_it_fails(self) -> None:
        self.impatient()
        member = result(claim(self.ledger, "t"))
        self.lock()
        member.release()
        result(self.ledger.close())
        self.assertEqual(len(self.events), 2)
        self.assertIn("not closed in order", self.events[1])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FileTests(Case):
    def setUp(self) -> None:
        super().setUp()
        result(claim(self.ledger, "t"))
        result(self.ledger.close())

    def fails(self, *words: str, path: Path | None = None) -> None:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(LedgerError) as caught:
            self.open(path)
        text = str(caught.value)
        self.assertNotIn("\n", text)
        for word in (str(path or self.path), *words):
            self.assertIn(word, text)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_permissions(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        path = Path("fresh").absolute()
        ledger = self.open(path)
        result(claim(ledger, "t"))
        made = sorted(path.parent.glob("fresh*"))
        self.assertEqual([file.name for file in made], ["fresh", "fresh-owners", "fresh-shm", "fresh-wal"])
        self.assertEqual({stat.S_IMODE(file.stat().st_mode) for file in made}, {0o600})

    def test_open_to_others(self) -> None:
        self.path.chmod(0o640)
        self.fails("open to other users", "chmod 600")
        self.path.chmod(0o600)
        self.path.with_name("ledger-owners").chmod(0o666)
        self.fails("ledger-owners", "open to other users")

    def test_not_a_file(self) -> None:
        self.fails("not a regular file", path=Path("/dev/null"))
        link = Path("link").absolute()
        link.symlink_to(self.path)
        self.fails("not a regular file", path=link)
        dangling = Path("dangling").absolute()
        dangling.symlink_to("nowhere")
        self.fails("not a regular file", path=dangling)
        beside = Path("other-owners").absolute()
        os.mkfifo(beside, 0o600)
        self.fails("not a regular file", path=Path("other").absolute())

    def test_no_place(self) -> None:
        self.fails("No such file or directory", "name a file", path=Path("/nonexistent/ledger"))
        self.fails("Not a directory", path=self.path / "x")
        with pytest.raises(LedgerError, match="not a file name"):
            self.open(Path("a\0b"))

    def test_damaged(self) -> None:
        content = bytearray(self.path.read_bytes())
        content[100:] = bytes(len(content) - 100)
        self.path.write_bytes(content)
        self.fails("not a usable ledger", "move it away", "used again")

    def test_damaged_in_one_page(self) -> None:
        content = bytearray(self.path.read_bytes())
        content[-4096:] = os.urandom(4096)
        self.path.write_bytes(content)
        self.fails("not a usable ledger", "move it away")

    def test_not_a_database(self) -> None:
        self.path.write_bytes(b"my diary\n" * 1000)
        self.fails("not a usable ledger")
        self.assertEqual(self.path.read_bytes(), b"my diary\n" * 1000)

    def test_a_database_of_another_program(self) -> None:
        path = Path("theirs").absolute()
        path.touch(0o600)
        with sqlite3.connect(path) as theirs:
            theirs.execute("CREATE TABLE recipes (name)")
        theirs.close()
        before = path.read_bytes()
        self.fails("another program", path=path)
        self.assertEqual(path.read_bytes(), before)

    def test_a_later_version(self) -> None:
        with sqlite3.connect(self.path) as later:
            later.execute("PRAGMA user_version = 2")
        later.close()
        self.fails("later release", "version 2", "knows 1")

    def test_locked(self) -> None:
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="locked by another program"):
            self.open(timeout=0.1)

    def test_a_new_file_opened_by_several_at_once(self) -> None:
        for number in range(15):
            path = Path(f"new {number}").absolute()
            together = threading.Barrier(4)

            def open_and_close(path: Path = path, together: threading.Barrier = together) -> None:
                together.wait(5)
                LedgerFile(path, 10, 2.0, self.wall.seconds).close()

            with ThreadPoolExecutor(4) as threads:
                for opened in [threads.submit(open_and_close) for _ in range(4)]:
                    opened.result()
            self.assertEqual(result(self.open(path).size()), 0)

    def test_an_empty_file_becomes_a_ledger(self) -> None:
        path = Path("empty").absolute()
        path.touch(0o600)
        self.assertIsNone(refused(self.open(path), "t"))


class ThreadTests(TestCase):
    """With the worker thread and the reactor that the service has."""

    async def test_in_a_thread(self) -> None:
        from twisted.internet import reactor

        before = threading.active_count()
        ledger = SqliteLedger(reactor, Path("ledger").absolute(), now=lambda: START)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(ledger.close()))
        attempts = [defer.Deferred.fromCoroutine(claim(ledger, "t", SINGLE)) for _ in range(50)]
        outcomes = await defer.DeferredList(attempts, consumeErrors=True)
        self.assertEqual([succeeded for succeeded, _ in outcomes].count(True), 1)
        next(made for succeeded, made in outcomes if succeeded).release()
        self.assertEqual(await ledger.size(), 1)
        self.assertEqual(threading.active_count(), before + 1)
        await ledger.close()
        self.assertEqual(threading.active_count(), before)


POLICIES = st.sampled_from((SINGLE, GROUP, UsePolicy(count=1), UsePolicy(window=0.0), UNLIMITED))
TICKETS = st.sampled_from("abcdef")


class BothLedgers(RuleBasedStateMachine):
    """A ledger in memory and one in a file, of which the second is also closed and opened again."""

    @initialize(limit=st.integers(1, 6))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.wall = Clock()
        self.wall.advance(START)
        # In memory where that can be: thousands of commits would wait for the disk.
        shared = "/dev/shm"
        self.directory = tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None)
        self.memory = MemoryLedger(limit=limit, skew=SKEW, now=self.wall.seconds)
        self.file = self.open()
        self.members: list[tuple[Claim, Claim]] = []
        self.judged: dict[str, int] = {}

    def open(self) -> SqliteLedger:
        path = Path(self.directory.name) / "ledger"
        return SqliteLedger(
            Clock(), path, limit=self.limit, skew=SKEW, now=self.wall.seconds, run=defer.execute
        )

    @rule(ticket=TICKETS, policy=POLICIES)
    def use(self, ticket: str, policy: UsePolicy) -> None:
        """Each ticket has its own validity, as its letter says."""
        outcomes: list[Claim | LedgerRefusal] = []
        for ledger in (self.memory, self.file):
            try:
                outcomes.append(result(claim(ledger, ticket, policy, valid=20 * (ord(ticket) - 96))))
            except LedgerRefused as refusal:
                outcomes.append(refusal.reason)
        one, other = outcomes
        if isinstance(one, Claim) and isinstance(other, Claim):
            assert one.index == other.index
            # No index is given twice, however time goes and whatever is forgotten.
            assert one.index == self.judged.get(ticket, -1) + 1
            self.judged[ticket] = one.index
            if policy == SINGLE:
                assert one.index == 0
            self.members.append((one, other))
        else:
            assert one is other

    @rule(which=st.integers(0, 20), used=st.booleans())
    def leave(self, which: int, used: bool) -> None:
        if which < len(self.members):
            for member in self.members.pop(which):
                member.release(used=used)

    @rule(ticket=TICKETS)
    def end(self, ticket: str) -> None:
        assert ended(self.memory, ticket) == ended(self.file, ticket)

    @rule(seconds=st.sampled_from((0.5, 7.0, 15.0, 16.0, 60.0, -1.0, -30.0)))
    def time_passes(self, seconds: float) -> None:
        self.wall.rightNow += seconds

    @rule(orderly=st.booleans())
    def restart(self, orderly: bool) -> None:
        if orderly:
            result(self.file.close())
        else:
            crash(self.file)
        self.file = self.open()
        for in_memory, _ in self.members:
            in_memory.release()
        self.members.clear()

    @invariant()
    def remember_as_many(self) -> None:
        if hasattr(self, "file"):
            size = result(self.memory.size())
            assert size == result(self.file.size())
            assert size <= self.limit

    def teardown(self) -> None:
        if hasattr(self, "file"):
            result(self.file.close())
            self.directory.cleanup()


BothLedgers.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
BothLedgersTests = BothLedgers.TestCase
