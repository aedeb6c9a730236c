"""Sessions that are left alone until they end or their time is over, and what users are told meanwhile."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet import defer
from websockets.frames import Opcode

from gateway.drain import Drain, Progress
from gateway.reasons import EndReason, Refusal
from gateway.sessions import Full, Session
from gateway.settings import DrainSettings, Settings
from tests.support.admission import admit
from tests.unit.relay.wires import Browser
from tests.unit.sessions.case import SessionCase


class DrainTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.settings = Settings(drain=DrainSettings(cap=300))
        self.drain = Drain(self.clock, self.registry, self.sessions.events, lambda: self.settings)

    def begin(self, ticket: str = "t1", *, notices: bool = True) -> tuple[Session, Browser]:
        grant = attrs.evolve(self.grant(), id=ticket)
        channel, browser = self.browser_wire()
        admission = admit(self.registry, grant, ledger=self.ledger)
        session = self.sessions.start(admission, channel, unsent=b"", early=b"", notices=notices)
        return session, browser

    def told(self, browser: Browser) -> list[dict[str, Any]]:
        """Every notice that a page has got."""
        self.settle()
        return [json.loads(bytes(f.data)) for f in browser.frames if f.opcode is Opcode.TEXT]

    def closed(self, browser: Browser) -> tuple[int, str]:
        close = browser.ws.close_rcvd
        assert close is not None
        return close.code, close.reason

    def finished(self) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self.drain.finished())

    def refusal(self) -> Refusal | None:
        try:
            self.registry.take_place("192.0.2.1", self.grant()).give_back()
        except Full as full:
            return full.refusal
        return None

    def test_pages_are_told_and_nobody_gets_in(self) -> None:
        _, browser = self.begin()
        _, silent = self.begin("t2", notices=False)
        self.assertEqual(self.drain.progress, Progress(False, 2, None))
        self.drain.begin(60, "Back at noon")
        self.assertEqual(self.told(browser), [{"type": "drain", "seconds": 60.0, "text": "Back at noon"}])
        self.assertEqual(self.told(silent), [])
        self.assertEqual(self.refusal(), Refusal.DRAINING)
        self.clock.advance(20)
        self.assertEqual(self.drain.progress, Progress(True, 2, 40.0, "Back at noon"))

    def test_the_cap_of_the_settings(self) -> None:
        _, browser = self.begin()
        self.drain.begin()
        self.assertEqual(self.told(browser), [{"type": "drain", "seconds": 300.0}])
        self.drain.stop()

    def test_who_is_left_is_ended(self) -> None:
        session, browser = self.begin()
        self.drain.begin(10)
        finished = self.finished()
        self.clock.advance(9.9)
        self.assertIsNone(session.relay.how)
        self.clock.advance(0.1)
        self.settle()
        assert session.relay.how is not None
        self.assertIs(session.relay.how.reason, EndReason.RESTART)
        self.assertEqual(self.closed(browser), (1012, EndReason.RESTART.public))
        browser.close()
        self.pump(lambda: not self.registry.sessions)
        self.successResultOf(finished)
        self.assertEqual(self.drain.progress, Progress(True, 0, 0.0))

    def test_the_message_is_the_reason(self) -> None:
        _, browser = self.begin()
        self.drain.begin(0, "Back at noon")
        self.clock.advance(0)
        self.settle()
        self.assertEqual(self.closed(browser), (1012, "Back at noon"))

    def test_who_does_not_leave_is_cut(self) -> None:
        _, browser = self.begin()
        browser.polite = False
        self.drain.begin(1)
        finished = self.finished()
        self.clock.advance(1)
        self.clock.advance(2 * self.settings.relay.close_timeout)
        self.settle()
        self.successResultOf(finished)

    def test_everybody_leaves_before(self) -> None:
        session, browser = self.begin()
        self.drain.begin(600)
        finished = self.finished()
        self.assertNoResult(finished)
        session.end(EndReason.TARGET_CLOSED)
        self.settle()
        browser.close()
        self.pump(lambda: not self.registry.sessions)
        self.successResultOf(finished)
        self.assertEqual(len(self.timers()), 1, "only the heartbeat's timer is left")
        # It lasts until it is taken back.
        self.assertEqual(self.refusal(), Refusal.DRAINING)
        self.assertTrue(self.drain.cancel())
        self.assertIsNone(self.refusal())

    def test_nobody_is_there(self) -> None:
        self.drain.begin(600)
        self.successResultOf(self.finished())

    def test_a_place_that_becomes_no_session(self) -> None:
        place = self.registry.take_place("192.0.2.1", self.grant())
        self.drain.begin(600)
        finished = self.finished()
        self.clock.advance(5)
        self.assertNoResult(finished)
        place.give_back()
        self.clock.advance(1)
        self.successResultOf(finished)

    def test_it_is_taken_back(self) -> None:
        session, browser = self.begin()
        self.drain.begin(10)
        finished = self.finished()
        self.assertTrue(self.drain.cancel())
        self.assertFalse(self.drain.cancel())
        self.successResultOf(finished)
        self.assertEqual([each["type"] for each in self.told(browser)], ["drain", "drain-over"])
        self.clock.advance(20)
        self.assertIsNone(session.relay.how)
        self.assertIsNone(self.refusal())
        self.assertEqual(self.drain.progress, Progress(False, 1, None))

    def test_another_time(self) -> None:
        session, browser = self.begin()
        self.drain.begin(10)
        self.clock.advance(5)
        self.drain.begin(60)
        self.clock.advance(30)
        self.assertIsNone(session.relay.how)
        self.assertEqual([each["seconds"] for each in self.told(browser)], [10.0, 60.0])
        self.drain.begin(0)
        self.clock.advance(0)
        assert session.relay.how is not None

    def test_connections_that_were_accepted_before(self) -> None:
        """In a hand-over the other process has the listeners; who has connected here stays here."""
        self.drain.begin(60, admit=True)
        finished = self.finished()
        self.assertIsNone(self.refusal())
        self.clock.advance(10)
        session, browser = self.begin()
        self.assertEqual(self.told(browser), [{"type": "drain", "seconds": 50.0}])
        self.drain.close_door()
        self.assertEqual(self.refusal(), Refusal.DRAINING)
        self.assertNoResult(finished)
        self.assertFalse(self.drain.cancel(), "the listeners are gone")
        self.clock.advance(50)
        assert session.relay.how is not None
        self.assertIs(session.relay.how.reason, EndReason.RESTART)

    def test_who_comes_when_the_time_is_over(self) -> None:
        self.drain.begin(0, admit=True)
        self.clock.advance(0)
        session, browser = self.begin()
        self.settle()
        self.assertEqual(browser.close_code, 1012)
        assert session.relay.how is not None

    def test_other_times_do_not_shut_the_door(self) -> None:
        self.drain.begin(60, admit=True)
        self.drain.begin(90)
        self.assertIsNone(self.refusal())
        self.drain.close_door()
        self.drain.begin(30)
        self.assertEqual(self.refusal(), Refusal.DRAINING)

    def test_a_service_that_starts_again(self) -> None:
        self.drain.begin(0, admit=True)
        self.drain.close_door()
        self.drain.reset()
        self.assertIsNone(self.refusal())
        self.assertFalse(self.drain.is_final)
        self.assertEqual(self.drain.progress, Progress(False, 0, None))
