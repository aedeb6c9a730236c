"""Sessions that end, or might, while their target is being secured."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from websockets.frames import Frame, Opcode

from gateway.reasons import EndReason
from gateway.relay import WebSocketLeg
from gateway.relay.legs import BUFFER_SIZE
from gateway.sessions import Session
from gateway.sessions.face import BrowserFace
from gateway.settings import PasswordMode
from gateway.targets.exchange import Exchange
from gateway.tickets import Grant
from tests.unit.relay.remains import nothing_left
from tests.unit.rfb.samples import CHALLENGE, LINE, OK, RESPONSE, X509_VNC
from tests.unit.sessions.securing import PING_INTERVAL, Life, SecuredSessionCase
from tests.unit.targets.consoles import Script, kubevirt, rfb, says, spice, vencrypt
from tests.unit.targets.securing import (
    ANSWER_TIMEOUT,
    AT_ONCE,
    HANDSHAKE_TIMEOUT,
    INSIDE_RFB,
    KUBEVIRT,
    grant,
)

CLOSE = Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True)
ASKED = LINE + b"\2" + RESPONSE + b"\1"
"""All that a browser has to say to a server that asks for a password, without waiting for anything."""
HANDSHAKES: tuple[tuple[Script, Grant, bytes], ...] = (
    (vencrypt(X509_VNC), INSIDE_RFB, ASKED),
    (vencrypt(), INSIDE_RFB, LINE + b"\1\1"),
    (spice, AT_ONCE, b"REDQ"),
    (spice, INSIDE_RFB, b"REDQ"),
    (kubevirt(), KUBEVIRT, b"x"),
    (says(), INSIDE_RFB, b"x"),
)
"""With what a browser says in each."""


class EndTests(SecuredSessionCase):
    """Whoever ends it, at whatever step."""

    def lives(self) -> Iterator[Life]:
        """Sessions at every step of every handshake, and a little beyond."""
        for script, to, said in HANDSHAKES:
            for turns in range(20):
                life = self.begin(script, to)
                life.browser.message(said)
                for _ in range(turns):
                    self.turn()
                self.assertFalse(life.over)
                yield life
                self.assertTrue(life.console.eof or life.console.sock.fileno() < 0)
                self.forget()

    def forget(self) -> None:
        for end in self.ends:
            end.close()
        self.ends.clear()
        self.sockets.clear()

    def test_the_client_leaves(self) -> None:
        for life in self.lives():
            life.browser.close()
            life.ends(EndReason.CLIENT_GONE, None)

    def test_the_client_says_goodbye(self) -> None:
        for life in self.lives():
            life.browser.close_frame(1000)
            life.ends(EndReason.CLIENT_CLOSED, 1000)

    def test_the_service_stops(self) -> None:
        for life in self.lives():
            done = self.sessions.end_all(EndReason.SHUTDOWN)
            self.pump(lambda done=done: done.called)  # type: ignore[misc]
            self.registry.open()
            life.ends(EndReason.SHUTDOWN, 1001)

    def test_a_goodbye_behind_the_opening_handshake(self) -> None:
        """It is noticed in the middle of a step, or before there is one."""
        for script, to, _ in HANDSHAKES:
            for at_once in (False, True):
                for early in (CLOSE, Frame(Opcode.BINARY, LINE).serialize(mask=True) + CLOSE):
                    life = self.begin(script, to, early=early, at_once=at_once)
                    life.ends(EndReason.CLIENT_CLOSED, 1000)
                    self.assertEqual(b"\x88\2\3\xe8", bytes(life.browser.wire))
                    self.assertTrue(life.console.eof or life.console.sock.fileno() < 0)

    def test_a_browser_that_is_lost_while_it_is_spoken_to(self) -> None:
        life = self.begin(vencrypt(X509_VNC), limit=12)
        self.settle()
        life.browser.sock.close()
        life.console.limit = None
        life.console.out += b"\1\x13"
        life.ends(EndReason.CLIENT_GONE, None)

    def test_nothing_is_left(self) -> None:
        kinds = (Session, WebSocketLeg, BrowserFace, Exchange)
        gc.collect()
        before = sum(isinstance(kept, kinds) for kept in gc.get_objects())
        with nothing_left(self, set()):
            for script, to, _ in HANDSHAKES:
                for turns in (0, 3, 6, 30):
                    self.live(script, to, turns)
        gc.collect()
        # Less is as well: it was left by tests before this one.
        self.assertLessEqual(sum(isinstance(kept, kinds) for kept in gc.get_objects()), before)

    def live(self, script: Script, to: Grant, turns: int) -> None:
        life = self.begin(script, to)
        for _ in range(turns):
            self.turn()
        life.session.end(EndReason.SHUTDOWN)
        life.ends(EndReason.SHUTDOWN, 1001)
        self.forget()
        self.events.clear()


class WaitingTests(SecuredSessionCase):
    """While the user is asked for the password."""

    def asked(self) -> Life:
        life = self.begin(vencrypt(X509_VNC), tcp=True)
        life.browser.message(LINE + b"\2")
        self.assertEqual(LINE + b"\1\2" + CHALLENGE, life.hears(30))
        return life

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            self.settle()

    def test_nobody_types_anything(self) -> None:
        """The target's own time does not run meanwhile, and the browser shows that it is alive."""
        life = self.asked()
        self.wait(ANSWER_TIMEOUT - 1)
        self.assertFalse(life.over)
        self.assertGreaterEqual(len(life.browser.pings), 2)
        self.wait(1)
        life.ends(EndReason.TARGET_HANDSHAKE_TIMEOUT, 4018)

    def test_a_late_answer(self) -> None:
        life = self.asked()
        self.wait(ANSWER_TIMEOUT - 1)
        life.browser.message(RESPONSE)
        self.assertEqual(OK, life.hears(4))
        life.talks()

    def test_a_target_that_stalls_after_the_answer(self) -> None:
        """It has its own time again."""
        life = self.asked()
        self.wait(60)
        life.console.limit = 0
        life.browser.message(RESPONSE)
        self.settle()
        self.wait(HANDSHAKE_TIMEOUT - 1)
        self.assertFalse(life.over)
        self.wait(1)
        life.ends(EndReason.TARGET_HANDSHAKE_TIMEOUT, 4018)

    def test_a_browser_that_is_no_longer_there(self) -> None:
        life = self.asked()
        life.browser.polite = False
        self.wait(2.5 * PING_INTERVAL)
        self.assertTrue(life.over)
        (line,) = [event for event in self.events if event.get("reason")]
        self.assertEqual("client-timeout", line["reason"])
        life.assert_freed()

    def test_pings_of_the_browser(self) -> None:
        life = self.asked()
        life.browser.frame(Opcode.PING, b"there?")
        self.pump(lambda: life.browser.pongs)
        self.assertEqual([b"there?"], life.browser.pongs)
        life.browser.message(RESPONSE)
        self.assertEqual(OK, life.hears(4))

    def test_a_flood(self) -> None:
        """What is kept of it is bounded, and none of it is lost."""
        data = bytes(range(256)) * (1 << 14)
        life = self.begin(vencrypt(), limit=12)
        life.browser.message(LINE + b"\1" + data)
        self.settle()
        self.assertLessEqual(life.session.relay.client.received, 2 * BUFFER_SIZE)
        self.assertGreater(len(life.browser.out), 0)
        life.session.end(EndReason.SHUTDOWN)
        life.ends(EndReason.SHUTDOWN, 1001)

        life = self.asked()
        life.browser.message(RESPONSE + data)
        self.assertEqual(OK, life.hears(4))
        self.assertEqual(data, life.hears(len(data)), "said back by the target")

    def test_a_browser_that_is_not_admitted(self) -> None:
        """It says nothing to a server that asks for nothing."""
        self.make(password=PasswordMode.GATEWAY)
        life = self.begin(rfb(1), grant())
        self.assertEqual(LINE, life.hears(12))
        self.clock.advance(HANDSHAKE_TIMEOUT)
        life.ends(EndReason.TARGET_HANDSHAKE_TIMEOUT, 4018)
