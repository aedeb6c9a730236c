"""The audit as a whole: every event in its place, and failures that lose as little as possible."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from gateway.audit import Audit, AuditError
from gateway.audit.outlet import KEPT, Outlet
from gateway.sessions.events import Events
from gateway.settings import AuditSettings
from tests.unit.audit.samples import WHEN, FakeSink, ended, every, opened, refused


class AuditTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events = Events(lambda: WHEN)
        self.sink = FakeSink()
        self.logged: list[dict[str, Any]] = []
        self.patch(Outlet, "log", Logger(observer=self.logged.append))  # type: ignore[arg-type]

    def audit(self, *sinks: FakeSink, **settings: Any) -> Audit:
        audit = Audit(
            AuditSettings(**settings), self.events, self.clock, now=lambda: WHEN, sinks=sinks or (self.sink,)
        )
        audit.open()
        self.addCleanup(audit.close)
        return audit

    def levels(self) -> list[str]:
        return [each["log_level"].name for each in self.logged]


class RecordingTests(AuditTestCase):
    def test_every_event(self) -> None:
        audit = self.audit()
        for what in every():
            self.events.publish(what)
        audit.close()
        self.assertEqual(
            [record.event for record in self.sink.written],
            ["audit-started", *(what.name for what in every()), "audit-stopped"],
        )
        self.assertEqual(self.sink.numbers, list(range(1, 9)))
        self.assertFalse(self.sink.is_open)

    def test_nothing_after_the_end(self) -> None:
        audit = self.audit()
        audit.close()
        audit.close()
        audit.reopen()
        self.events.publish(opened())
        self.assertEqual(self.sink.numbers, [1, 2])
        self.assertEqual(self.sink.renewals, 0)

    def test_every_process_has_its_instance(self) -> None:
        other = FakeSink()
        self.audit()
        self.audit(other)
        one, two = self.sink.written[0], other.written[0]
        self.assertNotEqual(one.values["instance"], two.values["instance"])

    def test_no_audit(self) -> None:
        audit = Audit(AuditSettings(), self.events, self.clock)
        audit.open()
        self.events.publish(opened())
        self.assertTrue(audit.available)
        audit.close()

    def test_a_required_audit_must_be_somewhere(self) -> None:
        audit = Audit(AuditSettings(required=True), self.events, self.clock)
        self.assertTrue(audit.is_required)
        with self.assertRaisesRegex(AuditError, r"audit\.required: .*set audit\.file"):
            audit.open()

    def test_several_places(self) -> None:
        other = FakeSink()
        audit = self.audit(self.sink, other)
        other.fail()
        self.events.publish(opened())
        self.assertFalse(audit.available)
        other.error = None
        self.clock.advance(1)
        self.assertTrue(audit.available)
        self.assertEqual((self.sink.numbers, other.numbers), ([1, 2], [1, 2]))


class StartTests(AuditTestCase):
    def test_file(self) -> None:
        path = Path(self.mktemp())
        audit = Audit(AuditSettings(file=path), self.events, self.clock)
        audit.open()
        self.events.publish(opened())
        audit.close()
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual(
            [line["event"] for line in lines], ["audit-started", "session-opened", "audit-stopped"]
        )

    def test_a_file_that_cannot_be_opened(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        link = directory / "link"
        link.symlink_to("elsewhere")
        for path, remedy in (
            (directory / "missing" / "audit.jsonl", "make the directory"),
            (directory, "name a file"),
            (link, "name the file itself"),
            (Path("/dev/null"), "name a regular file"),
        ):
            audit = Audit(AuditSettings(file=path), self.events, self.clock)
            with self.assertRaises(AuditError) as caught:
                audit.open()
            text = str(caught.exception)
            self.assertIn(f"{path}: audit.file: ", text)
            self.assertIn(remedy, text)
            self.assertNotIn("\n", text)
            audit.close()

    def test_all_or_none(self) -> None:
        other = FakeSink()
        other.fail(errno.ECONNREFUSED)
        audit = Audit(AuditSettings(), self.events, self.clock, sinks=(self.sink, other))
        with self.assertRaisesRegex(AuditError, "the sink: .*refused"):
            audit.open()
        self.assertEqual((self.sink.is_open, other.is_open), (False, False))
        self.events.publish(opened())
        self.assertEqual(self.sink.numbers, [1])

    def test_a_busy_server_is_no_reason_not_to_start(self) -> None:
        self.sink.fail(errno.EAGAIN)
        self.audit()
        self.sink.error = None
        self.clock.advance(0.1)
        self.assertEqual(self.sink.numbers, [1])


class FailureTests(AuditTestCase):
    def test_kept_and_written_later(self) -> None:
        audit = self.audit(required=True)
        self.sink.fail()
        for _ in range(5):
            self.events.publish(ended())
        self.assertEqual((audit.available, audit.waiting, audit.failures), (False, 5, 1))
        self.clock.advance(0.5)
        self.assertFalse(audit.available)
        self.sink.error = None
        self.clock.advance(1)
        self.assertEqual((audit.available, audit.waiting, audit.lost), (True, 0, 0))
        self.assertEqual(self.sink.numbers, [1, 2, 3, 4, 5, 6])
        self.events.publish(ended())
        self.assertEqual(self.sink.numbers[-1], 7)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_line_per_change(self) -> None:
        self.audit()
        for _ in range(2):
            self.logged.clear()
            self.sink.fail()
            for _ in range(5):
                self.events.publish(ended())
                self.clock.pump([1, 1, 1])
            self.assertEqual(self.levels(), ["error"])
            self.sink.error = None
            self.clock.advance(1)
            self.assertEqual(self.levels(), ["error", "info"])

    def test_attempts_are_bounded(self) -> None:
        """A second lies between them, however many events there are."""
        self.audit()
        self.sink.fail()
        self.events.publish(ended())
        self.clock.pump([0.05, 0.1, 0.2, 0.4, 0.8])
        before = self.sink.attempts
        for _ in range(100):
            self.events.publish(ended())
            self.clock.advance(0.1)
        self.assertLessEqual(self.sink.attempts - before, 11)

    def test_it_fails_again_halfway(self) -> None:
        audit = self.audit()
        self.sink.fail()
        for _ in range(3):
            self.events.publish(ended())
        written = self.sink.write
        self.sink.error = None

        def once(record: Any) -> None:
            written(record)
            self.sink.fail()

        self.sink.write = once  # type: ignore[method-assign]
        for _ in range(3):
            self.clock.advance(1)
            self.sink.error = None
        self.clock.advance(1)
        self.assertEqual(self.sink.numbers, [1, 2, 3, 4])
        self.assertEqual((audit.waiting, audit.available), (0, True))

    def test_too_many(self) -> None:
        audit = self.audit()
        self.sink.fail()
        for _ in range(KEPT + 17):
            self.events.publish(ended())
        self.assertEqual((audit.waiting, audit.lost), (KEPT, 17))
        self.sink.error = None
        self.clock.advance(1)
        self.events.publish(ended())
        self.assertEqual(self.sink.numbers, [*range(1, KEPT + 2), KEPT + 18, KEPT + 19])
        gap = self.sink.written[-2]
        self.assertEqual((gap.event, gap.values["lost"]), ("audit-lost", 17))
        self.assert_no_gap()

    def test_refusals_leave_room(self) -> None:
        audit = self.audit(required=True)
        self.sink.fail()
        for _ in range(3 * KEPT):
            self.events.publish(refused())
        for _ in range(KEPT // 2):
            self.events.publish(ended())
        self.events.publish(refused())
        self.assertEqual((audit.waiting, audit.lost), (KEPT, 3 * KEPT - KEPT // 2 + 1))
        self.sink.error = None
        self.clock.advance(1)
        events = [record.event for record in self.sink.written]
        self.assertEqual(events.count("session-ended"), KEPT // 2)
        self.assertEqual(events.count("request-refused"), KEPT // 2)
        self.assert_no_gap()

    def assert_no_gap(self) -> None:
        """What a reader checks: each number is the next, or the record says how many are missing."""
        before = 0
        for record in self.sink.written:
            missing = record.values["lost"] if record.event == "audit-lost" else 1
            self.assertEqual(record.number - before, missing)
            before = record.number

    def test_never_recovered(self) -> None:
        audit = self.audit()
        self.sink.fail()
        self.events.publish(ended())
        audit.close()
        self.assertIn("2 records were never written", self.logged[-1]["log_format"].format(count=2, sink=""))
        self.assertEqual(self.logged[-1]["count"], 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_recovered_at_the_end(self) -> None:
        audit = self.audit()
        self.sink.fail()
        self.events.publish(ended())
        self.sink.error = None
        audit.close()
        self.assertEqual(self.sink.numbers, [1, 2, 3])

    def test_opened_anew_while_it_fails(self) -> None:
        """The file that was open may be what is wrong."""
        self.audit()
        self.sink.fail(errno.ESTALE)
        self.events.publish(ended())
        self.clock.advance(1)
        self.assertEqual(self.sink.renewals, 1)


class BusyTests(AuditTestCase):
    def test_for_a_moment(self) -> None:
        audit = self.audit()
        self.sink.fail(errno.EAGAIN)
        self.events.publish(ended())
        self.events.publish(ended())
        self.assertEqual((audit.available, audit.waiting), (True, 2))
        self.sink.error = None
        self.clock.advance(0.05)
        self.assertEqual((audit.waiting, audit.failures, self.logged), (0, 0, []))
        self.assertEqual(self.sink.numbers, [1, 2, 3])

    def test_for_long(self) -> None:
        audit = self.audit()
        self.sink.fail(errno.EAGAIN)
        self.events.publish(ended())
        self.clock.pump([0.1] * 25)
        self.assertFalse(audit.available)
        self.assertEqual(self.levels(), ["error"])
        self.sink.error = None
        self.clock.advance(1)
        self.assertTrue(audit.available)
        self.assertEqual(self.sink.numbers, [1, 2])


class RotationTests(AuditTestCase):
    def test_reopen(self) -> None:
        path = Path(self.mktemp())
        audit = Audit(AuditSettings(file=path), self.events, self.clock)
        audit.open()
        self.addCleanup(audit.close)
        moved = path.with_name("audit.1")
        path.rename(moved)
        audit.reopen()
        self.events.publish(opened())
        self.assertEqual(json.loads(moved.read_text())["event"], "audit-started")
        self.assertEqual(json.loads(path.read_text())["event"], "session-opened")

    def test_what_waits_is_written_at_once(self) -> None:
        audit = self.audit()
        self.sink.fail()
        self.events.publish(ended())
        self.sink.error = None
        audit.reopen()
        self.assertEqual(self.sink.numbers, [1, 2])

    def test_it_cannot_be_opened_anew(self) -> None:
        audit = self.audit()
        self.sink.renew_error = errno.EACCES
        audit.reopen()
        self.assertEqual(self.levels(), ["error"])
        self.events.publish(ended())
        self.assertEqual((audit.available, self.sink.numbers), (True, [1, 2]))
