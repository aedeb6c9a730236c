"""The control API of a gateway process with real sessions."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from typing import Any, ClassVar

from websockets.exceptions import ConnectionClosed

from tests.integration.case import Table, eventually
from tests.integration.control import ControlGatewayTestCase
from tests.support.client import WebSocketClient
from tests.support.http import read_answer, upgrade
from tests.support.targets import TargetServer, echo


class EventReader:
    """Reads a stream of events."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        fields: dict[str, str] = {}
        while line := self._response.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                yield {**fields, "data": json.loads(fields["data"])}
                fields = {}
            else:
                fields = {}


class ControlTests(ControlGatewayTestCase):
    changes: ClassVar[Mapping[str, Table]] = {
        "uses": {"vnc_count": 10},
    }

    def session(self, target: TargetServer, ticket: str | None = None) -> WebSocketClient:
        connection = self.open(ticket or self.installation.ticket(target.port))
        connection.send(b"x")
        self.assertEqual(connection.recv(timeout=5), b"x")
        return connection

    def closed(self, connection: WebSocketClient) -> tuple[int | None, str | None]:
        with self.assertRaises(ConnectionClosed):
            connection.recv(timeout=5)
        return connection.close_code, connection.close_reason

    def events(self, query: str = "") -> Iterator[dict[str, Any]]:
        connection = self.unix()
        connection.request("GET", "/api/v1/events" + query)
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.addCleanup(response.close)
        return iter(EventReader(response))

    def test_end_with_a_message(self) -> None:
        target = self.target(echo)
        ticket = self.installation.ticket(target.port)
        connection, other = self.session(target, ticket), self.session(target)
        listed = self.call("/api/v1/sessions")["sessions"]
        mine, _ = listed
        self.assertEqual(mine["target"], f"127.0.0.1:{target.port}")
        self.assertEqual((mine["state"], mine["client"], mine["to_target"]), ("active", "127.0.0.1", 1))
        self.assertEqual(self.call(f"/api/v1/sessions/{mine['id']}")["id"], mine["id"])
        begun = time.monotonic()
        body = {"session": mine["id"], "message": "Wartung ab 14 Uhr, bis später"}
        ended = self.call("/api/v1/sessions/end", body)["ended"]
        self.assertEqual([each["id"] for each in ended], [mine["id"]])
        self.assertEqual(self.closed(connection), (4023, "Wartung ab 14 Uhr, bis später"))
        self.assertLess(time.monotonic() - begun, 1)
        eventually(lambda: len(self.call("/api/v1/sessions")["sessions"]) == 1)
        self.call(f"/api/v1/sessions/{mine['id']}", status=404)
        # The ticket is over, though it could be used ten times.
        self.assertEqual(self.ask(upgrade("/" + ticket)).status, 403)
        self.assertEqual(len(self.call("/api/v1/sessions/end", {"all": True})["ended"]), 1)
        self.assertEqual(self.closed(other), (4023, "Ended by an operator"))

    def test_admission(self) -> None:
        target = self.target(echo)
        connection = self.session(target)
        try:
            self.assertEqual(self.call("/api/v1/admission", {"admitting": False}), {"admitting": False})
            answer = self.ask(upgrade("/" + self.installation.ticket(target.port)))
            self.assertEqual(answer.status, 503)
            connection.send(b"y")
            self.assertEqual(connection.recv(timeout=5), b"y")
            self.assertFalse(self.call("/api/v1/health")["ready"])
            self.assertEqual(self.get("/readyz")[0], 503)
        finally:
            self.call("/api/v1/admission", {"admitting": True})
        self.assertEqual(self.get("/readyz"), (200, b"ok\n"))
        self.session(target).close()
        connection.close()

    def get(self, path: str, **fields: str) -> tuple[int, bytes]:
        connection = self.unix()
        connection.request("GET", path, headers=fields)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, data

    def test_events(self) -> None:
        latest = self.call("/api/v1/history?limit=1")["events"]
        after = latest[0]["number"] if latest else 0
        events = self.events(f"?after={after}")
        target = self.target(echo)
        connection = self.session(target)
        self.ask(upgrade("/" + "x" * 400))
        self.call("/api/v1/sessions/end", {"all": True, "message": "over"})
        self.closed(connection)
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["event"] != "session-ended":
            seen.append(next(events))
        names = [event["event"] for event in seen]
        self.assertEqual(
            sorted(names),
            sorted(["session-opened", "session-joined", "request-refused", "admin-action", "session-ended"]),
        )
        numbers = [int(event["id"]) for event in seen]
        self.assertEqual(numbers, list(range(after + 1, after + 6)))
        action = next(event["data"] for event in seen if event["event"] == "admin-action")
        self.assertEqual((action["actor"], action["detail"]), (f"uid:{os.getuid()}", "over"))
        # Whoever comes back gets what came after.
        again = self.events(f"?after={numbers[1]}")
        self.assertEqual([int(next(again)["id"]) for _ in range(3)], numbers[2:])
        history = self.call(f"/api/v1/history?limit={len(seen)}")["events"]
        self.assertEqual(history, [event["data"] for event in reversed(seen)])

    def test_no_secrets(self) -> None:
        """Nothing that is answered is a ticket or a token, or could be used as one."""
        target = self.target(echo)
        ticket = self.installation.ticket(target.port)
        connection = self.session(target, ticket)
        said = b""
        for path in ("sessions", "history", "status", "settings", "health", "openapi.json"):
            status, data = self.get(f"/api/v1/{path}")
            self.assertEqual(status, 200)
            said += data
        said += self.get("/metrics")[1] + self.get("/")[1]
        for secret in (ticket, ticket[:60], ticket[-60:], self.token, self.reader):
            self.assertNotIn(secret.encode(), said)
            self.assertNotIn(secret, self.gateway.output)
        self.assertIn(self.call("/api/v1/sessions")["sessions"][-1]["ticket"].encode(), said)
        connection.close()

    def test_many_readers_come_and_go(self) -> None:
        before = self.gateway.descriptors()
        for _ in range(3):
            connections = [self.unix() for _ in range(20)]
            for connection in connections:
                connection.request("GET", "/api/v1/events")
                connection.getresponse()
            for connection in connections:
                connection.close()
        eventually(lambda: self.gateway.descriptors() <= before)

    def test_strangers(self) -> None:
        plain = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.control_port), 5) as client:
            client.sendall(plain)
            self.assertEqual(read_answer(client)[0].status, 401)
        # The console listeners know nothing of it.
        self.assertEqual(self.ask(plain, tls=False).status, 404)
