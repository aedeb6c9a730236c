"""What events become, and that docs/audit.md says the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.audit import VERSION, Record, Recorder
from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import Happening
from gateway.tickets import Grant, Target
from tests.unit.audit.samples import WHEN, admin, ended, event, every, opened, refused

ROOT = Path(__file__).resolve().parents[3]
COMMON = ["schema", "time", "event", "number", "host", "instance"]
TYPES: dict[str, Any] = {
    "integer": int,
    "number": (int, float),
    "text": str,
    "null": type(None),
    "list of text": list,
}


def record(what: Happening) -> Record:
    return Recorder("gw1", "5f0c8e21ab37").of(event(what))


def values(what: Happening) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(record(what).line())
    return read


class RecordTests(SynchronousTestCase):
    def test_session_ended(self) -> None:
        self.assertEqual(
            values(ended(detail="nobody was there")),
            {
                "schema": VERSION,
                "time": "2026-07-01T09:30:00.250Z",
                "event": "session-ended",
                "number": 1,
                "host": "gw1",
                "instance": "5f0c8e21ab37",
                "session": "9b1f6e0a4c2d",
                "ticket": "c0ffee0123456789",
                "subject": "alice",
                "client": "192.0.2.17",
                "target": "host7.example.com:5901",
                "kind": "vnc",
                "attach": "share",
                "security": "RFB X509_VNC, TLSv1.3",
                "reason": "idle",
                "code": 4020,
                "started": "2026-07-01T09:30:00.250Z",
                "duration": 1799.753,
                "to_target": 20211,
                "to_client": 8831220,
                "messages_to_target": 1802,
                "messages_to_client": 9120,
                "detail": "nobody was there",
            },
        )

    def test_what_is_not_known_is_null(self) -> None:
        read = values(ended(EndReason.CLIENT_GONE, subject=None, kind=None, security=None))
        for key in ("subject", "kind", "security", "code", "detail"):
            self.assertIsNone(read[key], key)
        read = values(refused(ticket=None, subject=None, target=None, reason=Refusal.TICKET_REFUSED))
        self.assertEqual((read["ticket"], read["reason"], read["status"]), (None, "ticket-refused", 401))

    def test_every_reason_has_a_record(self) -> None:
        for reason in EndReason:
            self.assertEqual(values(ended(reason))["reason"], reason.label)
        for refusal in Refusal:
            self.assertEqual(values(refused(reason=refusal))["status"], refusal.status)

    def test_numbers_count_up(self) -> None:
        recorder = Recorder("gw1", "x")
        records = [recorder.started("1.0", WHEN), *(recorder.of(event(what)) for what in every())]
        self.assertEqual([each.number for each in records], list(range(1, 8)))
        self.assertEqual(recorder.lost(3, 11, WHEN).number, 11)
        self.assertEqual(recorder.stopped(WHEN).number, 8)

    def test_many_sessions(self) -> None:
        read = values(admin(*(f"{number:012x}" for number in range(5000))))
        self.assertEqual((read["count"], len(read["sessions"])), (5000, 100))

    def test_nothing_secret(self) -> None:
        target = Target("host", 5900, path="/k8s/vm", token="tok-s3cret")
        assert target.token is not None
        grant = Grant(target, None, None, "id", password="pass-s3cret")  # type: ignore[arg-type]
        for what in (opened(target=str(grant.target), ticket=grant.id), ended(target=str(grant.target))):
            self.assertNotIn(b"s3cret", record(what).line())


class HostileTests(SynchronousTestCase):
    """Whatever texts there are: one line, bounded, printable, and JSON that says what was said."""

    def assert_sound(self, made: Record) -> None:
        line = made.line()
        self.assertRegex(line, rb"\A[\x20-\x7e]+\Z")
        self.assertLess(len(line), 65536)
        read = json.loads(line)
        self.assertEqual(read, made.values)
        for value in read.values():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    self.assertTrue(text.isprintable(), text)
        self.assertTrue(made.summary().isprintable())

    def test_a_forged_line(self) -> None:
        forged = 'x"}\n{"event":"session-ended","subject":"mallory\x1b[2J\x7f\u2028\u202e\udcff'
        for what in (
            opened(subject=forged, target=forged),
            refused(forged, subject=forged, client=forged),
            admin(forged, detail=forged),
        ):
            made = record(what)
            self.assert_sound(made)
            self.assertEqual(made.values["event"], what.name)
        self.assertIn(r"\n{", str(values(opened(subject=forged))["subject"]))

    def test_long_texts_are_cut(self) -> None:
        made = record(refused("d" * 5000, subject="s" * 10**6, target="\n" * 10**6))
        self.assert_sound(made)
        self.assertEqual(made.values["subject"], "s" * 300 + "[999700 more]")
        self.assertEqual(made.values["detail"], "d" * 1000 + "[4000 more]")
        self.assertRegex(str(made.values["target"]), r"\A(\\n){150}\[[0-9]+ more\]\Z")

    @given(st.text(), st.text(), st.text())
    def test_any_text(self, one: str, two: str, three: str) -> None:
        self.assert_sound(record(ended(detail=one, subject=two, target=three, client=one)))
        self.assert_sound(record(admin(one, two, detail=three)))

    @given(st.text(st.characters(min_codepoint=0x1F300, max_codepoint=0x1F5FF), min_size=300, max_size=900))
    def test_fitted(self, text: str) -> None:
        made = record(refused(text, subject=text, target=text, client=text, ticket=text))
        for size in (16000, 7700, 2200):
            fitted = made.fitted(size)
            self.assertLessEqual(len(fitted.line()), size)
            self.assertEqual(list(fitted.values), list(made.values))
            self.assertEqual([fitted.values[key] for key in COMMON], [made.values[key] for key in COMMON])

    def test_what_fits_is_left_alone(self) -> None:
        for what in every():
            made = record(what)
            self.assertIs(made.fitted(1000), made)


class SummaryTests(SynchronousTestCase):
    def test_for_people(self) -> None:
        self.assertEqual(
            record(refused('why: "so" it\'s', subject=None)).summary(),
            "request-refused client=192.0.2.17 ticket=c0ffee0123456789 target=host7.example.com:5901 "
            'reason=ticket-used status=403 detail="why: \\"so\\" it\'s"',
        )
        self.assertIn("sessions=aa,bb", record(admin("aa", "bb")).summary())

    def test_priorities(self) -> None:
        recorder = Recorder("gw1", "x")
        found = {recorder.of(event(what)).event: recorder.of(event(what)).priority for what in every()}
        self.assertEqual(found.pop("request-refused"), 4)
        self.assertEqual(set(found.values()), {5})
        self.assertEqual(recorder.lost(1, 1, WHEN).priority, 3)


class DocumentTests(SynchronousTestCase):
    """docs/audit.md describes every record, and its examples are true."""

    def setUp(self) -> None:
        text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
        parts = re.split(r"^### (.+)$", text.split("\n## The file")[0], flags=re.MULTILINE)
        self.sections = dict(zip(parts[1::2], parts[2::2], strict=True))
        self.common = self.rows(self.sections.pop("Every record"))
        recorder = Recorder("gw1", "5f0c8e21ab37")
        made = [recorder.of(event(what)) for what in every()]
        made += [recorder.started("1", WHEN), recorder.stopped(WHEN), recorder.lost(1, 1, WHEN)]
        self.records = {each.event: each for each in made}

    def rows(self, section: str) -> dict[str, tuple[Any, ...]]:
        found = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", section, re.MULTILINE)
        return {key: tuple(TYPES[part] for part in types.split(" or ")) for key, types in found}

    def assert_described(self, read: dict[str, Any], section: str) -> None:
        rows = {**self.common, **self.rows(section)}
        self.assertEqual(list(read), list(rows))
        for key, value in read.items():
            types = [kind for each in rows[key] for kind in (each if isinstance(each, tuple) else (each,))]
            self.assertIn(type(value), types, key)

    def test_every_event_is_described(self) -> None:
        self.assertEqual(set(self.sections), set(self.records))
        self.assertEqual(list(self.common), COMMON)

    def test_records(self) -> None:
        for name, made in self.records.items():
            self.assert_described(json.loads(made.line()), self.sections[name])

    def test_examples(self) -> None:
        for name, section in self.sections.items():
            (example,) = re.findall(r"^```json\n(.+)\n```$", section, re.MULTILINE)
            read = json.loads(example)
            self.assertEqual((read["event"], read["schema"]), (name, VERSION))
            self.assert_described(read, section)
            self.assertRegex(read["time"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
            # As it would be written.
            self.assertEqual(Record(read).line().decode(), example)
