"""What a browser sees while the gateway does the target's handshakes."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet import defer
from websockets.frames import Frame, Opcode

from gateway.reasons import EndReason
from gateway.relay import Ending, Relay, WebSocketLeg
from gateway.relay.legs import BUFFER_SIZE
from gateway.sessions.face import BrowserFace
from gateway.targets import TargetError
from tests.unit.relay.wires import CLOSE_TIMEOUT
from tests.unit.rfb.samples import CHALLENGE, FAILED, LINE, LINE_3_3, LINE_3_7, OK, RESPONSE, text
from tests.unit.targets.securing import LogCase


def frames(*messages: bytes) -> bytes:
    return b"".join(Frame(Opcode.BINARY, message).serialize(mask=True) for message in messages)


class FaceCase(LogCase):
    def make(self, *, small: bool = False, **options: Any) -> None:
        """A browser behind its opening handshake, and the face that it is to see."""
        channel, self.browser = self.watched_wire(small=small)
        self.client = WebSocketLeg(channel, self.poller, max_message=1 << 24, **options)
        self.ending: list[Ending] = []
        self.relay = Relay(
            self.clock,
            self.client,
            close_timeout=CLOSE_TIMEOUT,
            ending=self.ending.append,
            ended=lambda how: None,
        )
        self.face = BrowserFace(self.clock, self.client)

    def go(self, step: Coroutine[Any, Any, Any]) -> defer.Deferred[Any]:
        """Begin, unless that is done; the browser is heard from now on."""
        self.face.begin()
        return defer.Deferred.fromCoroutine(step)

    def done(self, waiting: defer.Deferred[Any]) -> Any:
        self.pump(lambda: waiting.called)
        return self.successResultOf(waiting)

    def heard(self, size: int) -> bytes:
        """The next bytes that the browser hears."""
        self.pump(lambda: len(self.browser.received) >= size)
        data = bytes(self.browser.received[:size])
        del self.browser.received[:size]
        return data

    def assert_heard_all(self) -> None:
        self.settle()
        self.assertEqual(b"", bytes(self.browser.received))

    def asked(self, line: bytes) -> defer.Deferred[Any]:
        """Play the browser's part up to the challenge."""
        asking = self.go(self.face.ask(CHALLENGE))
        self.assertEqual(LINE, self.heard(12))
        self.browser.message(line)
        if line == LINE_3_3:
            self.assertEqual(b"\0\0\0\2", self.heard(4))
        else:
            self.assertEqual(b"\1\2", self.heard(2))
            self.assert_heard_all()
            self.browser.message(b"\2")
        self.assertEqual(CHALLENGE, self.heard(16))
        self.assertNoResult(asking)
        return asking


class AskTests(FaceCase):
    def test_each_version(self) -> None:
        for line in (LINE, LINE_3_7, LINE_3_3):
            self.make()
            asking = self.asked(line)
            self.browser.message(RESPONSE)
            self.assertEqual(RESPONSE, self.done(asking))
            self.assert_heard_all()
            self.done(self.go(self.face.admit()))
            self.assertEqual(OK, self.heard(4))
            self.assert_heard_all()
            self.assertEqual(b"", self.face.unused())

    def test_a_refusal(self) -> None:
        for line, last in ((LINE, FAILED + text(b"Wrong")), (LINE_3_7, FAILED), (LINE_3_3, FAILED)):
            self.make()
            asking = self.asked(line)
            self.browser.message(RESPONSE)
            self.done(asking)
            self.face.judge(False, "Wrong")
            self.relay.end(EndReason.TARGET_AUTH_FAILED)
            self.assertEqual(last, self.heard(len(last)))
            self.assert_heard_all()
            self.assertEqual(4016, self.browser.close_code)

    def test_cut_anywhere(self) -> None:
        self.make()
        asking = self.go(self.face.ask(CHALLENGE))
        for byte in LINE + b"\2" + RESPONSE:
            self.browser.message(bytes((byte,)))
            self.settle()
        self.assertEqual(RESPONSE, self.done(asking))

    def test_what_comes_early_is_for_the_target(self) -> None:
        """ClientInit, and whatever a browser sends that does not wait for anything."""
        for pieces in (
            (LINE + b"\2" + RESPONSE + b"\1more",),
            (LINE, b"\2", RESPONSE, b"\1", b"more"),
            (LINE + b"\2", RESPONSE + b"\1m", b"ore"),
        ):
            self.make(early=frames(*pieces))
            asking = self.go(self.face.ask(CHALLENGE))
            self.assertEqual(RESPONSE, self.done(asking))
            self.done(self.go(self.face.admit()))
            self.settle()
            self.assertEqual(b"\1more", self.face.unused())

    def test_errors_of_the_browser(self) -> None:
        for said, heard in (
            (b"GET / HTTP/1.1\r\n", b""),
            (b"RFB 004.000\n", b""),
            (LINE + b"\1", b"\1\2" + FAILED + text(b"Security type was not offered")),
        ):
            self.make()
            asking = self.go(self.face.ask(CHALLENGE))
            self.heard(12)
            self.browser.message(said)
            self.pump(lambda asking=asking: asking.called)  # type: ignore[misc]
            error = self.failureResultOf(asking, TargetError).value
            self.assertIs(EndReason.CLIENT_RFB_ERROR, error.reason)
            self.assertTrue(str(error).startswith("the browser: "))
            self.assertEqual(heard, self.heard(len(heard)))
            self.assert_heard_all()

    def test_cancelled(self) -> None:
        self.make()
        asking = self.asked(LINE)
        asking.cancel()
        self.failureResultOf(asking, defer.CancelledError)
        self.browser.message(RESPONSE)
        self.settle()
        self.assertEqual([], self.timers())

    def test_cancelled_when_the_answer_is_there(self) -> None:
        self.make()
        asking = self.asked(LINE)
        self.face.put(RESPONSE, 0, 16)
        self.assertEqual(1, len(self.timers()))
        self.assertNoResult(asking)
        asking.cancel()
        self.failureResultOf(asking, defer.CancelledError)
        self.settle()
        self.assertEqual([], self.timers())


class AdmitTests(FaceCase):
    def test_without_authentication(self) -> None:
        for line, heard in (
            (LINE, b"\1\1" + OK),
            (LINE_3_7, b"\1\1"),
            (LINE_3_3, b"\0\0\0\1"),
        ):
            self.make()
            admitting = self.go(self.face.admit())
            self.assertEqual(LINE, self.heard(12))
            self.browser.message(line if line == LINE_3_3 else line + b"\1")
            self.assertEqual(heard, self.heard(len(heard)))
            self.done(admitting)
            self.assert_heard_all()

    def test_errors_of_the_browser(self) -> None:
        self.make()
        admitting = self.go(self.face.admit())
        self.browser.message(LINE + b"\2")
        self.pump(lambda: admitting.called)
        self.assertIs(EndReason.CLIENT_RFB_ERROR, self.failureResultOf(admitting, TargetError).value.reason)

    def test_nobody_is_judged_who_was_not_asked(self) -> None:
        self.make()
        self.face.begin()
        self.face.judge(False, "the target's words")
        self.assert_heard_all()

    def test_behind_the_opening_handshake(self) -> None:
        """What waits to be sent goes first, and who reads nothing is not admitted yet."""
        self.make(small=True, unsent=b"\x82\x7e\x40\0" + bytes(16384))
        self.browser.stalled = True
        admitting = self.go(self.face.admit())
        self.browser.message(LINE + b"\1")
        self.settle()
        self.browser.stalled = False
        self.done(admitting)
        self.assertEqual(bytes(16384) + LINE + b"\1\1" + OK, self.heard(16384 + 18))


class ListeningTests(FaceCase):
    def test_only_when_begun(self) -> None:
        self.make(early=frames(b"early"))
        self.browser.message(b"later")
        self.settle()
        self.assertEqual((0, b""), (self.client.received, self.face.unused()))
        self.face.begin()
        self.face.begin()
        self.assertEqual(b"early", self.done(self.face.spoke()))

    def test_spoke(self) -> None:
        self.make()
        self.face.begin()
        speaking = self.face.spoke()
        self.settle()
        self.assertNoResult(speaking)
        self.browser.message(b"REDQ")
        self.assertEqual(b"REDQ", self.done(speaking))
        self.assertEqual(b"REDQ", self.face.unused())

    def test_spoke_no_longer(self) -> None:
        self.make()
        self.face.begin()
        self.face.spoke().addErrback(lambda failure: failure.trap(defer.CancelledError)).cancel()
        self.browser.message(b"x")
        self.settle()
        self.assertEqual(b"x", self.face.unused())

    def test_a_flood_stays_where_it_is(self) -> None:
        self.make()
        self.face.begin()
        self.browser.message(b"x" * (1 << 22))
        self.settle()
        self.assertLessEqual(self.client.received, 2 * BUFFER_SIZE)
        self.assertEqual(self.client.received, len(self.face.pending or b""))
        self.assertFalse(self.client.reading)

    def test_a_flood_while_the_user_is_asked(self) -> None:
        self.make()
        asking = self.asked(LINE)
        self.browser.message(RESPONSE + b"x" * (1 << 22))
        self.assertEqual(RESPONSE, self.done(asking))
        self.settle()
        self.assertLessEqual(self.client.received, 3 * BUFFER_SIZE)
        received = self.client.received
        self.assertEqual(received - len(LINE) - 1 - 16, len(self.face.unused()))

    def test_pings_are_answered(self) -> None:
        self.make()
        asking = self.asked(LINE)
        self.browser.frame(Opcode.PING, b"alive?")
        self.pump(lambda: self.browser.pongs)
        self.assertNoResult(asking)
        asking.cancel()
        self.failureResultOf(asking, defer.CancelledError)

    def test_a_browser_that_said_goodbye_hears_nothing_more(self) -> None:
        """Its close frame may come behind its opening handshake, before it is listened to."""
        self.make(early=Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
        asking = self.go(self.face.ask(CHALLENGE))
        self.settle()
        self.assertEqual([EndReason.CLIENT_CLOSED], [how.reason for how in self.ending])
        self.assertNoResult(asking)
        self.assertEqual(b"\x88\2\3\xe8", bytes(self.browser.wire))
        asking.cancel()
        self.failureResultOf(asking, defer.CancelledError)
        self.assertEqual([], self.timers())

    def test_nothing_follows_a_close_frame_of_ours(self) -> None:
        self.make()
        asking = self.asked(LINE)
        self.browser.message(RESPONSE)
        self.done(asking)
        self.browser.polite = False
        self.browser.wire.clear()
        self.relay.end(EndReason.SHUTDOWN)
        self.face.judge(False, "Late")
        self.settle()
        self.assertEqual((1001, 0x88), (self.browser.close_code, self.browser.wire[0]))
        self.assertEqual(2 + self.browser.wire[1], len(self.browser.wire))
        self.relay.give_up()
