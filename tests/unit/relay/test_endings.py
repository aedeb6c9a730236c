"""Every way in which a relay ends: its one reason, its close code on the wire, nothing lost, nothing left."""

from __future__ import annotations

import random
import socket
import sys
from typing import Any

from twisted.internet.task import Clock
from websockets.frames import Frame, Opcode

from gateway.reasons import EndReason
from gateway.relay import Ending, FrameDecoder, FrameError, framed
from tests.unit.relay.remains import nothing_left
from tests.unit.relay.wires import CLOSE_TIMEOUT, RelayCase, Session

BIG = random.Random(0).randbytes(400_000)


def close_frame(payload: bytes) -> bytes:
    return Frame(Opcode.CLOSE, payload).serialize(mask=True)


class TargetEndTests(RelayCase):
    def test_target_closes(self) -> None:
        for tls in (False, True):
            session = Session(self, tls=tls)
            session.console.send(b"bye")
            self.settle()
            session.console.close()
            session.wait_for_end()
            session.assert_ended(EndReason.TARGET_CLOSED, 1000, detail="")
            self.assertEqual(b"bye", session.browser.received)
            assert session.browser.ws.close_rcvd is not None
            self.assertEqual("Target closed", session.browser.ws.close_rcvd.reason)

    def test_target_closes_with_bytes_pending_for_a_slow_browser(self) -> None:
        for tls in (False, True):
            session = Session(self, tls=tls, tcp=True, small=True)
            session.browser.stalled = True
            session.console.send(BIG)
            self.settle()
            session.browser.stalled = False
            session.browser.read_size = 5000
            self.pump(lambda: not session.console.out)  # noqa: B023
            session.browser.stalled = True
            session.console.close()
            self.settle()
            session.browser.stalled = False
            session.wait_for_end()
            session.assert_ended(EndReason.TARGET_CLOSED, 1000)
            self.assertTrue(session.browser.received == BIG)

    def test_target_half_closes_and_still_takes_what_is_pending(self) -> None:
        session = Session(self, tcp=True, small_target=True)
        session.console.stalled = True
        data = BIG[:200_000]
        session.browser.message(data)
        self.settle()
        self.assertTrue(session.target.pending)
        session.console.finish_sending()
        self.pump(lambda: session.ending)
        self.assertTrue(session.target.pending)
        session.console.stalled = False
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_CLOSED, 1000)
        self.assertTrue(BIG.startswith(session.console.received))
        self.assertEqual(session.client.received, len(session.console.received))

    def test_target_resets(self) -> None:
        session = Session(self, tcp=True)
        session.console.send(b"last")
        self.settle()
        session.console.abort()
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_LOST, 4006, detail="Connection reset by peer")
        self.assertEqual(b"last", session.browser.received)

    def test_target_is_lost_while_it_is_written_to(self) -> None:
        session = Session(self)
        session.console.sock.shutdown(socket.SHUT_RD)
        session.browser.message(b"key")
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_LOST, 4006, detail="Broken pipe")

    def test_target_is_lost_by_the_read_that_also_brought_a_close_frame(self) -> None:
        session = Session(self)
        session.console.sock.shutdown(socket.SHUT_RD)
        key = Frame(Opcode.BINARY, b"key").serialize(mask=True)
        session.browser.sock.send(key + close_frame(b"\x03\xe8") + key)
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_LOST, 4006)

    def test_target_is_lost_by_a_read_that_also_broke_the_protocol(self) -> None:
        session = Session(self)
        session.console.sock.shutdown(socket.SHUT_RD)
        session.browser.sock.send(Frame(Opcode.BINARY, b"key").serialize(mask=True) + b"\xff\xff")
        session.wait_for_end()
        session.assert_ended(EndReason.TARGET_LOST, 4006)


class ClientEndTests(RelayCase):
    def test_client_says_close(self) -> None:
        for payload, code, detail in (
            (b"\x03\xe8", 1000, "code 1000"),
            (b"\x03\xe9going", 1001, "code 1001"),
            (b"\x0f\xa0mine", 4000, "code 4000"),
            (b"", 1005, "no code"),
        ):
            for tls in (False, True):
                session = Session(self, tls=tls)
                session.browser.message(b"last")
                session.browser.send(close_frame(payload))
                session.wait_for_end()
                session.assert_ended(EndReason.CLIENT_CLOSED, code, detail=detail)
                self.assertEqual(b"last", session.console.received)

    def test_client_says_something_wrong_in_its_close_frame(self) -> None:
        for payload, code in (
            (b"\x03", 1002),
            (b"\x00\x00", 1002),
            (b"\x03\xed", 1002),
            (b"\x03\xee", 1002),
            (b"\x03\xf7", 1002),
            (b"\xff\xff", 1002),
            (b"\x03\xe8\xff\xfe", 1007),
        ):
            session = Session(self)
            session.browser.message(b"last")
            session.browser.send(close_frame(payload))
            session.wait_for_end()
            session.assert_ended(EndReason.PROTOCOL_ERROR, code)
            self.assertEqual(b"last", session.console.received)

    def test_client_says_close_with_bytes_pending_for_the_target(self) -> None:
        session = Session(self, tcp=True, small=True)
        session.console.stalled = True
        data = BIG[:60_000]
        session.browser.message(data)
        session.browser.close_frame(1000)
        self.settle()
        self.assertTrue(session.target.pending)
        session.console.stalled = False
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_CLOSED, 1000)
        self.assertTrue(session.console.received == data)

    def test_client_leaves_without_a_word(self) -> None:
        for tls in (False, True):
            session = Session(self, tls=tls)
            session.browser.message(b"last")
            self.settle()
            session.browser.close()
            session.wait_for_end()
            session.assert_ended(EndReason.CLIENT_GONE, None)
            self.assertEqual(b"last", session.console.received)
            self.assertTrue(session.console.eof)

    def test_client_leaves_with_bytes_pending_for_the_target(self) -> None:
        session = Session(self, tcp=True, small_target=True)
        session.console.stalled = True
        data = BIG[:60_000]
        session.browser.message(data)
        self.settle()
        self.assertTrue(session.target.pending)
        self.assertFalse(session.browser.out)
        session.browser.sock.shutdown(socket.SHUT_RDWR)
        session.console.stalled = False
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_GONE, None)
        self.assertTrue(session.console.received == data)

    def test_client_resets(self) -> None:
        session = Session(self, tcp=True)
        session.browser.message(b"last")
        self.settle()
        session.browser.abort()
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_GONE, None, detail="Connection reset by peer")

    def test_client_breaks_the_protocol(self) -> None:
        for wire, reason, code in (
            (b"\xc2\x80", EndReason.PROTOCOL_ERROR, 1002),
            (Frame(Opcode.TEXT, b"hello").serialize(mask=True), EndReason.UNSUPPORTED_DATA, 1003),
            (b"\x82\xff" + (1 << 24).to_bytes(8, "big") + b"keyk", EndReason.MESSAGE_TOO_BIG, 1009),
        ):
            for tls in (False, True):
                session = Session(self, tls=tls, max_message=1 << 20)
                session.browser.message(b"last")
                session.browser.send(wire)
                session.wait_for_end()
                session.assert_ended(reason, code)
                self.assertEqual(b"last", session.console.received)

    def test_a_violation_is_not_held_up_by_a_client_that_only_waits(self) -> None:
        """After a violation nothing is waited for but the end of the stream (RFC 6455, section 7.1.7)."""
        session = Session(self)
        session.browser.polite = False
        session.browser.send(b"\xc2\x80")
        self.pump(lambda: session.browser.eof)
        self.assertEqual(1002, session.browser.close_code)

    def test_a_violation_of_a_slow_client_shows_behind_what_is_pending(self) -> None:
        session = Session(self, tcp=True, small=True)
        session.browser.stalled = True
        session.console.send(BIG[:60_000])
        self.settle()
        session.browser.send(b"\xc2\x80")
        self.pump(lambda: session.ending)
        session.browser.stalled = False
        session.wait_for_end()
        session.assert_ended(EndReason.PROTOCOL_ERROR, 1002)
        self.assertTrue(BIG.startswith(session.browser.received))
        self.assertGreater(len(session.browser.received), 0)


class OwnEndTests(RelayCase):
    def test_shutdown(self) -> None:
        for tls in (False, True):
            session = Session(self, tls=tls)
            self.settle()
            session.relay.end(EndReason.SHUTDOWN)
            session.wait_for_end()
            session.assert_ended(EndReason.SHUTDOWN, 1001)

    def test_ping_timeout_resets_the_client(self) -> None:
        session = Session(self, tcp=True)
        session.relay.end(EndReason.CLIENT_TIMEOUT, "no answer to a ping")
        session.wait_for_end()
        session.assert_ended(EndReason.CLIENT_TIMEOUT, None, detail="no answer to a ping")
        self.assertTrue(session.browser.reset)

    def test_the_first_reason_counts(self) -> None:
        session = Session(self)
        session.relay.end(EndReason.SHUTDOWN, "first")
        session.relay.end(EndReason.INTERNAL_ERROR, "second")
        session.wait_for_end()
        session.relay.end(EndReason.INTERNAL_ERROR, "third")
        session.assert_ended(EndReason.SHUTDOWN, 1001, detail="first")

    def test_failed_dial(self) -> None:
        wire = Frame(Opcode.BINARY, b"early").serialize(mask=True)
        for early in (b"", wire, wire[:7]):
            for reason in EndReason:
                if reason.code is None or reason.code < 4000:
                    continue
                session = Session(self, joined=False, unsent=b"\x82\x01x", early=early)
                session.browser.send(wire[len(early) :])
                session.target.abort()
                session.relay.end(reason)
                session.wait_for_end()
                session.assert_ended(reason, reason.code)
                self.assertEqual(b"x", session.browser.received)

    def test_a_mute_client_is_cut_after_the_close_timeout(self) -> None:
        session = Session(self, tcp=True)
        session.browser.polite = False
        session.relay.end(EndReason.SHUTDOWN)
        self.settle()
        self.assertEqual(1001, session.browser.close_code)
        self.clock.advance(CLOSE_TIMEOUT - 0.01)
        self.settle()
        self.assertEqual([], session.ended)
        self.clock.advance(0.02)
        session.assert_ended(EndReason.SHUTDOWN, 1001)

    def test_a_client_that_answers_but_keeps_the_connection_is_cut(self) -> None:
        session = Session(self, tcp=True)
        session.browser.polite = False
        session.browser.send(close_frame(b"\x03\xe8"))
        self.pump(lambda: session.browser.eof)
        self.settle()
        self.assertEqual([], session.ended)
        self.clock.advance(CLOSE_TIMEOUT)
        session.assert_ended(EndReason.CLIENT_CLOSED, 1000)

    def test_a_client_that_talks_on_is_not_waited_for_longer(self) -> None:
        session = Session(self, tcp=True)
        session.browser.polite = False
        session.relay.end(EndReason.SHUTDOWN)
        for _ in range(10):
            session.browser.frame(Opcode.BINARY, b"x" * 1000)
            self.settle()
            self.clock.advance(CLOSE_TIMEOUT / 10)
        session.assert_ended(EndReason.SHUTDOWN, 1001)
        self.assertEqual(b"", session.console.received)

    def test_a_target_that_keeps_its_connection_is_cut(self) -> None:
        session = Session(self, tcp=True)
        session.console.polite = False
        session.relay.end(EndReason.SHUTDOWN)
        self.settle()
        self.assertTrue(session.console.eof)
        for _ in range(10):
            session.console.send(b"x" * 1000)
            self.settle()
            self.clock.advance(CLOSE_TIMEOUT / 10)
        session.assert_ended(EndReason.SHUTDOWN, 1001)

    def test_stalled_sides_are_cut_with_a_reset(self) -> None:
        session = Session(self, tcp=True, small=True)
        session.browser.stalled = session.console.stalled = True
        session.browser.message(BIG)
        session.console.send(BIG)
        self.settle()
        session.relay.end(EndReason.SHUTDOWN)
        self.settle()
        self.assertEqual([], session.ended)
        self.clock.advance(CLOSE_TIMEOUT)
        session.browser.stalled = session.console.stalled = False
        session.assert_ended(EndReason.SHUTDOWN, None)
        self.assertTrue(session.browser.reset)
        self.assertTrue(session.console.reset)

    def test_a_slow_browser_gets_everything_as_long_as_it_goes_on(self) -> None:
        session = Session(self, tcp=True, small_client=True)
        session.browser.stalled = True
        session.console.send(BIG)
        self.settle()
        self.assertGreater(len(session.client.pending or b""), 30_000)
        session.relay.end(EndReason.SHUTDOWN)
        session.browser.read_size = 2000
        while session.client.pending is not None:
            session.browser.stalled = False
            pending = len(session.client.pending)
            self.pump(lambda: len(session.client.pending or b"") < pending)  # noqa: B023
            session.browser.stalled = True
            self.clock.advance(CLOSE_TIMEOUT * 0.9)
        self.assertGreater(self.clock.seconds(), 3 * CLOSE_TIMEOUT)
        session.browser.stalled = False
        session.wait_for_end()
        session.assert_ended(EndReason.SHUTDOWN, 1001)
        self.assertEqual(session.target.received, len(session.browser.received))

    def test_the_end_is_bounded_exactly(self) -> None:
        session = Session(self)
        session.browser.polite = session.console.polite = False
        session.relay.end(EndReason.SHUTDOWN)
        for _ in range(119):
            self.clock.advance(CLOSE_TIMEOUT / 10)
            session.relay.progressed()
        self.assertEqual([], session.ended)
        self.clock.advance(CLOSE_TIMEOUT / 10)
        self.assertEqual(1, len(session.ended))
        self.assertEqual([], self.timers())

    def test_give_up_after_the_end_was_decided(self) -> None:
        session = Session(self)
        session.browser.polite = session.console.polite = False
        session.relay.end(EndReason.SHUTDOWN)
        session.relay.give_up()
        session.relay.give_up()
        session.assert_ended(EndReason.SHUTDOWN, 1001)


class BrokenDecoder(FrameDecoder):
    """A decoder with a defect."""

    def feed(self, data: bytes | memoryview) -> bytes:
        if data == b"?":
            raise ZeroDivisionError
        return super().feed(data)


class DefectTests(RelayCase):
    """What is wrong in one session ends that session and no other."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(framed, "FrameDecoder", BrokenDecoder)

    def test_an_exception_in_a_handler(self) -> None:
        other = Session(self)
        session = Session(self)
        session.browser.send(b"?")
        self.pump(lambda: session.ending)
        session.browser.send(close_frame(b"\x03\xe8"))
        self.clock.advance(CLOSE_TIMEOUT)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        other.browser.send(Frame(Opcode.PING, b"alive").serialize(mask=True))
        self.pump(lambda: other.browser.pongs == [b"alive"])
        other.browser.close()
        other.wait_for_end()
        session.assert_ended(EndReason.INTERNAL_ERROR, 1011)

    def test_an_exception_that_repeats_itself(self) -> None:
        session = Session(self)
        session.browser.polite = False
        for _ in range(3):
            session.browser.send(b"?")
            self.settle()
        self.pump(lambda: session.client.is_closed)
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))
        session.wait_for_end()
        self.settle()


class RemainsTests(RelayCase):
    """Nothing is left behind: descriptors, timers, registrations, reference cycles."""

    def live(self, how: str, *, tls: bool) -> None:
        session = Session(self, tls=tls, tcp=True)
        session.browser.message(b"up")
        session.console.send(b"down")
        self.pump(lambda: session.console.received and session.browser.received)
        if how == "client closes":
            session.browser.close_frame(1000)
        elif how == "client goes":
            session.browser.close()
        elif how == "client breaks the protocol":
            session.browser.send(b"\xff\xff")
        elif how == "target closes":
            session.console.close()
        elif how == "target resets":
            session.console.abort()
        else:
            session.relay.end(EndReason.SHUTDOWN)
        session.wait_for_end()
        self.settle()
        for end in self.ends:
            end.close()
        self.ends.clear()
        self.sockets.clear()

    def test_nothing_is_left(self) -> None:
        ways = [
            "client closes",
            "client goes",
            "client breaks the protocol",
            "target closes",
            "target resets",
            "shutdown",
        ]
        kinds = {"WebSocketLeg", "RawLeg", "Relay", "TlsChannel", "SocketChannel", "FrameDecoder"}
        self.live(ways[0], tls=True)
        for tls in (False, True):
            for how in ways:
                with nothing_left(self, kinds, how):
                    self.live(how, tls=tls)
                self.assertEqual((0, []), (len(self.poller), self.timers()))

    def test_a_leg_is_small(self) -> None:
        """An idle session costs a few kilobytes of Python objects, not buffers."""
        session = Session(self)
        self.settle()

        def size(value: Any, seen: set[int]) -> int:
            if id(value) in seen or isinstance(value, Clock | type) or callable(value):
                return 0
            seen.add(id(value))
            total = sys.getsizeof(value)
            for kind in type(value).__mro__:
                for name in getattr(kind, "__slots__", ()):
                    part = getattr(value, name, None)
                    if name not in ("_poller", "_clock", "log"):
                        total += size(part, seen)
            return total

        self.assertLess(size(session.relay, set()), 4096)


class OwnerTests(RelayCase):
    def test_reports_after_the_end_change_nothing(self) -> None:
        session = Session(self)
        relay = session.relay
        relay.end(EndReason.SHUTDOWN, "first")
        relay.said_close(session.client, 1000)
        relay.reached_end(session.target)
        relay.violated(session.client, FrameError(1002, "late"))
        session.wait_for_end()
        relay.broke(session.client, "late")
        relay.failed(session.target)
        relay.progressed()
        self.assertEqual([Ending(EndReason.SHUTDOWN, "first")], session.ended)
        session.assert_ended(EndReason.SHUTDOWN, 1001)
