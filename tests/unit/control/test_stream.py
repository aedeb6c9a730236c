from __future__ import annotations

import socket
from typing import Any

from gateway.control.api import _MAX_STREAMS
from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import AdminAction, RequestRefused, SessionEnded
from tests.support.http import read_rest
from tests.unit.control.gateways import ControlTestCase, events_in, request, session

EVENTS = "/api/v1/events"


class StreamTests(ControlTestCase):
    def open(self, query: str = "", **more: Any) -> socket.socket:
        """A stream whose head was read."""
        client = self.connect()
        self.send(client, request(EVENTS + query, **more))
        return client

    def begun(self, query: str = "", **more: Any) -> tuple[socket.socket, list[Any]]:
        """A stream, and the events that it begins with."""
        client = self.open(query, **more)
        head, _, body = self.received(client).partition(b"\r\n\r\n")
        self.assertIn(b" 200 ", head)
        self.assertIn(b"Content-Type: text/event-stream\r\n", head)
        self.assertIn(b"Cache-Control: no-store\r\n", head)
        return client, list(events_in(body))

    def publish(self, count: int = 1, detail: str = "") -> None:
        for _ in range(count):
            self.events.publish(AdminAction("uid:0", "end", (), detail))

    def subscribers(self) -> int:
        # The tally is one that stays.
        return len(self.events._subscribers) - 1

    def test_as_they_happen(self) -> None:
        self.publish()
        client, events = self.begun()
        self.assertEqual(events, [])
        self.events.publish(SessionEnded(session(1), EndReason.OPERATOR, "line\nbreak"))
        ((number, name, data),) = events_in(self.received(client))
        self.assertEqual((number, name), ("2", "session-ended"))
        self.assertEqual((data["number"], data["type"], data["code"]), (2, "session-ended", 4023))
        self.assertEqual(data["detail"], "line\nbreak")
        history = self.json("/api/v1/history?limit=1")["events"]
        self.assertEqual(history, [data])

    def test_no_time_limit(self) -> None:
        client, _ = self.begun()
        for _ in range(20):
            self.reactor.advance(15)
            self.assertIn(b": still here\n\n", self.received(client))
        self.publish()
        self.assertEqual(len(list(events_in(self.received(client)))), 1)

    def test_resume(self) -> None:
        self.publish(5)
        for query, fields in (
            ("?after=3", {}),
            ("", {"Last-Event-ID": "3"}),
            ("?after=1", {"Last-Event-ID": "3"}),
        ):
            client, events = self.begun(query, fields=fields)
            self.assertEqual([event[0] for event in events], ["4", "5"])
            client.close()
        _, events = self.begun("?after=5")
        self.assertEqual(events, [])
        _, events = self.begun("?after=0")
        self.assertEqual(len(events), 5)
        answer = self.ask(EVENTS, fields={"Last-Event-ID": "x"})
        self.assertEqual(self.fault(answer), (422, "invalid"))

    def test_lost(self) -> None:
        self.publish(60)
        _, events = self.begun("?after=5")
        self.assertEqual(events[0], (None, "lost", {"missed_after": 5}))
        self.assertEqual([int(event[0]) for event in events[1:]], list(range(11, 61)))
        _, events = self.begun("?after=10")
        self.assertEqual([int(event[0]) for event in events], list(range(11, 61)))
        # A number of an earlier process.
        _, events = self.begun("?after=61")
        self.assertEqual((events[0][1], len(events)), ("lost", 51))

    def test_lost_before_anything(self) -> None:
        client, events = self.begun("?after=7")
        self.assertEqual(events, [(None, "lost", {"missed_after": 7})])
        self.publish()
        self.assertEqual([event[0] for event in events_in(self.received(client))], ["1"])

    def test_types(self) -> None:
        client, _ = self.begun("?type=request-refused&type=session-ended")
        self.publish()
        self.events.publish(RequestRefused("unix", None, None, None, Refusal.NOT_FOUND, ""))
        self.publish()
        self.events.publish(SessionEnded(session(1), EndReason.IDLE, ""))
        self.assertEqual([event[0] for event in events_in(self.received(client))], ["2", "4"])
        _, events = self.begun("?type=session-ended&after=0")
        self.assertEqual([event[0] for event in events], ["4"])

    def test_leave(self) -> None:
        clients = [self.begun()[0] for _ in range(5)]
        self.assertEqual(self.subscribers(), 5)
        for client in clients:
            client.close()
        self.serve()
        self.assertEqual(self.subscribers(), 0)
        self.publish()
        self.assert_empty()

    def test_server_stops(self) -> None:
        client, _ = self.begun()
        self.server.stop()
        self.assertEqual(read_rest(client), b"")
        self.assertEqual(self.subscribers(), 0)
        self.assert_empty()

    def test_too_many(self) -> None:
        clients = [self.begun()[0] for _ in range(_MAX_STREAMS)]
        answer = self.ask(EVENTS)
        self.assertEqual(self.fault(answer), (429, "too-many"))
        self.assertEqual(answer.header("Retry-After"), "10")
        clients[0].close()
        self.serve()
        self.begun()

    def test_slow_reader_that_catches_up(self) -> None:
        client, _ = self.begun()
        # More than the sockets hold, less than what is remembered.
        self.publish(40, "x" * 50_000)
        self.reactor.advance(15)
        self.assertEqual(self.subscribers(), 1)
        data = b""
        while data.count(b"event: ") < 40 or not data.endswith(b"\r\n"):
            piece = self.received(client)
            assert piece, len(data)
            data += piece
        self.assertEqual([int(event[0] or 0) for event in events_in(data)], list(range(1, 41)))
        self.reactor.advance(15)
        self.reactor.advance(15)
        self.assertEqual(self.subscribers(), 1)

    def test_slow_reader_is_cut(self) -> None:
        client, _ = self.begun()
        self.publish(110, "x" * 50_000)
        self.serve()
        self.assertEqual(self.subscribers(), 0)
        self.assertLess(len(read_rest(client)), 50_000 * 50)
        self.assert_empty()

    def test_reader_that_reads_nothing_is_cut(self) -> None:
        self.begun()
        self.publish(40, "x" * 50_000)
        self.reactor.advance(15)
        self.assertEqual(self.subscribers(), 1)
        self.reactor.advance(15)
        self.assertEqual(self.subscribers(), 0)
        self.assert_empty()

    def test_memory_of_a_slow_reader(self) -> None:
        """Nothing is queued for it but what was written when it stopped to read."""
        client = self.open()
        self.publish(45, "x" * 50_000)
        (stream,) = {type(reader).__name__: reader for reader in self.reactor.writers}.values()
        self.assertLess(len(stream._out), 2 * 50_200)
        client.close()

    def test_behind_an_answer_that_is_not_read(self) -> None:
        self.sessions.live = [session(number, subject="x" * 1000) for number in range(4000)]
        with self.connect() as client:
            self.send(client, request("/api/v1/sessions?limit=10000") + request(EVENTS))
            # Nothing is looked at before that.
            self.assertEqual(self.subscribers(), 0)
            self.assertGreater(len(self.received(client)), 4_000_000)
            self.assertEqual(self.subscribers(), 1)
        self.serve()
        self.assert_empty()

    def test_head(self) -> None:
        answer = self.ask(EVENTS, method="HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(self.subscribers(), 0)
        self.assert_empty()
