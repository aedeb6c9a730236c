"""The dialect for programs, to the byte."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from gateway.setup.asking.dialog import BOUNDARY, Level, Query
from gateway.setup.asking.environment import Environment
from gateway.setup.asking.interview import Interview, Question
from gateway.setup.asking.machine import ABORT_BOUNDARY, MachineDialog
from gateway.setup.errors import Cancelled, SetupError


def converse(data: str | bytes = b"") -> tuple[MachineDialog, io.StringIO]:
    sink = io.StringIO()
    return MachineDialog(io.BytesIO(data.encode() if isinstance(data, str) else data), sink), sink


class MachineDialogTests(unittest.SynchronousTestCase):
    def test_notes_and_log_lines(self) -> None:
        dialog, sink = converse()
        dialog.note("one\n\ntwo")
        dialog.log(Level.INFO, "all\nwell")
        dialog.log(Level.WARNING, "hm")
        dialog.log(Level.ERROR, "no")
        dialog.end()
        self.assertEqual(
            sink.getvalue(),
            "### one\n###\n### two\n***L:INFO all. well\n***L:WARNING hm\n***L:ERROR no\n***TERMINATE\n",
        )

    def test_a_question(self) -> None:
        dialog, sink = converse("a|b\n")
        self.assertEqual(dialog.query(Query("NAME", "Which?\nSay", "c\\d", ("a|b", "c\\d"))), "a|b")
        self.assertEqual(
            sink.getvalue(),
            "**%QStart: NAME\n### Which?\n### Say\n**%QDefault: c\\d\n**%QValidValues: a\\|b|c\\\\d\n"
            "**%QHidden: FALSE\n***Q:STRING NAME\n**%QEnd: NAME\n",
        )

    def test_a_password(self) -> None:
        dialog, sink = converse("hunter22\n")
        self.assertEqual(dialog.query(Query("P", "Password", "old secret", hidden=True)), "hunter22")
        self.assertEqual(
            sink.getvalue(),
            "**%QStart: P\n### Password\n**%QHidden: TRUE\n***Q:STRING P\n**%QEnd: P\n",
        )

    def test_lines(self) -> None:
        dialog, sink = converse(f"one\n two\r\n{BOUNDARY}\n{BOUNDARY}\n")
        self.assertEqual(dialog.collect("CHAIN", "Paste"), ["one", " two"])
        self.assertEqual(dialog.collect("CHAIN", "Paste"), [])
        self.assertIn(
            f"***Q:MULTI-STRING CHAIN {BOUNDARY} {ABORT_BOUNDARY}\n**%QEnd: CHAIN\n", sink.getvalue()
        )
        self.assertTrue(sink.getvalue().startswith("**%QStart: CHAIN\n### Paste\n"))

    def test_giving_up_in_lines(self) -> None:
        self.assertRaises(Cancelled, converse(f"one\n{ABORT_BOUNDARY}\n")[0].collect, "CHAIN", "Paste")

    def test_what_is_shown(self) -> None:
        dialog, sink = converse()
        dialog.show("REQUEST", ["one", "two"])
        dialog.show("NOTHING", [])
        dialog.value("COMMAND", "do it\nnow")
        self.assertEqual(
            sink.getvalue(),
            f"***D:MULTI-STRING REQUEST {BOUNDARY}\none\ntwo\n{BOUNDARY}\n"
            f"***D:MULTI-STRING NOTHING {BOUNDARY}\n{BOUNDARY}\n***D:VALUE COMMAND=str:do it now\n",
        )

    def test_a_wrong_reply_ends_it(self) -> None:
        dialog, sink = converse("maybe\nyes\n")
        interview = Interview(dialog, Environment())
        error = self.assertRaises(SetupError, interview.confirm, "NAME", "Really?", True)
        self.assertIn("NAME", str(error))
        self.assertEqual(sink.getvalue().count("***Q:STRING"), 1)

    @given(st.binary(max_size=100) | st.text(alphabet="yesnoYESNO \r\n\x1b|\\", max_size=30).map(str.encode))
    def test_any_reply_is_taken_or_refused(self, data: bytes) -> None:
        dialog, sink = converse(data)
        interview = Interview(dialog, Environment())
        line = data.split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace").strip().lower()
        try:
            answer = interview.ask(Question("NAME", "Really?", choices=("Yes", "No")))
        except SetupError as error:
            self.assertNotIn(line, {"yes", "no", "y", "n"} if data else set())
            self.assertNotIn("\n", str(error))
        else:
            self.assertIn(line, {"yes", "y"} if answer == "Yes" else {"no", "n"})
        self.assertEqual(sink.getvalue().count("\n"), 6)

    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=10), max_size=5))
    def test_collected_lines_come_as_they_were_sent(self, lines: list[str]) -> None:
        lines = [line.rstrip() for line in lines]
        dialog, _ = converse("".join(f"{line}\n" for line in [*lines, BOUNDARY]))
        self.assertEqual(dialog.collect("NAME", "Paste"), lines)
