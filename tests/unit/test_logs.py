from __future__ import annotations

import datetime
import io
import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    LogBeginner,
    Logger,
    LogLevel,
    LogPublisher,
)
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import gateway.logs
from gateway.logs import LogObserver, make_observer, start_logging
from gateway.settings import LogFormat, LogSettings
from gateway.settings import LogLevel as Lowest

WHEN = datetime.datetime(2026, 11, 21, 10, 0, 0, 123456, datetime.UTC).timestamp()
HOSTILE = "a\nb\r\x1b[31m\x00\x7f\x85\u2028\u202e\ud800z"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class Hidden:
    def __repr__(self) -> str:
        return "hidden detail"


class LogTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = io.StringIO()

    def observer(self, format: LogFormat, level: Lowest = Lowest.DEBUG) -> LogObserver:  # noqa: A002
        return make_observer(LogSettings(format=format, level=level), self.stream)

    def text(self, **event: Any) -> str:
        return self.written(self.observer(LogFormat.TEXT), event)

    def json(self, **event: Any) -> dict[str, Any]:
        line = self.written(self.observer(LogFormat.JSON), event)
        self.assertEqual(line.count("\n"), 1)
        self.assertTrue(line.isascii() and line.removesuffix("\n").isprintable(), line)
        record = json.loads(line)
        assert isinstance(record, dict)
        return record

    def written(self, observer: LogObserver, event: dict[str, Any]) -> str:
        self.stream.seek(0)
        self.stream.truncate()
        observer({"log_time": WHEN, "log_level": LogLevel.info, "log_namespace": "gateway.x", **event})
        return self.stream.getvalue()


class TextTests(LogTestCase):
    def test_line(self) -> None:
        line = self.text(log_format="session started id={id} client={client}", id="s1", client="192.0.2.1")
        self.assertEqual(line, "2026-11-21T10:00:00Z info gateway.x session started id=s1 client=192.0.2.1\n")

    def test_injection(self) -> None:
        line = self.text(log_format="path={path}", path=HOSTILE, log_namespace="x\ny")
        self.assertEqual(
            line,
            r"2026-11-21T10:00:00Z info x\ny path=a\nb\r\x1b[31m\x00\x7f\x85\u2028\u202e\ud800z" + "\n",
        )

    @given(st.text())
    def test_one_event_is_one_printable_line(self, text: str) -> None:
        line = self.text(log_format="said {text} {text!r}", text=text)
        self.assertTrue(line.endswith("\n"))
        self.assertTrue(line[:-1].isprintable())

    def test_traceback(self) -> None:
        try:
            raise RuntimeError(HOSTILE + "\n2026-11-21T10:00:00Z info forged line")
        except RuntimeError:
            line = self.text(log_format="it broke", log_failure=Failure(), log_level=LogLevel.critical)
        first, *rest = line.removesuffix("\n").split("\n")
        self.assertEqual(first, "2026-11-21T10:00:00Z critical gateway.x it broke")
        self.assertGreater(len(rest), 2)
        for part in rest:
            self.assertTrue(part.startswith("    ") and part.isprintable(), part)
        self.assertIn("    2026-11-21T10:00:00Z info forged line", rest)

    def test_failure_without_message(self) -> None:
        first = self.text(log_failure=Failure(ValueError("x"))).split("\n")[0]
        self.assertEqual(first, "2026-11-21T10:00:00Z info gateway.x failure")

    def test_nothing_known(self) -> None:
        self.observer(LogFormat.TEXT)({})
        self.assertRegex(self.stream.getvalue(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ info -\n$")

    def test_length_is_bounded(self) -> None:
        line = self.text(log_format="{x}", x="y" * 1_000_000)
        self.assertLess(len(line), 9000)
        self.assertTrue(line.endswith("yyy[991808 more]\n"), line[-40:])


class JsonTests(LogTestCase):
    def test_record(self) -> None:
        self.assertEqual(
            self.json(log_format="done id={id}", id="s1", bytes=10, seconds=1.5, ok=True, subject=None),
            {
                "time": "2026-11-21T10:00:00.123Z",
                "level": "info",
                "namespace": "gateway.x",
                "message": "done id=s1",
                "id": "s1",
                "bytes": 10,
                "seconds": 1.5,
                "ok": True,
                "subject": None,
            },
        )

    def test_objects_stay_out(self) -> None:
        logger = Logger(namespace="gateway.x", observer=self.observer(LogFormat.JSON), source=Hidden())
        logger.info("hello", thing=Hidden(), items=[1], data=b"bytes", n=1)
        record = json.loads(self.stream.getvalue())
        self.assertEqual(set(record), {"time", "level", "namespace", "message", "n"})

    def test_injection(self) -> None:
        record = self.json(log_format="{path}", path=HOSTILE)
        self.assertEqual((record["path"], record["message"]), (HOSTILE, HOSTILE))

    @given(
        st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans()))
    )
    def test_any_fields_make_one_strict_line(self, fields: dict[str, Any]) -> None:
        fields = {
            name: value for name, value in fields.items() if not name.startswith("log_") and name != "isError"
        }
        record = self.json(**fields)
        self.assertEqual(len(record), len(fields) + 4)

    def test_own_keys_win(self) -> None:
        record = self.json(log_format="real", message="forged", level="critical", time="never")
        self.assertEqual((record["message"], record["level"]), ("real", "info"))
        self.assertEqual(
            (record["message_"], record["level_"], record["time_"]), ("forged", "critical", "never")
        )

    def test_numbers_that_json_has_not(self) -> None:
        record = self.json(a=float("nan"), b=float("-inf"))
        self.assertEqual((record["a"], record["b"]), ("nan", "-inf"))

    def test_traceback(self) -> None:
        try:
            raise RuntimeError("boom\nline")
        except RuntimeError:
            record = self.json(log_format="it broke", log_failure=Failure())
        self.assertEqual(set(record), {"time", "level", "namespace", "message", "traceback"})
        self.assertIn("RuntimeError: boom\nline", record["traceback"])

    def test_what_legacy_observers_add_stays_out(self) -> None:
        publisher = LogPublisher()
        seen: list[Any] = []
        publisher.addObserver(LegacyLogObserverWrapper(cast("Any", seen.append)))
        publisher.addObserver(self.observer(LogFormat.JSON))
        Logger(namespace="gateway.x", observer=publisher).error("hello {n}", n=1)
        self.assertEqual(len(seen), 1)
        record = json.loads(self.stream.getvalue())
        self.assertEqual(set(record), {"time", "level", "namespace", "message", "n"})

    def test_legacy_messages(self) -> None:
        publisher = LogPublisher(self.observer(LogFormat.JSON))
        legacy.LogPublisher(observerPublisher=publisher, publishPublisher=publisher).msg("old\nstyle")
        record = json.loads(self.stream.getvalue())
        self.assertEqual(set(record), {"time", "level", "namespace", "message"})
        self.assertEqual(record["message"], "old\nstyle")


class RobustnessTests(LogTestCase):
    def test_is_an_observer(self) -> None:
        verifyObject(ILogObserver, self.observer(LogFormat.TEXT))

    def test_levels(self) -> None:
        for lowest, expected in (
            (Lowest.DEBUG, ["debug", "info", "warn", "error", "critical"]),
            (Lowest.INFO, ["info", "warn", "error", "critical"]),
            (Lowest.WARN, ["warn", "error", "critical"]),
            (Lowest.ERROR, ["error", "critical"]),
        ):
            self.stream = io.StringIO()
            logger = Logger(namespace="n", observer=self.observer(LogFormat.TEXT, lowest))
            for level in LogLevel.iterconstants():
                logger.emit(level, "message")
            self.assertEqual([line.split(" ")[1] for line in self.stream.getvalue().splitlines()], expected)

    def test_events_that_cannot_be_formatted_show_nothing_else(self) -> None:
        for format in (LogFormat.TEXT, LogFormat.JSON):  # noqa: A001
            for event in (
                {"log_format": "{missing}", "secret": Hidden()},
                {"log_format": "{bad}", "bad": Unprintable(), "secret": Hidden()},
                {"log_format": "{0}", "secret": Hidden()},
                {"log_format": b"\xff{secret}", "secret": Hidden()},
                {"log_format": 7, "secret": Hidden()},
            ):
                line = self.written(self.observer(format), event)
                self.assertEqual(line.count("\n"), 1, line)
                self.assertIn("event", line)
                self.assertNotIn("hidden", line)

    def test_odd_events(self) -> None:
        class BadFailure:
            def getTraceback(self) -> str:
                raise RuntimeError

        for format in (LogFormat.TEXT, LogFormat.JSON):  # noqa: A001
            observer = self.observer(format)
            for event in (
                {"log_time": "x"},
                {"log_time": 1e300},
                {"log_time": float("nan")},
                {"log_level": "info"},
                {"log_level": Unprintable()},
                {"log_namespace": Unprintable()},
                {"log_failure": BadFailure()},
                {"log_failure": Unprintable()},
                {"n": 10**5000},
                {7: "x"},
            ):
                line = self.written(observer, cast("dict[str, Any]", event))
                self.assertTrue(line.endswith("\n"), event)
                if format is LogFormat.JSON:
                    json.loads(line)

    def test_stream_that_fails(self) -> None:
        class Full(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError(28, "No space left on device")

        make_observer(LogSettings(), Full())({"log_format": "x", "log_level": LogLevel.error})
        closed = io.StringIO()
        closed.close()
        make_observer(LogSettings(), closed)({"log_format": "x", "log_level": LogLevel.error})

    def test_logging_while_logging(self) -> None:
        """As the garbage collector does when a failed Deferred goes away."""
        done: list[str] = []

        class Chatty(io.StringIO):
            def write(self, text: str) -> int:
                if not done:
                    done.append(text)
                    observer({"log_format": "inner"})
                return super().write(text)

        stream = Chatty()
        observer = make_observer(LogSettings(), stream)
        thread = threading.Thread(target=observer, args=({"log_format": "outer"},), daemon=True)
        thread.start()
        thread.join(5)
        self.assertFalse(thread.is_alive())
        self.assertEqual([line.split()[-1] for line in stream.getvalue().splitlines()], ["inner", "outer"])


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = Path(temporary.name, "gateway.log")
        self.addCleanup(os.umask, os.umask(0o022))

    def make(self) -> LogObserver:
        observer = make_observer(LogSettings(file=self.path))
        self.addCleanup(observer.close)
        return observer

    def test_created_for_owner_and_group(self) -> None:
        self.make()
        self.assertEqual(self.path.stat().st_mode & 0o7777, 0o640)

    def test_existing_file_is_appended_to_and_keeps_its_mode(self) -> None:
        self.path.write_text("before\n")
        self.path.chmod(0o600)
        self.make()({"log_format": "after"})
        lines = self.path.read_text().splitlines()
        self.assertEqual((lines[0], lines[1].split()[-1]), ("before", "after"))
        self.assertEqual(self.path.stat().st_mode & 0o7777, 0o600)

    def test_reopen(self) -> None:
        observer = self.make()
        observer({"log_format": "one"})
        rotated = self.path.with_suffix(".1")
        self.path.rename(rotated)
        observer({"log_format": "two"})
        observer.reopen()
        observer({"log_format": "three"})
        self.assertEqual([line.split()[-1] for line in rotated.read_text().splitlines()], ["one", "two"])
        self.assertEqual([line.split()[-1] for line in self.path.read_text().splitlines()], ["three"])

    def test_reopen_that_fails_keeps_the_old_file(self) -> None:
        observer = self.make()
        rotated = self.path.with_suffix(".1")
        self.path.rename(rotated)
        self.path.mkdir()
        self.assertRaises(OSError, observer.reopen)
        observer({"log_format": "kept"})
        self.assertIn("kept", rotated.read_text())

    def test_reopen_leaks_no_descriptor(self) -> None:
        observer = self.make()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            observer.reopen()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_fifo_is_refused_and_does_not_hang(self) -> None:
        os.mkfifo(self.path)
        self.assertRaises(OSError, make_observer, LogSettings(file=self.path))
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertRaises(OSError, make_observer, LogSettings(file=self.path))

    def test_character_device(self) -> None:
        observer = make_observer(LogSettings(file=Path("/dev/null")))
        observer({"log_format": "x"})
        observer.close()

    def test_missing_directory(self) -> None:
        self.assertRaises(FileNotFoundError, make_observer, LogSettings(file=self.path / "x" / "y"))

    def test_stream_wins_and_reopen_does_nothing(self) -> None:
        stream = io.StringIO()
        observer = make_observer(LogSettings(file=self.path), stream)
        observer.reopen()
        observer({"log_format": "x"})
        observer.close()
        self.assertTrue(stream.getvalue())
        self.assertFalse(self.path.exists())


class StartTests(SynchronousTestCase):
    def test_events_so_far_are_written_and_standard_streams_stay(self) -> None:
        publisher = LogPublisher()
        beginner = LogBeginner(publisher, io.StringIO(), sys, Mock())
        self.patch(gateway.logs, "globalLogBeginner", beginner)
        logger = Logger(namespace="n", observer=publisher)
        logger.info("early")
        stdout, stderr, stream = sys.stdout, sys.stderr, io.StringIO()
        start_logging(LogSettings(), stream)
        logger.info("late")
        self.assertIs(sys.stdout, stdout)
        self.assertIs(sys.stderr, stderr)
        self.assertEqual([line.split()[-1] for line in stream.getvalue().splitlines()], ["early", "late"])

    def test_standard_error_by_default(self) -> None:
        stream = io.StringIO()
        self.patch(sys, "stderr", stream)
        make_observer(LogSettings())({"log_format": "x"})
        self.assertTrue(stream.getvalue())
