"""A session from its upgrade to its one end: dialling, log lines, places, shutdown."""

from __future__ import annotations

import contextlib

from twisted.internet import defer
from twisted.internet.address import IPv4Address
from twisted.logger import formatEvent
from websockets.frames import Frame, Opcode

from gateway.net import ProxyHeader, SocketChannel
from gateway.reasons import EndReason
from gateway.sessions import Full, SessionEnded
from gateway.targets import TargetError
from gateway.tickets import Grant, Target
from tests.support.admission import admit
from tests.unit.relay.remains import nothing_left
from tests.unit.sessions.case import SessionCase


class SessionTests(SessionCase):
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

    def test_the_dialler_is_told_for_whom(self) -> None:
        client = ProxyHeader(IPv4Address("TCP", "198.51.100.7", 56324), None)
        channel, _ = self.browser_wire()
        admission = admit(self.registry, self.grant(), ledger=self.ledger)
        session = self.sessions.start(admission, channel, unsent=b"", early=b"", on_behalf_of=client)
        self.assertEqual([client], self.dialler.clients)
        # It is not kept for as long as the session lasts.
        self.assertIsNone(session._on_behalf_of)
        session.end(EndReason.SHUTDOWN)
        self.pump(lambda: not self.registry.sessions)

    def test_a_dial_that_succeeds_in_spite_of_its_cancellation(self) -> None:
        for secured in (False, True):
            self.succeed_in_spite(self.grant(tls=secured))

    def succeed_in_spite(self, grant: Grant) -> None:
        self.dialler.result = defer.Deferred()
        session, browser = self.start()
        channel, console = self.console_wire()

        async def stubborn(target: Target, on_behalf_of: object = None) -> SocketChannel:
            with contextlib.suppress(defer.CancelledError):
                await defer.Deferred()
            return channel

        browser.close()
        self.pump(lambda: not self.registry.sessions)
        usual = self.dialler.dial
        self.dialler.dial = stubborn  # type: ignore[method-assign]
        session, browser = self.start(grant=grant)
        self.dialler.dial = usual  # type: ignore[method-assign]
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
        told: list[object] = []
        done.addCallback(lambda _: told.extend(self.happenings))
        self.assertNoResult(done)
        self.assertRaises(Full, self.registry.take_place, "x", self.grant())
        self.pump(lambda: done.called)
        self.successResultOf(done)
        self.assertIs(done, again)
        # Whoever waits for the end of the last session stops the audit then.
        ends = [each.reason for each in told if isinstance(each, SessionEnded)]
        self.assertEqual([EndReason.SHUTDOWN] * 2, ends)
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
