"""Pings: when they are sent, what counts as life, and when a client is given up."""

from __future__ import annotations

from collections.abc import Callable

from websockets.frames import Opcode

from gateway.relay import Heartbeat
from tests.unit.relay.wires import RelayCase, Session

INTERVAL = 30.0
TICK = INTERVAL / 4


class HeartbeatTests(RelayCase):
    def setUp(self) -> None:
        super().setUp()
        self.dead: list[float] = []
        self.heartbeat = self.start(INTERVAL)

    def start(self, interval: float) -> Heartbeat:
        heartbeat = Heartbeat(self.clock, interval)
        heartbeat.start()
        self.addCleanup(heartbeat.stop)
        return heartbeat

    def watched(self, *, tcp: bool = False, small: bool = False) -> Session:
        session = Session(self, tcp=tcp, small=small)
        self.settle()
        self.heartbeat.add(session.client, lambda: self.dead.append(self.clock.seconds()))
        return session

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps that no timer can be lost in, with everybody awake."""
        steps = int(seconds * 4)
        self.assertEqual(steps, seconds * 4)
        for _ in range(steps):
            self.clock.advance(0.25)
            self.settle()

    def wait_until_dead(self) -> None:
        """The kernel probes a full window in a time of its own, and may find a little room."""
        for _ in range(12):
            if not self.dead:
                self.pass_time(INTERVAL)
        self.assertTrue(self.dead)

    def test_a_silent_client_is_pinged_and_its_pong_is_life(self) -> None:
        session = self.watched()
        self.pass_time(INTERVAL)
        self.assertEqual([], session.browser.pings)
        self.pass_time(TICK)
        self.assertEqual([b""], session.browser.pings)
        # Nobody else says anything: a ping for each interval and a bit.
        self.pass_time(INTERVAL + TICK)
        self.assertEqual([b"", b""], session.browser.pings)
        self.pass_time(10 * INTERVAL)
        self.assertIn(len(session.browser.pings), (10, 11))
        self.assertEqual([], self.dead)

    def test_idle_sessions_are_heard_of_at_least_so_often(self) -> None:
        """Whatever sits between (a reverse proxy, a firewall) sees a frame before its own patience ends."""
        session = self.watched()
        self.pass_time(2 * INTERVAL)
        before = len(session.browser.pings)
        self.pass_time(1.25 * INTERVAL)
        self.assertGreater(len(session.browser.pings), before)

    def test_a_client_that_stays_silent_is_given_up_one_interval_after_the_ping(self) -> None:
        session = self.watched()
        session.browser.polite = False
        while not session.browser.pings:
            self.pass_time(0.25)
        pinged = self.clock.seconds()
        self.assertTrue(INTERVAL <= pinged <= 1.25 * INTERVAL, pinged)
        self.pass_time(INTERVAL)
        self.assertEqual(pinged + INTERVAL, self.dead[0])
        self.assertEqual([b""], session.browser.pings)

    def test_any_bytes_are_life(self) -> None:
        session = self.watched()
        session.browser.polite = False
        for number in range(40):
            self.pass_time(0.9 * INTERVAL // 0.25 * 0.25)
            session.browser.frame(
                *[(Opcode.BINARY, b"x"), (Opcode.PONG, b""), (Opcode.PING, b"")][number % 3]
            )
            self.settle()
        self.assertEqual(([], []), (session.browser.pings, self.dead))

    def test_bytes_after_the_ping_are_life(self) -> None:
        session = self.watched()
        session.browser.polite = False
        for count in range(1, 5):
            while len(session.browser.pings) < count:
                self.pass_time(0.25)
            self.pass_time(INTERVAL - 0.25)
            session.browser.frame(Opcode.BINARY, b"x")
            self.settle()
        self.pass_time(INTERVAL)
        self.assertEqual([], self.dead)

    def test_what_is_sent_to_a_client_is_not_its_life(self) -> None:
        session = self.watched()
        session.browser.polite = False
        for _ in range(12):
            session.console.send(b"update")
            self.pass_time(TICK)
        self.assertEqual(1, len(session.browser.pings))
        self.assertTrue(self.dead)

    def test_a_client_held_up_by_its_target_is_not_judged(self) -> None:
        session = self.watched(tcp=True, small=True)
        session.console.stalled = True
        session.browser.message(bytes(300_000))
        self.settle()
        self.assertFalse(session.client.reading)
        self.pass_time(10 * INTERVAL)
        self.assertEqual(([], []), (session.browser.pings, self.dead))
        # Judged again as soon as it is read again.
        session.console.stalled = False
        session.browser.polite = False
        self.settle()
        self.pass_time(1.25 * INTERVAL)
        self.assertEqual([b""], session.browser.pings)

    def test_a_slow_client_that_takes_bytes_is_alive(self) -> None:
        session = self.watched(tcp=True, small=True)
        session.browser.polite = False
        session.browser.stalled = True
        session.console.send(bytes(4_000_000))
        self.settle()
        session.browser.read_size = 3000
        for _ in range(30):
            session.browser.stalled = False
            received = session.target.received
            self.pump(lambda: session.target.received > received)  # noqa: B023
            session.browser.stalled = True
            self.pass_time(0.75 * INTERVAL)
        self.assertEqual([], self.dead)
        self.wait_until_dead()

    def test_bytes_that_leave_the_kernel_are_life(self) -> None:
        """A large send buffer reports room only when much of it is free, which takes a slow client long."""
        session = self.watched(tcp=True)
        channel = session.client._channel
        session.browser.polite = False
        session.browser.stalled = True
        session.console.send(bytes(20_000_000))
        self.settle()
        received = session.target.received
        turns = 0
        while True:
            # As it is now: acknowledgements may have come in since the last turn.
            queued = channel.queued()
            session.browser.stalled = False
            self.pump(lambda: channel.queued() != queued)  # noqa: B023
            session.browser.stalled = True
            if session.target.received > received:
                break
            self.assertLess(channel.queued(), queued)
            turns += 1
            self.pass_time(1.5 * INTERVAL)
        self.assertGreater(turns, 1)
        self.assertEqual([], self.dead)
        self.wait_until_dead()

    def test_partial_progress_is_life(self) -> None:
        session = Session(self, tcp=True, small_client=True)
        session.browser.stalled = True
        session.console.send(bytes(400_000))
        self.settle()
        self.heartbeat.add(session.client, lambda: self.dead.append(self.clock.seconds()))
        session.browser.read_size = 2000
        while session.client.pending is not None and len(session.client.pending) > 20_000:
            pending = len(session.client.pending)
            session.browser.stalled = False
            self.pump(lambda: len(session.client.pending or b"") < pending)  # noqa: B023
            session.browser.stalled = True
            self.pass_time(0.75 * INTERVAL)
        self.assertEqual([], self.dead)

    def test_no_pings_when_the_interval_is_zero(self) -> None:
        clock_calls = len(self.clock.getDelayedCalls())
        self.heartbeat = self.start(0)
        session = self.watched()
        session.browser.polite = False
        self.assertEqual(clock_calls, len(self.clock.getDelayedCalls()))
        for _ in range(10):
            self.clock.advance(INTERVAL)
        self.settle()
        self.assertEqual(([], []), (session.browser.pings, self.dead))

    def test_short_and_odd_intervals(self) -> None:
        for interval in (0.5, 1, 2.5, 7):
            self.check_interval(interval)

    def check_interval(self, interval: float) -> None:
        session = Session(self)
        session.browser.polite = False
        dead: list[float] = []
        heartbeat = self.start(interval)
        begun = self.clock.seconds()
        heartbeat.add(session.client, lambda: dead.append(self.clock.seconds()))
        while not dead:
            self.clock.advance(interval / 64)
            self.settle()
        self.assertEqual([b""], session.browser.pings)
        lasted = (dead[0] - begun) / interval
        self.assertTrue(1.95 <= lasted <= 2.55, (interval, lasted))

    def test_one_timer_for_all(self) -> None:
        for _ in range(20):
            self.watched()
            self.clock.advance(1.1)
        self.assertEqual(1, len(self.clock.getDelayedCalls()))

    def test_a_leg_that_was_removed_is_left_alone(self) -> None:
        session = Session(self)
        session.browser.polite = False
        remove = self.heartbeat.add(session.client, lambda: self.dead.append(0))
        self.pass_time(INTERVAL)
        remove()
        remove()
        self.pass_time(3 * INTERVAL)
        self.assertEqual(([], []), (session.browser.pings, self.dead))

    def test_a_stopped_heartbeat_can_be_stopped_again_and_started_anew(self) -> None:
        self.heartbeat.stop()
        self.heartbeat.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.heartbeat.start()
        session = self.watched()
        self.pass_time(1.25 * INTERVAL)
        self.assertEqual([b""], session.browser.pings)

    def test_one_that_ends_while_others_are_visited(self) -> None:
        removals: list[Callable[[], None]] = []

        def dead() -> None:
            for remove in removals:
                remove()
            self.dead.append(self.clock.seconds())

        for _ in range(3):
            session = Session(self)
            session.browser.polite = False
            removals.append(self.heartbeat.add(session.client, dead))
        self.pass_time(3 * INTERVAL)
        self.assertGreaterEqual(len(self.dead), 1)

    def test_a_defect_in_one_session_does_not_end_the_pings_of_others(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        broken = Session(self)
        broken.browser.polite = False
        remove = self.heartbeat.add(broken.client, fail)
        session = self.watched()
        self.pass_time(2.5 * INTERVAL)
        remove()
        self.assertGreaterEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        before = len(session.browser.pings)
        self.pass_time(1.25 * INTERVAL)
        self.assertGreater(len(session.browser.pings), before)

    def test_a_ping_to_a_client_that_is_gone_ends_the_session(self) -> None:
        session = self.watched(tcp=True)
        session.browser.abort()
        self.clock.advance(0.01)
        for _ in range(int(3 * INTERVAL)):
            self.clock.advance(1)
        self.settle()
        self.assertEqual(1, len(session.ending))
