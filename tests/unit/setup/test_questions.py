"""Questions about names, port and firewall."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial import unittest

from gateway.setup.asking import questions
from gateway.setup.asking.environment import Entry, Value
from gateway.setup.asking.names import Names
from gateway.setup.asking.questions import Answers, ask_all, ask_whether, confirm_settings
from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.host.firewall import Manager
from gateway.setup.host.system import System
from tests.support.interview import ScriptedInterview

NAMES = Names(
    resolve=lambda name: ["192.0.2.1"] if name.endswith(".example.org") else [],
    reverse=lambda address: [],
    lookup=lambda name: True,
    own_name=lambda: "own.example.org",
    is_own=lambda address: True,
)
GIVEN: dict[str, Value] = {
    "OVESETUP_CONFIG/fqdn": "wsp.example.org",
    "OVESETUP_ENGINE_CONFIG/fqdn": "engine.example.org",
}
MANAGER = "OVESETUP_CONFIG/firewallManager"


class QuestionsTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.found: tuple[Manager, ...] = ()
        self.patch(questions, "detect", lambda system: self.found)

    def ask(
        self,
        answers: Mapping[str, Sequence[str]] | None = None,
        values: Mapping[str, Value] | None = None,
        *,
        live: bool = True,
        offline: bool = False,
        remembered: Mapping[str, Value] | None = None,
    ) -> Answers:
        self.interview = ScriptedInterview(answers, {**GIVEN, **(values or {})})
        for key, value in (remembered or {}).items():
            self.interview.environment.put(key, Entry(value, "post.conf, line 1", remembered=True))
        system = System(self.root, live=live, owners=False)
        return ask_all(self.interview, system, NAMES, offline=offline)

    def test_the_engine_is_another_host(self) -> None:
        with self.assertRaisesRegex(SetupError, "wsp.example.org is the name of this host already"):
            self.ask(values={"OVESETUP_ENGINE_CONFIG/fqdn": "WSP.example.org."})

    def test_names(self) -> None:
        answers = self.ask(
            {
                "OVESETUP_NETWORK_FQDN_this": ["a b", "WSP.example.org"],
                "OVESETUP_NETWORK_FQDN_the_engine": ["", "engine.example.com", "engine.example.org"],
            },
            dict.fromkeys(GIVEN),
        )
        self.assertEqual(
            answers, Answers("wsp.example.org", "engine.example.org", 6100, None, "ovirt", "ovirt")
        )
        self.assertEqual(
            self.interview.asked,
            ["OVESETUP_NETWORK_FQDN_this"] * 2 + ["OVESETUP_NETWORK_FQDN_the_engine"] * 3,
        )
        self.assertEqual(self.interview.environment.get("OVESETUP_CONFIG/fqdn"), "wsp.example.org")

    def test_the_name_of_the_host_itself(self) -> None:
        answers = self.ask({"OVESETUP_NETWORK_FQDN_this": [""]}, {"OVESETUP_CONFIG/fqdn": None})
        self.assertEqual(answers.fqdn, "own.example.org")
        # What sets up an image has another name.
        error = self.assertRaises(SetupError, self.ask, {}, {"OVESETUP_CONFIG/fqdn": None}, live=False)
        self.assertIn("OVESETUP_NETWORK_FQDN_this", str(error))

    def test_names_that_cannot_be_resolved(self) -> None:
        unknown = {"OVESETUP_CONFIG/fqdn": "wsp.example.net"}
        self.assertRaises(SetupError, self.ask, {}, unknown)
        self.assertEqual(self.ask({}, unknown, offline=True).fqdn, "wsp.example.net")
        self.assertEqual(self.interview.warnings, [])
        self.assertEqual(self.ask({}, unknown, live=False).fqdn, "wsp.example.net")
        self.assertEqual(len(self.interview.warnings), 1)

    def test_without_an_engine(self) -> None:
        answers = self.ask({}, {"OVESETUP_ENGINE_CONFIG/fqdn": "None"})
        self.assertEqual(answers.engine, "")
        self.assertEqual(self.interview.environment.get("OVESETUP_CONFIG/remoteEngineSetupStyle"), "own_ca")

    def test_the_engine_of_an_old_answer_file(self) -> None:
        old = {"OVESETUP_ENGINE_CONFIG/fqdn": None, "QUESTION/1/REMOTE_ENGINE_HOST": "old.example.org"}
        self.interview = ScriptedInterview(values={key: value for key, value in old.items() if value})
        self.interview.environment.set("OVESETUP_CONFIG/fqdn", "wsp.example.org")
        system = System(self.root, live=True, owners=False)
        self.assertEqual(ask_all(self.interview, system, NAMES, offline=False).engine, "old.example.org")
        answers = self.ask({}, {**old, "QUESTION/1/OVESETUP_NETWORK_FQDN_the_engine": "new.example.org"})
        self.assertEqual(answers.engine, "new.example.org")

    def test_no_engine_is_the_default_where_none_is_needed(self) -> None:
        for key, value in (
            ("OVESETUP_CONFIG/remoteEngineSetupStyle", "own_ca"),
            ("QUESTION/1/REMOTE_ENGINE_SETUP_STYLE", "4"),
        ):
            answers = self.ask(
                {"OVESETUP_NETWORK_FQDN_the_engine": [""]}, {"OVESETUP_ENGINE_CONFIG/fqdn": None, key: value}
            )
            self.assertEqual(answers.engine, "")

    def test_ports(self) -> None:
        for value, port in ((443, 443), ("7443", 7443), (None, 6100)):
            answers = self.ask({}, {"OVESETUP_CONFIG/websocketProxyPort": value})
            self.assertEqual(answers.port, port)
            self.assertEqual(self.interview.environment.get("OVESETUP_CONFIG/websocketProxyPort"), port)
        for wrong in (0, 65536, True, "", "http", "\u0661", "99999999999"):
            self.assertRaises(SetupError, self.ask, {}, {"OVESETUP_CONFIG/websocketProxyPort": wrong})

    def test_without_a_firewall_nobody_is_asked(self) -> None:
        self.assertIsNone(self.ask().firewall)
        self.assertEqual(self.interview.asked, [])

    def test_the_firewall_may_be_left_alone(self) -> None:
        self.found = (Manager.FIREWALLD,)
        self.assertIs(self.ask({"OVESETUP_UPDATE_FIREWALL": ["no"]}).firewall, Manager.SKIP)
        self.assertIs(self.ask({}, {"OVESETUP_CONFIG/updateFirewall": False}).firewall, Manager.SKIP)

    def test_the_only_firewall_is_taken(self) -> None:
        for live, found in (
            (False, (Manager.FIREWALLD,)),
            (False, (Manager.NFTABLES,)),
            (True, (Manager.FIREWALLD, Manager.NFTABLES)),
        ):
            self.found = found
            self.assertIs(self.ask({"OVESETUP_UPDATE_FIREWALL": [""]}, live=live).firewall, found[0])
            self.assertEqual(self.interview.asked, ["OVESETUP_UPDATE_FIREWALL"])

    def test_one_of_several(self) -> None:
        self.found = (Manager.NFTABLES, Manager.IPTABLES)
        script = {
            "OVESETUP_UPDATE_FIREWALL": ["yes"],
            "OVESETUP_CONFIG_FIREWALL_MANAGER": ["ufw", "IPtables"],
        }
        self.assertIs(self.ask(script).firewall, Manager.IPTABLES)
        self.assertEqual(self.interview.dialog.asked[-1].choices, ("nftables", "iptables", "skip"))
        self.assertIs(self.ask({"OVESETUP_UPDATE_FIREWALL": [""]}, {MANAGER: "skip"}).firewall, Manager.SKIP)
        wrong = {MANAGER: "firewalld"}
        error = self.assertRaises(SetupError, self.ask, {"OVESETUP_UPDATE_FIREWALL": [""]}, wrong)
        self.assertIn("nftables, iptables, skip", str(error))

    def test_what_is_remembered_of_a_firewall_that_is_gone(self) -> None:
        self.found = (Manager.NFTABLES,)
        answers = self.ask({"OVESETUP_UPDATE_FIREWALL": [""]}, remembered={MANAGER: "firewalld"})
        self.assertIs(answers.firewall, Manager.NFTABLES)

    def test_a_missing_account_is_told_before_anything_is_asked(self) -> None:
        interview = ScriptedInterview(values=GIVEN)
        system = System(self.root, live=False)
        error = self.assertRaises(SetupError, ask_all, interview, system, NAMES, offline=True)
        self.assertIn("useradd", str(error))
        self.assertEqual(interview.asked, [])

    def test_whether(self) -> None:
        self.assertTrue(ask_whether(ScriptedInterview({"OVESETUP_CONFIG_WEBSOCKET_PROXY": [""]})))
        self.assertFalse(ask_whether(ScriptedInterview({"OVESETUP_CONFIG_WEBSOCKET_PROXY": ["n"]})))

    def test_confirmation(self) -> None:
        name = "OVESETUP_DIALOG_CONFIRM_SETTINGS"
        confirm_settings(ScriptedInterview({name: ["maybe", "ok"]}))
        confirm_settings(ScriptedInterview({name: [""]}))
        confirm_settings(ScriptedInterview(values={"OVESETUP_DIALOG/confirmSettings": True}))
        for interview in (
            ScriptedInterview({name: ["CANCEL"]}),
            ScriptedInterview(values={"OVESETUP_DIALOG/confirmSettings": False}),
        ):
            self.assertRaises(Cancelled, confirm_settings, interview)
