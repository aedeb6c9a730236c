"""Private keys and requests."""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import (
    KeyKind,
    PasswordNeeded,
    PkiError,
    generate_key,
    key_pem,
    load_key,
    load_request,
    make_request,
    same_key,
    subject_text,
)
from gateway.pki.altnames import alt_names_text
from gateway.pki.keys import key_text, strong_key
from tests.unit.pki.samples import key

PASSWORD = b"correct horse"


class KeyTests(SynchronousTestCase):
    """Making, writing and reading keys."""

    def test_kinds(self) -> None:
        made = generate_key()
        self.assertEqual(key_text(made.public_key()), "RSA 2048")
        self.assertEqual(key_text(generate_key(KeyKind.EC).public_key()), "ECDSA secp256r1")
        self.assertTrue(same_key(load_key(key_pem(made)).public_key(), made.public_key()))
        self.assertFalse(same_key(made.public_key(), key().public_key()))
        for bits in (1024, 2047, 8193):
            self.assertRaises(PkiError, generate_key, KeyKind.RSA, bits)

    def test_pkcs8(self) -> None:
        self.assertTrue(key_pem(key()).startswith(b"-----BEGIN PRIVATE KEY-----\n"))

    def test_traditional_forms(self) -> None:
        for protection, password in ((NoEncryption(), None), (BestAvailableEncryption(PASSWORD), PASSWORD)):
            pem = key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, protection)
            self.assertTrue(same_key(load_key(b"text\n" + pem, password).public_key(), key().public_key()))

    def test_password(self) -> None:
        pem = key_pem(key(), PASSWORD)
        self.assertIn(b"BEGIN ENCRYPTED PRIVATE KEY", pem)
        self.assertTrue(same_key(load_key(pem, PASSWORD).public_key(), key().public_key()))
        for wrong in (None, b"", b"hunter2"):
            error = self.assertRaises(PasswordNeeded, load_key, pem, wrong)
            self.assertNotIn("hunter2", str(error) + repr(error))
        for bad in (b"", b"x" * 1024):
            self.assertRaises(PkiError, key_pem, key(), bad)

    def test_password_without_need(self) -> None:
        self.assertTrue(same_key(load_key(key_pem(key()), PASSWORD).public_key(), key().public_key()))

    def test_unfit_keys(self) -> None:
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        odd = ec.generate_private_key(ec.SECP521R1())
        for unfit in (weak, odd, ed25519.Ed25519PrivateKey.generate()):
            pem = unfit.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.assertRaises(PkiError, load_key, pem)
            self.assertIsNotNone(strong_key(unfit.public_key()))
        small = rsa.RSAPublicNumbers(3, rsa.RSAPublicNumbers(3, (1 << 2047) + 1).n).public_key()
        self.assertIn("exponent", strong_key(small) or "")

    @given(st.binary(max_size=80), st.booleans())
    def test_damage(self, junk: bytes, armoured: bool) -> None:
        if armoured:
            junk = (
                b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(junk) + b"-----END PRIVATE KEY-----\n"
            )
        error = self.assertRaises(PkiError, load_key, junk)
        self.assertTrue(str(error).isprintable())


class RequestTests(SynchronousTestCase):
    """PKCS #10"""

    def test_as_the_original(self) -> None:
        pem = make_request(key())
        csr = x509.load_pem_x509_csr(pem)
        self.assertEqual(csr.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "/")]))
        self.assertEqual(list(csr.extensions), [])
        self.assertIsInstance(csr.signature_hash_algorithm, hashes.SHA256)
        self.assertEqual(load_request(pem).names, ())

    def test_names(self) -> None:
        pem = make_request(key(), "/C=US/CN=gw.example.com", ["DNS:gw.example.com,IP:::1"])
        found = load_request(b"text around\r\n" + pem.replace(b"\n", b"\r\n"))
        self.assertEqual(subject_text(found.subject), "/C=US/CN=gw.example.com")
        self.assertEqual(alt_names_text(found.names), ["DNS:gw.example.com", "IP:::1"])
        self.assertTrue(same_key(found.public_key, key().public_key()))

    def test_only_names_of_hosts(self) -> None:
        names = x509.SubjectAlternativeName(
            [x509.RFC822Name("a@example.com"), x509.DNSName("x"), x509.UniformResourceIdentifier("http://x")]
        )
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        csr = builder.add_extension(names, critical=False).sign(key(), hashes.SHA256())
        self.assertEqual(alt_names_text(load_request(csr.public_bytes(Encoding.PEM)).names), ["DNS:x"])

    def test_foreign_signature(self) -> None:
        mine, other = (x509.load_pem_x509_csr(make_request(key(n), "/CN=x")) for n in (0, 1))
        der = mine.public_bytes(Encoding.DER)
        forged = der.replace(mine.tbs_certrequest_bytes, other.tbs_certrequest_bytes)
        pem = make_request(key()).splitlines()

        text = b"\n".join([pem[0], base64.encodebytes(forged).strip(), pem[-1]])
        self.assertIn("not signed by its own key", str(self.assertRaises(PkiError, load_request, text)))

    def test_weak_key(self) -> None:
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        pem = builder.sign(weak, hashes.SHA256()).public_bytes(Encoding.PEM)
        self.assertIn("1024", str(self.assertRaises(PkiError, load_request, pem)))

    def test_refused(self) -> None:
        for data in (
            b"",
            key_pem(key()),
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n",
            make_request(key())[:200],
        ):
            self.assertTrue(str(self.assertRaises(PkiError, load_request, data)).isprintable())
        self.assertRaises(PkiError, make_request, key(), "CN=x")
        self.assertRaises(PkiError, make_request, key(), "/", ["URI:x"])
