"""Text messages from the gateway between a console's own, and the counting of messages."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from gateway.reasons import EndReason
from gateway.relay import FrameDecoder
from gateway.relay.frames import MAX_TEXT, text_frame
from gateway.relay.legs import BUFFER_SIZE
from tests.unit.relay.remotes import RemoteSession
from tests.unit.relay.wires import CLOSE_TIMEOUT, Browser, RelayCase, Session

pieces = st.lists(
    st.tuples(st.sampled_from([Opcode.BINARY, Opcode.PING, Opcode.PONG]), st.binary(max_size=300)),
    max_size=12,
)


def notices(browser: Browser) -> list[str]:
    """The text messages that a browser got."""
    return [bytes(frame.data).decode() for frame in browser.frames if frame.opcode is Opcode.TEXT]


class TextFrameTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.text(max_size=1000))
    def test_another_implementation_reads_it(self, text: str) -> None:
        self.assertEqual(Frame(Opcode.TEXT, text.encode()).serialize(mask=False), text_frame(text))

    def test_limits(self) -> None:
        for size in (0, 125, 126, 127, MAX_TEXT):
            reader = Protocol(Side.CLIENT)
            reader.receive_data(text_frame("x" * size))
            self.assertEqual([Frame(Opcode.TEXT, b"x" * size)], reader.events_received())
        for text in ("x" * (MAX_TEXT + 1), "\u20ac" * (MAX_TEXT // 3 + 1), "\ud800"):
            with self.assertRaises(ValueError):
                text_frame(text)


class CountTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(pieces, st.lists(st.integers(1, 40), max_size=40))
    def test_data_frames_in_any_cut(
        self, frames: Sequence[tuple[Opcode, bytes]], cuts: Sequence[int]
    ) -> None:
        wire = b"".join(
            Frame(opcode, data if opcode is Opcode.BINARY else data[:125]).serialize(mask=True)
            for opcode, data in frames
        )
        decoder = FrameDecoder(1 << 20)
        for cut in [*cuts, len(wire)]:
            decoder.feed(wire[:cut])
            wire = wire[cut:]
        self.assertIsNone(decoder.error)
        self.assertEqual(sum(opcode is Opcode.BINARY for opcode, _ in frames), decoder.data_frames)

    def test_fragments_count_one_by_one_and_what_breaks_the_rules_does_not(self) -> None:
        decoder = FrameDecoder(1000)
        for opcode, data, fin in (
            (Opcode.BINARY, b"a", False),
            (Opcode.PING, b"", True),
            (Opcode.CONT, b"", False),
            (Opcode.CONT, b"b", True),
            (Opcode.BINARY, b"", True),
            (Opcode.TEXT, b"never", True),
        ):
            decoder.feed(Frame(opcode, data, fin=fin).serialize(mask=True))
        self.assertEqual((4, 1003), (decoder.data_frames, decoder.error.code if decoder.error else None))


class CountedSessionTests(RelayCase):
    def test_both_directions(self) -> None:
        session = Session(self)
        for text in (b"one", b"", b"three"):
            session.browser.message(text)
        session.browser.frame(Opcode.PING, b"no message")
        self.settle()
        for size in (1, 2, 3, 4):
            session.console.send(bytes(size))
            self.settle()
        self.assertEqual((3, 4), (session.client.messages_received, session.client.messages_sent))

    def test_both_directions_of_a_console_that_speaks_websocket(self) -> None:
        session = RemoteSession(self)
        for text in (b"one", b"two", b"three"):
            session.browser.message(text)
            self.settle()
        for size in (1, 2):
            session.server.message(bytes(size))
            self.settle()
        self.assertEqual((3, 2), (session.client.messages_received, session.client.messages_sent))
        self.assertEqual((2, 3), (session.remote.messages_received, session.remote.messages_sent))

    def test_notices_are_not_counted(self) -> None:
        session = Session(self)
        session.client.notices = True
        session.client.notify("hello")
        self.settle()
        self.assertEqual(["hello"], notices(session.browser))
        self.assertEqual(0, session.client.messages_sent)


class NotifyTests(RelayCase):
    def agreed(self, *, tls: bool = False, small_client: bool = False) -> Session:
        session = Session(self, tls=tls, small_client=small_client)
        session.client.notices = True
        return session

    def stall(self, session: Session) -> None:
        """Let the console say more than the browser's connection takes."""
        session.browser.stalled = True
        session.console.send(bytes(8 * BUFFER_SIZE))
        while session.client.pending is None:
            self.turn()

    def test_between_the_messages_of_the_console(self) -> None:
        session = self.agreed()
        session.console.send(b"before")
        self.settle()
        session.client.notify("a warning: \u20ac")
        session.console.send(b"after")
        self.settle()
        self.assertEqual(
            (["a warning: \u20ac"], b"beforeafter"), (notices(session.browser), session.browser.received)
        )
        self.assertEqual([], session.ending)

    def test_only_a_client_that_agreed(self) -> None:
        session = Session(self)
        session.client.notify("nothing")
        self.settle()
        session.console.send(b"x")
        self.settle()
        self.assertEqual(([], b"x"), (session.browser.frames, session.browser.received))

    def test_before_the_target_is_there_and_behind_the_answer(self) -> None:
        session = Session(self, unsent=Frame(Opcode.BINARY, b"answer").serialize(mask=False), joined=False)
        session.client.notices = True
        session.client.notify("early")
        self.assertEqual([], notices(session.browser))
        self.settle()
        self.assertEqual((["early"], b"answer"), (notices(session.browser), session.browser.received))
        session.client.notify("later")
        self.settle()
        self.assertEqual(["early", "later"], notices(session.browser))

    def test_the_latest_waits_for_bytes_that_are_pending(self) -> None:
        for tls in (False, True):
            session = self.agreed(tls=tls, small_client=True)
            self.stall(session)
            for number in range(1000):
                session.client.notify(f"{number}" + "." * 1000)
            self.assertIsNotNone(session.client.pending)
            session.browser.stalled = False
            self.settle()
            # None of them was cut into a message of the console's, and none but the last was kept.
            self.assertEqual(["999" + "." * 1000], notices(session.browser))
            self.assertEqual(bytes(8 * BUFFER_SIZE), session.browser.received)
            self.assertEqual([], session.ending)
            session.client.notify("next")
            self.settle()
            self.assertEqual(2, len(notices(session.browser)))

    def test_one_that_waits_precedes_the_end(self) -> None:
        session = self.agreed(small_client=True)
        self.stall(session)
        session.client.notify("last words")
        session.relay.end(EndReason.OPERATOR)
        session.client.notify("too late")
        session.browser.stalled = False
        session.wait_for_end()
        self.assertEqual(["last words"], notices(session.browser))
        session.assert_ended(EndReason.OPERATOR, 4023)
        session.client.notify("much too late")

    def test_a_dead_client_is_noticed_and_nothing_is_raised(self) -> None:
        session = self.agreed()
        session.browser.abort()
        for _ in range(3):
            session.client.notify("hello?")
        self.clock.advance(CLOSE_TIMEOUT)
        session.wait_for_end()
        self.assertEqual([EndReason.CLIENT_GONE], [how.reason for how in session.ended])
        self.ends.clear()

    def test_one_that_cannot_be_sent_costs_nobody_the_session(self) -> None:
        session = self.agreed()
        session.client.notify("x" * (MAX_TEXT + 1))
        session.client.notify("\ud800")
        self.assertEqual(2, len(self.flushLoggedErrors(ValueError)))
        session.console.send(b"x")
        self.settle()
        self.assertEqual(([], b"x", []), (session.browser.frames, session.browser.received, session.ending))

    def test_a_client_that_agreed_still_sends_no_text(self) -> None:
        session = self.agreed()
        session.browser.frame(Opcode.TEXT, b"hello")
        session.wait_for_end()
        session.assert_ended(EndReason.UNSUPPORTED_DATA, 1003)
