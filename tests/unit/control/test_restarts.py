"""Reload, drain and hand-over through the control API."""

from __future__ import annotations

import json
import os
from typing import Any

from gateway.control.routes import PREFIX
from gateway.reasons import Refusal
from gateway.reload import ReloadReport
from gateway.sessions.events import AdminAction
from tests.unit.control.gateways import ControlTestCase

IDLE = {"draining": False, "sessions": 0, "left_seconds": None, "message": ""}


class RestartTests(ControlTestCase):
    def call(self, path: str, body: Any, method: str = "POST") -> Any:
        return self.json(PREFIX + path, method=method, body=body)

    def actions(self) -> list[tuple[str, str]]:
        return [(e.what.action, e.what.detail) for e in self.events.recent if isinstance(e.what, AdminAction)]

    def test_reload(self) -> None:
        self.steered.report = ReloadReport(("limits.sessions",), ("log.level",))
        answer = self.call("/reload", {})
        self.assertEqual(answer, {"changed": ["limits.sessions"], "needs_restart": ["log.level"]})
        self.assertEqual(self.actions(), [("reload", "")])

    def test_reload_is_refused(self) -> None:
        problems = ("settings.toml: limits.sessions: 0 is out of bounds; use 1", "b: c: d; e")
        self.steered.report = ReloadReport(problems=problems)
        answer = self.ask(f"{PREFIX}/reload", method="POST", body={})
        self.assertEqual(self.fault(answer), (409, "conflict"))
        self.assertEqual(json.loads(answer.body)["error"]["problems"], list(problems))
        self.assertEqual(self.actions(), [("reload", "refused")])

    def test_drain_and_back(self) -> None:
        self.assertEqual(self.json(f"{PREFIX}/drain"), IDLE)
        self.assertEqual(self.json(f"{PREFIX}/status")["drain"], IDLE)
        drained = {"draining": True, "sessions": 0, "left_seconds": 0.0, "message": "Back at noon"}
        self.assertEqual(self.call("/drain", {"seconds": 60, "message": "Back at noon"}), drained)
        self.assertEqual(self.json(f"{PREFIX}/drain"), drained)
        self.assertEqual(self.json(f"{PREFIX}/status")["drain"], drained)
        health = self.json(f"{PREFIX}/health")
        self.assertFalse(health["ready"])
        self.assertIn("drains", health["checks"][0]["detail"])
        for _ in range(2):
            self.assertEqual(self.json(f"{PREFIX}/drain", method="DELETE"), IDLE)
        self.assertEqual(self.actions(), [("drain", "Back at noon"), ("drain-cancelled", "")])
        self.assertTrue(self.json(f"{PREFIX}/health")["ready"])

    def test_nothing_is_taken_back_after_a_hand_over(self) -> None:
        self.steered.drain.begin(60, admit=True)
        answer = self.ask(f"{PREFIX}/drain", method="DELETE")
        self.assertEqual(self.fault(answer), (409, "conflict"))
        self.assertTrue(self.json(f"{PREFIX}/drain")["draining"])
        self.steered.drain.stop()

    def test_hand_over(self) -> None:
        answer = self.call("/hand-over", {"seconds": 7, "message": "x"})
        self.assertEqual(answer, {"pid": 4711, "former": os.getpid()})
        self.assertEqual(self.call("/hand-over", {})["pid"], 4711)
        self.assertEqual(self.steered.handed_over, [(7, "x"), (None, "")])
        self.steered.problem = "the new process could not start: tls.key: is missing"
        answer = self.ask(f"{PREFIX}/hand-over", method="POST", body={})
        self.assertEqual(self.fault(answer), (409, "conflict"))
        self.assertIn("tls.key: is missing", json.loads(answer.body)["error"]["message"])

    def test_who_may(self) -> None:
        for method, path in (
            ("POST", "/reload"),
            ("POST", "/drain"),
            ("DELETE", "/drain"),
            ("POST", "/hand-over"),
        ):
            answer = self.ask(PREFIX + path, method=method, body={}, token=self.reading)
            self.assertEqual(self.fault(answer), (403, "role"), path)
        self.assertEqual(self.json(f"{PREFIX}/drain", token=self.reading), IDLE)
        self.assertEqual(self.actions(), [])

    def test_what_is_sent_is_checked(self) -> None:
        for body in (
            {"seconds": -1},
            {"seconds": 604801},
            {"seconds": "5"},
            {"message": "x" * 121},
            {"cap": 1},
        ):
            for path in ("/drain", "/hand-over"):
                answer = self.ask(PREFIX + path, method="POST", body=body)
                self.assertEqual(self.fault(answer), (422, "invalid"), body)
        self.assertFalse(self.steered.drain.draining)
        self.assertEqual(self.steered.handed_over, [])

    def test_the_refusal_has_a_name(self) -> None:
        self.assertEqual((Refusal.DRAINING.label, Refusal.DRAINING.status), ("draining", 503))


class ReadinessTests(ControlTestCase):
    def test_it_is_red_at_once(self) -> None:
        health = self.controlled().health
        self.steered.drain.begin(60)
        self.successResultOf(_waited(self, health))
        self.steered.drain.stop()


async def _assert_draining(case: ControlTestCase, health: Any) -> None:
    case.assertEqual(await health.why_not_ready(), "draining")


def _waited(case: ControlTestCase, health: Any) -> Any:
    from twisted.internet import defer

    return defer.Deferred.fromCoroutine(_assert_draining(case, health))
