"""Runs from their beginning to their exit status, and interrupts on the way."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.trial import unittest

from gateway.setup.asking.interview import Question
from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.session import Manner, Phase, Session, converse

PASSWORD = Question("PASSWORD", "Password", hidden=True)


def _ask(session: Session) -> None:
    session.interview.ask(PASSWORD)


class SessionTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.patch(tempfile, "tempdir", str(self.base))
        (self.base / "root").mkdir()
        self.sink = io.StringIO()

    def run_it(self, work: Callable[[Session], None], typed: str = "", **others: object) -> tuple[int, str]:
        manner = Manner("setup", root=self.base / "root", owners=False, **others)  # type: ignore[arg-type]
        status = converse(manner, work, io.BytesIO(typed.encode()), self.sink)
        return status, self.sink.getvalue()

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.base.glob("*.log"))

    def test_all_is_well(self) -> None:
        def work(session: Session) -> None:
            session.interview.info("working")
            self.assertRegex(session.stamp, r"^\d{14}$")
            self.assertIs(session.environment, session.interview.environment)

        self.assertEqual(self.run_it(work), (0, "[ INFO  ] working\n"))

    def test_failure_names_the_log(self) -> None:
        def work(session: Session) -> None:
            session.interview.ask(PASSWORD)
            raise SetupError("hunter22 is wrong")

        status, said = self.run_it(work, "hunter22\n")
        self.assertEqual(status, 1)
        (log,) = self.base.glob("*.log")
        self.assertIn(
            "[ ERROR ] Setup failed: **FILTERED** is wrong; nothing was changed\n"
            f"          The log of it is {log}\n",
            said,
        )
        self.assertNotIn("hunter22", said + self.logs())

    def test_what_is_cancelled_leaves_nothing(self) -> None:
        def work(session: Session) -> None:
            raise Cancelled("not wanted")

        self.assertEqual(self.run_it(work), (130, "[ ERROR ] Cancelled: not wanted; nothing was changed\n"))
        self.assertEqual(self.logs(), "")

    def test_what_is_said_depends_on_how_far_it_was(self) -> None:
        def changing(session: Session) -> None:
            session.phase = Phase.CHANGING
            raise SetupError("everything is as it was")

        def done(session: Session) -> None:
            session.phase = Phase.DONE
            raise KeyboardInterrupt

        self.assertIn("failed: everything is as it was\n", self.run_it(changing)[1])
        status, said = self.run_it(done)
        self.assertEqual(status, 130)
        self.assertIn("Interrupted; setup itself is complete\n", said)

    def test_failures_of_the_operating_system(self) -> None:
        def work(session: Session) -> None:
            Path("/nonexistent/file").read_bytes()

        status, said = self.run_it(work)
        self.assertEqual(status, 1)
        self.assertIn("failed: /nonexistent/file: No such file or directory; nothing was changed", said)

    def test_signals(self) -> None:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            undone: list[int] = []

            def work(session: Session, number: int = number, undone: list[int] = undone) -> None:
                try:
                    os.kill(os.getpid(), number)
                    self.fail("not interrupted")
                finally:
                    # A second one does not stop what the first began to undo.
                    os.kill(os.getpid(), signal.SIGINT)
                    undone.append(number)

            status, said = self.run_it(work)
            self.assertEqual((status, undone), (130, [number]))
            self.assertIn("Interrupted; nothing was changed", said)
        self.assertEqual(
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)], handlers
        )

    def test_signals_that_nobody_wants_to_hear(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.assertEqual(self.run_it(lambda _: os.kill(os.getpid(), signal.SIGHUP))[0], 0)

    def test_output_that_nobody_reads(self) -> None:
        class Broken(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError(32, "Broken pipe")

        manner = Manner("setup", root=self.base / "root", owners=False)
        status = converse(manner, lambda session: session.interview.info("x"), io.BytesIO(), Broken())
        self.assertEqual(status, 1)

    def test_without_input_and_output(self) -> None:
        self.patch(sys, "stdin", None)
        self.patch(sys, "stdout", None)
        manner = Manner("setup", root=self.base / "root", owners=False)
        self.assertEqual(converse(manner, lambda session: session.interview.info("x")), 0)
        self.assertEqual(converse(manner, _ask), 1)

    def test_defaults_are_accepted_if_a_file_says_so(self) -> None:
        found = []

        def work(session: Session) -> None:
            found.append(session.interview.accept_defaults)

        self.run_it(work)
        self.run_it(work, settings="DIALOG/autoAcceptDefault=bool:True")
        self.run_it(work, accept_defaults=True)
        self.assertEqual(found, [False, True, True])

    def test_a_log_on_request_only(self) -> None:
        self.assertEqual(self.run_it(lambda session: self.assertIsNone(session.log), logs=False)[0], 0)
        path = self.base / "mine"
        self.assertEqual(self.run_it(lambda session: session.interview.info("x"), logs=False, log=path)[0], 0)
        self.assertIn("INFO x\n", path.read_text())

    def test_doubts_are_told(self) -> None:
        said = self.run_it(lambda session: None, settings="A=bool:no")[1]
        self.assertIn("[WARNING] --otopi-environment: A: bool:no is true", said)

    def test_who_is_not_root(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        manner = Manner("setup", root=self.base / "root")
        self.assertEqual(converse(manner, lambda _: self.fail("it began"), io.BytesIO(), self.sink), 1)
        self.assertIn("root", self.sink.getvalue())
