"""Handshakes that stall or end at any byte, or are cancelled, and that nothing is left of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

from twisted.internet import defer

from gateway.net import SocketChannel, TlsChannel
from gateway.reasons import EndReason
from gateway.rfb import TargetHandshake
from gateway.settings import PasswordMode
from gateway.targets import Secured
from gateway.targets.exchange import Exchange
from gateway.targets.upgrade import ClientUpgrade
from gateway.tickets import Grant
from tests.unit.relay.remains import nothing_left
from tests.unit.rfb.samples import LINE_3_3, PASSWORD, RESPONSE, X509_VNC
from tests.unit.targets.consoles import Script, kubevirt, rfb, says, spice, vencrypt
from tests.unit.targets.securing import (
    AT_ONCE,
    HANDSHAKE_TIMEOUT,
    INSIDE_RFB,
    KUBEVIRT,
    SILENCE,
    Attempt,
    HandFace,
    SecuringCase,
    grant,
)


class CutTests(SecuringCase):
    """A target that falls silent, or leaves, after any byte of any handshake."""

    def scenarios(self) -> Iterator[tuple[Grant, Script]]:
        yield INSIDE_RFB, vencrypt(X509_VNC)
        yield AT_ONCE, spice
        yield KUBEVIRT, kubevirt()
        self.make(password=PasswordMode.GATEWAY)
        # The gateway knows them by their first byte: without any, they are relayed as they are.
        yield grant(password=PASSWORD), rfb(2)
        yield grant(password=PASSWORD), rfb(2, line=LINE_3_3)

    def cuts(self, leaves: bool, stride: int) -> Iterator[tuple[Attempt, int]]:
        """Each scenario, cut ever later, until it succeeds.

        :param stride: how many bytes to go on by inside the first one's TLS; for the others, whose TLS is no
            different, it is always 11.
        """
        for to, script in self.scenarios():
            limit = 0 if to.password is None else 1
            step = stride if to is INSIDE_RFB else 11
            while True:
                face = HandFace(RESPONSE)
                attempt = self.attempt(script, to=to, face=face, limit=limit, leaves=leaves)
                self.rest()
                if attempt.outcome and isinstance(attempt.outcome[0], Secured):
                    break
                yield attempt, limit
                attempt.assert_freed()
                self.forget()
                limit += step if "tls" in attempt.console.marks else 1
            self.drop(attempt.channel)
            self.assertGreater(limit, 30)

    def rest(self) -> None:
        """Let both sides do what they can."""
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.turn() else quiet + 1

    def test_silence(self) -> None:
        for attempt, limit in self.cuts(leaves=False, stride=1):
            self.assertEqual([], attempt.outcome, limit)
            self.clock.advance(SILENCE)
            self.rest()
            self.clock.advance(HANDSHAKE_TIMEOUT)
            attempt.fail(EndReason.TARGET_HANDSHAKE_TIMEOUT)
            self.assertEqual(0, attempt.face.admitted)
            self.rest()
            self.assertTrue(attempt.console.sock.fileno() < 0)

    def test_departure(self) -> None:
        for attempt, _ in self.cuts(leaves=True, stride=7):
            marks = attempt.console.marks
            reason = EndReason.TARGET_LOST
            if "answered" in marks:
                reason = EndReason.TARGET_AUTH_FAILED
            elif "tls" in marks and not attempt.face.challenges and "shaken" not in marks:
                reason = EndReason.TARGET_TLS_FAILED
            attempt.fail(reason)
            self.assertEqual(0, attempt.face.admitted)

    def test_nothing_is_left(self) -> None:
        kinds = (Exchange, SocketChannel, TlsChannel, TargetHandshake, ClientUpgrade)
        gc.collect()
        before = sum(isinstance(kept, kinds) for kept in gc.get_objects())
        with nothing_left(self, set()):
            for leaves in (True, False):
                for to, script in [*self.scenarios()][:3]:
                    for limit in (5, 30, 500, 1200):
                        self.cut_once(script, to, limit, leaves)
        gc.collect()
        self.assertEqual(before, sum(isinstance(kept, kinds) for kept in gc.get_objects()))

    def cut_once(self, script: Script, to: Grant, limit: int, leaves: bool) -> None:
        attempt = self.attempt(script, to=to, face=HandFace(RESPONSE), limit=limit, leaves=leaves)
        self.rest()
        self.clock.advance(SILENCE)
        self.rest()
        self.clock.advance(HANDSHAKE_TIMEOUT)
        self.rest()
        self.assertTrue(attempt.outcome)
        attempt.channel.abort()
        self.forget()

    def forget(self) -> None:
        for end in self.ends:
            end.close()
        self.ends.clear()
        self.sockets.clear()
        self.events.clear()


class CancellationTests(SecuringCase):
    """A session that ends meanwhile takes everything with it, and nobody complains."""

    def cancelled(self, script: Any, to: Grant | None = None, turns: int = 0, **options: Any) -> None:
        attempt = self.attempt(script, to=to, **options)
        for _ in range(turns):
            self.turn()
        if attempt.outcome:
            assert isinstance(attempt.outcome[0], Secured), attempt.outcome
            attempt.channel.abort()
            return
        attempt.result.cancel()
        attempt.outcome[0].trap(defer.CancelledError)
        attempt.assert_freed()
        self.settle()
        self.assertTrue(attempt.console.eof or attempt.console.sock.fileno() < 0)

    def test_at_every_step(self) -> None:
        self.make(password=PasswordMode.GATEWAY)
        for script, to in (
            (says(), grant(tls=True)),
            (says(), grant()),
            (vencrypt(), INSIDE_RFB),
            (spice, AT_ONCE),
            (kubevirt(), KUBEVIRT),
            (rfb(1), grant()),
        ):
            for turns in range(14):
                self.cancelled(script, to, turns)
        self.assertEqual([], self.flushLoggedErrors())

    def test_while_the_user_is_asked(self) -> None:
        self.cancelled(vencrypt(X509_VNC), turns=40)

    def test_while_others_are_waited_for(self) -> None:
        """The browser has spoken, the server not yet."""
        attempt = self.attempt(says())
        assert attempt.face.said is not None
        attempt.face.said.callback(b"x")
        attempt.result.cancel()
        attempt.outcome[0].trap(defer.CancelledError)
        attempt.assert_freed()
