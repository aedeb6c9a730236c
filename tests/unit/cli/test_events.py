"""``console-gateway events`` against a stand-in."""

from __future__ import annotations

import json

from gateway.cli import events
from gateway.control.views import EVENT_TYPES
from tests.unit.cli.fake_api import STARTED, ApiCase, Reply, Request, event, session

NASTY = "\x1b[31m[red]x[/red]\x9b2J\u202e\n"


def stream(*pieces: bytes) -> Reply:
    return Reply(b": hello\n\n" + b"".join(pieces), kind="text/event-stream", length=-1)


class EventsCase(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.replies["GET status"] = Reply.of({"started": STARTED})
        self.api.replies["GET history"] = Reply.of({"events": [{"number": 41}]})
        self.slept: list[float] = []
        self.patch(events, "sleep", self.slept.append)

    def asked(self) -> list[Request]:
        """Requests for events."""
        return [request for request in self.api.requests if request.path.startswith("/api/v1/events")]

    def lines(self, *pieces: bytes) -> list[str]:
        self.api.replies["GET events"] = stream(*pieces)
        return self.good("events", "--count", str(len(pieces))).splitlines()


class Follow(EventsCase):
    def test_what_happens(self) -> None:
        lines = self.lines(
            event(1, "session-opened", session=session(kind=None, state="connecting"), handshake=0.01),
            event(2, "session-joined", session=session(), dialling=0.0123),
            event(3, "session-joined", session=session(security="TLSv1.3", kind=None), dialling=61),
            event(4, "session-warned", session=session(), reason="idle", left=60.0),
            event(5, "session-ended", session=session(), reason="operator", code=4023, detail="Noon"),
            event(
                6, "session-ended", session=session(subject=None), reason="client-gone", code=None, detail=""
            ),
            event(
                7,
                "request-refused",
                client="192.0.2.9",
                ticket=None,
                subject=None,
                target=None,
                reason="ticket-refused",
                status=401,
                detail="signature-mismatch",
            ),
            event(8, "admin-action", actor="uid:0", action="end", sessions=["a", "b"], detail="Noon"),
            event(9, "admin-action", actor="token:ops", action="stop-admitting", sessions=[], detail=""),
            event(10, "something-new", what=1),
        )
        who = "4f1f0c5be2aa  192.0.2.7 (alice@example.com) -> hypervisor1.example.com:5900"
        nobody = "4f1f0c5be2aa  192.0.2.7 -> hypervisor1.example.com:5900"
        assert lines == [
            f"2030-01-01 00:00:01  session-opened   {who}, attach share, ticket 4bed56bba902e848",
            f"2030-01-01 00:00:02  session-joined   {who}, vnc, not secured, dialled in 12 ms",
            f"2030-01-01 00:00:03  session-joined   {who}, kind unknown, TLSv1.3, dialled in 1 min",
            f"2030-01-01 00:00:04  session-warned   {who}, idle in 1 min",
            (
                f"2030-01-01 00:00:05  session-ended    {who}, operator (4023) after 3 min, "
                "2.0 KiB to target, 5.0 MiB to client: Noon"
            ),
            (
                f"2030-01-01 00:00:06  session-ended    {nobody}, client-gone after 3 min, "
                "2.0 KiB to target, 5.0 MiB to client"
            ),
            (
                "2030-01-01 00:00:07  request-refused  192.0.2.9 -> -, ticket-refused (401), ticket -: "
                "signature-mismatch"
            ),
            "2030-01-01 00:00:08  admin-action     uid:0: end a, b: Noon",
            "2030-01-01 00:00:09  admin-action     token:ops: stop-admitting",
            '2030-01-01 00:00:10  something-new    {"what": 1}',
        ]

    def test_from_now_on(self) -> None:
        self.lines(event(42, "admin-action"))
        assert [request.path for request in self.api.requests] == [
            "/api/v1/status",
            "/api/v1/history?limit=1",
            "/api/v1/events",
        ]
        assert self.api.requests[-1].headers["Last-Event-ID"] == "41"

    def test_choice(self) -> None:
        self.api.replies["GET events"] = stream(event(8, "session-ended"))
        for option in ("--after", "--since"):
            self.good(
                "events", "--type", "session-ended", "--type", "admin-action", option, "7", "--count", "1"
            )
            request = self.api.requests[-1]
            assert request.path == "/api/v1/events?type=session-ended&type=admin-action"
            assert request.headers["Last-Event-ID"] == "7"

    def test_json(self) -> None:
        self.api.replies["GET events"] = stream(
            b'event: lost\ndata: {"missed_after": 3}\n\n',
            event(8, "session-ended", session=session(subject=NASTY)),
            event(9, "admin-action"),
        )
        lines = self.good("events", "--json", "--count", "2", "--after", "3").splitlines()
        assert all(line.isprintable() for line in lines)
        found = [json.loads(line) for line in lines]
        assert found[0] == {"missed_after": 3}
        assert [each.get("number") for each in found] == [None, 8, 9]
        assert found[1]["session"]["subject"] == NASTY

    def test_lost(self) -> None:
        lost = b'event: lost\ndata: {"missed_after": 3}\n\n'
        self.api.replies["GET events"] = stream(lost, event(8, "admin-action"))
        out = self.good("events", "--count", "1")
        assert out.splitlines()[0] == "Events after number 3 are lost."

    def test_nothing_commands_the_terminal(self) -> None:
        strings = dict.fromkeys(
            ("client", "subject", "target", "reason", "detail", "actor", "action", "ticket", NASTY), NASTY
        )
        odd = session(id=NASTY, security=NASTY, kind=NASTY, **strings)
        for name in (
            "session-opened",
            "session-joined",
            "session-ended",
            "request-refused",
            "admin-action",
            "x\x1b",
        ):
            fields = strings | {"session": odd, "sessions": [NASTY]}
            self.api.replies["GET events"] = stream(event(1, name, **fields))
            out = self.good("events", "--count", "1")
            assert out.count("\n") == 1
            assert out.replace("\n", "").isprintable()
            assert "[red]" in out

    def test_odd_values(self) -> None:
        for name in (*events.TYPES, "lost", "message"):
            for value in (None, 1, "x", [1], {"a": 1}, True, 1e400, -1):
                fields = dict.fromkeys(
                    ("session", "reason", "left", "dialling", "code", "sessions", "time"), value
                )
                self.api.replies["GET events"] = stream(event(1, name, **fields), event(2, "admin-action"))
                self.good("events", "--count", "1")

    def test_interrupted(self) -> None:
        def interrupt(_: float) -> None:
            raise KeyboardInterrupt

        self.patch(events, "sleep", interrupt)
        self.api.replies["GET events"] = stream(event(1, "admin-action"))
        result = self.run_cli("events")
        assert result.exit_code == 0
        assert "Aborted" not in result.output

    def test_types(self) -> None:
        assert set(events.TYPES) == set(EVENT_TYPES)

    def test_usage(self) -> None:
        for arguments in (["--type", "x"], ["--after", "-1"], ["--count", "0"], ["more"]):
            self.bad("events", *arguments, status=2)


class Reconnect(EventsCase):
    def test_goes_on_after_the_last_one(self) -> None:
        self.api.replies["GET events"] = [
            stream(event(42, "admin-action"), event(43, "admin-action")),
            Reply(b"data", kind="text/event-stream", length=5000),
            stream(event(44, "admin-action")),
        ]
        result = self.run_cli("events", "--json", "--count", "3")
        assert result.exit_code == 0
        assert [json.loads(line)["number"] for line in result.stdout.splitlines()] == [42, 43, 44]
        assert [request.headers["Last-Event-ID"] for request in self.asked()] == ["41", "43", "43"]
        assert "Trying again." in result.stderr
        assert self.slept == [1.0, 1.0]

    def test_waits_longer_each_time(self) -> None:
        broken = Reply(b"{", length=9)
        good = Reply.of({"started": STARTED})
        self.api.replies["GET status"] = [good, *[broken] * 6, good]
        self.api.replies["GET events"] = [stream(), stream(event(42, "admin-action"))]
        self.good("events", "--count", "1")
        assert self.slept == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]

    def test_another_process(self) -> None:
        self.api.replies["GET status"] = [Reply.of({"started": STARTED}), Reply.of({"started": STARTED + 99})]
        self.api.replies["GET events"] = [stream(event(42, "admin-action")), stream(event(1, "admin-action"))]
        result = self.run_cli("events", "--count", "2")
        assert [request.headers["Last-Event-ID"] for request in self.asked()] == ["41", "0"]
        assert "The gateway was restarted." in result.stderr

    def test_no_gateway(self) -> None:
        text = self.bad("events", CONSOLE_GATEWAY_CONTROL="/nowhere")
        assert "Is the gateway running?" in text
        assert self.slept == []

    def test_refused_later(self) -> None:
        self.api.replies["GET events"] = [
            stream(event(42, "admin-action")),
            Reply.of({"error": {"code": "x", "message": "Who are you?"}}, 401),
        ]
        result = self.run_cli("events")
        assert result.exit_code == 1
        assert "Who are you?" in result.stderr
