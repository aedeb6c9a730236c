"""Who is on a console and for how long: times, take-over, an operator's end, and what is told of it."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet import defer
from websockets.frames import Frame, Opcode

from gateway.reasons import EndReason
from gateway.sessions import (
    Selector,
    Session,
    SessionEnded,
    SessionInfo,
    SessionJoined,
    SessionOpened,
    SessionState,
    SessionWarned,
)
from gateway.settings import Attach, SessionSettings, Use
from gateway.tickets import Grant, Kind, LedgerRefused, UsePolicy
from tests.support.admission import admit, make_registry
from tests.unit.relay.wires import Browser
from tests.unit.sessions.case import SessionCase

GREETING = b"RFB 003.008\n"
HANDSHAKE = b"RFB 003.008\n\1"
KEY = b"\4\1\0\0\0\0\0\x61"
REQUEST = b"\3\1\0\0\0\0\0\x10\0\x10"


class GroupCase(SessionCase):
    settings = SessionSettings()

    def setUp(self) -> None:
        super().setUp()
        self.registry = make_registry(self.clock, settings=self.settings)
        self.sessions.registry = self.registry

    def begin(
        self,
        ticket: str = "t1",
        *,
        notices: bool = False,
        joined: bool = True,
        greeting: bytes = GREETING,
        **changes: Any,
    ) -> tuple[Session, Browser, Any]:
        """A session on the one console, joined to it."""
        grant = attrs.evolve(self.grant(), id=ticket, **changes)
        channel, browser = self.browser_wire()
        admission = admit(self.registry, grant, ledger=self.ledger)
        session = self.sessions.start(admission, channel, unsent=b"", early=b"", notices=notices)
        console = None
        if joined:
            console = self.connect()
            console.send(greeting)
            self.settle()
        return session, browser, console

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.happenings if isinstance(each, kind)]

    def assert_end(self, browser: Browser, reason: EndReason, text: str | None = None) -> None:
        self.settle()
        self.assertEqual(reason.code, browser.close_code)
        assert browser.ws.close_rcvd is not None
        self.assertEqual(reason.public if text is None else text, browser.ws.close_rcvd.reason)


class IdleTests(GroupCase):
    settings = SessionSettings(idle=100, warning=20)

    def pass_time(self, seconds: float) -> None:
        """Without a silence that a ping would be needed for."""
        while seconds > 0:
            step = min(5.0, seconds)
            self.clock.advance(step)
            self.settle()
            seconds -= step

    def test_one_who_only_watches(self) -> None:
        session, browser, console = self.begin()
        browser.message(HANDSHAKE)
        console.send(bytes(4))
        browser.message(b"\1")
        for _ in range(19):
            self.pass_time(5)
            browser.message(REQUEST)
            console.send(b"\0" * 50)
        self.pass_time(4.9)
        self.assertIsNone(browser.close_code)
        self.assertEqual(99.9, round(session.info().idle, 3))
        self.pass_time(0.1)
        self.assert_end(browser, EndReason.IDLE)

    def test_one_who_types(self) -> None:
        session, browser, console = self.begin()
        browser.message(HANDSHAKE)
        console.send(bytes(4))
        browser.message(b"\1")
        for _ in range(30):
            self.pass_time(10)
            browser.message(KEY)
            self.settle()
            self.assertEqual(0, session.info().idle)
        self.assertIsNone(browser.close_code)
        self.pass_time(100)
        self.assert_end(browser, EndReason.IDLE)
        self.assertEqual(400, self.of(SessionEnded)[0].session.duration)

    def test_any_channel_of_a_ticket_counts_for_all(self) -> None:
        _, screen, _ = self.begin(greeting=b"login: ")
        _, keys, _ = self.begin(greeting=b"login: ")
        for _ in range(4):
            self.pass_time(60)
            keys.message(b"x")
            self.settle()
        self.assertEqual((None, None), (screen.close_code, keys.close_code))
        self.pass_time(100)
        self.assert_end(screen, EndReason.IDLE)
        self.assert_end(keys, EndReason.IDLE)
        self.assertEqual([], self.timers()[1:], "only the heartbeat's timer is left")

    def test_warning(self) -> None:
        _, browser, _ = self.begin(notices=True, greeting=b"login: ")
        _, other, _ = self.begin(greeting=b"login: ")
        self.pass_time(79)
        self.assertEqual([], self.of(SessionWarned))
        self.pass_time(1)
        warned = self.of(SessionWarned)
        self.assertEqual(
            [(EndReason.IDLE, 20.0)] * 2, [(each.reason, round(each.left, 6)) for each in warned]
        )
        self.assertEqual([{"type": "warning", "reason": "idle", "seconds": 20.0}], self.notices(browser))
        self.assertEqual([], self.notices(other))
        self.pass_time(10)
        browser.message(b"input on a line")
        self.settle()
        self.assertEqual({"type": "warning-over"}, self.notices(browser)[-1])
        self.pass_time(79.9)
        self.assertEqual(2, len(self.of(SessionWarned)))
        self.pass_time(10)
        self.assertEqual(4, len(self.of(SessionWarned)))
        self.pass_time(10.1)
        self.assert_end(browser, EndReason.IDLE)
        self.assert_end(other, EndReason.IDLE)

    def test_a_warning_longer_than_the_time(self) -> None:
        self.registry = self.sessions.registry = make_registry(
            self.clock, settings=SessionSettings(idle=60, warning=300)
        )
        _, browser, _ = self.begin(notices=True, greeting=b"login: ")
        self.pass_time(25)
        self.assertEqual([], self.notices(browser))
        self.pass_time(10)
        browser.message(b"input")
        self.settle()
        expected = [{"type": "warning", "reason": "idle", "seconds": 30.0}, {"type": "warning-over"}]
        self.assertEqual(expected, self.notices(browser))

    def notices(self, browser: Browser) -> list[Any]:
        return [json.loads(bytes(frame.data)) for frame in browser.frames if frame.opcode is Opcode.TEXT]


class TimeLimitTests(GroupCase):
    settings = SessionSettings(idle=50, max_duration=60, warning=5)

    def test_what_comes_first_counts(self) -> None:
        _, browser, _ = self.begin()
        self.clock.advance(20)
        browser.message(b"x" * 20)
        self.settle()
        self.clock.advance(35.5)
        self.settle()
        (warned,) = self.of(SessionWarned)
        self.assertIs(EndReason.TIME_LIMIT, warned.reason)
        browser.message(b"x")
        self.settle()
        self.assertIsNone(browser.close_code)
        self.clock.advance(5)
        self.assert_end(browser, EndReason.TIME_LIMIT)

    def test_the_first_connection_counts(self) -> None:
        _, first, _ = self.begin()
        self.clock.advance(25)
        _, second, _ = self.begin()
        self.clock.advance(5)
        first.message(b"x")
        self.settle()
        self.clock.advance(30)
        self.assert_end(first, EndReason.TIME_LIMIT)
        self.assert_end(second, EndReason.TIME_LIMIT)

    def test_one_who_comes_later_is_warned_as_well(self) -> None:
        self.begin()
        self.clock.advance(30)
        self.begin()
        self.clock.advance(26)
        _, late, _ = self.begin(notices=True)
        warned = self.of(SessionWarned)
        self.assertEqual([4.0] * 3, [each.left for each in warned])
        (text,) = [frame.data for frame in late.frames if frame.opcode is Opcode.TEXT]
        self.assertEqual("time-limit", json.loads(bytes(text))["reason"])


class TakeOverTests(GroupCase):
    def test_the_others_are_told(self) -> None:
        _, first, _ = self.begin("t1")
        _, second, _ = self.begin("t2", attach=Attach.SHARE)
        self.assertIsNone(first.close_code)
        _, third, console = self.begin("t3", attach=Attach.TAKE_OVER)
        for loser in (first, second):
            self.assert_end(loser, EndReason.TAKEN_OVER)
        third.message(b"hello")
        self.settle()
        self.assertIn(b"hello", console.received)
        self.assertEqual("by ticket t3", self.of(SessionEnded)[0].detail)

    def test_nobody_takes_over_from_himself(self) -> None:
        _, first, _ = self.begin("t1", attach=Attach.TAKE_OVER)
        _, second, _ = self.begin("t1", attach=Attach.TAKE_OVER)
        self.settle()
        self.assertEqual((None, None), (first.close_code, second.close_code))

    def test_one_channel_more_takes_over_from_nobody(self) -> None:
        self.begin("t1", attach=Attach.TAKE_OVER)
        _, guest, _ = self.begin("t2")
        self.begin("t1", attach=Attach.TAKE_OVER)
        self.settle()
        self.assertIsNone(guest.close_code)

    def test_other_consoles_are_left_alone(self) -> None:
        _, first, _ = self.begin("t1")
        self.begin("t2", attach=Attach.TAKE_OVER, target=attrs.evolve(self.grant().target, port=5901))
        self.settle()
        self.assertIsNone(first.close_code)

    def test_both_come_while_the_console_is_dialled(self) -> None:
        _, first, _ = self.begin("t1", joined=False)
        self.dialler.result = defer.Deferred()
        self.begin("t2", joined=False, attach=Attach.TAKE_OVER)
        self.assert_end(first, EndReason.TAKEN_OVER)


class OperatorTests(GroupCase):
    def test_end_with_a_message(self) -> None:
        session, browser, _ = self.begin("t1")
        _, other, _ = self.begin("t2")
        ended = self.sessions.end_selected(Selector(session=session.id), "Maintenance at noon")
        self.assertEqual([session.id], [info.id for info in ended])
        self.assert_end(browser, EndReason.OPERATOR, "Maintenance at noon")
        self.assertIsNone(other.close_code)
        self.assertEqual([], self.sessions.end_selected(Selector(session=session.id)))

    def test_its_ticket_opens_nothing_more(self) -> None:
        self.begin("t1")
        self.sessions.end_selected(Selector(ticket="t1"))
        policy = UsePolicy(Use.UNLIMITED)
        asked = self.ledger.claim("t1", self.grant().valid_to, policy)
        error = self.failureResultOf(defer.Deferred.fromCoroutine(asked), LedgerRefused)
        self.assertEqual("group-ended", error.value.reason.value)

    def test_selection(self) -> None:
        target = attrs.evolve(self.grant().target, port=5901)
        sessions = [
            self.begin("t1", subject="ann")[0].id,
            self.begin("t2", subject="bob", target=target)[0].id,
            self.begin("t3", subject=None)[0].id,
        ]
        for selector, expected in (
            (Selector(), "012"),
            (Selector(ticket="t2"), "1"),
            (Selector(subject="ann"), "0"),
            (Selector(console="192.0.2.7:5900"), "02"),
            (Selector(client="198.51.100.5"), "012"),
            (Selector(client="198.51.100.0/24", ticket="t3"), "2"),
            (Selector(client="198.51.101.0/24"), ""),
            (Selector(client="nonsense"), ""),
            (Selector(session=sessions[1], subject="ann"), ""),
        ):
            found = [sessions.index(info.id) for info in self.sessions.infos(selector)]
            self.assertEqual([int(digit) for digit in expected], found, selector)

    def test_everybody_without_a_message(self) -> None:
        browsers = [self.begin("t1")[1], self.begin("t2", joined=False)[1]]
        self.assertEqual(2, len(self.sessions.end_selected(Selector())))
        for browser in browsers:
            self.assert_end(browser, EndReason.OPERATOR)


class ToldTests(GroupCase):
    def test_from_the_opening_to_the_end(self) -> None:
        self.clock.advance(100)
        grant: Grant = attrs.evolve(self.grant(), attach=Attach.REFUSE)
        channel, browser = self.browser_wire()
        admission = admit(self.registry, grant)
        session = self.sessions.start(
            admission, channel, unsent=b"", early=b"", accepted=self.clock.seconds() - 0.25
        )
        (opened,) = self.of(SessionOpened)
        self.assertEqual((0.25, session.id), (opened.handshake, opened.session.id))
        self.assertEqual((SessionState.CONNECTING, None), (opened.session.state, opened.session.kind))
        self.clock.advance(0.5)
        console = self.connect()
        self.settle()
        (joined,) = self.of(SessionJoined)
        self.assertEqual((0.5, SessionState.ACTIVE), (joined.dialling, joined.session.state))
        console.send(GREETING)
        browser.send(Frame(Opcode.BINARY, HANDSHAKE).serialize(mask=True))
        self.settle()
        self.clock.advance(2)
        info = self.sessions.info(session.id)
        assert isinstance(info, SessionInfo)
        self.assertEqual(
            (Kind.VNC, Attach.REFUSE, "ann", "t1"), (info.kind, info.attach, info.subject, info.ticket)
        )
        self.assertEqual(
            (13, 12, 1, 1, 2.5),
            (info.to_target, info.to_client, info.messages_to_target, info.messages_to_client, info.duration),
        )
        console.close()
        self.settle()
        (ended,) = self.of(SessionEnded)
        self.assertEqual(
            (EndReason.TARGET_CLOSED, 13, 12),
            (ended.reason, ended.session.to_target, ended.session.to_client),
        )
        self.assertIs(SessionState.ENDING, ended.session.state)
        self.assertIsNone(self.sessions.info(session.id))
        self.assertEqual((None, 0), (self.registry.sessions.get(session.id), self.registry.taken))

    def test_nothing_secret(self) -> None:
        target = attrs.evolve(self.grant().target, path="/x", token="bearer-secret")
        session, _, _ = self.begin(target=target, password="vnc-secret", joined=False)
        self.assertNotIn("secret", repr(session.info()) + repr(self.happenings))

    def test_a_page_that_only_looked_leaves_its_ticket_unused(self) -> None:
        for speaks in (False, True):
            ticket = f"probe-{speaks}"
            _, browser, _ = self.begin(ticket)
            if speaks:
                browser.message(b"something")
                self.settle()
            browser.close_frame(1000)
            self.settle()
            asked = defer.Deferred.fromCoroutine(
                self.ledger.claim(ticket, self.grant().valid_to, UsePolicy(Use.GROUP))
            )
            if speaks:
                self.failureResultOf(asked, LedgerRefused)
            else:
                self.successResultOf(asked)
