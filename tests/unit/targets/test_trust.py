"""Certificates that console servers show, good and bad, judged in real handshakes."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from gateway.reasons import EndReason
from gateway.settings import Verification
from gateway.targets.certificates import chain_only_text
from gateway.targets.checks import TlsCheck, TlsCheckFailed
from tests.support.pki import CLIENT, Authority, Leaf, distinguished
from tests.unit.net.samples import DAY, NOW, pem, write
from tests.unit.targets.tls import NAME, VERSIONS, TlsCase, server_side

OTHER = "host2.example.com"


class NameTests(TlsCase):
    def test_good(self) -> None:
        leaf = self.authority.issue(NAME)
        tls = self.verifying()
        for version in VERSIONS:
            peer = self.accepted(leaf, tls, version=version)
            self.assertEqual((peer.subject, peer.issuer), (f"CN={NAME}", "CN=Test CA"))
            self.assertEqual((peer.not_before, peer.not_after), (NOW - DAY, NOW + DAY))

    def test_spelling(self) -> None:
        tls = self.verifying()
        self.accepted(self.authority.issue("HOST1.Example.com"), tls, "Host1.EXAMPLE.com.")
        self.accepted(self.authority.issue("2001:db8::1"), tls, "[2001:DB8:0::1]")

    def test_one_of_several(self) -> None:
        leaf = self.authority.issue("first.example.com", NAME, "192.0.2.7", "2001:db8::7")
        for name in (NAME, "192.0.2.7", "2001:db8::7"):
            self.accepted(leaf, self.verifying(), name)

    def test_wildcard(self) -> None:
        leaf = self.authority.issue("*.example.com")
        self.accepted(leaf, self.verifying())
        for name in ("example.com", "a.b.example.com", "host1.example.org", "192.0.2.1"):
            self.refused(TlsCheck.WRONG_NAME, leaf, self.verifying(), name)

    def test_wrong_name(self) -> None:
        leaf = self.authority.issue(OTHER, "192.0.2.7")
        failed = self.refused(TlsCheck.WRONG_NAME, leaf, self.verifying())
        self.assertIs(failed.reason, EndReason.TARGET_WRONG_NAME)
        for text in (f"expected {NAME}", OTHER, "192.0.2.7"):
            self.assertIn(text, str(failed))
        self.assert_shows(failed, leaf.certificate)

    def test_address(self) -> None:
        for address, other in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
            leaf = self.authority.issue(address)
            self.accepted(leaf, self.verifying(), address)
            self.refused(TlsCheck.WRONG_NAME, leaf, self.verifying(), other)
            self.refused(TlsCheck.WRONG_NAME, leaf, self.verifying(), NAME)

    def test_address_as_a_dns_name(self) -> None:
        """It is none, so that the certificate is not taken for the address."""
        leaf = self.authority.issue(sans=[x509.DNSName("192.0.2.1")])
        self.refused(TlsCheck.BAD_CERTIFICATE, leaf, self.verifying(), "192.0.2.1")

    def test_common_name_only(self) -> None:
        for subject in (NAME, "192.0.2.1"):
            leaf = self.authority.issue(subject=distinguished(subject))
            failed = self.refused(TlsCheck.WRONG_NAME, leaf, self.verifying(), subject)
            self.assertIn("no host", str(failed))
        leaf = self.authority.issue(subject=distinguished(NAME), sans=[x509.RFC822Name("root@example.com")])
        self.refused(TlsCheck.WRONG_NAME, leaf, self.verifying())

    def test_name_is_needed(self) -> None:
        near, _ = self.pair()
        tls = self.verifying()
        for name in (None, "", "not a host", "a" * 300, "host\0.example.com", "h\u00f6st.example.com"):
            self.assertRaises(ValueError, tls.connection, near, name)
        meeting = self.meet(server_side(self.authority.issue(NAME)), tls)
        meeting.shake()
        self.assertRaises(ValueError, tls.finish, meeting.tls, None)

    def test_server_is_told_dns_names_only(self) -> None:
        chain = self.verifying(verify=Verification.CHAIN)
        told: list[bytes | None] = []
        for tls, name in (
            (self.verifying(), NAME.upper()),
            (self.verifying(), "192.0.2.1"),
            (self.verifying(), "2001:db8::1"),
            (chain, NAME),
            (chain, None),
        ):
            meeting = self.meet(server_side(self.authority.issue(NAME)), tls, name)
            meeting.shake()
            assert meeting.server is not None
            told.append(meeting.server.get_servername())
        self.assertEqual(told, [NAME.encode(), None, None, NAME.encode(), None])


class ChainTests(TlsCase):
    def test_rogue_authority(self) -> None:
        rogue = Authority()
        leaf = rogue.issue(NAME)
        whole = Leaf((*leaf.chain, rogue.certificate), leaf.key)
        for each in (leaf, whole, rogue.issue(NAME, marked=False)):
            failed = self.refused(TlsCheck.UNKNOWN_ISSUER, each, self.verifying())
            self.assertIs(failed.reason, EndReason.TARGET_UNTRUSTED)
        failed = self.refused(TlsCheck.UNKNOWN_ISSUER, Authority("Rogue").issue(NAME), self.verifying())
        self.assertIn("issuer CN=Rogue", str(failed))

    def test_system_store(self) -> None:
        """None of the system's authorities issued this; the file's own ones do not count beside it."""
        self.refused(TlsCheck.UNKNOWN_ISSUER, self.authority.issue(NAME), self.verifying(ca=None))

    def test_self_signed(self) -> None:
        leaf = Authority.self_signed(NAME)
        failed = self.refused(TlsCheck.SELF_SIGNED, leaf, self.verifying())
        self.assertIs(failed.reason, EndReason.TARGET_UNTRUSTED)
        self.assert_shows(failed, leaf.certificate)

    def test_self_signed_and_listed(self) -> None:
        leaf = Authority.self_signed(NAME)
        self.accepted(leaf, self.verifying(ca=write(self.directory / "own.pem", pem(leaf.certificate))))

    def test_intermediate(self) -> None:
        lower = Authority("Lower", issuer=Authority("Upper", issuer=self.authority))
        leaf = lower.issue(NAME)
        self.assertEqual(len(leaf.chain), 3)
        self.accepted(leaf, self.verifying())
        failed = self.refused(TlsCheck.UNKNOWN_ISSUER, Leaf(leaf.chain[:1], leaf.key), self.verifying())
        self.assert_shows(failed, leaf.certificate)
        failed = self.refused(TlsCheck.UNKNOWN_ISSUER, Leaf(leaf.chain[:2], leaf.key), self.verifying())
        self.assert_shows(failed, lower.certificate)
        self.assertIn("of an issuer", str(failed))

    def test_intermediate_is_listed(self) -> None:
        """What the file has is trusted without a root, and nothing beside it is."""
        lower = Authority("Lower", issuer=self.authority)
        tls = self.verifying(ca=lower.save(self.directory, "lower"))
        self.accepted(lower.issue(NAME), tls)
        self.refused(TlsCheck.UNKNOWN_ISSUER, self.authority.issue(NAME), tls)

    def test_several_authorities(self) -> None:
        second = Authority("Second CA")
        both = write(self.directory / "both.pem", pem(self.authority.certificate, second.certificate))
        for authority in (self.authority, second):
            self.accepted(authority.issue(NAME), self.verifying(ca=both))

    def test_expired(self) -> None:
        leaf = self.authority.issue(NAME, begin=NOW - 3 * DAY, end=NOW - 2 * DAY)
        failed = self.refused(TlsCheck.EXPIRED, leaf, self.verifying())
        self.assertIs(failed.reason, EndReason.TARGET_EXPIRED)
        self.assert_shows(failed, leaf.certificate)

    def test_expired_issuer(self) -> None:
        lower = Authority("Lower", issuer=self.authority, begin=NOW - 3 * DAY, end=NOW - 2 * DAY)
        failed = self.refused(TlsCheck.EXPIRED, lower.issue(NAME), self.verifying())
        self.assertIn("of an issuer", str(failed))
        self.assert_shows(failed, lower.certificate)

    def test_not_yet_valid(self) -> None:
        leaf = self.authority.issue(NAME, begin=NOW + DAY, end=NOW + 2 * DAY)
        failed = self.refused(TlsCheck.NOT_YET_VALID, leaf, self.verifying())
        self.assertIs(failed.reason, EndReason.TARGET_EXPIRED)
        self.assert_shows(failed, leaf.certificate)

    def test_purpose(self) -> None:
        leaf = self.authority.issue(NAME, purposes=CLIENT)
        failed = self.refused(TlsCheck.WRONG_PURPOSE, leaf, self.verifying())
        self.assertIs(failed.reason, EndReason.TARGET_UNTRUSTED)
        self.assert_shows(failed, leaf.certificate)
        self.accepted(self.authority.issue(NAME, purposes=()), self.verifying())

    def test_issued_by_a_server(self) -> None:
        """A server's certificate makes no authority."""
        middle = self.authority.issue(OTHER)
        lower = Authority(OTHER, issuer=self.authority)
        assert not isinstance(middle.key, rsa.RSAPrivateKey)
        lower.key, lower.certificate = middle.key, middle.certificate
        failed = self.refused(TlsCheck.BAD_CERTIFICATE, lower.issue(NAME), self.verifying())
        self.assertIs(failed.reason, EndReason.TARGET_UNTRUSTED)
        self.assertIn("invalid ca", str(failed))

    def test_weak_key(self) -> None:
        leaf = self.authority.issue(NAME, key=rsa.generate_private_key(65537, 1024))
        failed = self.refused(TlsCheck.BAD_CERTIFICATE, leaf, self.verifying())
        self.assertIn("key too weak", str(failed))

    def test_bad_signature(self) -> None:
        leaf = self.authority.issue(NAME)
        encoded = bytearray(leaf.certificate.public_bytes(Encoding.DER))
        encoded[-1] ^= 1
        forged = Leaf((x509.load_der_x509_certificate(bytes(encoded)),), leaf.key)
        failed = self.refused(TlsCheck.UNKNOWN_ISSUER, forged, self.verifying())
        self.assertIn("signature failure", str(failed))


class ExceptionTests(TlsCase):
    """The two other ways to verify."""

    def test_chain_only(self) -> None:
        tls = self.verifying(verify=Verification.CHAIN)
        leaf = self.authority.issue(OTHER)
        for name in (NAME, "192.0.2.1", None):
            for version in VERSIONS:
                peer = self.accepted(leaf, tls, name, version)
        self.assertIn(str(peer), chain_only_text(peer))
        self.accepted(self.authority.issue(subject=distinguished("no names")), tls)

    def test_chain_only_is_a_chain(self) -> None:
        tls = self.verifying(verify=Verification.CHAIN)
        self.refused(TlsCheck.UNKNOWN_ISSUER, Authority().issue(OTHER), tls)
        self.refused(TlsCheck.SELF_SIGNED, Authority.self_signed(OTHER), tls)
        expired = self.authority.issue(OTHER, begin=NOW - 3 * DAY, end=NOW - 2 * DAY)
        self.refused(TlsCheck.EXPIRED, expired, tls)
        self.refused(TlsCheck.WRONG_PURPOSE, self.authority.issue(OTHER, purposes=CLIENT), tls)

    def test_fingerprint(self) -> None:
        """The certificate is the listed one, and nothing else counts."""
        for leaf in (
            Authority().issue(OTHER, begin=NOW - 3 * DAY, end=NOW - 2 * DAY, purposes=CLIENT),
            Authority.self_signed(OTHER),
        ):
            plain = leaf.fingerprint
            spelled = leaf.certificate.fingerprint(hashes.SHA256()).hex(":").upper()
            for pins in ((plain,), (spelled,), ("00" * 32, plain)):
                tls = self.verifying(verify=Verification.FINGERPRINT, fingerprints=pins)
                for version in VERSIONS:
                    self.accepted(leaf, tls, NAME, version)
            self.accepted(leaf, tls, None)

    def test_wrong_fingerprint(self) -> None:
        leaf = self.authority.issue(NAME)
        other = self.authority.issue(NAME).fingerprint
        tls = self.verifying(verify=Verification.FINGERPRINT, fingerprints=(other, "00" * 32))
        failed = self.refused(TlsCheck.WRONG_FINGERPRINT, leaf, tls)
        self.assertIs(failed.reason, EndReason.TARGET_UNTRUSTED)
        self.assertIn(leaf.fingerprint, str(failed))

    def test_no_fingerprints(self) -> None:
        """Settings are checked for that; nothing is accepted all the same."""
        tls = self.verifying(verify=Verification.FINGERPRINT)
        self.refused(TlsCheck.WRONG_FINGERPRINT, self.authority.issue(NAME), tls)


class OddContentTests(TlsCase):
    """Whatever certificates hold, a log line stays one line, of bounded length."""

    def test_subject(self) -> None:
        names = [
            x509.Name([]),
            distinguished("line\nbreak\r\n2026-01-01 forged \x1b[31m entry \u2028 \u202e\x00"),
            x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "\n\x01" * 5000)]),
            x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"{i}") for i in range(2000)]),
        ]
        for subject in names:
            leaf = self.authority.issue(OTHER, subject=subject)
            self.refused(TlsCheck.WRONG_NAME, leaf, self.verifying())
            peer = self.accepted(leaf, self.verifying(verify=Verification.CHAIN))
            self.assertTrue(str(peer).isprintable())
            self.assertLess(len(str(peer)), 700)
            self.refused(TlsCheck.UNKNOWN_ISSUER, Authority().issue(OTHER, subject=subject), self.verifying())

    def test_alternative_names(self) -> None:
        many = [x509.DNSName(f"h{number}.example.com") for number in range(1000)]
        failed = self.refused(TlsCheck.WRONG_NAME, self.authority.issue(sans=many), self.verifying())
        self.assertIn("992 more", str(failed))
        odd = [x509.DNSName("new\nline"), x509.DNSName("x" * 10000)]
        self.refused(TlsCheck.WRONG_NAME, self.authority.issue(sans=odd), self.verifying())
        self.refused(
            TlsCheck.BAD_CERTIFICATE, self.authority.issue(sans=[x509.DNSName("*\n*")]), self.verifying()
        )

    def test_too_large(self) -> None:
        """OpenSSL takes at most 100 kB of certificates."""
        huge = [x509.DNSName("x" * 200000)]
        failed = self.refused(TlsCheck.PROTOCOL, self.authority.issue(sans=huge), self.verifying())
        self.assertIn("excessive", str(failed))


class HardeningTests(TlsCase):
    def test_connection(self) -> None:
        for version, spoken in zip(VERSIONS, ("TLSv1.2", "TLSv1.3"), strict=True):
            tls = self.verifying()
            meeting = self.meet(server_side(self.authority.issue(NAME), version), tls)
            meeting.shake()
            tls.finish(meeting.tls, NAME)
            self.assertEqual(meeting.tls.get_protocol_version_name(), spoken)
            cipher = meeting.tls.get_cipher_name()
            assert cipher is not None
            self.assertTrue("GCM" in cipher or "CHACHA20" in cipher, cipher)
            context = meeting.tls.get_context()
            self.assertEqual(context.get_session_cache_mode(), SSL.SESS_CACHE_OFF)
            meeting.close()

    def test_renegotiation_is_refused(self) -> None:
        tls = self.verifying()
        meeting = self.meet(server_side(self.authority.issue(NAME), SSL.TLS1_2_VERSION), tls)
        meeting.shake()
        assert meeting.server is not None
        meeting.server.renegotiate()
        meeting.serve()
        self.assertLess(meeting.read(), 0)
        meeting.serve()
        self.assertEqual(meeting.tls.total_renegotiations(), 0)

    def test_nothing_is_shown_unfinished(self) -> None:
        """Without a handshake there is nothing to be trusted."""
        for values in ({}, {"verify": Verification.CHAIN}, {"verify": Verification.FINGERPRINT}):
            tls = self.verifying(**values)
            meeting = self.meet(server_side(self.authority.issue(NAME)), tls)
            failed = self.assertRaises(TlsCheckFailed, tls.finish, meeting.tls, NAME)
            self.assertIs(failed.check, TlsCheck.NO_CERTIFICATE)
