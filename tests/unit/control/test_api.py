from __future__ import annotations

import json
from typing import Any

from jsonschema_rs import validator_for

from gateway.control.openapi import openapi_document
from gateway.control.routes import PREFIX, ROUTES
from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import (
    AdminAction,
    RequestRefused,
    SessionEnded,
    SessionJoined,
    SessionOpened,
    SessionWarned,
)
from gateway.sessions.info import SessionState
from gateway.tickets import Kind
from tests.unit.control.gateways import NOW, ControlTestCase, session

DOCUMENT = openapi_document()


class AnswerTests(ControlTestCase):
    """Every answer is what the document says."""

    def answered(self, path: str, **more: Any) -> Any:
        content = self.json(PREFIX + path, **more)
        bare = path.partition("?")[0]
        found = next(
            (route for route in ROUTES if route.path == bare),
            next(route for route in ROUTES if route.path == "/sessions/{id}"),
        )
        schema = {**found.answer, "components": DOCUMENT["components"]}
        validator_for(schema).validate(content)
        return content

    def test_document(self) -> None:
        document = self.answered("/openapi.json")
        self.assertEqual(document, json.loads(json.dumps(DOCUMENT)))
        self.assertEqual(document["openapi"], "3.1.0")
        described = {
            (method.upper(), path.removeprefix(PREFIX))
            for path, item in document["paths"].items()
            for method in item
        }
        self.assertEqual(described, {(route.method, route.path) for route in ROUTES})

    def test_status(self) -> None:
        self.sessions.live = [session(1), session(2, kind=None, state=SessionState.CONNECTING)]
        self.targets += [(f"host{number}:1", NOW + 1000 - number) for number in range(300)]
        self.events.publish(SessionEnded(session(3), EndReason.IDLE, ""))
        self.events.publish(RequestRefused("192.0.2.1", None, None, None, Refusal.TICKET_USED, ""))
        self.reactor.advance(5)
        status = self.answered("/status", token=self.reading)
        self.assertEqual(status["sessions"]["total"], 2)
        self.assertEqual(status["sessions"]["by_kind"], {"vnc": 1, "spice": 0, "serial": 0, "unknown": 1})
        self.assertEqual(status["sessions"]["by_state"], {"connecting": 1, "active": 1, "ending": 0})
        self.assertEqual((status["ended"], status["refused"]), ({"idle": 1}, {"ticket-used": 1}))
        self.assertEqual((status["started"], status["uptime"]), (NOW, 5))
        self.assertEqual(status["handshakes"], {"open": 3, "limit": 1000})
        self.assertEqual(status["ledger"], {"size": 0, "limit": 100})
        self.assertEqual((status["role"], status["actor"]), ("read", "token:eve"))
        self.assertEqual(len(status["targets"]), 100)
        self.assertEqual(status["targets"][0], {"target": "host299:1", "expires": NOW + 701})

    def test_health(self) -> None:
        health = self.answered("/health")
        self.assertTrue(health["ready"])
        self.sessions.registry.stop_admitting()
        health = self.answered("/health")
        self.assertEqual((health["healthy"], health["ready"]), (False, False))

    def test_settings(self) -> None:
        settings = self.answered("/settings")
        self.assertEqual(settings["control"]["hosts"], ["Control.example.com"])
        self.assertEqual(settings["tickets"]["certificate"], "/engine.pem")
        self.assertEqual(settings["control"]["unix_role"], "operate")

    def test_sessions(self) -> None:
        self.sessions.live = [
            session(3, subject="ann", kind=Kind.SPICE),
            session(1, client="192.0.2.9"),
            session(2, subject="ann", kind=None, client="2001:db8::5"),
        ]
        listed = self.answered("/sessions")
        self.assertEqual([each["id"][-1] for each in listed["sessions"]], ["1", "2", "3"])
        self.assertEqual(listed["sessions"][0]["duration"], 12.346)
        for query, numbers in {
            "subject=ann": "23",
            "subject=ann&kind=spice": "3",
            "kind=unknown": "2",
            "client=192.0.2.0/24": "13",
            "client=2001:db8::/32": "2",
            "client=nonsense": "",
            "console=host1.example.com:5900": "1",
            "ticket=ticket-2": "2",
            "session=000000000003": "3",
            "state=active": "123",
            "state=ending": "",
            "limit=2": "12",
            "limit=1&offset=1": "2",
            "offset=9": "",
        }.items():
            listed = self.answered(f"/sessions?{query}")
            self.assertEqual("".join(each["id"][-1] for each in listed["sessions"]), numbers, query)
            if "limit" not in query and "offset" not in query:
                self.assertEqual(listed["total"], len(numbers))
            else:
                self.assertEqual(listed["total"], 3)

    def test_session(self) -> None:
        self.sessions.live = [session(1)]
        self.assertEqual(self.answered("/sessions/000000000001")["ticket"], "ticket-1")
        for name in ("000000000002", "x" * 65, "%FF", "..%2Fstatus"):
            self.assertEqual(self.fault(self.ask(f"{PREFIX}/sessions/{name}")), (404, "not-found"))

    def test_end(self) -> None:
        self.sessions.live = [session(number, subject=f"s{number % 2}") for number in range(6)]
        ended = self.answered(
            "/sessions/end",
            method="POST",
            body={"subject": "s1", "message": "Wartung, bis später"},
            token=self.operating,
        )
        self.assertEqual([each["id"][-1] for each in ended["ended"]], ["1", "3", "5"])
        self.assertEqual(self.sessions.messages, ["Wartung, bis später"])
        (event,) = self.events.recent
        ids = ("000000000001", "000000000003", "000000000005")
        self.assertEqual(event.what, AdminAction("token:ops", "end", ids, "Wartung, bis später"))
        self.assertEqual(len(self.answered("/sessions/end", method="POST", body={"all": True})["ended"]), 3)
        self.assertEqual(self.sessions.live, [])
        # Nobody is found, which is recorded as well.
        self.assertEqual(
            self.answered("/sessions/end", method="POST", body={"client": "1.2.3.4"}), {"ended": []}
        )
        self.assertEqual(len(self.events.recent), 3)

    def test_admission(self) -> None:
        logged = self.logged()
        self.assertEqual(self.answered("/admission"), {"admitting": True})
        for admitting, action in ((False, "stop-admitting"), (True, "resume-admitting")):
            body = {"admitting": admitting, "reason": "upgrade"}
            self.assertEqual(self.answered("/admission", method="POST", body=body), {"admitting": admitting})
            self.assertEqual(self.sessions.registry.admitting, admitting)
            what = self.events.recent[-1].what
            assert isinstance(what, AdminAction)
            self.assertEqual((what.action, what.sessions, what.detail), (action, (), "upgrade"))
            self.assertRegex(what.actor, r"uid:\d+")
        self.assertEqual([event.get("action") for event in logged], ["stop-admitting", "resume-admitting"])

    def test_history(self) -> None:
        self.events.publish(SessionOpened(session(1), 0.25))
        self.events.publish(SessionJoined(session(1), 0.125))
        self.events.publish(SessionWarned(session(1), EndReason.IDLE, 60.0))
        self.events.publish(SessionEnded(session(1), EndReason.CLIENT_GONE, "reset"))
        self.events.publish(RequestRefused("unix", "t", None, "h:1", Refusal.CONSOLE_IN_USE, "x"))
        self.events.publish(AdminAction("uid:0", "end", ("a", "b"), ""))
        events = self.answered("/history")["events"]
        self.assertEqual([event["number"] for event in events], [6, 5, 4, 3, 2, 1])
        self.assertEqual(
            events[2],
            {
                "number": 4,
                "time": NOW,
                "type": "session-ended",
                "session": events[5]["session"],
                "reason": "client-gone",
                "code": None,
                "detail": "reset",
            },
        )
        self.assertEqual((events[1]["reason"], events[1]["status"]), ("console-in-use", 409))
        self.assertEqual((events[3]["reason"], events[3]["left"]), ("idle", 60.0))
        self.assertEqual(events[0]["sessions"], ["a", "b"])
        self.assertEqual(len(self.answered("/history?limit=2")["events"]), 2)
        chosen = self.answered("/history?type=admin-action&type=session-opened")["events"]
        self.assertEqual([event["type"] for event in chosen], ["admin-action", "session-opened"])

    def test_head(self) -> None:
        whole = self.ask(f"{PREFIX}/admission")
        head = self.ask(f"{PREFIX}/admission", method="HEAD")
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.header("Content-Length"), str(len(whole.body)))

    def test_headers(self) -> None:
        for path in ("/api/v1/status", "/api/v1/nothing", "/nothing"):
            answer = self.ask(path)
            self.assertEqual(answer.header("Cache-Control"), "no-store")
            self.assertEqual(answer.header("X-Content-Type-Options"), "nosniff")
            self.assertIn("default-src 'none'", answer.header("Content-Security-Policy") or "")
            self.assertIsNone(answer.header("Server"))
            self.assertIsNone(answer.header("Access-Control-Allow-Origin"))

    def test_defect(self) -> None:
        def broken(*_: object) -> Any:
            raise RuntimeError("secret")

        self.sessions.infos = broken  # type: ignore[method-assign, assignment]
        answer = self.ask(f"{PREFIX}/sessions")
        self.assertEqual(self.fault(answer), (500, "internal"))
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class RefusalTests(ControlTestCase):
    def test_unknown(self) -> None:
        for path in ("/x", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/status", "/api/v1/status/"):
            self.assertEqual(self.fault(self.ask(path)), (404, "not-found"), path)

    def test_methods(self) -> None:
        answer = self.ask(f"{PREFIX}/status", method="POST", body={})
        self.assertEqual(self.fault(answer), (405, "method"))
        self.assertEqual(answer.header("Allow"), "GET, HEAD")
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X"):
            answer = self.ask(f"{PREFIX}/admission", method=method)
            self.assertEqual(self.fault(answer), (405, "method"))
            self.assertEqual(answer.header("Allow"), "GET, POST, HEAD")

        answer = self.ask(f"{PREFIX}/sessions/end")
        self.assertEqual((self.fault(answer), answer.header("Allow")), ((405, "method"), "POST"))

    def test_queries(self) -> None:
        for path in (
            "/status?x=1",
            "/sessions?sesion=1",
            "/sessions?limit=0",
            "/sessions?limit=10001",
            "/sessions?limit=01",
            "/sessions?limit=%2B1",
            "/sessions?limit=1e1",
            "/sessions?limit=",
            "/sessions?limit=1&limit=1",
            "/sessions?limit=" + "9" * 5000,
            "/sessions?session=",
            "/sessions?session=" + "x" * 65,
            "/sessions?subject=%FF",
            "/sessions?kind=VNC",
            "/sessions?" + "&".join(["kind=vnc"] * 200),
            "/history?type=x",
            "/history?" + "&".join(["type=admin-action"] * 11),
            "/history?limit=1001",
            "/events?after=-1",
            "/events?after=9007199254740992",
        ):
            self.assertEqual(self.fault(self.ask(PREFIX + path)), (422, "invalid"), path)

    def post(self, path: str, **more: Any) -> tuple[int, str]:
        return self.fault(self.ask(PREFIX + path, method="POST", **more))

    def test_bodies(self) -> None:
        self.sessions.live = [session(1)]
        bodies: tuple[Any, ...] = (
            {},
            {"message": "x"},
            {"all": False},
            {"all": 1},
            {"all": True, "x": 1},
            {"session": None},
            {"session": 1},
            {"session": ""},
            {"session": "x" * 65},
            {"all": True, "message": "x" * 121},
            {"all": True, "message": "é" * 61},
            {"all": True, "message": "a\nb"},
            {"all": True, "message": "\x9b"},
            {"all": True, "message": "\ud800"},
            [],
            "x",
            None,
            3,
        )
        for body in bodies:
            self.assertEqual(
                self.post("/sessions/end", raw=json.dumps(body).encode()), (422, "invalid"), body
            )
        for admission in ({}, {"admitting": "false"}, {"admitting": True, "reason": "x" * 201}):
            self.assertEqual(self.post("/admission", body=admission), (422, "invalid"))
        for raw in (
            b"",
            b"{",
            b"\xff",
            b'{"all": true, "all": true}',
            b'{"all": NaN}',
            b'{"session": ' + b"[" * 60000,
            b'{"all": ' + b"9" * 5000 + b"}",
            b"\xef\xbb\xbf{}",
        ):
            self.assertEqual(self.post("/sessions/end", raw=raw), (400, "bad-request"), raw[:50])
        self.assertEqual((len(self.sessions.live), list(self.events.recent)), (1, []))

    def test_longest_message(self) -> None:
        for message in ("x" * 120, "é" * 60, "\U0001f5a5" * 30):
            self.json(f"{PREFIX}/sessions/end", method="POST", body={"session": "x", "message": message})

    def test_media_types(self) -> None:
        for kind in (None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
                     "application/json; charset=utf-16", "multipart/form-data; boundary=x"):  # fmt: skip
            answer = self.post("/admission", body={"admitting": False}, fields={"Content-Type": kind})
            self.assertEqual(answer, (415, "media-type"), kind)
        encoded = self.post("/admission", body={"admitting": False}, fields={"Content-Encoding": "gzip"})
        self.assertEqual(encoded, (415, "media-type"))
        self.assertTrue(self.sessions.registry.admitting)
        self.json(
            f"{PREFIX}/admission",
            method="POST",
            body={"admitting": False},
            fields={"Content-Type": "Application/JSON ; charset=UTF-8"},
        )

    def test_large_bodies(self) -> None:
        body = b'{"admitting":false}' + b" " * (1 << 16)
        self.assertEqual(self.post("/admission", raw=body), (413, "too-large"))
        fits = body[: 1 << 16]
        self.json(f"{PREFIX}/admission", method="POST", raw=fits)
        self.sessions.registry.resume_admitting()
        # Said to be large: refused before any of it comes.
        with self.connect() as client:
            head = b"POST /api/v1/admission HTTP/1.1\r\nHost: localhost\r\n"
            self.send(client, head + b"Content-Length: 99999999\r\n\r\n")
            self.assertIn(b" 413 ", self.received(client))
        # In chunks, of which the last ones make what came before complete.
        with self.connect() as client:
            chunk = b"%x\r\n%s\r\n" % (len(fits), fits)
            kind = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.send(client, head + kind + chunk + b"1\r\n \r\n0\r\n\r\n")
            self.assertIn(b" 413 ", self.received(client))
        self.assertTrue(self.sessions.registry.admitting)
        self.serve()
        self.assert_empty()

    def test_slow_requests(self) -> None:
        clients = [self.connect() for _ in range(3)]
        self.send(clients[0], b"GET /api/v1/status HTT")
        self.send(clients[1], request_head(100) + b"{")
        logged = self.logged()
        self.reactor.advance(16)
        self.serve()
        for client in clients:
            self.assertEqual(client.recv(100), b"")
        self.assertEqual(logged, [])
        self.assert_empty()


def request_head(length: int) -> bytes:
    return b"POST /api/v1/admission HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length
