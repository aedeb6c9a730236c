"""Targets that are refused: every check has its reason, wherever TLS begins."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import Any

from OpenSSL import SSL

from gateway.reasons import EndReason
from gateway.settings import TargetSecurity
from gateway.tickets import Grant
from tests.support.pki import CLIENT, Authority
from tests.unit.net.samples import DAY, NOW
from tests.unit.rfb.samples import LINE, RESPONSE, X509_VNC
from tests.unit.targets.consoles import Console, Script, Talk, kubevirt, says, spice, vencrypt
from tests.unit.targets.securing import (
    AT_ONCE,
    INSIDE_RFB,
    KUBEVIRT,
    HandFace,
    SecuringCase,
    authority,
    grant,
    leaf,
)
from tests.unit.targets.tls import NAME, VERSIONS, server_side

WAYS: tuple[tuple[Grant, Script], ...] = ((AT_ONCE, spice), (INSIDE_RFB, vencrypt()), (KUBEVIRT, kubevirt()))
"""The three places in which TLS begins."""


@functools.cache
def clients() -> Authority:
    return Authority("Client CA")


class RefusalTests(SecuringCase):
    """Every check that can fail has its reason, wherever TLS begins."""

    def refused(self, reason: EndReason, *words: str, server: SSL.Context) -> None:
        for to, script in WAYS:
            self.attempt(script, to=to, server=server).fail(reason, *words)

    def test_certificates(self) -> None:
        for version in VERSIONS:
            for reason, word, bad in (
                (EndReason.TARGET_WRONG_NAME, "wrong-name", authority().issue("b.example.com")),
                (EndReason.TARGET_UNTRUSTED, "unknown-issuer", Authority("Rogue CA").issue(NAME)),
                (EndReason.TARGET_UNTRUSTED, "self-signed", Authority.self_signed(NAME)),
                (EndReason.TARGET_UNTRUSTED, "wrong-purpose", authority().issue(NAME, purposes=CLIENT)),
                (EndReason.TARGET_EXPIRED, "expired", authority().issue(NAME, end=NOW - DAY / 2)),
                (EndReason.TARGET_EXPIRED, "not-yet-valid", authority().issue(NAME, begin=NOW + DAY / 2)),
            ):
                subject = bad.certificate.subject.rfc4514_string()
                self.refused(reason, word, subject, server=server_side(bad, version))

    def test_client_certificates(self) -> None:
        """Inside other handshakes, where a server's verdict comes before its first word."""
        rogue = Authority("Rogue CA").issue("gateway", purposes=CLIENT)
        certificate, key = rogue.save(self.directory, "rogue")
        for version in VERSIONS:
            server = server_side(leaf(), version, wants=clients())
            own: dict[str, Any] = {"certificate": certificate, "key": key}
            for shown, word in (({}, "none is set"), (own, "ours was shown")):
                self.make(**shown)
                for to, script in WAYS[1:]:
                    attempt = self.attempt(script, to=to, server=server)
                    attempt.fail(EndReason.TARGET_REJECTED_US, "client-certificate", word)

    def test_client_certificates_with_tls_at_once(self) -> None:
        """TLS 1.3 lets the client go on before its certificate is judged: the relay learns why it ended."""
        self.attempt(spice, to=AT_ONCE, server=server_side(leaf(), VERSIONS[0], wants=clients())).fail(
            EndReason.TARGET_REJECTED_US, "none is set"
        )
        attempt = self.attempt(spice, to=AT_ONCE, server=server_side(leaf(), VERSIONS[1], wants=clients()))
        secured = attempt.succeed()
        self.settle()
        self.assertRaises(ConnectionError, secured.channel.recv_into, memoryview(bytearray(16384)))
        excuse = secured.explain_end()
        assert excuse is not None
        self.assertIs(EndReason.TARGET_REJECTED_US, excuse[0])
        self.assertIn("none is set", excuse[1])
        self.drop(secured.channel)

    def test_a_good_client_certificate(self) -> None:
        certificate, key = clients().issue("gateway", purposes=CLIENT).save(self.directory, "client")
        self.make(certificate=certificate, key=key)
        for version in VERSIONS:
            server = server_side(leaf(), version, wants=clients())
            for to, script in WAYS[:2]:
                self.assert_talks(self.attempt(script, to=to, server=server).succeed())

    def test_who_was_spoken_to_was_accepted(self) -> None:
        """A server that asks for certificates, and has answered, does not leave for want of one."""
        certificate, key = clients().issue("gateway", purposes=CLIENT).save(self.directory, "client")
        self.make(certificate=certificate, key=key)
        server = server_side(leaf(), wants=clients())
        for to, script in WAYS[1:]:
            secured = self.attempt(script, to=to, server=server).succeed()
            self.assertIsNone(secured.explain_end())
            self.drop(secured.channel)
        face = HandFace()
        attempt = self.attempt(vencrypt(X509_VNC), server=server, face=face)
        self.pump(lambda: face.challenges)
        attempt.console.close()
        face.answer.callback(RESPONSE)
        attempt.fail(EndReason.TARGET_LOST)

    def test_a_connection_lost_inside_tls(self) -> None:
        """Once TLS stands it is no fault of TLS."""
        face = HandFace()
        attempt = self.attempt(vencrypt(X509_VNC), face=face, tcp=True)
        self.pump(lambda: face.challenges)
        attempt.console.abort()
        face.answer.callback(RESPONSE)
        attempt.fail(EndReason.TARGET_LOST)

        attempt = self.attempt(silent_web_server, to=KUBEVIRT, tcp=True)
        self.settle()
        self.assertTrue(attempt.console.finished)
        attempt.console.abort()
        attempt.fail(EndReason.TARGET_LOST)

    def test_no_tls(self) -> None:
        """Who does not speak it, says nothing that is TLS, or shares no version."""
        old = SSL.Context(SSL.TLS_SERVER_METHOD)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        old.use_certificate(leaf().certificate)
        old.use_privatekey(leaf().key)
        old.set_max_proto_version(SSL.TLS1_1_VERSION)
        self.refused(EndReason.TARGET_TLS_FAILED, "protocol:", server=old)
        for to in (AT_ONCE, KUBEVIRT):
            for answer in (LINE, b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100), b"\x15\3\1\0\2\2\x46"):
                self.attempt(says(answer), to=to).fail(EndReason.TARGET_TLS_FAILED, "protocol:")
            self.attempt(says(), to=to, limit=0, leaves=True).fail(EndReason.TARGET_TLS_FAILED)

    def test_a_target_that_closes_at_once(self) -> None:
        attempt = self.attempt(says(), limit=0, leaves=True)
        attempt.fail(EndReason.TARGET_LOST, "at once")
        attempt = self.attempt(says(), to=grant(security=TargetSecurity.VENCRYPT), limit=0, leaves=True)
        attempt.fail(EndReason.TARGET_LOST)

    def test_kubevirt_refusals(self) -> None:
        for status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            attempt = self.attempt(kubevirt(status=status), to=KUBEVIRT)
            attempt.fail(EndReason.TARGET_AUTH_FAILED, f"status {status}")
        for status in (HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR):
            attempt = self.attempt(kubevirt(status=status), to=KUBEVIRT)
            attempt.fail(EndReason.TARGET_PROTOCOL_ERROR, f"status {status}")
        attempt = self.attempt(kubevirt(Sec_WebSocket_Extensions="x"), to=KUBEVIRT)
        attempt.fail(EndReason.TARGET_PROTOCOL_ERROR, "extension")

    def test_garbage_inside_tls(self) -> None:
        def garbage(console: Console) -> Talk:
            console.start_tls()
            console.say(b"RFB 003.008\n" * 5000)
            yield 1 << 30

        self.attempt(garbage, to=KUBEVIRT).fail(EndReason.TARGET_PROTOCOL_ERROR, "not HTTP/1.1")

    def test_broken_rfb(self) -> None:
        for sayings, words in (
            ((b"RFB hello!\n\n",), "RFB 3"),
            ((LINE, b"\1\x13", b"\1\1"), "VeNCrypt"),
            ((LINE, b"\0\xff\xff\xff\xff"), "reason of 4294967295 bytes"),
        ):
            self.attempt(says(*sayings)).fail(EndReason.TARGET_PROTOCOL_ERROR, words)
        self.attempt(says(LINE, b"\0\0\0\0\4Full")).fail(EndReason.TARGET_AUTH_FAILED, "Full")


def silent_web_server(console: Console) -> Talk:
    """It hears a request and says nothing."""
    console.start_tls()
    yield 1
