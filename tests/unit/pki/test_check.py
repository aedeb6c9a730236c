"""Which certificates a gateway takes."""

from __future__ import annotations

import base64
import datetime
import functools
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto
from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import (
    CertificateFault,
    CertificateRejected,
    chain_pem,
    check_certificate,
    make_request,
    parse_chain,
)
from gateway.pki.profile import issued, planned, self_signed
from gateway.pki.requests import load_request
from gateway.pki.subjects import parse_subject
from gateway.pki.usage import key_usage
from tests.unit.pki.samples import NOW, SUBJECT, key

DAY = datetime.timedelta(days=1)
NAME = "gw.example.com"


@functools.cache
def ca(number: int = 1, subject: str = SUBJECT) -> Certificate:
    return self_signed(parse_subject(subject), key(number), begin=NOW - 9 * DAY, end=NOW + 99 * DAY)


def leaf(number: int = 1, begin: int = -1, end: int = 9, **terms: Any) -> Certificate:
    terms.setdefault("san", f"DNS:{NAME},IP:192.0.2.1")
    profile = planned(load_request(make_request(key(), "/O=Example/CN=gw")), **terms)
    return issued(
        profile, ca=ca(number), ca_key=key(number), serial=7, begin=NOW + begin * DAY, end=NOW + end * DAY
    )


def built(
    subject: str,
    issuer: Certificate,
    issuer_key: int,
    extensions: Sequence[x509.ExtensionType],
    *,
    public_key: Any = None,
    digest: hashes.HashAlgorithm | None = None,
) -> Certificate:
    builder = x509.CertificateBuilder(
        issuer.subject, parse_subject(subject), public_key or key().public_key(), 9, NOW - DAY, NOW + 9 * DAY
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key(issuer_key), digest or hashes.SHA256())  # type: ignore[arg-type]


def own(subject: str, number: int) -> Certificate:
    """A root that may have other CAs below it."""
    name = parse_subject(subject)
    builder = x509.CertificateBuilder(name, name, key(number).public_key(), 1, NOW - DAY, NOW + 9 * DAY)
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return builder.add_extension(constraints, critical=True).sign(key(number), hashes.SHA256())


SAN = x509.SubjectAlternativeName([x509.DNSName(NAME)])


class CheckTests(SynchronousTestCase):
    """check_certificate"""

    def check(self, *chain: Certificate, **options: Any) -> tuple[Certificate, ...]:
        options.setdefault("public_key", key().public_key())
        options.setdefault("authorities", [ca()])
        return check_certificate(chain, **{"name": NAME, "now": NOW, **options})

    def rejected(self, fault: CertificateFault, words: str, *chain: Certificate, **options: Any) -> None:
        error = self.assertRaises(CertificateRejected, self.check, *chain, **options)
        self.assertIs(error.fault, fault, error)
        self.assertIn(words, str(error))
        self.assertTrue(str(error).isprintable())

    def test_good(self) -> None:
        good = leaf()
        self.assertEqual(self.check(good), (good,))
        for name in ("GW.example.com", "192.0.2.1"):
            self.assertEqual(self.check(good, name=name), (good,))
        self.assertEqual(self.check(good, ca(2), ca(), authorities=[ca(2), ca()]), (good,))

    def test_intermediate(self) -> None:
        root = own("/CN=root", 2)
        between = built(
            "/CN=between",
            root,
            2,
            [x509.BasicConstraints(ca=True, path_length=0), key_usage(["keyCertSign"])],
            public_key=key(3).public_key(),
        )
        end = built("/CN=gw", between, 3, [SAN])
        self.assertEqual(self.check(end, between, authorities=[root]), (end, between))
        self.assertEqual(self.check(end, root, ca(), between, authorities=[root]), (end, between))
        self.assertEqual(self.check(end, authorities=[between]), (end, between))
        self.rejected(CertificateFault.UNKNOWN_AUTHORITY, "between", end, authorities=[root])

    def test_an_intermediate_that_is_not_for_servers(self) -> None:
        root = own("/CN=root", 2)
        for purpose, good in (
            (ExtendedKeyUsageOID.CLIENT_AUTH, False),
            (ExtendedKeyUsageOID.SERVER_AUTH, True),
        ):
            extensions = [
                x509.BasicConstraints(ca=True, path_length=0),
                key_usage(["keyCertSign"]),
                x509.ExtendedKeyUsage([purpose]),
            ]
            between = built("/CN=between", root, 2, extensions, public_key=key(3).public_key())
            end = built("/CN=gw", between, 3, [SAN])
            if good:
                self.assertEqual(self.check(end, between, authorities=[root]), (end, between))
            else:
                fault = CertificateFault.NOT_FOR_SERVERS
                self.rejected(fault, "'/CN=between' has an extended", end, between, authorities=[root])

    def test_name_constraints(self) -> None:
        root = own("/CN=root", 2)
        for allowed, good in (("example.org", False), ("example.com", True)):
            extensions = [
                x509.BasicConstraints(ca=True, path_length=0),
                key_usage(["keyCertSign"]),
                x509.NameConstraints([x509.DNSName(allowed)], None),
            ]
            between = built("/CN=between", root, 2, extensions, public_key=key(3).public_key())
            end = built("/CN=gw", between, 3, [SAN])
            if good:
                self.assertEqual(self.check(end, between, authorities=[root]), (end, between))
            else:
                fault = CertificateFault.UNKNOWN_AUTHORITY
                self.rejected(fault, "permitted subtree", end, between, authorities=[root])

    def test_our_ca_vouches_for_no_other(self) -> None:
        may_sign = [x509.BasicConstraints(ca=True, path_length=0), key_usage(["keyCertSign"])]
        between = built("/CN=between", ca(), 1, may_sign, public_key=key(3).public_key())
        end = built("/CN=gw", between, 3, [SAN])
        self.rejected(CertificateFault.UNKNOWN_AUTHORITY, "path length", end, between)

    def test_key(self) -> None:
        self.rejected(CertificateFault.KEY_MISMATCH, "another key", leaf(), public_key=key(5).public_key())

    def test_authority(self) -> None:
        other = ca(4, "/CN=other")
        self.rejected(CertificateFault.UNKNOWN_AUTHORITY, "/CN=other", leaf(), authorities=[other])
        # Same name, another key: its signature is what counts.
        self.rejected(CertificateFault.UNKNOWN_AUTHORITY, SUBJECT, leaf(), authorities=[ca(2)])
        self.rejected(CertificateFault.UNKNOWN_AUTHORITY, "none", leaf(), authorities=[])

    def test_tampered(self) -> None:
        """A signature that is wrong, of which nothing is left for OpenSSL's next user to stumble over."""
        lines = chain_pem([leaf()]).splitlines()
        content = bytearray(base64.b64decode(b"".join(lines[1:-1])))
        content[-3] ^= 1
        tampered = parse_chain(b"\n".join([lines[0], base64.b64encode(content), lines[-1]]))
        self.rejected(CertificateFault.UNKNOWN_AUTHORITY, "signature", *tampered)
        error = self.assertRaises(crypto.Error, crypto.X509Store().load_locations, "/dev/null/none")
        self.assertNotIn("signature", str(error))

    def test_what_is_no_authority(self) -> None:
        """A server's certificate in the CA's place signs nothing, not even itself."""
        alone = built(SUBJECT, ca(), 0, [SAN])
        self.rejected(CertificateFault.UNKNOWN_AUTHORITY, "none", alone, authorities=[alone])

    def test_dates(self) -> None:
        self.rejected(CertificateFault.EXPIRED, "2031-05-05", leaf(begin=-9, end=-1))
        self.rejected(CertificateFault.NOT_YET_VALID, "2031-05-07", leaf(begin=1))
        self.rejected(CertificateFault.EXPIRED, SUBJECT, leaf(end=900), now=NOW + 200 * DAY)

    def test_time_zone(self) -> None:
        late = datetime.timezone(datetime.timedelta(hours=14))
        self.check(leaf(begin=0), now=NOW.astimezone(late))

    def test_names(self) -> None:
        self.rejected(CertificateFault.WRONG_NAME, f"DNS:{NAME}", leaf(), name="www.example.com")
        self.rejected(CertificateFault.WRONG_NAME, "192.0.2.1", leaf(), name="192.0.2.2")
        self.rejected(CertificateFault.WRONG_NAME, NAME, leaf(), name="no name at all")
        self.check(leaf(san="DNS:*.example.com"))
        self.rejected(CertificateFault.WRONG_NAME, "*", leaf(san="DNS:*.com"))

    def test_common_name_is_not_enough(self) -> None:
        self.rejected(CertificateFault.WRONG_NAME, "none", built(f"/CN={NAME}", ca(), 1, []))

    def test_address_as_dns_name_is_not_enough(self) -> None:
        text = built("/CN=x", ca(), 1, [x509.SubjectAlternativeName([x509.DNSName("192.0.2.1")])])
        self.rejected(CertificateFault.WRONG_NAME, "DNS:192.0.2.1", text, name="192.0.2.1")

    def test_purpose(self) -> None:
        self.rejected(CertificateFault.NOT_FOR_SERVERS, "serverAuth", leaf(eku="clientAuth"))
        self.rejected(CertificateFault.NOT_FOR_SERVERS, "digitalSignature", leaf(ku="keyAgreement"))
        self.check(leaf(eku="serverAuth,clientAuth"))
        self.check(built("/CN=gw", ca(), 1, [SAN]))
        as_ca = built("/CN=gw", ca(), 1, [SAN, x509.BasicConstraints(ca=True, path_length=None)])
        self.rejected(CertificateFault.NOT_FOR_SERVERS, "CA", as_ca)

    def test_weak(self) -> None:
        small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
        weak = built("/CN=gw", ca(), 1, [SAN], public_key=small)
        self.rejected(CertificateFault.WEAK, "1024", weak, public_key=small)

    def test_hostile_text_in_a_message(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\x1b[2J\nb")])
        hostile = (
            x509.CertificateBuilder(ca().subject, name, key().public_key(), 9, NOW - DAY, NOW + DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("x\x1b\n")]), critical=False)
            .sign(key(1), hashes.SHA256())
        )
        self.rejected(CertificateFault.WRONG_NAME, "", hostile)
