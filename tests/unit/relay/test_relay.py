"""Two legs joined: bytes, back-pressure, and memory, on real sockets."""

from __future__ import annotations

import random
import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.reasons import EndReason
from gateway.relay import legs as legs_module
from gateway.relay.frames import MAX_HEADER
from gateway.relay.legs import BUFFER_SIZE
from tests.unit.relay.wires import RelayCase, Session


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def client_wire(data: bytes, chance: random.Random) -> bytes:
    """``data`` as a client may send it: any fragmentation, with control frames between."""
    wire = b""
    place = 0
    fragmented = False
    while place < len(data) or fragmented:
        size = chance.choice([0, 1, 3, 125, 126, 700, 5000, 65535, 65536, 100_000])
        piece = data[place : place + size]
        place += len(piece)
        fin = chance.random() < 0.5 or place >= len(data)
        wire += Frame(Opcode.CONT if fragmented else Opcode.BINARY, piece, fin=fin).serialize(mask=True)
        fragmented = not fin
        if chance.random() < 0.2:
            opcode = chance.choice([Opcode.PING, Opcode.PONG])
            wire += Frame(opcode, chance.randbytes(chance.randrange(126))).serialize(mask=True)
    return wire


class BytesTests(RelayCase):
    def relay_both_ways(self, seed: int, *, tls: bool, small: bool = False, size: int = 600_000) -> None:
        """Bytes in are bytes out, both ways at once, whatever the fragmentation and the cuts."""
        chance = random.Random(seed)
        session = Session(self, tls=tls, tcp=True, small=small)
        browser, console = session.browser, session.console
        up, down = noise(seed, chance.randrange(size)), noise(seed + 1, chance.randrange(size))
        wire, place = client_wire(up, chance), 0
        sent = 0
        while place < len(wire) or sent < len(down):
            cut = chance.choice([1, 2, 7, 100, 1460, 16384, 200_000])
            browser.send(wire[place : place + cut])
            place += cut
            cut = chance.choice([1, 2, 7, 100, 1460, 16384, 200_000])
            console.send(down[sent : sent + cut])
            sent += cut
            browser.stalled, console.stalled = chance.random() < 0.2, chance.random() < 0.2
            browser.read_size = console.read_size = chance.choice([1000, 65536])
            browser.write_size = console.write_size = chance.choice([500, 65536])
            for _ in range(chance.randrange(4)):
                self.turn()
        browser.stalled = console.stalled = False
        browser.write_size = console.write_size = browser.read_size = console.read_size = 1 << 20
        self.pump(lambda: len(console.received) >= len(up) and len(browser.received) >= len(down))
        self.settle()
        self.assertTrue(console.received == up)
        self.assertTrue(browser.received == down)
        self.assertEqual((len(up), len(down)), (session.client.received, session.target.received))
        self.assertEqual([], session.ending)
        browser.close_frame(1000)
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_CLOSED, 1000)

    def test_bytes_in_are_bytes_out_both_ways_plain(self) -> None:
        for seed in range(6):
            self.relay_both_ways(seed, tls=False)
        self.relay_both_ways(99, tls=False, small=True, size=200_000)

    def test_bytes_in_are_bytes_out_both_ways_tls(self) -> None:
        for seed in range(6):
            self.relay_both_ways(seed, tls=True)
        self.relay_both_ways(99, tls=True, small=True, size=200_000)

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), max_size=20))
    def test_any_cut_of_any_messages(self, messages: list[bytes], cuts: list[int]) -> None:
        session = Session(self)
        wire = b"".join(Frame(Opcode.BINARY, message).serialize(mask=True) for message in messages)
        for cut in [*cuts, len(wire)]:
            session.browser.send(wire[:cut])
            wire = wire[cut:]
            self.pump(lambda: not session.browser.out)
            self.poller.doRead()
        self.settle()
        self.assertEqual(b"".join(messages), session.console.received)
        session.browser.close()
        session.wait_for_end()
        self.ends.clear()

    def test_nothing_is_sent_before_the_target_speaks_or_is_asked(self) -> None:
        session = Session(self)
        self.settle()
        self.assertEqual((b"", b"", []), (session.console.received, session.browser.received, session.ending))

    def test_early_and_unsent_bytes_come_first(self) -> None:
        wire = Frame(Opcode.BINARY, b"first").serialize(mask=True)
        session = Session(
            self,
            unsent=Frame(Opcode.BINARY, b"answer ").serialize(mask=False),
            early=wire + wire[:3],
            joined=False,
        )
        session.console.send(b"RFB 003.008\n")
        session.browser.send(wire[3:])
        session.relay.join(session.target)
        self.assertTrue(session.client.pending)
        self.assertFalse(session.target.reading)
        self.settle()
        self.assertEqual(b"firstfirst", session.console.received)
        self.assertEqual(b"answer RFB 003.008\n", session.browser.received)

    def test_unsent_bytes_go_while_the_target_is_dialled(self) -> None:
        session = Session(self, unsent=Frame(Opcode.BINARY, b"answer").serialize(mask=False), joined=False)
        session.browser.message(b"waits in the kernel")
        self.settle()
        self.assertEqual(b"answer", session.browser.received)
        session.relay.join(session.target)
        self.settle()
        self.assertEqual(b"waits in the kernel", session.console.received)

    def test_early_bytes_of_a_whole_read(self) -> None:
        size = BUFFER_SIZE - 14
        session = Session(self, early=Frame(Opcode.BINARY, bytes(size)).serialize(mask=True), joined=False)
        session.console.stalled = True
        session.relay.join(session.target)
        session.console.stalled = False
        self.pump(lambda: len(session.console.received) == size)
        self.assertEqual([], session.ending)


class BackPressureTests(RelayCase):
    def test_stalled_browser_while_the_target_floods(self) -> None:
        for tls in (False, True):
            session = Session(self, tls=tls, tcp=True, small=True)
            flood = noise(1, 3_000_000)
            session.browser.stalled = True
            session.console.send(flood)
            kept: list[int] = []
            self.settle(lambda: kept.append(len(session.client.pending or b"")))  # noqa: B023
            self.assertGreater(max(kept), 0)
            self.assertLessEqual(max(kept), BUFFER_SIZE + MAX_HEADER)
            self.assertFalse(session.target.reading)
            self.assertGreater(len(session.console.out), 2_000_000)
            # The other direction goes on.
            session.browser.message(b"key")
            self.pump(lambda: session.console.received == b"key")  # noqa: B023
            session.browser.stalled = False
            self.pump(lambda: len(session.browser.received) == len(flood))  # noqa: B023
            self.assertTrue(session.browser.received == flood)
            self.assertTrue(session.target.reading)
            self.assertIsNone(session.client.pending)
            self.settle()

    def test_stalled_target_while_the_browser_floods(self) -> None:
        for tls in (False, True):
            session = Session(self, tls=tls, tcp=True, small=True)
            flood = noise(2, 3_000_000)
            session.console.stalled = True
            for place in range(0, len(flood), 100_000):
                session.browser.message(flood[place : place + 100_000])
            kept: list[int] = []
            self.settle(lambda: kept.append(len(session.target.pending or b"")))  # noqa: B023
            self.assertGreater(max(kept), 0)
            self.assertLessEqual(max(kept), BUFFER_SIZE)
            self.assertFalse(session.client.reading)
            self.assertGreater(len(session.browser.out), 2_000_000)
            session.console.send(b"update")
            self.pump(lambda: session.browser.received == b"update")  # noqa: B023
            session.console.stalled = False
            self.pump(lambda: len(session.console.received) == len(flood))  # noqa: B023
            self.assertTrue(session.console.received == flood)
            self.settle()

    def test_both_stalled_and_both_flooding(self) -> None:
        session = Session(self, tcp=True, small=True)
        up, down = noise(3, 1_000_000), noise(4, 1_000_000)
        session.browser.stalled = session.console.stalled = True
        session.browser.message(up)
        session.console.send(down)
        self.settle()
        self.assertEqual((False, False), (session.client.reading, session.target.reading))
        session.browser.stalled = session.console.stalled = False
        self.pump(lambda: len(session.console.received) + len(session.browser.received) == 2_000_000)
        self.assertTrue(session.console.received == up)
        self.assertTrue(session.browser.received == down)

    def test_ping_flood_of_a_client_that_never_reads(self) -> None:
        session = Session(self, tcp=True, small=True)
        session.browser.stalled = True
        session.console.send(noise(5, 400_000))
        self.settle()
        for number in range(20_000):
            session.browser.send(Frame(Opcode.PING, b"%06d" % number * 20).serialize(mask=True))
        self.settle()
        self.assertFalse(session.browser.out, "pings are read although nothing can be sent")
        self.assertLessEqual(len(session.client.pending or b""), BUFFER_SIZE + MAX_HEADER)
        session.browser.stalled = False
        self.pump(lambda: len(session.browser.received) == 400_000)
        self.settle()
        # Of those that waited, only the latest is owed (RFC 6455, section 5.5.3); a few may not have had to.
        self.assertEqual(b"019999" * 20, session.browser.pongs[-1])
        self.assertLess(len(session.browser.pongs), 20)
        self.assertTrue(session.browser.received == noise(5, 400_000))

    def test_one_pong_answers_the_pings_of_one_read(self) -> None:
        session = Session(self)
        session.browser.send(b"".join(Frame(Opcode.PING, b"%d" % n).serialize(mask=True) for n in range(50)))
        self.settle()
        self.assertEqual([b"49"], session.browser.pongs)

    def test_control_frames_never_split_a_data_frame(self) -> None:
        session = Session(self, tcp=True, small=True)
        flood = noise(6, 500_000)
        session.console.send(flood)
        session.browser.read_size = 777
        while len(session.browser.received) < len(flood):
            session.browser.frame(Opcode.PING, b"now")
            self.turn()
        self.settle()
        # The browser's parser would have failed on a split frame.
        self.assertTrue(session.browser.received == flood)
        self.assertEqual({b"now"}, set(session.browser.pongs))

    def test_pings_are_answered_between_messages_and_inside_them(self) -> None:
        session = Session(self)
        session.browser.frame(Opcode.BINARY, b"be", fin=False)
        session.browser.frame(Opcode.PING, b"inside")
        session.browser.frame(Opcode.CONT, b"gun")
        self.settle()
        self.assertEqual([b"inside"], session.browser.pongs)
        self.assertEqual(b"begun", session.console.received)

    def test_unsolicited_pongs_are_ignored(self) -> None:
        session = Session(self)
        session.browser.frame(Opcode.PONG, b"hm")
        self.settle()
        self.assertEqual(([], []), (session.browser.frames, session.ending))


class RestTests(RelayCase):
    """In no state does a dead or half-open connection keep the poller busy."""

    def test_half_open_peers_while_paused(self) -> None:
        for tcp in (False, True):
            session = Session(self, tcp=tcp, small=True)
            session.browser.stalled = session.console.stalled = True
            session.browser.message(bytes(500_000))
            session.console.send(bytes(500_000))
            self.settle()
            session.console.out.clear()
            session.browser.out.clear()
            # Both say that nothing more comes; both have bytes to read, and we have bytes for both.
            session.console.finish_sending()
            session.browser.finish_sending()
            self.settle()
            self.assertEqual([], session.ending)
            session.console.close()
            session.browser.close()
            session.wait_for_end()
            self.settle()

    def test_target_gone_while_paused(self) -> None:
        for tcp in (False, True):
            for reset in (False, True):
                session = Session(self, tcp=tcp, small=True)
                session.browser.stalled = True
                session.console.send(noise(7, 300_000))
                self.settle()
                session.console.out.clear()
                if reset and tcp:
                    session.console.abort()
                else:
                    session.console.close()
                self.settle()
                self.assertEqual([], session.ending)
                session.browser.stalled = False
                session.wait_for_end()
                self.assertIn(session.ended[0].reason, (EndReason.TARGET_CLOSED, EndReason.TARGET_LOST))
                self.settle()

    def test_client_gone_while_paused(self) -> None:
        for reset in (False, True):
            session = Session(self, tcp=True, small=True)
            session.console.stalled = True
            session.browser.message(noise(8, 300_000))
            self.settle()
            session.browser.out.clear()
            if reset:
                session.browser.abort()
            else:
                session.browser.close()
            self.settle()
            self.assertEqual([], session.ending)
            session.console.stalled = False
            session.wait_for_end()
            self.assertEqual(EndReason.CLIENT_GONE, session.ended[0].reason)
            self.settle()

    def test_client_half_closed_while_dialling(self) -> None:
        session = Session(self, joined=False)
        self.settle()
        session.browser.message(b"unread")
        session.browser.sock.send(session.browser.out)
        session.browser.finish_sending()
        self.pump(lambda: session.ended)
        self.assertEqual(EndReason.CLIENT_GONE, session.ended[0].reason)
        self.assert_no_busy_loop()

    def test_an_event_for_a_leg_closed_earlier_in_the_same_batch(self) -> None:
        session = Session(self)
        session.browser.sock.send(Frame(Opcode.TEXT, b"x").serialize(mask=True))
        session.console.sock.send(b"data")
        session.browser.sock.shutdown(socket.SHUT_RDWR)
        session.console.sock.shutdown(socket.SHUT_RDWR)
        session.wait_for_end()
        self.settle()


class PaceTests(RelayCase):
    """Floods of small writes are gathered; what comes alone never waits."""

    def setUp(self) -> None:
        super().setUp()
        self.now = 100.0
        self.patch(legs_module, "monotonic", lambda: self.now)
        self.session = Session(self)

    def write(self, interval: float) -> int:
        """A small write of the console after ``interval`` seconds; how many bytes the browser got of it."""
        self.now += interval
        browser = self.session.browser
        before = len(browser.received)
        self.session.console.sock.send(b"update")
        self.poller.doRead()
        browser.step()
        return len(browser.received) - before

    def test_isolated_updates_never_wait(self) -> None:
        self.assertEqual([6] * 100, [self.write(0.001) for _ in range(100)])
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_a_burst_that_ends_in_time_never_waits(self) -> None:
        for _ in range(5):
            self.assertEqual([6] * 15, [self.write(0.0001) for _ in range(15)])
            self.now += 0.001

    def test_a_flood_is_gathered(self) -> None:
        self.assertEqual([6] * 16, [self.write(0.0001) for _ in range(16)])
        self.assertEqual([0] * 10, [self.write(0.0001) for _ in range(10)])
        self.reactor.advance(0.0005)
        self.poller.doRead()
        self.session.browser.step()
        self.assertEqual(26 * 6, len(self.session.browser.received))

    def test_answers_are_no_flood(self) -> None:
        """A console server that is close by answers each message within less than the flood's gap."""
        for _ in range(100):
            self.session.browser.message(b"key")
            self.poller.doRead()
            self.session.console.step()
            self.assertEqual(6, self.write(0.0001))
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_large_reads_are_no_flood(self) -> None:
        for _ in range(100):
            self.session.console.send(bytes(16384))
            self.pump(lambda: not self.session.console.out)
            self.turn()
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_the_end_of_a_resting_target_is_seen(self) -> None:
        for _ in range(17):
            self.write(0.0001)
        self.session.console.finish_sending()
        self.session.wait_for_end()
        self.assertEqual(17 * 6, len(self.session.browser.received))
        self.session.assert_ended(EndReason.TARGET_CLOSED, 1000)

    def test_a_session_that_ends_while_its_target_rests(self) -> None:
        for _ in range(17):
            self.write(0.0001)
        self.session.relay.end(EndReason.SHUTDOWN)
        self.session.wait_for_end()
        self.reactor.advance(1)
        self.session.assert_ended(EndReason.SHUTDOWN, 1001)
