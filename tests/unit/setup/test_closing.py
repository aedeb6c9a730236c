"""What is said at the end of a setup."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import attrs
from twisted.trial import unittest

from gateway.setup import closing
from gateway.setup.asking.questions import Answers
from gateway.setup.closing import Result, close_up
from gateway.setup.enrolling.credentials import Credentials, Tools
from gateway.setup.enrolling.engine_options import Login, Verdict
from gateway.setup.host.firewall import Manager
from gateway.setup.host.system import System
from gateway.setup.probe import Check
from gateway.setup.session import Session
from tests.support.interview import ScriptedInterview

COMMAND = "engine-config -s WebSocketProxy=wsp.example.org:6100"
RESULT = Result(
    Answers("wsp.example.org", "engine.example.org", 6100, Manager.SKIP, "ovirt", "ovirt"),
    Credentials(b"key", b"certificate", b"engine", None, frozenset(), summary=("Keep the key.",)),
    ("/usr/bin/console-gateway",),
)


class ClosingTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.interview = ScriptedInterview()
        self.probed: list[object] = []

    def close_up(self, result: Result = RESULT, *, live: bool = True) -> str:
        system = System(self.root, live=live, owners=False)
        close_up(Session(self.interview, system, "20300101000000"), result, Tools(attempts=1))
        return "\n".join(self.interview.dialog.notes)

    def probe(self, *passed: bool) -> None:
        def probe(*arguments: object, **others: object) -> tuple[Check, ...]:
            self.probed.append(arguments)
            return tuple(Check("part", each, f"it is {each}") for each in passed)

        self.patch(closing, "probe", probe)

    def test_what_works(self) -> None:
        (self.root / "etc/pki/ovirt-engine").mkdir(parents=True)
        (self.root / "etc/pki/ovirt-engine/ca.pem").write_bytes(b"the CA")
        self.probe(True, True)
        notes = self.close_up()
        self.assertEqual(self.probed, [("wsp.example.org", 6100, b"the CA")])
        self.assertEqual(self.interview.warnings, [])
        self.assertIn("wss://wsp.example.org:6100/", str(self.interview.dialog.logged))
        self.assertEqual(
            self.interview.dialog.values,
            {"CONSOLE_GATEWAY/works": "yes", "CONSOLE_GATEWAY/engineCommand": COMMAND},
        )
        self.assertIn(f"    {COMMAND}\n    systemctl restart ovirt-engine\n", notes)
        self.assertIn("Keep the key.", notes)
        self.assertIn("\n    firewall-cmd --reload", notes)

    def test_what_does_not(self) -> None:
        self.probe(True, False)
        notes = self.close_up()
        self.assertEqual(self.interview.warnings, ["it is False"])
        self.assertEqual(self.interview.dialog.values["CONSOLE_GATEWAY/works"], "no")
        self.assertIn("as user ovirt:\n\n    /usr/bin/console-gateway ovirt-websocket-proxy start\n", notes)

    def test_a_port_that_nobody_serves(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        answers = attrs.evolve(RESULT.answers, fqdn="localhost", port=port)
        self.close_up(attrs.evolve(RESULT, answers=answers))
        self.assertEqual(len(self.interview.warnings), 1)
        self.assertIn(str(port), self.interview.warnings[0])

    def test_an_image_is_not_tried(self) -> None:
        self.patch(closing, "probe", self.fail)
        self.assertIn("nothing was started", self.close_up(live=False))

    def test_without_an_engine(self) -> None:
        self.probe(True)
        notes = self.close_up(attrs.evolve(RESULT, answers=attrs.evolve(RESULT.answers, engine="")))
        self.assertNotIn("engine-config", notes)

    def test_an_engine_that_knows_already(self) -> None:
        for verdict, told in ((Verdict.RIGHT, False), (Verdict.OFF, True), (None, True)):
            self.interview = ScriptedInterview()
            self.probe(True)
            self.patch(closing, "tell_option", lambda *_, verdict=verdict: verdict)
            notes = self.close_up(attrs.evolve(RESULT, login=Login("admin@internal", "hunter22")))
            self.assertEqual("engine-config" in notes, told)
