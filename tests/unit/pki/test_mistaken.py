"""What is told of files that are not what was asked for."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import PkiError, chain_pem, key_pem, make_request, parse_chain
from gateway.pki.mistaken import Form, form_of
from tests.peers import needs
from tests.unit.pki.samples import key
from tests.unit.pki.test_chains import ca


class FormTests(SynchronousTestCase):
    """Every form in which certificates and keys come."""

    def test_forms(self) -> None:
        request = make_request(key())
        der = x509.load_pem_x509_csr(request).public_bytes(Encoding.DER)
        bundle = pkcs7.serialize_certificates([ca()], Encoding.PEM)
        private, public = key(), key().public_key()
        secret = BestAvailableEncryption(b"secret")
        for data, form in (
            (b"", Form.EMPTY),
            (b" \r\n\n", Form.EMPTY),
            (chain_pem([ca()]), Form.CERTIFICATE),
            (b"text before\r\n  " + request.replace(b"\n", b"\r\n"), Form.REQUEST),
            (key_pem(private), Form.PRIVATE_KEY),
            (public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), Form.PUBLIC_KEY),
            (bundle, Form.PKCS7),
            (pkcs7.serialize_certificates([ca()], Encoding.DER), Form.PKCS7_DER),
            (pkcs12.serialize_key_and_certificates(b"x", private, ca(), None, secret), Form.PKCS12),
            (ca().public_bytes(Encoding.DER), Form.CERTIFICATE_DER),
            (der, Form.REQUEST_DER),
            (private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), Form.PRIVATE_KEY),
            (
                private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
                Form.PRIVATE_KEY,
            ),
            (b"\x30\x82" + bytes(100), Form.OTHER_DER),
            (b"0 is a digit", None),
            (b"-----BEGIN SOMETHING-----", None),
        ):
            self.assertIs(form_of(data), form)

    @given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: b"\x30\x82" + tail))
    def test_anything(self, data: bytes) -> None:
        self.assertIn(form_of(data), (*Form, None))

    def test_what_is_asked_for_instead(self) -> None:
        p12 = pkcs12.serialize_key_and_certificates(None, key(), ca(), None, NoEncryption())
        for data, words in (
            (b"", "it is empty"),
            (make_request(key()), "this is a certificate request; have it signed"),
            (key_pem(key()), "this is a private key; keep it to yourself"),
            (pkcs7.serialize_certificates([ca()], Encoding.PEM), "'openssl pkcs7 -print_certs'"),
            (p12, "this is PKCS#12; convert it with 'openssl pkcs12 -nokeys'"),
            (ca().public_bytes(Encoding.DER), "convert it with 'openssl x509 -inform DER'"),
        ):
            error = self.assertRaises(PkiError, parse_chain, data)
            self.assertIn("there is no PEM certificate: ", str(error))
            self.assertIn(words, str(error))
            self.assertNotIn("\n", str(error))


@needs("openssl")
class RemedyTests(SynchronousTestCase):
    """The commands that messages name do what they should."""

    def test_commands(self) -> None:
        secret = NoEncryption()
        for command, data in (
            ("x509 -inform DER", ca().public_bytes(Encoding.DER)),
            ("pkcs7 -print_certs", pkcs7.serialize_certificates([ca()], Encoding.PEM)),
            ("pkcs7 -inform DER -print_certs", pkcs7.serialize_certificates([ca()], Encoding.DER)),
            (
                "pkcs12 -nokeys -passin pass:",
                pkcs12.serialize_key_and_certificates(None, key(), ca(), None, secret),
            ),
        ):
            with tempfile.TemporaryDirectory() as name:
                path = Path(name, "in")
                path.write_bytes(data)
                done = subprocess.run(
                    ["openssl", *command.split(), "-in", str(path)], check=True, capture_output=True
                )
            self.assertEqual(parse_chain(done.stdout), (ca(),))
