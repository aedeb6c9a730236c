"""The engine's option WebSocketProxy: reading it, judging it, and never failing because of it."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from gateway.setup.enrolling.engine_options import (
    Login,
    Verdict,
    ask_login,
    judge_option,
    parse_option,
    tell_option,
)
from gateway.setup.enrolling.enrolment import Wanted
from gateway.setup.errors import SetupError
from tests.support.interview import ScriptedInterview
from tests.support.pki import Authority
from tests.unit.setup.enrolling import ENGINE, FQDN, Site, World, authority, dump, trusted_by_host

PATH = "/ovirt-engine/api/options/WebSocketProxy"
WANTED = Wanted(FQDN, ENGINE, 6100)
LOGIN = Login("admin@internal", "sesam-\xf6ffne:dich")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["values", "system_option", "system_option_value", "value", "version"]), inner
        )
    ),
    max_leaves=12,
)


def answer(*values: tuple[str, str]) -> bytes:
    entries = [{"value": value, "version": version} for value, version in values]
    return json.dumps({"name": "WebSocketProxy", "values": {"system_option_value": entries}}).encode()


class ParseTests(unittest.SynchronousTestCase):
    def test_shapes(self) -> None:
        one = {"value": "gw:6100", "version": "general"}
        for shape in (
            {"values": {"system_option_value": [one]}},
            {"values": {"system_option_value": one}},
            {"system_option": {"values": {"system_option_value": [one]}}},
            {"values": {"system_option_value": [{"value": "old", "version": "4.2"}, one]}},
        ):
            self.assertEqual(parse_option(json.dumps(shape).encode()), "gw:6100")

    def test_what_is_none(self) -> None:
        for body in (
            b"",
            b"\xff",
            b"[]",
            b"null",
            b"[" * 60000,
            b'{"values": null}',
            b'{"values": {"system_option_value": [{"value": 5}]}}',
            b'{"values": {"system_option_value": []}}',
            json.dumps({"values": {"system_option_value": [{"value": "x" * 2000}]}}).encode(),
        ):
            with self.assertRaises(SetupError):
                parse_option(body)

    @given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=100))
    def test_whatever_comes(self, body: bytes) -> None:
        try:
            self.assertIsInstance(parse_option(body), str)
        except SetupError as error:
            self.assertNotIn("\n", str(error))

    def test_verdicts(self) -> None:
        for value, verdict in (
            (f"{FQDN}:6100", Verdict.RIGHT),
            (f"{FQDN.upper()}.:6100", Verdict.RIGHT),
            ("Off", Verdict.OFF),
            ("", Verdict.OFF),
            (f"{FQDN}:6101", Verdict.OTHER),
            (f"{FQDN}", Verdict.OTHER),
            (f"{ENGINE}:6100", Verdict.OTHER),
            ("[::1]:6100", Verdict.OTHER),
        ):
            self.assertIs(judge_option(value, WANTED).verdict, verdict)


class TellTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.enterContext(tempfile.TemporaryDirectory())))
        self.enterContext(trusted_by_host())
        self.ca = dump(authority().certificate)

    def tell(self, *answers: tuple[int, bytes], ca: Authority | None = None) -> tuple[Any, ScriptedInterview]:
        interview = ScriptedInterview()
        with Site({PATH: list(answers)}, ca=ca or authority()) as site:
            tools = self.world.tools(https=site.port)
            verdict = tell_option(interview, WANTED, LOGIN, self.ca, tools)
        self.site = site
        self.assertNotIn("sesam", repr(interview.dialog.logged) + repr(LOGIN))
        return verdict, interview

    def test_as_it_should_be(self) -> None:
        verdict, interview = self.tell((200, answer((f"{FQDN}:6100", "general"))))
        self.assertIs(verdict, Verdict.RIGHT)
        self.assertEqual(interview.warnings, [])
        sent = self.site.asked[0][1]["authorization"].removeprefix("Basic ")
        self.assertEqual(base64.b64decode(sent).decode(), "admin@internal:sesam-\xf6ffne:dich")

    def test_otherwise_the_command_is_told(self) -> None:
        command = f"engine-config -s WebSocketProxy={FQDN}:6100"
        for value, verdict in (("Off", Verdict.OFF), ("old.example.org:6100", Verdict.OTHER)):
            found, interview = self.tell((200, answer((value, "general"))))
            self.assertIs(found, verdict)
            self.assertIn(value, interview.warnings[0])
            self.assertIn(command, interview.warnings[0])

    def test_no_terminal_obeys_it(self) -> None:
        _, interview = self.tell((200, answer(("\x1b[2Jx:1", "general"))))
        self.assertNotIn("\x1b", interview.warnings[0])

    def test_a_failure_is_a_warning(self) -> None:
        for reply, text in (
            ((401, b""), "does not let admin@internal in"),
            ((500, b""), "HTTP status 500"),
            ((302, b""), "HTTP status 302"),
            ((200, b"<html>"), "no JSON"),
            ((200, b"x" * 70000), "more than 65536 bytes"),
        ):
            verdict, interview = self.tell(reply)
            self.assertIsNone(verdict)
            self.assertIn(text, interview.warnings[0])

    def test_the_password_goes_to_nobody_else(self) -> None:
        verdict, interview = self.tell((200, b""), ca=Authority("Another CA"))
        self.assertIsNone(verdict)
        self.assertIn("the password was not sent", interview.warnings[0])
        self.assertEqual(self.site.asked, [])


class LoginTests(unittest.SynchronousTestCase):
    def test_nobody_has_to(self) -> None:
        interview = ScriptedInterview({}, accept_defaults=True)
        self.assertIsNone(ask_login(interview, WANTED))

    def test_who(self) -> None:
        interview = ScriptedInterview(
            {
                "OVESETUP_ENGINE_API_USER": ["a:b", " admin@internal "],
                "OVESETUP_ENGINE_API_PASSWORD": ["a\x00b", "sesam oeffne dich"],
            }
        )
        self.assertEqual(ask_login(interview, WANTED), Login("admin@internal", "sesam oeffne dich"))
        self.assertEqual(len(interview.errors), 2)
        self.assertTrue(interview.dialog.asked[-1].hidden)
        self.assertNotIn("sesam", repr(interview.answers))
