"""Making a CA, and what its certificates say."""

from __future__ import annotations

import datetime
import os
import shutil
import stat

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from gateway.pki import (
    Authority,
    KeyKind,
    PasswordNeeded,
    PkiError,
    check_certificate,
    dn_prefix,
    key_pem,
    make_request,
    parse_chain,
    subject_text,
)
from gateway.pki.usage import purpose_names, usage_names
from tests.unit.pki.faults import disk_full, each_failure
from tests.unit.pki.samples import DAY, NOW, SAN, SUBJECT, CaTestCase, key, names, snapshot


class CreateTests(CaTestCase):
    """Authority.create and Authority.open"""

    def test_layout(self) -> None:
        self.assertEqual(self.text("serial.txt"), "1000\n")
        self.assertEqual(self.text("database.txt"), "")
        self.assertEqual(self.text("database.txt.attr"), "unique_subject = no\n")
        self.assertEqual(self.permissions("private/ca.pem"), 0o600)
        self.assertEqual(self.permissions("private"), 0o700)
        self.assertEqual(self.permissions("ca.pem"), 0o644)
        self.assertEqual(sorted(os.listdir(self.ca)), sorted(os.listdir(self.authority().directory)))

    def test_certificate(self) -> None:
        ca = self.authority().certificate
        self.assertEqual(subject_text(ca.subject), SUBJECT)
        self.assertEqual(ca.not_valid_after_utc, NOW + 3650 * DAY)
        self.assertEqual(ca.not_valid_before_utc, NOW - DAY)
        get = ca.extensions.get_extension_for_class
        constraints, usage = get(x509.BasicConstraints), get(x509.KeyUsage)
        self.assertEqual(
            (constraints.critical, constraints.value.ca, constraints.value.path_length), (True, True, 0)
        )
        self.assertEqual((usage.critical, usage_names(usage.value)), (True, ["keyCertSign", "cRLSign"]))
        issuer = get(x509.AuthorityKeyIdentifier).value
        self.assertEqual(issuer.key_identifier, get(x509.SubjectKeyIdentifier).value.digest)
        self.assertEqual(issuer.authority_cert_serial_number, ca.serial_number)
        self.assertEqual(dn_prefix(ca), "/C=US/O=Example Inc.")

    def test_in_a_directory_that_is_not_empty(self) -> None:
        place = self.directory / "pki"
        (place / "keys").mkdir(parents=True)
        Authority.create(place, subject="/CN=x", kind=KeyKind.EC)
        self.assertTrue((place / "keys").is_dir())
        Authority.open(place)

    def test_what_is_there_is_kept(self) -> None:
        for name in ("ca.pem", "private/ca.pem", "serial.txt", "database.txt"):
            place = self.directory / name.replace("/", "-")
            (place / name).parent.mkdir(parents=True)
            (place / name).write_text("mine")
            before = snapshot(place)
            error = self.assertRaises(PkiError, Authority.create, place, subject="/CN=x")
            self.assertIn(name, str(error))
            self.assertEqual(snapshot(place), before)

    def test_bad_options(self) -> None:
        place = self.directory / "new"
        for options in ({"days": 0}, {"days": 7301}, {"subject": "x"}, {"bits": 1024}):
            self.assertRaises(PkiError, Authority.create, place, **{"subject": "/CN=x", **options})
        self.assertFalse(place.exists())

    def test_nothing_is_left_of_a_failure(self) -> None:
        place = self.directory / "new"

        def create() -> None:
            Authority.create(place, subject="/CN=x", kind=KeyKind.EC)

        before = snapshot(self.directory)
        steps = 0
        for steps in each_failure(disk_full, create):
            self.assertEqual(snapshot(self.directory), before, steps)
        self.assertGreater(steps, 20)

    def test_never_readable_by_others(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        opened: list[tuple[str, int]] = []
        original = os.open

        def watched(path: object, flags: int, mode: int = 0o777, **others: int) -> int:
            if flags & os.O_CREAT:
                opened.append((str(path), mode))
            return original(path, flags, mode, **others)  # type: ignore[arg-type]

        self.patch(os, "open", watched)
        Authority.create(self.directory / "new", subject="/CN=x", kind=KeyKind.EC)
        self.assertEqual({mode for _, mode in opened}, {0o600})
        self.assertEqual(len(opened), 5)
        self.assertEqual(stat.S_IMODE((self.directory / "new" / "private").stat().st_mode), 0o700)

    def test_encrypted(self) -> None:
        place = self.directory / "new"
        Authority.create(place, subject="/CN=x", kind=KeyKind.EC, password=b"correct horse")
        self.assertIn("BEGIN ENCRYPTED PRIVATE KEY", (place / "private" / "ca.pem").read_text())
        Authority.open(place, password=b"correct horse")
        for wrong in (None, b"hunter2"):
            error = self.assertRaises(PasswordNeeded, Authority.open, place, password=wrong)
            self.assertIn("private/ca.pem", str(error))
            self.assertNotIn("hunter2", repr(error))

    def test_open(self) -> None:
        self.assertNotIn("PRIVATE", repr(self.authority()))
        self.assertRaises(PkiError, Authority.open, self.directory)
        self.assertRaises(PkiError, Authority.open, self.ca, ca_file="../ca")
        (self.ca / "private" / "ca.pem").write_bytes(key_pem(key(7)))
        self.assertIn("not the key of", str(self.assertRaises(PkiError, self.authority)))

    def test_not_a_ca(self) -> None:
        authority = self.authority()
        pem = authority.sign(make_request(key()), san=SAN)
        (self.ca / "ca.pem").write_bytes(pem)
        (self.ca / "private" / "ca.pem").write_bytes(key_pem(key()))
        self.assertIn("not the certificate of a CA", str(self.assertRaises(PkiError, self.authority)))

    def test_second_ca_of_the_directory(self) -> None:
        other = Authority.create(
            self.directory / "q", subject="/OU=qemu/CN=q", kind=KeyKind.EC, clock=lambda: NOW
        )
        shutil.copy(other.directory / "ca.pem", self.ca / "qemu-ca.pem")
        shutil.copy(other.directory / "private" / "ca.pem", self.ca / "private" / "qemu-ca.pem")
        self.request("host")
        path = self.authority("qemu-ca").enrol("host", san=SAN)
        (made,) = parse_chain(path.read_bytes())
        made.verify_directly_issued_by(other.certificate)
        self.assertEqual(self.text("serial.txt"), "1001\n")


class ProfileTests(CaTestCase):
    """What certificates say."""

    def signed(self, request: bytes | None = None, **terms: object) -> Certificate:
        pem = self.authority().sign(request or make_request(key(), "/CN=gw.example.com"), **terms)  # type: ignore[arg-type]
        return parse_chain(pem)[0]

    def refused(self, words: str, request: bytes | None = None, **terms: object) -> None:
        before = snapshot(self.ca)
        error = self.assertRaises(PkiError, self.signed, request, **terms)
        self.assertIn(words, str(error))
        self.assertEqual(snapshot(self.ca), before)

    def test_server(self) -> None:
        made = self.signed(san=SAN)
        get = made.extensions.get_extension_for_class
        self.assertEqual(list(get(x509.ExtendedKeyUsage).value), [ExtendedKeyUsageOID.SERVER_AUTH])
        self.assertEqual(usage_names(get(x509.KeyUsage).value), ["digitalSignature"])
        self.assertTrue(get(x509.KeyUsage).critical)
        constraints = get(x509.BasicConstraints)
        self.assertEqual((constraints.critical, constraints.value.ca), (True, False))
        self.assertEqual(names(made), [SAN])
        self.assertRaises(x509.ExtensionNotFound, get, x509.AuthorityInformationAccess)
        self.assertEqual(len(list(made.extensions)), 6)

    def test_passes_its_own_check(self) -> None:
        authority = self.authority()
        chain = check_certificate(
            [self.signed(san=SAN)],
            public_key=key().public_key(),
            authorities=[authority.certificate],
            name="gw.example.com",
            now=NOW,
        )
        self.assertEqual(len(chain), 1)

    def test_dates(self) -> None:
        made = self.signed(san=SAN)
        self.assertEqual(made.not_valid_before_utc, NOW - DAY)
        length = made.not_valid_after_utc - made.not_valid_before_utc + datetime.timedelta(seconds=1)
        self.assertEqual(length, 398 * DAY)
        self.assertEqual(
            self.signed(san=SAN, days=1).not_valid_after_utc, NOW + DAY - datetime.timedelta(seconds=1)
        )
        for days in (0, -1, 1828):
            self.refused("1 to 1827 days", san=SAN, days=days)

    def test_never_outside_the_ca(self) -> None:
        self.now = NOW + 3600 * DAY
        ca = self.authority().certificate
        self.assertEqual(self.signed(san=SAN).not_valid_after_utc, ca.not_valid_after_utc)
        self.now = NOW
        self.assertGreaterEqual(self.signed(san=SAN).not_valid_before_utc, ca.not_valid_before_utc)
        for moment in (NOW + 3651 * DAY, NOW - 2 * DAY):
            self.now = moment
            self.refused("valid from", san=SAN)

    def test_custom_usage_keeps_the_names(self) -> None:
        made = self.signed(san=SAN, ku="digitalSignature", eku="1.3.6.1.4.1.2312.13.1.2.1.1")
        self.assertEqual(names(made), [SAN])
        get = made.extensions.get_extension_for_class
        self.assertEqual(purpose_names(get(x509.ExtendedKeyUsage).value), ["1.3.6.1.4.1.2312.13.1.2.1.1"])

    def test_no_server_needs_no_name(self) -> None:
        self.assertEqual(names(self.signed(make_request(key()), eku="clientAuth")), [])

    def test_subject(self) -> None:
        self.assertEqual(subject_text(self.signed(san=SAN).subject), "/CN=gw.example.com")
        made = self.signed(san=SAN, subject=r"/C=US/O=A\/B/CN=Grün")
        self.assertEqual(subject_text(made.subject), r"/C=US/O=A\/B/CN=Grün")
        self.refused("not a subject", san=SAN, subject="CN=x")

    def test_name_for_want_of_another(self) -> None:
        self.assertEqual(names(self.signed()), [SAN])
        self.assertEqual(names(self.signed(subject="/CN=192.0.2.1")), ["IP:192.0.2.1"])
        self.refused("--san", make_request(key()))
        self.refused("--san", subject="/O=Example")
        self.refused("not a DNS name", san="DNS:")

    def test_wishes_of_a_request_are_no_orders(self) -> None:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        for extension in (
            x509.BasicConstraints(ca=True, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
            x509.SubjectAlternativeName([x509.DNSName("evil.example.com"), x509.RFC822Name("a@b.c")]),
        ):
            builder = builder.add_extension(extension, critical=True)
        request = builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.PEM)
        made = self.signed(request, san=SAN)
        self.assertEqual(names(made), [SAN])
        get = made.extensions.get_extension_for_class
        self.assertFalse(get(x509.BasicConstraints).value.ca)
        self.assertEqual(purpose_names(get(x509.ExtendedKeyUsage).value), ["serverAuth"])
        self.assertTrue(get(x509.SubjectAlternativeName).critical, "there is no subject")
        asked = self.signed(request, san=SAN, requested_names=True)
        self.assertEqual(names(asked), [SAN, "DNS:evil.example.com"])

    def test_ca_url(self) -> None:
        url = "http://engine.example.com/ca.pem"
        made = self.signed(san=SAN, ca_url=url)
        (access,) = made.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        self.assertEqual(access.access_method, AuthorityInformationAccessOID.CA_ISSUERS)
        self.assertEqual(access.access_location.value, url)
        for bad in ("https://x", "ftp://x", "http://", "http://a b"):
            self.refused("http://", san=SAN, ca_url=bad)
