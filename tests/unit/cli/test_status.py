"""``console-gateway status`` and ``admission``, and where commands find the gateway."""

from __future__ import annotations

import json
import time

from gateway.cli import _COMMANDS
from tests.unit.cli.fake_api import STARTED, ApiCase, FakeApi, Reply

STATUS: dict[str, object] = {
    "version": "0.1.0",
    "started": STARTED,
    "uptime": 266400,
    "admitting": True,
    "sessions": {
        "total": 12,
        "limit": 500,
        "by_kind": {"vnc": 2, "spice": 9, "serial": 0, "unknown": 1},
        "by_state": {"connecting": 1, "active": 11, "ending": 0},
    },
    "handshakes": {"open": 3, "limit": 100},
    "ledger": {"size": 40, "limit": 100000},
    "listeners": ["0.0.0.0:6100 (TLS)", "unix:/run/x (plain)"],
    "certificate_expires": 4102444800,
    "targets": [{"target": "h:5900", "expires": 1000}, {"target": "i:5900", "expires": 4102444800}],
    "ended": {"idle": 2, "client-closed": 30, "operator": 0},
    "refused": {},
    "event_loop_lag": 0.0012,
    "masker": True,
    "role": "operate",
    "actor": "uid:0",
}
HEALTHY = {"healthy": True, "ready": True, "checks": [{"name": "loop", "ok": True, "detail": "fine"}]}
ILL = {"healthy": False, "ready": False, "checks": [{"name": "loop", "ok": False, "detail": "late; reduce"}]}


class Status(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.replies["GET status"] = Reply.of(STATUS)
        self.api.replies["GET health"] = Reply.of(HEALTHY)

    def test_one_screen(self) -> None:
        lines = [line.rstrip() for line in self.good("status").splitlines()]
        assert lines == [
            "Health        good",
            "Version       0.1.0",
            "Running       3 d 02 h, since 2030-01-01 00:00:00",
            "Admission     open",
            "Sessions      12 of 500 (2 %)",
            "              spice 9, vnc 2, unknown 1",
            "              active 11, connecting 1",
            "Handshakes    3 of 100 (3 %)",
            "Used tickets  40 of 100000 (0 %)",
            "Listens on    0.0.0.0:6100 (TLS)",
            "              unix:/run/x (plain)",
            lines[11],
            "Of targets    h:5900 until 1970-01-01 00:16:40, expired",
            lines[13],
            "Ended         client-closed 30, idle 2",
            "Refused       none",
            "Event loop    1.2 ms late",
            "You           uid:0, role operate",
        ]
        left = int((4102444800 - time.time()) // 86400)
        assert lines[11].startswith(f"Certificate   until 2100-01-01 00:00:00, {left} d ")
        assert lines[13].startswith(f"              i:5900 until 2100-01-01 00:00:00, {left} d ")

    def test_not_well(self) -> None:
        self.api.replies["GET health"] = Reply.of(ILL)
        self.api.replies["GET status"] = Reply.of(
            STATUS | {"admitting": False, "masker": False, "ledger": {"size": None, "limit": 5}}
        )
        result = self.run_cli("status")
        assert result.exit_code == 1
        for words in ("not good", "loop: late; reduce", "stopped by an operator", "not native", "Ready"):
            assert words in result.stdout

    def test_json(self) -> None:
        assert self.good("status", "--json") == json.dumps(STATUS) + "\n"
        self.api.replies["GET health"] = Reply.of(ILL)
        result = self.run_cli("status", "--json")
        assert (result.exit_code, result.stdout) == (1, json.dumps(STATUS) + "\n")

    def test_odd_values(self) -> None:
        for value in (None, 1, "x\x1b[2J", [1], {"a": 1}, {"a\x1b": "b"}, True, float("inf"), -1):
            odd = dict.fromkeys(STATUS, value) | {"targets": [dict.fromkeys(("target", "expires"), value)]}
            self.api.replies["GET status"] = Reply.of(odd)
            assert "\x1b" not in self.good("status")
        self.api.replies["GET status"] = Reply.of({})
        assert "no list of targets" in self.bad("status")

    def test_narrow(self) -> None:
        for columns in (20, 40):
            out = self.good("status", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm", COLUMNS=str(columns))
            assert "Used tickets" in out


class Admission(ApiCase):
    def test_ask(self) -> None:
        for admitting, words in (
            (True, "New sessions are admitted.\n"),
            (False, "New sessions are turned away.\n"),
        ):
            self.api.replies["GET admission"] = Reply.of({"admitting": admitting})
            assert self.good("admission") == words
            assert json.loads(self.good("admission", "--json")) == {"admitting": admitting}

    def test_stop_and_resume(self) -> None:
        self.api.replies["POST admission"] = lambda request: Reply.of(
            {"admitting": json.loads(request.body)["admitting"]}
        )
        assert self.good("admission", "stop", "--reason", "Noon") == "New sessions are turned away.\n"
        assert json.loads(self.api.requests[-1].body) == {"admitting": False, "reason": "Noon"}
        assert self.good("admission", "resume", "--json") == '{"admitting": true}\n'
        assert json.loads(self.api.requests[-1].body) == {"admitting": True}


class Where(ApiCase):
    """Where commands find the gateway."""

    def setUp(self) -> None:
        super().setUp()
        self.api.replies["GET admission"] = Reply.of({"admitting": True})
        self.web = FakeApi()
        self.addCleanup(self.web.close)
        self.web.replies["GET admission"] = Reply.of({"admitting": False})
        self.url = f"http://127.0.0.1:{self.web.port}"
        self.token = self.folder / "token"
        self.token.write_text("cgt_secret\n")
        self.token.chmod(0o600)

    def test_options_and_environment(self) -> None:
        here, there = "New sessions are admitted.\n", "New sessions are turned away.\n"
        path = str(self.socket)
        assert self.good("admission") == here
        assert self.good("admission", CONSOLE_GATEWAY_CONTROL=self.url) == there
        assert self.good("admission", "--url", self.url) == there
        assert self.good("admission", "--socket", path, CONSOLE_GATEWAY_CONTROL=self.url) == here

    def test_options_of_the_group(self) -> None:
        self.api.replies["POST admission"] = Reply.of({"admitting": True})
        self.web.replies["POST admission"] = Reply.of({"admitting": False})
        nowhere = "/nowhere"
        assert "turned" in self.good("admission", "--url", self.url, "stop", CONSOLE_GATEWAY_CONTROL=nowhere)
        assert "turned" in self.good("admission", "--socket", nowhere, "stop", "--url", self.url)
        out = self.good("admission", "--url", self.url, "--token-file", str(self.token), "--json", "stop")
        assert json.loads(out) == {"admitting": False}
        assert self.web.requests[-1].headers["Authorization"] == "Bearer cgt_secret"

    def test_token(self) -> None:
        self.good("admission", "--url", self.url, "--token-file", str(self.token))
        assert self.web.requests[-1].headers["Authorization"] == "Bearer cgt_secret"
        self.good("admission", "--url", self.url, CONSOLE_GATEWAY_TOKEN_FILE=str(self.token))
        assert self.web.requests[-1].headers["Authorization"] == "Bearer cgt_secret"
        # What the environment says for the web is of no use for a socket, and no mistake.
        self.good("admission", CONSOLE_GATEWAY_TOKEN_FILE=str(self.token), CONSOLE_GATEWAY_CA="/nowhere")
        assert "Authorization" not in self.api.requests[-1].headers
        assert "nowhere: No such file" in self.bad("admission", "--url", self.url, "--token-file", "/nowhere")

    def test_usage(self) -> None:
        for arguments, words in (
            (["--socket", "x", "--url", self.url], "exclude each other"),
            (["--url", "gw.example.com"], "'--url': it must begin with https://"),
            (["--url", "http://gw.example.com"], "without TLS"),
            (["--token-file", "x"], "--token-file goes with --url"),
            (["--ca", "x"], "--ca goes with --url"),
            (["--url", self.url, "--ca", "x"], "--ca goes with https://"),
            (["--url", "https://gw.example.com", "--key", "x"], "--key goes with --cert"),
        ):
            assert words in " ".join(self.bad("admission", *arguments, status=2).split())
        text = self.bad("admission", status=2, CONSOLE_GATEWAY_CONTROL="ftp://x")
        assert "CONSOLE_GATEWAY_CONTROL" in text

    def test_help_teaches(self) -> None:
        for words in (["sessions"], ["sessions", "end"], ["events"], ["status"], ["admission"]):
            out = self.good(*words, "--help")
            assert "Example" in out
            assert f"console-gateway {' '.join(words)}" in out
            assert "--token TEXT" not in out


class Commands(ApiCase):
    def test_all_are_there(self) -> None:
        out = self.good("--help")
        for name in _COMMANDS:
            assert f"\n  {name} " in out
            assert "Usage: " in self.good(name, "--help")

    def test_unknown(self) -> None:
        assert "No such command 'session'" in self.bad("session", status=2)
