"""PEM chains from files and terminals."""

from __future__ import annotations

import base64
import datetime
import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import (
    PkiError,
    chain_pem,
    check_certificate,
    days_left,
    dn_prefix,
    fingerprint,
    key_pem,
    parse_chain,
)
from gateway.pki.armour import MAX_PEM
from gateway.pki.chains import MAX_CHAIN
from gateway.pki.describe import describe_certificate
from gateway.pki.profile import self_signed
from gateway.pki.subjects import parse_subject
from tests.unit.pki.samples import NOW, SUBJECT, key

DAY = datetime.timedelta(days=1)


@functools.cache
def ca(subject: str = SUBJECT) -> Certificate:
    return self_signed(parse_subject(subject), key(), begin=NOW - DAY, end=NOW + 3 * DAY)


class ParseChainTests(SynchronousTestCase):
    """parse_chain, and its inverse."""

    def refused(self, data: bytes, words: str) -> None:
        error = self.assertRaises(PkiError, parse_chain, data)
        self.assertIn(words, str(error))
        self.assertNotIn("\n", str(error))

    def test_order_is_kept(self) -> None:
        chain = (ca(), ca("/CN=other"), ca())
        self.assertEqual(parse_chain(chain_pem(chain)), chain)

    def test_text_keys_and_requests_around(self) -> None:
        pem = chain_pem([ca()])
        around = b"Certificate:\n    Data:\n-----------\n" + key_pem(key()) + pem + b"\nthe end -----\n" + pem
        self.assertEqual(parse_chain(around), (ca(), ca()))

    @given(
        st.sampled_from([b"\r\n", b" \n", b"\t\r\n", b"  \t \r\n", b"\n\n"]), st.sampled_from([b"", b"  "])
    )
    def test_pasted(self, end: bytes, indent: bytes) -> None:
        pem = b"".join(indent + line + end for line in chain_pem([ca()]).splitlines())
        self.assertEqual(parse_chain(pem), (ca(),))

    def test_no_line_feed_at_the_end(self) -> None:
        self.assertEqual(parse_chain(chain_pem([ca()]).rstrip()), (ca(),))

    def test_nothing(self) -> None:
        for data in (b"", b"hello", key_pem(key()), b"-----BEGIN CERTIFICATE----- x"):
            self.refused(data, "no PEM certificate")

    def test_der_is_named(self) -> None:
        self.refused(ca().public_bytes(Encoding.DER) + bytes(1000), "no PEM")
        self.refused(b"\x30\x82" + bytes(100), "openssl x509 -inform DER")

    def test_cut_short(self) -> None:
        lines = chain_pem([ca()]).splitlines(keepends=True)
        self.refused(b"".join(lines[:-1]), "no END line")
        self.refused(b"".join(lines[:-1] + lines), "no END line")
        self.refused(b"".join([*lines[:-1], b"-----END PRIVATE KEY-----\n"]), "wrong line")
        self.refused(b"".join(lines[:3] + lines[4:]), "damaged")

    def test_foreign_characters(self) -> None:
        self.refused(chain_pem([ca()]).replace(b"M", b"*", 1).replace(b"MII", b"*II", 1), "base64")

    def test_bounds(self) -> None:
        self.assertEqual(len(parse_chain(chain_pem([ca()]) * MAX_CHAIN)), MAX_CHAIN)
        self.refused(chain_pem([ca()]) * (MAX_CHAIN + 1), "more than 32")
        self.refused(b"x" * (MAX_PEM + 1), "more than")

    def test_which_one_is_damaged(self) -> None:
        empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.refused(chain_pem([ca()]) + empty, "certificate number 2")

    @given(st.data())
    def test_any_damage(self, data: st.DataObject) -> None:
        """Whatever happens to the bytes: certificates, or one clear line."""
        content = bytearray(ca().public_bytes(Encoding.DER))
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))

        pem = (
            b"-----BEGIN CERTIFICATE-----\n"
            + base64.encodebytes(bytes(content))
            + b"-----END CERTIFICATE-----"
        )
        try:
            found = parse_chain(pem)
        except PkiError as error:
            self.assertNotIn("\n", str(error))
        else:
            self.assertEqual(len(found), 1)
            dn_prefix(found[0])
            describe_certificate(found[0], NOW)
            options = {"public_key": found[0].public_key(), "name": "x", "now": NOW}
            for authority in (ca(), found[0]):
                self.assertRaises(PkiError, check_certificate, found, authorities=[authority], **options)

    @given(st.binary(max_size=300) | st.text("-BEGINDCRTFAEK \r\n=M+/a", max_size=300).map(str.encode))
    def test_any_bytes(self, data: bytes) -> None:
        self.assertRaises(PkiError, parse_chain, data)


class PropertiesTests(SynchronousTestCase):
    """What is read off a certificate."""

    def test_fingerprint(self) -> None:
        text = fingerprint(ca())
        self.assertEqual(len(text), 32 * 3 - 1)
        self.assertEqual(bytes.fromhex(text.replace(":", "")), ca().fingerprint(hashes.SHA256()))
        self.assertEqual(text, text.upper())

    def test_days_left(self) -> None:
        self.assertEqual(days_left(ca(), NOW), 3)
        self.assertEqual(days_left(ca(), NOW + 5 * DAY), -2)

    def test_dn_prefix(self) -> None:
        self.assertEqual(dn_prefix(ca()), "/C=US/O=Example Inc.")
        self.assertEqual(dn_prefix(ca("/CN=alone")), "")
        self.assertEqual(dn_prefix(ca(r"/O=a\/b\\c/CN=x/OU=y")), r"/O=a\/b\\c")
        self.assertEqual(dn_prefix(ca("/O=Grün/CN=x")), "/O=Grün")

    def test_dn_prefix_of_a_certificate_that_does_not_say(self) -> None:
        plain = (
            x509.CertificateBuilder(ca().subject, ca().subject, key().public_key(), 1, NOW, NOW + DAY)
            .add_extension(x509.SubjectKeyIdentifier(b"1"), critical=False)
            .sign(key(), hashes.SHA256())
        )
        self.assertEqual(dn_prefix(plain), "")
