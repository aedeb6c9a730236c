"""``console-gateway reload``, ``drain`` and ``hand-over``."""

from __future__ import annotations

import json
from unittest import mock

from tests.unit.cli.fake_api import ApiCase, Reply

CONFLICT = {
    "error": {
        "code": "conflict",
        "message": "The settings were not reloaded; nothing was changed",
        "remedy": "correct what is wrong, and reload again",
        "problems": ["gw.toml: limits.sessions: 0 is out of bounds; use 1", "a\x1b[31mb: c", 7],
    }
}


def progress(sessions: int, left: float | None, *, draining: bool = True) -> Reply:
    return Reply.of({"draining": draining, "sessions": sessions, "left_seconds": left, "message": ""})


class ReloadTests(ApiCase):
    def test_what_changed(self) -> None:
        answer = {"changed": ["limits.sessions", "tls.key"], "needs_restart": ["log.level"]}
        self.api.replies["POST reload"] = Reply.of(answer)
        assert self.good("reload") == (
            "Reloaded. Changed: limits.sessions, tls.key.\n"
            "Not in force before a restart or a hand-over: log.level.\n"
        )
        assert json.loads(self.good("reload", "--json")) == answer
        assert self.api.requests[0].body == b"{}"

    def test_nothing_changed(self) -> None:
        self.api.replies["POST reload"] = Reply.of({"changed": [], "needs_restart": []})
        assert self.good("reload") == "Reloaded. No setting has changed; files were read again.\n"

    def test_problems(self) -> None:
        self.api.replies["POST reload"] = Reply.of(CONFLICT, 409)
        lines = self.bad("reload").splitlines()
        assert lines[0] == "gw.toml: limits.sessions: 0 is out of bounds; use 1"
        assert "\x1b" not in lines[1]
        assert lines[2] == "7"
        assert "nothing was changed" in lines[3]
        assert "correct what is wrong" in lines[3]

    def test_problems_without_end(self) -> None:
        error = {**CONFLICT["error"], "problems": ["x" * 1000] * 1000}
        self.api.replies["POST reload"] = Reply.of({"error": error}, 409)
        lines = self.bad("reload").splitlines()
        assert len(lines) == 101
        assert max(map(len, lines)) < 500


class DrainTests(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        patch = mock.patch("gateway.cli.restart._LOOK", 0)
        patch.start()
        self.addCleanup(patch.stop)

    def test_progress(self) -> None:
        self.api.replies["POST drain"] = progress(3, 300.0)
        self.api.replies["GET drain"] = [progress(2, 250.4), progress(1, 90.0), progress(0, 0.0)]
        with mock.patch("gateway.cli.restart._LINE", 0):
            output = self.good("drain", "--seconds", "300", "--message", "Back at noon")
        assert output == (
            "3 sessions left, 5 min for them.\n"
            "2 sessions left, 4 min for them.\n"
            "1 session left, 1 min for them.\n"
            "No session is left.\n"
        )
        assert json.loads(self.api.requests[0].body) == {"seconds": 300, "message": "Back at noon"}

    def test_few_lines_where_there_is_no_terminal(self) -> None:
        self.api.replies["POST drain"] = progress(3, 300.0)
        self.api.replies["GET drain"] = [*[progress(2, 250.0)] * 20, progress(0, 0.0)]
        output = self.good("drain")
        assert output == "3 sessions left, 5 min for them.\nNo session is left.\n"
        assert json.loads(self.api.requests[0].body) == {}

    def test_json(self) -> None:
        self.api.replies["POST drain"] = progress(1, 10.0)
        self.api.replies["GET drain"] = progress(0, 0.0)
        lines = [json.loads(line) for line in self.good("drain", "--json").splitlines()]
        assert [line["sessions"] for line in lines] == [1, 0]

    def test_without_waiting(self) -> None:
        self.api.replies["POST drain"] = progress(1, 10.0)
        assert self.good("drain", "--no-wait") == "1 session left, 10 s for them.\n"
        assert json.loads(self.good("drain", "--no-wait", "--json"))["left_seconds"] == 10.0

    def test_somebody_takes_it_back(self) -> None:
        self.api.replies["POST drain"] = progress(1, 10.0)
        self.api.replies["GET drain"] = progress(1, None, draining=False)
        result = self.run_cli("drain")
        assert result.exit_code == 1
        assert "taken back" in result.stderr

    def test_interrupted(self) -> None:
        self.api.replies["POST drain"] = progress(1, 10.0)
        with mock.patch("gateway.cli.restart.time.sleep", side_effect=KeyboardInterrupt):
            result = self.run_cli("drain")
        assert result.exit_code == 130
        assert "The drain goes on" in result.stderr

    def test_cancel(self) -> None:
        self.api.replies["DELETE drain"] = progress(4, None, draining=False)
        assert self.good("drain", "--cancel") == "Sessions are taken.\n"
        assert json.loads(self.good("drain", "--cancel", "--json"))["draining"] is False
        assert [request.method for request in self.api.requests] == ["DELETE", "DELETE"]

    def test_what_does_not_go_together(self) -> None:
        for arguments in (
            ["--cancel", "--seconds", "3"],
            ["--cancel", "--message", "x"],
            ["--seconds", "-1"],
            ["--seconds", "604801"],
            ["--message", "x" * 121],
            ["--message", "\u00e9" * 61],
            ["--message", "a\nb"],
        ):
            self.bad("drain", *arguments, status=2)
        assert self.api.requests == []


class HandOverTests(ApiCase):
    def test_done(self) -> None:
        self.api.replies["POST hand-over"] = Reply.of({"pid": 4711, "former": 42})
        output = self.good("hand-over", "--seconds", "60", "--message", "x")
        assert output == "Process 4711 has taken over from process 42, which ends with its sessions.\n"
        assert json.loads(self.api.requests[0].body) == {"seconds": 60, "message": "x"}
        assert json.loads(self.good("hand-over", "--json"))["pid"] == 4711

    def test_not_done(self) -> None:
        error = {"code": "conflict", "message": "Nothing was handed over: the new process could not start: x"}
        self.api.replies["POST hand-over"] = Reply.of({"error": error}, 409)
        assert "the new process could not start: x" in self.bad("hand-over")
