from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway.control.tally import Tally
from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import (
    AdminAction,
    Events,
    Happening,
    RequestRefused,
    SessionEnded,
    SessionJoined,
    SessionOpened,
    SessionWarned,
)
from tests.unit.control.gateways import session


class TallyTests(SynchronousTestCase):
    def test_counts(self) -> None:
        events = Events()
        tally = Tally(events)
        info = session(1)
        happenings: list[Happening] = [
            SessionOpened(info, 0.1),
            SessionOpened(info, 0.1),
            SessionJoined(info, 0.1),
            SessionWarned(info, EndReason.IDLE, 1.0),
            SessionEnded(info, EndReason.IDLE, ""),
            SessionEnded(info, EndReason.IDLE, ""),
            SessionEnded(info, EndReason.OPERATOR, ""),
            RequestRefused("unix", None, None, None, Refusal.CLIENT_LIMIT, ""),
            AdminAction("uid:0", "end", (), ""),
        ]
        for what in happenings:
            events.publish(what)
        self.assertEqual(tally.opened, 2)
        self.assertEqual(tally.ended, {EndReason.IDLE: 2, EndReason.OPERATOR: 1})
        self.assertEqual(tally.refused, {Refusal.CLIENT_LIMIT: 1})
        tally.stop()
        tally.stop()
        events.publish(happenings[0])
        self.assertEqual(tally.opened, 2)
