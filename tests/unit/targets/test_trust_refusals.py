"""Handshakes that end badly for other reasons than the server's certificate."""

from __future__ import annotations

import contextlib
import functools
import gc
import ssl
import struct
import weakref
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from gateway.net import ChannelError
from gateway.reasons import EndReason
from gateway.settings import Verification
from gateway.targets.checks import TlsCheck, TlsCheckFailed, explain, late_refusal
from gateway.targets.trust import TargetTls, anonymous_context
from tests.support.pki import CLIENT, Authority, Leaf
from tests.unit.net.samples import DAY, NOW, write
from tests.unit.targets.tls import NAME, VERSIONS, Meeting, TlsCase, rule, server_side


class ClientCertificateTests(TlsCase):
    """A server that wants a client certificate, as ``verify-peer=yes`` makes QEMU."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = Authority("Client CA")
        self.leaf = self.authority.issue(NAME)

    def showing(self, leaf: Leaf, **values: Any) -> TargetTls:
        certificate, key = leaf.save(self.directory, leaf.fingerprint[:8])
        return self.verifying(certificate=certificate, key=key, **values)

    def outcome(self, version: int, tls: TargetTls, **server: Any) -> TlsCheckFailed | None:
        """What the gateway knows when the target is gone, or has sent its first byte."""
        context = server_side(self.leaf, version, wants=self.clients, **server)
        meeting = self.meet(context, tls)
        try:
            meeting.shake()
        except ChannelError as error:
            return explain(meeting.tls, error)
        tls.finish(meeting.tls, NAME)
        assert meeting.server is not None
        try:
            meeting.server.send(b"RFB")
        except SSL.Error:
            self.assertRaises(ChannelError, meeting.read)
            return late_refusal(meeting.tls)
        self.assertEqual(meeting.read(), 3)
        return None

    def assert_refusal(self, failed: TlsCheckFailed | None, *words: str) -> None:
        assert failed is not None
        self.assertIs(failed.check, TlsCheck.CLIENT_CERTIFICATE, failed)
        self.assertIs(failed.reason, EndReason.TARGET_REJECTED_US)
        self.assert_loggable(failed)
        for word in words:
            self.assertIn(word, str(failed))

    def test_good(self) -> None:
        good = self.clients.issue("gateway", purposes=CLIENT)
        below = Authority("Lower", issuer=self.clients).issue("gateway", purposes=CLIENT)
        for version in VERSIONS:
            for leaf in (good, below):
                self.assertIsNone(self.outcome(version, self.showing(leaf)))
                self.assertIsNone(self.outcome(version, self.showing(leaf), names_authorities=False))

    def test_one_file(self) -> None:
        good = self.clients.issue("gateway", purposes=CLIENT)
        certificate, key = good.save(self.directory, "both")
        key.write_bytes(certificate.read_bytes() + key.read_bytes())
        for version in VERSIONS:
            self.assertIsNone(self.outcome(version, self.verifying(certificate=key)))

    def test_missing(self) -> None:
        for version in VERSIONS:
            for named in (True, False):
                failed = self.outcome(version, self.verifying(), names_authorities=named)
                self.assert_refusal(failed, "none is set")

    def test_rogue(self) -> None:
        leaf = Authority("Rogue CA").issue("gateway", purposes=CLIENT)
        for version in VERSIONS:
            self.assert_refusal(
                self.outcome(version, self.showing(leaf)),
                "unknown_ca",
                "ours was shown",
                "issuer CN=Rogue CA",
            )

    def test_wrong_purpose(self) -> None:
        leaf = self.clients.issue("gateway")
        for version in VERSIONS:
            self.assert_refusal(self.outcome(version, self.showing(leaf)), "subject CN=gateway")

    def test_expired_since(self) -> None:
        leaf = self.clients.issue("gateway", purposes=CLIENT, begin=NOW - 3 * DAY, end=NOW - 2 * DAY)
        certificate, key = leaf.save(self.directory, "old")
        tls = TargetTls(rule(ca=self.ca, certificate=certificate, key=key), now=NOW - 2.5 * DAY)
        for version in VERSIONS:
            self.assert_refusal(self.outcome(version, tls), "certificate_expired")

    def test_closes_after_the_handshake(self) -> None:
        """Some servers judge the certificate only then, and just close."""
        for version in VERSIONS:
            for reset in (False, True):
                context = server_side(self.leaf, version, wants=self.clients)
                context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
                meeting = self.meet(context, self.verifying())
                meeting.shake()
                if reset:
                    meeting.near.send(b"question")
                meeting.far.close()
                self.assert_ended(meeting)
                self.assert_refusal(late_refusal(meeting.tls), "asked for a certificate", "none is set")

    def test_closes_during_the_handshake(self) -> None:
        context = server_side(self.leaf, SSL.TLS1_2_VERSION, wants=self.clients)
        meeting = self.meet(context, self.verifying())
        for _ in range(3):
            self.assertFalse(meeting.near.handshake())
            if b"write finished" in meeting.tls.get_state_string():
                break
            meeting.serve()
        meeting.far.close()
        error = self.assertRaises(ChannelError, meeting.near.handshake)
        self.assert_refusal(explain(meeting.tls, error), "asked for a certificate")

    def test_was_not_asked(self) -> None:
        """A target that goes away without having asked has another reason."""
        for version in VERSIONS:
            for tls in (self.verifying(), self.showing(self.clients.issue("gateway", purposes=CLIENT))):
                meeting = self.meet(server_side(self.leaf, version), tls)
                meeting.shake()
                meeting.far.close()
                self.assert_ended(meeting)
                self.assertIsNone(late_refusal(meeting.tls))

    def test_own_chain_comes_first(self) -> None:
        """A bad server is a bad server, even if it asks."""
        self.leaf = Authority().issue(NAME)
        for version in VERSIONS:
            failed = self.outcome(version, self.verifying())
            assert failed is not None
            self.assertIs(failed.check, TlsCheck.UNKNOWN_ISSUER)

    def assert_ended(self, meeting: Meeting) -> None:
        with contextlib.suppress(ChannelError):
            self.assertEqual(meeting.read(), 0)


class ProtocolTests(TlsCase):
    def failure(self, meeting: Meeting, *steps: bytes | None) -> TlsCheckFailed:
        """Have a server that the test plays send what is given, or close for ``None``."""
        self.assertFalse(meeting.near.handshake())
        for step in steps:
            if step is None:
                meeting.far.close()
            else:
                meeting.far.sendall(step)
        error = self.assertRaises(ChannelError, meeting.near.handshake)
        failed = explain(meeting.tls, error)
        self.assert_loggable(failed)
        self.assertIs(failed.reason, failed.check.reason)
        return failed

    def played(self) -> Meeting:
        return self.meet(None, self.verifying())

    def test_plain_text(self) -> None:
        for text in (
            b"RFB 003.008\n",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            bytes(64),
        ):
            failed = self.failure(self.played(), text)
            self.assertIs(failed.check, TlsCheck.PROTOCOL)
            self.assertIs(failed.reason, EndReason.TARGET_TLS_FAILED)
            self.assertIsNone(failed.certificate)

    def test_closes(self) -> None:
        for before in ((), (b"\x16\x03",), (b"\x16\x03\x03\x00\x40\x02",)):
            failed = self.failure(self.played(), *before, None)
            self.assertIs(failed.check, TlsCheck.CLOSED)
            self.assertIs(failed.reason, EndReason.TARGET_TLS_FAILED)

    def test_stalls(self) -> None:
        """Silence is no failure: whoever drives the handshake has the clock."""
        meeting = self.played()
        for byte in b"\x16\x03\x03\x00":
            self.assertFalse(meeting.near.handshake())
            meeting.far.sendall(bytes([byte]))
        self.assertFalse(meeting.near.handshake())

    def test_alerts(self) -> None:
        for alert, check, words in (
            (40, TlsCheck.PROTOCOL, "handshake_failure"),
            (49, TlsCheck.PROTOCOL, "access_denied"),
            (80, TlsCheck.PROTOCOL, "internal_error"),
            (112, TlsCheck.PROTOCOL, "unrecognized_name"),
            (250, TlsCheck.PROTOCOL, "250"),
            (116, TlsCheck.CLIENT_CERTIFICATE, "certificate_required"),
            (48, TlsCheck.CLIENT_CERTIFICATE, "unknown_ca"),
        ):
            failed = self.failure(self.played(), bytes([21, 3, 3, 0, 2, 2, alert]))
            self.assertIs(failed.check, check)
            self.assertIn(words, str(failed))

    def test_close_notify(self) -> None:
        failed = self.failure(self.played(), bytes([21, 3, 3, 0, 2, 1, 0]), None)
        self.assertIs(failed.check, TlsCheck.CLOSED)

    def test_old_version(self) -> None:
        context = server_side(self.authority.issue(NAME))
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        meeting = self.meet(context, self.verifying())
        error = self.assertRaises(ChannelError, meeting.shake)
        self.assertIs(explain(meeting.tls, error).check, TlsCheck.PROTOCOL)

    def test_no_common_cipher(self) -> None:
        context = server_side(self.authority.issue(NAME), SSL.TLS1_2_VERSION)
        for ciphers in (b"AES128-SHA:ECDHE-ECDSA-AES128-SHA", b"ADH:AECDH:@SECLEVEL=0"):
            context.set_cipher_list(ciphers)
            meeting = self.meet(context, self.verifying())
            error = self.assertRaises(ChannelError, meeting.shake)
            failed = explain(meeting.tls, error)
            self.assertIs(failed.check, TlsCheck.PROTOCOL)
            self.assertIn("handshake_failure", str(failed))
            context = server_side(self.authority.issue(NAME), SSL.TLS1_2_VERSION)

    def test_malformed_certificate(self) -> None:
        """What does not even parse, in the clear handshake of TLS 1.2."""
        good = self.authority.issue(NAME).certificate.public_bytes(Encoding.DER)
        for bad in (
            b"no certificate",
            good[:-20],
            b"\x30\x03\x02\x01\x01",
            good.replace(b"\x30", b"\x31", 1),
        ):
            failed = self.failure(self.played(), server_hello(), certificates(bad))
            self.assertIs(failed.check, TlsCheck.BAD_CERTIFICATE)
            self.assertIs(failed.reason, EndReason.TARGET_UNTRUSTED)

    def test_empty_chain(self) -> None:
        for values in ({}, {"verify": Verification.FINGERPRINT, "fingerprints": ("00" * 32,)}):
            meeting = self.meet(None, self.verifying(**values))
            failed = self.failure(meeting, server_hello(), certificates())
            self.assertIs(failed.check, TlsCheck.PROTOCOL)

    def test_nothing_is_left(self) -> None:
        """A failed handshake is freed at once, without the garbage collector."""
        gc.disable()
        self.addCleanup(gc.enable)
        tls = self.verifying()
        for leaf in (self.authority.issue("other.example.com"), Authority().issue(NAME)):
            meeting = self.meet(server_side(leaf), tls)
            left = weakref.ref(meeting.tls)
            with contextlib.suppress(ChannelError, TlsCheckFailed):
                self.shake_and_fail(meeting, tls)
            del meeting
            self.assertIsNone(left())

    def shake_and_fail(self, meeting: Meeting, tls: TargetTls) -> None:
        try:
            meeting.shake()
        except ChannelError as error:
            raise explain(meeting.tls, error) from error
        tls.finish(meeting.tls, NAME)
        raise AssertionError("the certificate is taken")


class AnonymousTests(TlsCase):
    def server(self, ciphers: bytes) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(ciphers)
        context.load_tmp_dh(str(write(self.directory / "dh.pem", dh_parameters())))
        return context

    def test_good(self) -> None:
        for ciphers in (
            b"ADH-AES256-GCM-SHA384:@SECLEVEL=0",
            b"ADH-AES128-GCM-SHA256:@SECLEVEL=0",
            b"AECDH-AES128-SHA:@SECLEVEL=0",
        ):
            meeting = self.meet(self.server(ciphers), anonymous_context())
            meeting.shake()
            self.assertEqual(meeting.tls.get_cipher_name(), ciphers.decode().partition(":")[0])
            self.assertIsNone(meeting.tls.get_peer_certificate())
            assert meeting.server is not None
            meeting.server.send(b"RFB")
            self.assertEqual(meeting.read(), 3)
            self.assertIsNone(late_refusal(meeting.tls))

    def test_never_verified(self) -> None:
        """A connection without a certificate does not pass for a verified one."""
        for verification in Verification:
            meeting = self.meet(self.server(b"ADH:@SECLEVEL=0"), anonymous_context())
            meeting.shake()
            tls = self.verifying(verify=verification)
            failed = self.assertRaises(TlsCheckFailed, tls.finish, meeting.tls, NAME)
            self.assertIs(failed.check, TlsCheck.NO_CERTIFICATE)
            self.assertIs(failed.reason, EndReason.TARGET_UNTRUSTED)

    def test_encrypts(self) -> None:
        meeting = self.meet(
            self.server(b"AECDH-NULL-SHA:ADH-AES256-GCM-SHA384:@SECLEVEL=0"), anonymous_context()
        )
        meeting.shake()
        self.assertEqual(meeting.tls.get_cipher_name(), "ADH-AES256-GCM-SHA384")

    def test_server_with_a_certificate(self) -> None:
        for version in VERSIONS:
            meeting = self.meet(server_side(self.authority.issue(NAME), version), anonymous_context())
            error = self.assertRaises(ChannelError, meeting.shake)
            self.assertIs(explain(meeting.tls, error).check, TlsCheck.PROTOCOL)

    def test_not_offered(self) -> None:
        """Verified connections have no anonymous cipher to agree on."""
        ciphers = self.meet(None, self.verifying()).tls.get_cipher_list()
        self.assertFalse([name for name in ciphers if name.startswith(("ADH", "AECDH"))])


def record(kind: int, data: bytes) -> bytes:
    return struct.pack("!BHH", kind, 0x0303, len(data)) + data


def message(kind: int, data: bytes) -> bytes:
    return record(22, bytes([kind]) + len(data).to_bytes(3, "big") + data)


def server_hello() -> bytes:
    """ServerHello of TLS 1.2 for ECDHE-ECDSA-AES128-GCM-SHA256 (RFC 5246, section 7.4.1.3; RFC 5746)."""
    secure_renegotiation = b"\xff\x01\0\x01\0"
    extensions = struct.pack("!H", len(secure_renegotiation)) + secure_renegotiation
    return message(2, b"\x03\x03" + bytes(range(32)) + b"\0" + b"\xc0\x2b" + b"\0" + extensions)


@functools.cache
def dh_parameters() -> bytes:
    """The group ffdhe2048, from its definition (RFC 7919, appendix A.1), as PEM text."""
    digits = 1918
    scaled = term = 1 << (digits + 64)
    for divisor in range(1, 400):
        term //= divisor
        scaled += term
    e = scaled >> 64
    prime = 2**2048 - 2**1984 + (e + 560316) * 2**64 - 1
    # SEQUENCE of the INTEGERs prime and generator (PKCS #3), encoded here: cryptography gives these up.
    encoded = b"\x02\x82\x01\x01" + prime.to_bytes(257, "big") + b"\x02\x01\x02"
    encoded = b"\x30\x82" + struct.pack("!H", len(encoded)) + encoded
    return ssl.DER_cert_to_PEM_cert(encoded).replace("CERTIFICATE", "DH PARAMETERS").encode("ascii")


def certificates(*encoded: bytes) -> bytes:
    """Certificate message of TLS 1.2 (RFC 5246, 7.4.2)."""
    listed = b"".join(len(each).to_bytes(3, "big") + each for each in encoded)
    return message(11, len(listed).to_bytes(3, "big") + listed)
