"""Sessions with everything around them in a test's hands."""

from __future__ import annotations

import datetime
from typing import Any

import attrs
from twisted.internet import defer
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from gateway.net import Channel, SocketChannel
from gateway.reasons import EndReason
from gateway.sessions import Events, Happening, Session, Sessions
from gateway.settings import LimitSettings, RelaySettings, SecuritySettings, Settings
from gateway.targets import Dialler, Securer, Trusts
from gateway.tickets import Grant, MemoryLedger, Target
from tests.support.admission import admit, make_registry
from tests.unit.relay.wires import Browser, RelayCase

NOON = datetime.datetime(2030, 1, 2, 12, tzinfo=datetime.UTC)
CLOSE_TIMEOUT = 5.0


class HandDialler(Dialler):
    """Dials when a test says so."""

    def __init__(self) -> None:
        self.calls: list[Target] = []
        self.clients: list[object] = []
        self.result: defer.Deferred[SocketChannel] = defer.Deferred()
        self.cancelled = 0

    async def dial(self, target: Target, on_behalf_of: object = None) -> SocketChannel:
        self.calls.append(target)
        self.clients.append(on_behalf_of)
        try:
            return await self.result
        except defer.CancelledError:
            self.cancelled += 1
            raise


class SessionCase(RelayCase):
    """Sessions whose dials, browsers and consoles are the test's."""

    def setUp(self) -> None:
        super().setUp()
        self.dialler = HandDialler()
        self.registry = make_registry(self.clock, LimitSettings(sessions=3))
        self.ledger = MemoryLedger()
        self.happenings: list[Happening] = []
        events = Events()
        events.subscribe(lambda event: self.happenings.append(event.what))
        self.sessions = Sessions(
            self.clock,
            self.poller,
            self.dialler,
            Securer(self.clock, self.poller, SecuritySettings(), Trusts(Settings())),
            self.registry,
            self.ledger,
            events,
            RelaySettings(ping_interval=30, close_timeout=CLOSE_TIMEOUT),
        )
        self.sessions.heartbeat.start()
        self.lines: list[dict[str, Any]] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "gateway.sessions.session":
                self.lines.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def turn(self) -> bool:
        moved = super().turn()
        self.clock.advance(0)
        return moved

    def grant(self, **changes: Any) -> Grant:
        target = attrs.evolve(Target("192.0.2.7", 5900), **changes)
        end = NOON + datetime.timedelta(minutes=2)
        return Grant(target, NOON, end, id="t1", subject="ann")

    def start(
        self,
        *,
        grant: Grant | None = None,
        channel: Channel | None = None,
        unsent: bytes = b"",
        early: bytes = b"",
        tcp: bool = False,
    ) -> tuple[Session, Browser]:
        if channel is None:
            channel, browser = self.browser_wire(tcp=tcp)
        self.dialler.result = self.dialler.result if self.dialler.result.called else defer.Deferred()
        admission = admit(self.registry, grant or self.grant(), ledger=self.ledger)
        session = self.sessions.start(admission, channel, unsent=unsent, early=early)
        return session, browser

    def connect(self, *, tcp: bool = False) -> Any:
        channel, console = self.console_wire(tcp=tcp)
        dialled, self.dialler.result = self.dialler.result, defer.Deferred()
        dialled.callback(channel)
        return console

    def fail_dial(self, error: Exception) -> None:
        dialled, self.dialler.result = self.dialler.result, defer.Deferred()
        dialled.errback(error)

    def assert_ended(self, browser: Browser, reason: EndReason, code: int | None, **fields: Any) -> None:
        self.pump(lambda: not self.registry.sessions)
        self.settle()
        self.assertEqual(code, browser.close_code)
        start, end = self.lines[-2:]
        common = {
            "client": "198.51.100.5",
            "target": "192.0.2.7:5900",
            "ticket": "t1",
            "subject": "ann",
        }
        self.assertEqual({"id": start["id"], **common}, {name: start[name] for name in ("id", *common)})
        expected = {
            "id": start["id"],
            **common,
            "duration": 0,
            "to_target": 0,
            "to_client": 0,
            "reason": reason.label,
            "detail": "",
            **fields,
        }
        self.assertEqual(expected, {name: end[name] for name in expected})
        self.assertEqual(0, len(self.poller))
        self.assertEqual(1, len(self.timers()), "only the heartbeat's timer is left")
        places = [self.registry.take_place("198.51.100.5", self.grant()) for _ in range(3)]
        for place in places:
            place.give_back()
