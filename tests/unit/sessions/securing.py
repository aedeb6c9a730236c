"""Sessions with consoles that have to be secured, and browsers that play their part in it."""

from __future__ import annotations

from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet import defer
from twisted.logger import LogEvent

from gateway.net import SocketChannel
from gateway.reasons import EndReason
from gateway.sessions import Events, Session, Sessions
from gateway.settings import LimitSettings, RelaySettings
from gateway.targets import Dialler
from gateway.tickets import Grant, MemoryLedger, Target
from tests.support.admission import admit, make_registry
from tests.unit.rfb.samples import CHALLENGE, LINE, LINE_3_3, LINE_3_7, OK, RESPONSE
from tests.unit.targets.consoles import Console, Script
from tests.unit.targets.securing import SecuringCase, WatchedBrowser, context, grant

CLOSE_TIMEOUT = 5.0
PING_INTERVAL = 30.0
LINES = (LINE, LINE_3_7, LINE_3_3)


class ReadyDialler(Dialler):
    """Gives out the connection that it was given."""

    def __init__(self) -> None:
        self.ready: defer.Deferred[SocketChannel] = defer.Deferred()

    async def dial(self, target: Target, on_behalf_of: object = None) -> SocketChannel:
        return await self.ready


@attrs.define
class Life:
    """One session: who takes part in it."""

    case: SecuredSessionCase
    session: Session
    browser: WatchedBrowser
    console: Console
    channel: SocketChannel
    """To the console."""

    @property
    def over(self) -> bool:
        return self.session.id not in self.case.registry.sessions

    def hears(self, size: int) -> bytes:
        """The next bytes that the browser hears."""
        received = self.browser.received
        self.case.pump(lambda: len(received) >= size or self.over)
        data = bytes(received[:size])
        del received[:size]
        return data

    def authenticates(self, line: bytes = LINE, response: bytes = RESPONSE) -> None:
        """The browser is asked for a password, and answers."""
        case = self.case
        case.assertEqual(LINE, self.hears(12))
        self.browser.message(line)
        if line == LINE_3_3:
            case.assertEqual(b"\0\0\0\2", self.hears(4))
        else:
            case.assertEqual(b"\1\2", self.hears(2))
            self.browser.message(b"\2")
        case.assertEqual(CHALLENGE, self.hears(16))
        self.browser.message(response)

    def is_let_in(self, line: bytes = LINE) -> None:
        """The browser is not asked for anything."""
        case = self.case
        case.assertEqual(LINE, self.hears(12))
        self.browser.message(line)
        if line == LINE_3_3:
            case.assertEqual(b"\0\0\0\1", self.hears(4))
            return
        case.assertEqual(b"\1\1", self.hears(2))
        self.browser.message(b"\1")
        if line == LINE:
            case.assertEqual(OK, self.hears(4))

    def talks(self) -> None:
        """What the browser says arrives, and what the console answers too."""
        self.browser.message(b"hello")
        self.case.assertEqual(b"hello", self.hears(5))

    def ends(self, reason: EndReason, code: int | None, *words: str) -> LogEvent:
        """It ends, or has ended, for this reason, and nothing is left of it."""
        case = self.case
        case.pump(lambda: self.over)
        case.settle()
        (line,) = [event for event in case.events if event.get("reason") and event["id"] == self.session.id]
        case.assertEqual(reason.label, line["reason"], line)
        for word in words:
            case.assertIn(word, line["detail"])
        case.assertEqual(code, self.browser.close_code)
        if reason.code is not None and reason.code >= 4000:
            assert self.browser.ws.close_rcvd is not None
            case.assertEqual(reason.public, self.browser.ws.close_rcvd.reason)
        self.assert_freed()
        return line

    def assert_freed(self) -> None:
        case = self.case
        case.assertEqual(0, len(case.poller))
        case.assertEqual(-1, self.channel.fileno())
        case.assertEqual(1, len(case.timers()), "only the heartbeat's timer is left")
        places = [case.registry.take_place("198.51.100.5", grant()) for _ in range(3)]
        for place in places:
            place.give_back()
        case.assertEqual([], case.flushLoggedErrors())


class SecuredSessionCase(SecuringCase):
    _running: Sessions | None = None

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self._stop)

    def _stop(self) -> None:
        if self._running is not None:
            self._running.heartbeat.stop()

    def make(self, rules: Any = None, **security: Any) -> None:
        super().make(rules, **security)
        self._stop()
        self.dialler = ReadyDialler()
        self.registry = make_registry(self.clock, LimitSettings(sessions=3))
        self.sessions = self._running = Sessions(
            self.clock,
            self.poller,
            self.dialler,
            self.securer,
            self.registry,
            MemoryLedger(),
            Events(),
            RelaySettings(ping_interval=PING_INTERVAL, close_timeout=CLOSE_TIMEOUT),
        )
        self.sessions.heartbeat.start()

    def begin(
        self,
        script: Script,
        to: Grant | None = None,
        *,
        server: SSL.Context | None = None,
        early: bytes = b"",
        tcp: bool = False,
        at_once: bool = False,
        **console: Any,
    ) -> Life:
        """Start a session whose target is connected already.

        :param early: what the browser sends behind its opening handshake.
        :param at_once: the dialler has the connection before it is asked for it.
        """
        near, far = self.wire(tcp=tcp)
        played = Console(far, script, server or context(), **console)
        self.ends.append(played)
        target = SocketChannel(near)
        self.dialler.ready = defer.Deferred()
        if at_once:
            self.dialler.ready.callback(target)
        channel, browser = self.watched_wire(tcp=tcp)
        admission = admit(self.registry, to or grant(tls=True))
        session = self.sessions.start(admission, channel, unsent=b"", early=early)
        if not at_once:
            self.dialler.ready.callback(target)
        return Life(self, session, browser, played, target)
