"""A session from its upgrade to its one end: dialling, log lines, places, shutdown."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import attrs
from twisted.internet import defer
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from websockets.frames import Frame, Opcode
from zope.interface import implementer

from gateway.net import Channel, SocketChannel
from gateway.reasons import EndReason
from gateway.sessions import Full, Registry, Session, Sessions
from gateway.settings import LimitSettings, RelaySettings, SecuritySettings, Settings
from gateway.targets import Dialler, Securer, TargetError, Trusts
from gateway.tickets import Grant, Target
from tests.unit.relay.remains import nothing_left
from tests.unit.relay.wires import Browser, RelayCase

NOON = datetime.datetime(2030, 1, 2, 12, tzinfo=datetime.UTC)
CLOSE_TIMEOUT = 5.0


class HandDialler(Dialler):
    """Dials when a test says so."""

    def __init__(self) -> None:
        self.calls: list[Target] = []
        self.result: defer.Deferred[SocketChannel] = defer.Deferred()
        self.cancelled = 0

    async def dial(self, target: Target) -> SocketChannel:
        self.calls.append(target)
        try:
            return await self.result
        except defer.CancelledError:
            self.cancelled += 1
            raise


class SessionTests(RelayCase):
    def setUp(self) -> None:
        super().setUp()
        self.dialler = HandDialler()
        self.registry = Registry(LimitSettings(sessions=3))
        self.sessions = Sessions(
            self.clock,
            self.poller,
            self.dialler,
            Securer(self.clock, self.poller, SecuritySettings(), Trusts(Settings())),
            self.registry,
            RelaySettings(ping_interval=30, close_timeout=CLOSE_TIMEOUT),
        )
        self.sessions.heartbeat.start()
        self.lines: list[dict[str, Any]] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "gateway.sessions.session.Sessions":
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
        place = self.registry.take_place("198.51.100.5")
        session = self.sessions.start(grant or self.grant(), place, channel, unsent=unsent, early=early)
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
        places = [self.registry.take_place("198.51.100.5") for _ in range(3)]
        for place in places:
            place.give_back()

    # -- the usual life ------------------------------------------------------------

    def test_from_dial_to_close(self) -> None:
        wire = Frame(Opcode.BINARY, b"early").serialize(mask=True)
        session, browser = self.start(unsent=b"\x82\x02hi", early=wire)
        self.assertEqual({session.id: session}, self.registry.sessions)
        self.assertEqual("198.51.100.5", session.client)
        self.assertEqual([self.grant().target], self.dialler.calls)
        self.settle()
        console = self.connect()
        self.clock.advance(2.5)
        console.send(b"RFB 003.008\n")
        browser.message(b"key")
        self.settle()
        self.assertEqual((b"earlykey", b"hiRFB 003.008\n"), (console.received, browser.received))
        browser.close_frame(1000)
        self.assert_ended(
            browser,
            EndReason.CLIENT_CLOSED,
            1000,
            duration=2.5,
            to_target=8,
            to_client=12,
            detail="code 1000",
        )

    def test_a_dial_that_succeeds_at_once(self) -> None:
        channel, console = self.console_wire()
        self.dialler.result = defer.succeed(channel)
        _, browser = self.start()
        console.close()
        self.assert_ended(browser, EndReason.TARGET_CLOSED, 1000)

    def test_the_log_lines_as_text(self) -> None:
        session, _ = self.start()
        self.fail_dial(TargetError(EndReason.TARGET_REFUSED, "nothing listens there"))
        self.pump(lambda: not self.registry.sessions)
        start, end = map(formatEvent, self.lines)
        self.assertEqual(
            f"session started id={session.id} client=198.51.100.5 target=192.0.2.7:5900 ticket=t1 "
            "subject=ann",
            start,
        )
        self.assertEqual(
            f"session ended id={session.id} client=198.51.100.5 target=192.0.2.7:5900 ticket=t1 subject=ann "
            "duration=0.0s to_target=0 to_client=0 reason=target-refused detail='nothing listens there'",
            end,
        )

    # -- failed dials -----------------------------------------------------------------

    def test_dial_errors(self) -> None:
        for reason in EndReason:
            if reason.code is None or reason.code < 4000:
                continue
            _, browser = self.start()
            self.fail_dial(TargetError(reason, "this and that"))
            self.assert_ended(browser, reason, reason.code, detail="this and that")
            assert browser.ws.close_rcvd is not None
            self.assertEqual(reason.public, browser.ws.close_rcvd.reason)

    def test_a_dial_that_fails_at_once(self) -> None:
        self.dialler.result = defer.fail(TargetError(EndReason.TARGET_FORBIDDEN, "no"))
        _, browser = self.start()
        self.assert_ended(browser, EndReason.TARGET_FORBIDDEN, 4004, detail="no")

    def test_a_defect_while_dialling(self) -> None:
        _, browser = self.start()
        self.fail_dial(ZeroDivisionError())
        self.lines[:] = [line for line in self.lines if "log_failure" not in line]
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.pump(lambda: not self.registry.sessions)
        self.assertEqual(1011, browser.close_code)
        self.assertEqual("internal-error", self.lines[-1]["reason"])

    def test_a_defect_while_joining(self) -> None:
        _, browser = self.start()
        dialled, self.dialler.result = self.dialler.result, defer.Deferred()
        dialled.callback(None)  # type: ignore[arg-type]
        self.assertEqual(1, len(self.flushLoggedErrors(AttributeError)))
        self.pump(lambda: not self.registry.sessions)
        self.assertEqual(1011, browser.close_code)

    # -- ends while dialling -------------------------------------------------------------

    def test_a_client_that_leaves_while_the_target_is_dialled(self) -> None:
        _, browser = self.start()
        self.settle()
        browser.close()
        self.assert_ended(browser, EndReason.CLIENT_GONE, None)
        self.assertEqual(1, self.dialler.cancelled)
        self.assertEqual([], self.flushLoggedErrors())

    def test_a_client_that_resets_while_the_target_is_dialled(self) -> None:
        _, browser = self.start(tcp=True)
        self.settle()
        browser.abort()
        self.pump(lambda: not self.registry.sessions)
        self.assertEqual("client-gone", self.lines[-1]["reason"])
        self.assertEqual(1, self.dialler.cancelled)

    def test_an_end_while_the_target_is_dialled(self) -> None:
        session, browser = self.start()
        session.end(EndReason.SHUTDOWN)
        self.clock.advance(0)
        self.assertEqual(1, self.dialler.cancelled)
        self.assert_ended(browser, EndReason.SHUTDOWN, 1001)

    def test_a_dial_that_succeeds_in_spite_of_its_cancellation(self) -> None:
        session, browser = self.start()
        channel, console = self.console_wire()

        async def stubborn(target: Target) -> SocketChannel:
            with contextlib.suppress(defer.CancelledError):
                await defer.Deferred()
            return channel

        browser.close()
        self.pump(lambda: not self.registry.sessions)
        self.dialler.dial = stubborn  # type: ignore[method-assign]
        session, browser = self.start()
        session.end(EndReason.SHUTDOWN)
        self.assert_ended(browser, EndReason.SHUTDOWN, 1001)
        self.pump(lambda: console.eof)

    # -- pings ------------------------------------------------------------------------------

    def test_a_silent_client_is_given_up(self) -> None:
        _, browser = self.start(tcp=True)
        self.connect()
        self.settle()
        browser.polite = False
        for _ in range(80):
            self.clock.advance(1)
            self.settle()
        self.assertEqual([b""], browser.pings)
        (end,) = [line for line in self.lines if "reason" in line]
        self.assertEqual(("client-timeout", "no answer to a ping"), (end["reason"], end["detail"]))
        self.assertTrue(browser.reset)

    def test_a_session_that_ended_is_not_pinged(self) -> None:
        _, browser = self.start()
        self.connect()
        browser.close_frame(1000)
        self.assert_ended(browser, EndReason.CLIENT_CLOSED, 1000, detail="code 1000")
        for slot in self.sessions.heartbeat._slots:
            self.assertEqual({}, slot)

    # -- all of them --------------------------------------------------------------------------

    def test_end_all(self) -> None:
        _, dialling = self.start()
        _, joined = self.start()
        self.connect()
        self.dialler.result = defer.Deferred()
        done = self.sessions.end_all(EndReason.SHUTDOWN)
        again = self.sessions.end_all(EndReason.SHUTDOWN)
        self.assertNoResult(done)
        self.assertRaises(Full, self.registry.take_place, "x")
        self.pump(lambda: done.called)
        self.successResultOf(done)
        self.assertIs(done, again)
        self.settle()
        self.assertEqual((1001, 1001), (dialling.close_code, joined.close_code))
        self.assertEqual({}, self.registry.sessions)

    def test_end_all_of_none(self) -> None:
        self.successResultOf(self.sessions.end_all(EndReason.SHUTDOWN))

    def test_abort_all(self) -> None:
        _, browser = self.start(tcp=True)
        console = self.connect(tcp=True)
        browser.polite = console.polite = False
        done = self.sessions.end_all(EndReason.SHUTDOWN)
        self.settle()
        self.assertNoResult(done)
        self.sessions.abort_all()
        self.successResultOf(done)
        self.assertEqual("shutdown", self.lines[-1]["reason"])
        self.assertEqual(1, len(self.timers()))
        self.sessions.abort_all()

    # -- remains --------------------------------------------------------------------------------

    def live(self, how: str) -> None:
        session, browser = self.start(tcp=True)
        console = None
        if how == "dial fails":
            self.fail_dial(TargetError(EndReason.TARGET_REFUSED, "no"))
        elif how == "client leaves while dialling":
            browser.close()
        else:
            console = self.connect(tcp=True)
            browser.message(b"up")
            self.settle()
            if how == "client closes":
                browser.close_frame(1000)
            elif how == "target closes":
                console.close()
            else:
                session.end(EndReason.SHUTDOWN)
        self.pump(lambda: not self.registry.sessions)
        self.settle()
        for end in self.ends:
            end.close()
        self.ends.clear()
        self.sockets.clear()
        self.lines.clear()

    def test_nothing_is_left(self) -> None:
        kinds = {"Session", "WebSocketLeg", "RawLeg", "Relay", "SocketChannel", "FrameDecoder"}
        self.live("client closes")
        for how in (
            "client closes",
            "target closes",
            "shutdown",
            "dial fails",
            "client leaves while dialling",
        ):
            with nothing_left(self, kinds, how):
                self.live(how)
