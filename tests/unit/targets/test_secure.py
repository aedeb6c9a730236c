"""Which security a target gets, and that it never gets less."""

from __future__ import annotations

from twisted.internet import defer

from gateway.reasons import EndReason
from gateway.settings import PasswordMode, RuleSettings, TargetSecurity, Verification
from gateway.targets import Secured
from tests.support.pki import Authority
from tests.unit.rfb.samples import CHALLENGE, LINE, OK, RESPONSE, X509_VNC
from tests.unit.targets.consoles import echo, kubevirt, rfb, says, spice, vencrypt
from tests.unit.targets.securing import (
    HANDSHAKE_TIMEOUT,
    PATH,
    SILENCE,
    Attempt,
    HandFace,
    SecuringCase,
    grant,
    leaf,
)
from tests.unit.targets.tls import NAME, VERSIONS, server_side

VENCRYPT, TLS, AUTO = TargetSecurity.VENCRYPT, TargetSecurity.TLS, TargetSecurity.AUTO


class NothingToDoTests(SecuringCase):
    def test_who_is_relayed_as_it_is(self) -> None:
        for security, target, expected in (
            ({}, {}, True),
            ({}, {"tls": True}, False),
            ({}, {"security": VENCRYPT}, False),
            ({}, {"security": TargetSecurity.TICKET}, True),
            ({}, {"path": PATH}, False),
            ({"mode": AUTO}, {}, False),
            ({"mode": TLS}, {}, False),
            ({"password": PasswordMode.GATEWAY}, {}, False),
        ):
            self.make(**security)
            self.assertIs(expected, self.securer.needs_nothing(grant(**target).target), (security, target))


class ModeTests(SecuringCase):
    """Who gets VeNCrypt, and who gets TLS at once."""

    def secured(self, attempt: Attempt, security: str) -> Secured:
        secured = attempt.succeed()
        self.assertEqual(security, secured.security)
        self.assertFalse(secured.websocket)
        self.assert_talks(secured)
        return secured

    def test_auto_with_a_server_that_greets(self) -> None:
        attempt = self.attempt(vencrypt())
        self.assertTrue(attempt.face.begun)
        self.secured(attempt, "RFB X509_NONE, TLSv1.3")
        self.assertEqual((1, [], []), (attempt.face.admitted, attempt.face.challenges, attempt.face.judged))

    def test_a_greeting_that_comes_slowly(self) -> None:
        attempt = self.attempt(vencrypt(), limit=1)
        self.settle()
        self.clock.advance(SILENCE)
        self.assertEqual([], attempt.outcome)
        attempt.console.limit = None
        attempt.console.out += LINE[1:]
        self.secured(attempt, "RFB X509_NONE, TLSv1.3")

    def test_auto_with_a_silent_server(self) -> None:
        attempt = self.attempt(spice)
        self.settle()
        self.clock.advance(SILENCE - 0.01)
        self.settle()
        self.assertEqual(b"", attempt.console.wire)
        self.clock.advance(0.01)
        self.secured(attempt, "TLS, TLSv1.3")
        self.assertEqual(0, attempt.face.admitted)

    def test_auto_with_a_spice_client(self) -> None:
        attempt = self.attempt(spice)
        assert attempt.face.said is not None
        attempt.face.said.callback(b"REDQ\2\0\0\0")
        self.secured(attempt, "TLS, TLSv1.3")
        self.assertEqual(0, self.clock.seconds())

    def test_auto_with_another_client_that_speaks_first(self) -> None:
        """It is no sign of anything: the server decides."""
        attempt = self.attempt(says())
        assert attempt.face.said is not None
        attempt.face.said.callback(LINE)
        self.settle()
        self.clock.advance(SILENCE - 0.01)
        self.settle()
        self.assertEqual(b"", attempt.console.wire)
        attempt.result.cancel()
        self.settle()

        attempt = self.attempt(spice)
        assert attempt.face.said is not None
        attempt.face.said.callback(b"RED")
        self.clock.advance(SILENCE)
        self.secured(attempt, "TLS, TLSv1.3")

        attempt = self.attempt(vencrypt())
        assert attempt.face.said is not None
        attempt.face.said.callback(b"\1")
        self.secured(attempt, "RFB X509_NONE, TLSv1.3")

    def test_vencrypt_and_tls_do_not_wait_for_signs(self) -> None:
        self.make(mode=TLS)
        self.secured(self.attempt(spice, to=grant()), "TLS, TLSv1.3")
        self.make(mode=VENCRYPT)
        attempt = self.attempt(says(), to=grant())
        self.settle()
        self.clock.advance(HANDSHAKE_TIMEOUT - 0.01)
        self.settle()
        self.assertEqual([], attempt.outcome)
        attempt.console.out += LINE
        self.pump(lambda: attempt.console.wire == LINE)
        self.clock.advance(0.01)
        attempt.fail(EndReason.TARGET_HANDSHAKE_TIMEOUT)
        self.secured(self.attempt(vencrypt(), to=grant()), "RFB X509_NONE, TLSv1.3")

    def test_the_ticket_may_say_it(self) -> None:
        self.secured(self.attempt(spice, to=grant(security=TLS)), "TLS, TLSv1.3")
        self.secured(self.attempt(vencrypt(), to=grant(security=VENCRYPT)), "RFB X509_NONE, TLSv1.3")
        self.secured(self.attempt(vencrypt(), to=grant(security=AUTO)), "RFB X509_NONE, TLSv1.3")
        self.secured(self.attempt(spice, to=grant(tls=True, security=TLS)), "TLS, TLSv1.3")

    def test_a_rule_is_above_the_ticket(self) -> None:
        self.make(
            {
                "spice": RuleSettings(targets=(NAME,), ports=("5901",), mode=TLS),
                "vnc": RuleSettings(targets=(NAME,), mode=VENCRYPT),
            }
        )
        for ticket in ({}, {"tls": True}, {"security": VENCRYPT}, {"tls": True, "security": AUTO}):
            self.secured(self.attempt(spice, to=grant(NAME, 5901, **ticket)), "TLS, TLSv1.3")
        for ticket in ({}, {"tls": True}, {"security": TLS}, {"tls": True, "security": AUTO}):
            self.secured(self.attempt(vencrypt(), to=grant(**ticket)), "RFB X509_NONE, TLSv1.3")

    def test_server_name(self) -> None:
        other = "192.0.2.7"
        self.attempt(spice, to=grant(other, security=TLS)).fail(
            EndReason.TARGET_WRONG_NAME, f"expected {other}, and it is for '{NAME}'"
        )
        attempt = self.attempt(spice, to=grant(other, security=TLS, server_name=NAME))
        self.secured(attempt, "TLS, TLSv1.3")
        self.assertEqual(NAME.encode(), attempt.console.server_name)
        for script, how in ((spice, TLS), (vencrypt(), VENCRYPT)):
            self.attempt(script, to=grant(security=how, server_name="b.example.com")).fail(
                EndReason.TARGET_WRONG_NAME, "expected b.example.com"
            )
        self.make(server_names={other: NAME})
        self.secured(self.attempt(vencrypt(), to=grant(other, tls=True)), "RFB X509_NONE, TLSv1.3")
        self.attempt(vencrypt(), to=grant(other, tls=True, server_name="x")).fail(
            EndReason.TARGET_WRONG_NAME, "expected x,"
        )

    def test_both_versions_of_tls(self) -> None:
        for version, name in zip(VERSIONS, ("TLSv1.2", "TLSv1.3"), strict=True):
            server = server_side(leaf(), version)
            self.secured(self.attempt(spice, to=grant(security=TLS), server=server), f"TLS, {name}")
            self.secured(self.attempt(vencrypt(), server=server), f"RFB X509_NONE, {name}")


class NeverDowngradedTests(SecuringCase):
    def test_an_rfb_server_without_tls(self) -> None:
        for to in (grant(tls=True), grant(security=VENCRYPT)):
            for script in (rfb(1), rfb(2), rfb(2, 1, 16), rfb(18)):
                attempt = self.attempt(script, to=to, face=HandFace(RESPONSE))
                attempt.fail(EndReason.TARGET_INSECURE, "TLS by VeNCrypt is required")
                self.assertEqual(([], 0), (attempt.face.challenges, attempt.face.admitted))

    def test_a_server_that_greets_with_something_else(self) -> None:
        for greeting in (b"SSH-2.0-x\r\n", b"R", b"RFB"[:2] + b"X", b"\0", b"RFB-"):
            attempt = self.attempt(says(greeting), to=grant(tls=True))
            if greeting == b"R":
                # The beginning of "RFB ", so that more is waited for, and nothing else tried.
                self.settle()
                self.clock.advance(HANDSHAKE_TIMEOUT)
                attempt.fail(EndReason.TARGET_HANDSHAKE_TIMEOUT)
            else:
                attempt.fail(EndReason.TARGET_INSECURE, "speaks first")
            self.assertEqual(b"", attempt.console.wire)

    def test_no_tls_where_tls_begins_at_once(self) -> None:
        for script in (says(LINE), says(b"SSH-2.0-x\r\n"), echo):
            self.attempt(script, to=grant(security=TLS)).fail(EndReason.TARGET_TLS_FAILED, "protocol:")

    def test_anonymous_tls(self) -> None:
        attempt = self.attempt(says(LINE, b"\1\x13", b"\0\2", b"\0\1\0\0\1\1"))
        attempt.fail(EndReason.TARGET_INSECURE, "TLS_NONE")

    def test_plaintext_where_tls_must_begin(self) -> None:
        attempt = self.attempt(says(LINE, b"\1\x13", b"\0\2", b"\0\1\0\0\1\4", b"\1", OK, bytes(24)))
        attempt.fail(EndReason.TARGET_TLS_FAILED, "protocol:")


class PasswordTests(SecuringCase):
    """The browser answers."""

    def test_answer_and_verdict(self) -> None:
        face = HandFace()
        attempt = self.attempt(vencrypt(X509_VNC), face=face)
        self.pump(lambda: face.challenges)
        self.assertEqual(([CHALLENGE], 0), (face.challenges, face.admitted))
        face.answer.callback(RESPONSE)
        self.assert_talks(attempt.succeed())
        self.assertEqual((1, []), (face.admitted, face.judged))

    def test_wrong(self) -> None:
        for rude in (False, True):
            face = HandFace(bytes(16))
            attempt = self.attempt(vencrypt(X509_VNC, rude=rude), face=face)
            detail = attempt.fail(EndReason.TARGET_AUTH_FAILED)
            self.assertEqual(([(False, detail)], 0), (face.judged, face.admitted))

    def test_time_stands_still_while_the_user_is_asked(self) -> None:
        face = HandFace()
        attempt = self.attempt(vencrypt(X509_VNC), face=face)
        self.pump(lambda: face.challenges)
        for _ in range(11):
            self.clock.advance(HANDSHAKE_TIMEOUT)
            self.settle()
        self.assertEqual([], attempt.outcome)
        face.answer.callback(RESPONSE)
        self.assert_talks(attempt.succeed())

    def test_no_answer(self) -> None:
        face = HandFace()
        attempt = self.attempt(vencrypt(X509_VNC), face=face)
        self.pump(lambda: face.challenges)
        self.clock.advance(119.9)
        self.settle()
        self.assertEqual([], attempt.outcome)
        self.clock.advance(0.1)
        attempt.fail(EndReason.TARGET_HANDSHAKE_TIMEOUT)
        self.assertTrue(face.answer.called, "it is no longer waited for")

    def test_a_target_that_leaves_while_the_user_is_asked(self) -> None:
        face = HandFace()
        attempt = self.attempt(vencrypt(X509_VNC), face=face)
        self.pump(lambda: face.challenges)
        self.settle()
        self.assertEqual([], attempt.outcome)
        attempt.console.sock.close()
        attempt.fail(EndReason.TARGET_LOST, "while the user was asked")
        self.assertTrue(face.answer.called, "it is no longer waited for")

    def test_a_browser_that_does_not_let_itself_be_admitted(self) -> None:
        face = HandFace()
        face.admittance = defer.Deferred()
        attempt = self.attempt(vencrypt(), face=face)
        self.pump(lambda: face.admitted)
        self.clock.advance(HANDSHAKE_TIMEOUT)
        attempt.fail(EndReason.TARGET_HANDSHAKE_TIMEOUT)

    def test_what_a_browser_cannot_answer(self) -> None:
        offer = b"\0\1\0\0\1\6"
        attempt = self.attempt(says(LINE, b"\1\x13", b"\0\2", offer))
        attempt.fail(EndReason.TARGET_AUTH_FAILED, "X509_PLAIN, which a browser cannot answer")


class CertificateTests(SecuringCase):
    """What is shown, kept, and said about it."""

    def test_seen(self) -> None:
        self.assertEqual(0, len(self.securer.seen))
        for to, script in (
            (grant(security=TLS), spice),
            (grant(NAME, 5901, tls=True), vencrypt()),
            (grant(NAME, 6443, path=PATH), kubevirt()),
        ):
            self.drop(self.attempt(script, to=to).succeed().channel)
        seen = [(target, certificate.fingerprint) for target, certificate in self.securer.seen.items()]
        self.assertEqual([(f"{NAME}:{port}", leaf().fingerprint) for port in (5900, 5901, 6443)], seen)

    def test_refused_ones_are_not_seen(self) -> None:
        rogue = server_side(Authority().issue(NAME))
        self.attempt(spice, to=grant(security=TLS), server=rogue).fail(EndReason.TARGET_UNTRUSTED)
        self.attempt(spice, to=grant("x", security=TLS)).fail(EndReason.TARGET_WRONG_NAME)
        self.assertEqual(0, len(self.securer.seen))

    def test_each_use_of_a_chain_alone_is_logged(self) -> None:
        self.make(verify=Verification.CHAIN)
        for number in (1, 2):
            self.drop(self.attempt(spice, to=grant("192.0.2.7", security=TLS)).succeed().channel)
            lines = [event for event in self.events if "not held to any name" in event.get("text", "")]
            self.assertEqual(number, len(lines))
        self.assertEqual("192.0.2.7:5900", lines[0]["target"])
        self.assertIn(leaf().fingerprint, lines[0]["text"])
