"""What is held against an address, and what is not."""

from __future__ import annotations

import socket
from typing import Any

import attrs
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from gateway.front import Closing, Gate, Refused, Watch
from gateway.front.watch import Visit
from gateway.reasons import Refusal
from gateway.sessions import RequestRefused
from gateway.settings import AbuseSettings, FrontSettings, LimitSettings
from gateway.tickets import TicketFault, TicketRefused
from tests.support.http import upgrade
from tests.unit.front.samples import BAD, GOOD, FrontTestCase

HERE = "192.0.2.1"
THERE = "198.51.100.9"
PAGE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class WatchCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def watch(self, limits: LimitSettings | None = None, **settings: Any) -> Watch:
        return Watch(self.clock, AbuseSettings(**settings), limits or LimitSettings())

    def enter(self, watch: Watch, client: str, count: int) -> list[Visit]:
        """As many connections as are let in of so many."""
        return [visit for visit in (watch.enter(client) for _ in range(count)) if visit is not None]

    def closed(self, watch: Watch) -> dict[str, int]:
        return {label: count for label, count in watch.closed.items() if count}


class ConnectionTests(WatchCase):
    def test_rate(self) -> None:
        watch = self.watch(handshakes=5, handshakes_rate=0.5)
        for visit in self.enter(watch, HERE, 5):
            visit.end()
        self.assertIsNone(watch.enter(HERE))
        self.assertIsNotNone(watch.enter(THERE))
        self.clock.advance(2)
        self.assertEqual(len(self.enter(watch, HERE, 3)), 1)
        self.assertEqual(self.closed(watch), {Closing.CLIENT_RATE.label: 3})

    def test_what_came_to_something_is_not_counted(self) -> None:
        watch = self.watch(handshakes=5, handshakes_rate=0.001)
        for _ in range(100):
            visits = self.enter(watch, HERE, 5)
            self.assertEqual(len(visits), 5)
            for visit in visits:
                visit.prove()
                visit.prove()
                visit.end()
                visit.end()
        self.assertEqual(watch.remembered["handshakes"], 0)
        self.assertEqual((watch._open, watch._waiting), ({}, {}))

    def test_waiting(self) -> None:
        watch = self.watch(handshakes_per_client=3)
        visits = self.enter(watch, HERE, 5)
        self.assertEqual(len(visits), 3)
        self.assertEqual(self.closed(watch), {Closing.CLIENT_WAITING.label: 2})
        visits[0].prove()
        visits[1].end()
        self.assertEqual(len(self.enter(watch, HERE, 5)), 2)
        self.assertEqual(len(self.enter(watch, THERE, 5)), 3)

    def test_share(self) -> None:
        """One address leaves room for others, whatever its connections do."""
        watch = self.watch(LimitSettings(handshakes=10))
        for visit in self.enter(watch, HERE, 5):
            visit.prove()
        self.assertIsNone(watch.enter(HERE))
        self.assertEqual(self.closed(watch), {Closing.CLIENT_SHARE.label: 1})
        self.assertEqual(len(self.enter(watch, THERE, 6)), 5)

    def test_ipv6(self) -> None:
        watch = self.watch(handshakes_per_client=2)
        self.assertEqual(sum(len(self.enter(watch, f"2001:db8::{number:x}", 1)) for number in range(9)), 2)
        self.assertIsNotNone(watch.enter("2001:db8:0:1::"))

    def test_exempt(self) -> None:
        settings = AbuseSettings(handshakes=1, handshakes_per_client=1, failed_tickets=1)
        watch = Watch(self.clock, settings, LimitSettings(handshakes=2))
        for client in ("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "unix"):
            self.assertEqual(len(self.enter(watch, client, 50)), 50)
            for _ in range(50):
                watch.ticket_failed(client)
            self.assertEqual(watch.patience(client), 0)
        self.assertEqual(len(self.enter(watch, HERE, 50)), 1)
        self.assertEqual(sum(watch.remembered.values()), 1)

    def test_off(self) -> None:
        watch = self.watch(handshakes=0, failed_tickets=0, handshakes_per_client=1000)
        self.assertEqual(len(self.enter(watch, HERE, 500)), 500)
        watch.ticket_failed(HERE)
        self.assertEqual(watch.patience(HERE), 0)
        self.assertEqual(set(watch.remembered.values()), {0})

    def test_change(self) -> None:
        watch = self.watch(handshakes=3, handshakes_rate=0.001)
        first = self.enter(watch, HERE, 4)
        watch.change(AbuseSettings(handshakes=3, handshakes_rate=0.001, ipv6_prefix=56), LimitSettings())
        self.assertIsNone(watch.enter(HERE))
        for visit in first:
            visit.prove()
            visit.end()
        self.assertEqual(len(self.enter(watch, HERE, 4)), 3)
        watch.change(AbuseSettings(handshakes=0), LimitSettings())
        self.assertEqual(len(self.enter(watch, HERE, 9)), 9)
        watch.change(AbuseSettings(exempt=("192.0.2.0/24",), handshakes=1), LimitSettings())
        self.assertEqual(len(self.enter(watch, HERE, 9)), 9)

    def test_a_flood_is_bounded(self) -> None:
        """Many addresses: memory and log stay small, and whoever is new is heard."""
        watch = self.watch(addresses=1000)
        lines: list[Any] = []
        self.patch(watch, "log", _Log(lines))
        for number in range(30_000):
            host = socket.inet_ntoa((0x0A000000 + number).to_bytes(4, "big"))
            self.assertEqual(watch.patience(host), 0)
            watch.ticket_failed(host)
            visit = watch.enter(host)
            assert visit is not None
            visit.end()
        self.assertEqual(watch.remembered, {"failed-tickets": 1000, "handshakes": 1000})
        watch.change(AbuseSettings(addresses=1000, handshakes=1), LimitSettings())
        for number in range(2000):
            host = socket.inet_ntoa((0x0B000000 + number).to_bytes(4, "big"))
            self.assertEqual(len(self.enter(watch, host, 3)), 1)
        self.assertLess(0, len(lines))
        self.assertLess(len(lines), 50)
        self.assertEqual(self.closed(watch), {Closing.CLIENT_RATE.label: 4000})


class TicketTests(FrontTestCase):
    """At the gate."""

    abuse = AbuseSettings(failed_tickets=3, failed_tickets_rate=0.25)
    refused_as: TicketFault | None = TicketFault.SIGNATURE_MISMATCH

    def setUp(self) -> None:
        super().setUp()
        self.decoded = 0
        self.judge = self.gate(FrontSettings())

    def decode(self, path: str) -> Any:
        self.decoded += 1
        if path == BAD and self.refused_as is not None:
            raise TicketRefused(self.refused_as)
        return super().decode(GOOD)

    def ask_for(self, ticket: str, client: str = HERE, gate: Gate | None = None) -> Refusal | None:
        """Why an upgrade is refused."""

        async def outcome() -> Refusal | None:
            try:
                admission = await (gate or self.judge).admit(ticket, None, client)
            except Refused as refused:
                return refused.refusal
            admission.give_back()
            return None

        refusal: Refusal | None = self.successResultOf(defer.Deferred.fromCoroutine(outcome()))
        return refusal

    def test_failures(self) -> None:
        self.assertEqual([self.ask_for(BAD) for _ in range(3)], [Refusal.TICKET_REFUSED] * 3)
        self.assertEqual(self.decoded, 3)
        # No oracle, and no signature is verified.
        for ticket in (BAD, GOOD):
            self.assertIs(self.ask_for(ticket), Refusal.TOO_MANY_FAILURES)
            self.assertIs(self.judge.verdict(ticket, HERE), Refusal.TOO_MANY_FAILURES)
        self.assertEqual(self.decoded, 3)
        self.assertIsNone(self.ask_for(GOOD, THERE))
        self.assertEqual(self.judge.retry_after(Refusal.TOO_MANY_FAILURES, HERE), 4)
        self.reactor.advance(3.9)
        self.assertIs(self.ask_for(GOOD), Refusal.TOO_MANY_FAILURES)
        self.assertEqual(self.judge.retry_after(Refusal.TOO_MANY_FAILURES, HERE), 1)
        self.reactor.advance(0.2)
        # Good tickets cost nothing, and gain nothing.
        self.assertEqual([self.ask_for(GOOD) for _ in range(9)], [None] * 9)
        self.assertIs(self.ask_for(BAD), Refusal.TICKET_REFUSED)
        self.assertIs(self.ask_for(GOOD), Refusal.TOO_MANY_FAILURES)

    def test_questions_count(self) -> None:
        for _ in range(3):
            self.assertIs(self.judge.verdict(BAD, HERE), Refusal.TICKET_REFUSED)
        self.assertIs(self.judge.verdict(BAD, HERE), Refusal.TOO_MANY_FAILURES)
        self.assertIs(self.ask_for(GOOD), Refusal.TOO_MANY_FAILURES)

    def test_what_counts(self) -> None:
        for fault in TicketFault:
            self.refused_as = fault
            watch = Watch(self.reactor, self.abuse, self.limits)
            self.watch = watch
            gate = self.gate(FrontSettings())
            answers = [self.ask_for(BAD, gate=gate) for _ in range(5)]
            if fault.refusal is Refusal.TICKET_REFUSED:
                self.assertEqual(answers[3:], [Refusal.TOO_MANY_FAILURES] * 2, fault)
            else:
                self.assertEqual(answers, [fault.refusal] * 5, fault)

    def test_told(self) -> None:
        """Each is published, but not each is logged."""
        events = self.events()
        for _ in range(103):
            self.ask_for(BAD)
        reasons = [each.reason for each in self.happenings if isinstance(each, RequestRefused)]
        self.assertEqual(reasons, [Refusal.TICKET_REFUSED] * 3 + [Refusal.TOO_MANY_FAILURES] * 100)
        lines = [event for event in events if event.get("reason") == Refusal.TOO_MANY_FAILURES.label]
        self.assertEqual(len(lines), 1)


class DoorTests(FrontTestCase):
    """Clients from an address that is not exempt."""

    abuse = AbuseSettings(
        failed_tickets=2,
        failed_tickets_rate=0.1,
        handshakes=4,
        handshakes_rate=0.001,
        handshakes_per_client=3,
        exempt=(),
    )
    limits = LimitSettings(handshakes=20, sessions=100, sessions_per_client=100)

    def say(self, data: bytes, source: str = "127.0.0.1") -> bytes:
        """What is answered to a client that leaves then."""
        client = self.connect(source)
        if data:
            self.send(client, data)
        answer = self.received(client)
        client.close()
        self.serve()
        self.reactor.advance(2)
        return answer

    def left(self) -> int:
        """How many connections that come to nothing are still let in."""
        count = 0
        while count < 50:
            self.connect().close()
            if any(self.watch.closed.values()):
                break
            count += 1
            self.serve()
        self.serve()
        return count

    def test_sessions_and_pages_cost_nothing(self) -> None:
        for _ in range(10):
            self.assertIn(b" 200 ", self.say(PAGE))
            self.assertIn(b" 101 ", self.say(upgrade("/" + GOOD)))
            self.assertIn(b" 426 ", self.say(PAGE.replace(b"/ ", b"/%s " % GOOD.encode())))
            self.started.pop().place.give_back()
        self.assertEqual(self.left(), 4)

    def test_genuine_tickets_cost_nothing(self) -> None:
        self.patch(self.front.gate, "_decode", _expired)
        for _ in range(10):
            self.assertIn(b" 403 ", self.say(upgrade("/" + GOOD)))
            self.assertIn(b" 403 ", self.say(PAGE.replace(b"/ ", b"/%s " % GOOD.encode())))
        self.assertEqual(self.left(), 4)

    def test_what_comes_to_nothing(self) -> None:
        for data in (b"", b"\x16\x03\x01", b"garbage\r\n\r\n", b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n"):
            self.setUp()
            self.say(data)
            self.assertEqual(self.left(), 3, data)

    def test_failed_tickets(self) -> None:
        self.assertIn(b" 401 ", self.say(upgrade("/" + BAD)))
        self.assertIn(b" 401 ", self.say(PAGE.replace(b"/ ", b"/%s " % BAD.encode())))
        for wait, data in ((6, upgrade("/" + GOOD)), (4, PAGE.replace(b"/ ", b"/%s " % GOOD.encode()))):
            answer = self.say(data)
            self.assertIn(b" 429 ", answer)
            self.assertEqual(answer.count(b"\r\nRetry-After: "), 1)
            self.assertIn(b"\r\nRetry-After: %d\r\n" % wait, answer)
        # All of them are connections that came to nothing.
        self.assertEqual(self.say(PAGE), b"")
        self.assertIn(b" 101 ", self.say(upgrade("/" + GOOD), "127.0.0.2"))

    def test_waiting(self) -> None:
        """A few at once, until they have come to something; others do not feel it."""
        clients = [self.connect() for _ in range(3)]
        self.assertEqual(self.say(PAGE), b"")
        self.assertIn(b" 200 ", self.say(PAGE, "127.0.0.2"))
        self.send(clients[0], PAGE)
        self.assertIn(b" 200 ", self.received(clients[0]))
        # It is kept, but does not wait any more.
        self.assertIn(b" 200 ", self.say(PAGE))
        self.assertEqual(self.watch.closed[Closing.CLIENT_WAITING.label], 1)

    def test_a_late_upgrade(self) -> None:
        client = self.connect()
        self.send(client, PAGE)
        self.send(client, upgrade("/" + GOOD))
        self.assertIn(b" 101 ", self.received(client))
        self.assertEqual((self.watch._open, self.watch._waiting), ({}, {}))
        self.assertEqual(self.watch.remembered["handshakes"], 0)

    def test_full(self) -> None:
        for number in range(20):
            self.connect(f"127.0.1.{number}")
        self.assertEqual(self.say(PAGE), b"")
        self.assertEqual(self.watch.closed[Closing.FULL.label], 1)
        self.assertEqual(self.watch.remembered["handshakes"], 20)


@attrs.frozen
class _Log:
    lines: list[Any]

    def warn(self, text: str, **fields: Any) -> None:
        self.lines.append(text.format(**fields))


def _expired(path: str) -> Any:
    raise TicketRefused(TicketFault.EXPIRED, "0123456789abcdef")
