"""Questions to people, on pipes and on a terminal."""

from __future__ import annotations

import io
import os
import select
import signal
import termios
import threading
import time
from types import SimpleNamespace
from typing import Any

from twisted.trial import unittest

import gateway.setup.asking.dialog
from gateway.setup.asking.dialog import BOUNDARY, HumanDialog, Level, Query, plain
from gateway.setup.errors import SetupError

MARGIN = " " * 10


def converse(data: str | bytes, columns: int = 100) -> tuple[HumanDialog, io.StringIO]:
    sink = io.StringIO()
    source = io.BytesIO(data.encode() if isinstance(data, str) else data)
    return HumanDialog(source, sink, lambda: columns), sink


class DescriptorTests(unittest.SynchronousTestCase):
    """Input as processes get it, without a buffer."""

    def setUp(self) -> None:
        reading, self.writing = os.pipe()
        self.source = os.fdopen(reading, "rb", buffering=0)
        self.addCleanup(self.source.close)
        self.dialog = HumanDialog(self.source, io.StringIO(), lambda: 80)

    def ask(self) -> str:
        return self.dialog.query(Query("Q", "Name"))

    def test_lines_that_come_together(self) -> None:
        os.write(self.writing, b"one\ntwo\n\nthree")
        os.close(self.writing)
        self.assertEqual([self.ask() for _ in range(4)], ["one", "two", "", "three"])
        with self.assertRaisesRegex(SetupError, "the input ended when Q was asked"):
            self.ask()

    def test_a_line_that_comes_in_pieces(self) -> None:
        def type_slowly() -> None:
            for piece in (b"wsp.exa", b"mple.or", b"g\n"):
                time.sleep(0.05)
                os.write(self.writing, piece)

        typist = threading.Thread(target=type_slowly)
        typist.start()
        self.assertEqual(self.ask(), "wsp.example.org")
        typist.join()
        os.close(self.writing)

    def test_a_line_without_end(self) -> None:
        writer = threading.Thread(target=os.write, args=(self.writing, b"x" * 65600))
        writer.start()
        with self.assertRaisesRegex(SetupError, "longer than 65536 bytes"):
            self.ask()
        self.source.close()
        writer.join()
        os.close(self.writing)

    def test_a_signal_before_the_wait_is_not_lost(self) -> None:
        """Python calls a handler between two waits, and not while one lasts that began after the signal."""
        waits: list[float] = []

        def wait(reading: Any, writing: Any, failing: Any, timeout: float) -> Any:
            waits.append(timeout)
            if len(waits) == 3:
                os.write(self.writing, b"yes\n")
            return select.select(reading, writing, failing, 0)

        self.patch(gateway.setup.asking.dialog, "select", SimpleNamespace(select=wait))
        self.assertEqual(self.ask(), "yes")
        self.assertGreaterEqual(len(waits), 3)
        self.assertLess(max(waits), 1.0)
        os.close(self.writing)


class HumanDialogTests(unittest.SynchronousTestCase):
    def test_notes_are_indented_and_wrapped_at_the_terminals_width(self) -> None:
        dialog, sink = converse("", columns=46)
        dialog.note(
            "one two three four five six seven eight\n\n  left alone, however long it may be after all"
        )
        self.assertEqual(
            sink.getvalue(),
            f"{MARGIN}one two three four five six\n{MARGIN}seven eight\n\n"
            f"{MARGIN}  left alone, however long it may be after all\n",
        )

    def test_a_narrow_terminal(self) -> None:
        dialog, sink = converse("", columns=5)
        dialog.note("one two three four five six seven")
        self.assertEqual(max(map(len, sink.getvalue().splitlines())), 10 + len("one two three four"))

    def test_log_lines(self) -> None:
        dialog, sink = converse("")
        dialog.log(Level.INFO, "fine")
        dialog.log(Level.WARNING, "first\nsecond")
        dialog.log(Level.ERROR, "bad")
        self.assertEqual(sink.getvalue(), f"[ INFO  ] fine\n[WARNING] first\n{MARGIN}second\n[ ERROR ] bad\n")

    def test_a_prompt_shows_choices_and_default(self) -> None:
        dialog, sink = converse("no\n")
        self.assertEqual(dialog.query(Query("Q", "Really?", "Yes", ("Yes", "No"))), "no")
        self.assertEqual(sink.getvalue(), f"{MARGIN}Really? (Yes, No) [Yes]: \n")

    def test_a_prompt_without_either(self) -> None:
        dialog, sink = converse("x\r\n")
        self.assertEqual(dialog.query(Query("Q", "Name")), "x")
        self.assertEqual(sink.getvalue(), f"{MARGIN}Name: \n")

    def test_the_default_of_a_password_is_not_shown(self) -> None:
        dialog, sink = converse("\n")
        self.assertEqual(dialog.query(Query("Q", "Password", "hunter22", hidden=True)), "")
        self.assertNotIn("hunter22", sink.getvalue())

    def test_lines_are_shown_in_a_frame(self) -> None:
        dialog, sink = converse("")
        dialog.show("REQUEST", ["one", " two"])
        self.assertEqual(sink.getvalue(), f"D:MULTI-STRING REQUEST {BOUNDARY}\none\n two\n{BOUNDARY}\n")

    def test_lines_are_collected_up_to_the_boundary(self) -> None:
        dialog, sink = converse(f"one\r\n  two \n\n  \t{BOUNDARY} \r\nrest\n")
        self.assertEqual(dialog.collect("CHAIN", "Paste it"), ["one", "  two", ""])
        self.assertIn(f"{MARGIN}Paste it\n", sink.getvalue())
        self.assertIn(BOUNDARY, sink.getvalue())
        self.assertEqual(dialog.query(Query("Q", "Next")), "rest")

    def test_the_end_of_input(self) -> None:
        for ask in (
            lambda dialog: dialog.query(Query("NAME", "x")),
            lambda dialog: dialog.collect("NAME", "x"),
        ):
            error = self.assertRaises(SetupError, ask, converse("")[0])
            self.assertIn("NAME", str(error))
            self.assertIn("--config-append", str(error))

    def test_input_is_bounded(self) -> None:
        for data in (b"x" * 70000, b"\xff\n", b"y\n" * 10001):
            error = self.assertRaises(SetupError, converse(data)[0].collect, "NAME", "x")
            self.assertIn("NAME", str(error))

    def test_nothing_commands_the_terminal(self) -> None:
        dialog, sink = converse("")
        dialog.note("a\x1b[2Jb\u202ec")
        dialog.log(Level.ERROR, "a\x1b[2Jb")
        dialog.show("N", ["\x1b]0;t\x07"])
        self.assertNotIn("\x1b", sink.getvalue())
        self.assertEqual(plain("a\x1bb\tc\r\nd"), "a\\x1bb\tc\nd")


class TerminalTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.master, slave = os.openpty()
        self.addCleanup(os.close, self.master)
        self.source = os.fdopen(slave, "rb")
        self.addCleanup(self.source.close)
        self.dialog = HumanDialog(self.source, os.fdopen(os.dup(slave), "w"), lambda: 80)

    def answer(self, query: Query, text: bytes) -> str:
        def type_it() -> None:
            # Only when the question is there: what was typed before is thrown away for passwords.
            seen = b""
            while not seen.endswith(b": "):
                seen += os.read(self.master, 1000)
            while query.hidden and termios.tcgetattr(self.master)[3] & termios.ECHO:
                time.sleep(0.001)
            os.write(self.master, text)

        typist = threading.Thread(target=type_it)
        typist.start()
        try:
            return self.dialog.query(query)
        finally:
            typist.join()

    def test_passwords_are_not_echoed(self) -> None:
        self.assertEqual(self.answer(Query("P", "Password", hidden=True), b"hunter22\n"), "hunter22")
        self.assertEqual(os.read(self.master, 1000), b"\r\n")
        self.assertTrue(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def test_passwords_are_not_echoed_after_a_pause(self) -> None:
        """A shell that has the terminal between Ctrl-Z and fg leaves it with an echo."""

        def type_it() -> None:
            while termios.tcgetattr(self.master)[3] & termios.ECHO:
                time.sleep(0.001)
            shell = termios.tcgetattr(self.master)
            shell[3] |= termios.ECHO
            termios.tcsetattr(self.master, termios.TCSANOW, shell)
            os.kill(os.getpid(), signal.SIGCONT)
            end = time.monotonic() + 2
            while termios.tcgetattr(self.master)[3] & termios.ECHO and time.monotonic() < end:
                time.sleep(0.001)
            os.write(self.master, b"hunter22\n")

        before = signal.getsignal(signal.SIGCONT)
        typist = threading.Thread(target=type_it)
        typist.start()
        self.addCleanup(typist.join)
        self.assertEqual(self.dialog.query(Query("P", "Password", hidden=True)), "hunter22")
        self.assertNotIn(b"hunter", os.read(self.master, 1000))
        self.assertEqual(signal.getsignal(signal.SIGCONT), before)

    def test_answers_are_echoed(self) -> None:
        self.assertEqual(self.answer(Query("Q", "Name"), b"x\n"), "x")
        self.assertEqual(os.read(self.master, 1000), b"x\r\n")

    def test_the_end_of_input_restores_the_echo(self) -> None:
        self.assertRaises(SetupError, self.answer, Query("P", "Password", hidden=True), b"\x04")
        self.assertTrue(termios.tcgetattr(self.master)[3] & termios.ECHO)
