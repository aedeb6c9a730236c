"""Signing and renewing inside a CA's directory."""

from __future__ import annotations

import stat

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.pki import (
    Authority,
    KeyKind,
    PkiError,
    chain_pem,
    make_request,
    parse_chain,
    same_key,
)
from gateway.pki.database import parse_database
from gateway.pki.usage import purpose_names
from tests.unit.pki.samples import DAY, NOW, SAN, SUBJECT, CaTestCase, key, names, snapshot


class EnrolTests(CaTestCase):
    """Authority.enrol and Authority.renew: the files of a directory."""

    def test_files(self) -> None:
        self.request()
        path = self.authority().enrol("gw", subject="/C=US/O=Example Inc./CN=gw.example.com", san=SAN)
        self.assertEqual(path, self.ca / "certs" / "gw.cer")
        self.assertEqual(path.read_bytes(), (self.ca / "certs" / "1000.pem").read_bytes())
        self.assertEqual(self.permissions("certs/gw.cer"), 0o644)
        self.assertEqual(self.text("serial.txt"), "1001\n")
        line = "V\t320606070808Z\t\t1000\tunknown\t/C=US/O=Example Inc./CN=gw.example.com\n"
        self.assertEqual(self.text("database.txt"), line)

    def test_again(self) -> None:
        self.request()
        authority = self.authority()
        first = authority.enrol("gw").read_bytes()
        (self.ca / "certs" / "gw.cer").chmod(0o600)
        second = authority.enrol("gw").read_bytes()
        third = authority.enrol("gw").read_bytes()
        self.assertEqual(len({first, second, third}), 3)
        self.assertEqual((self.ca / "certs" / "gw.cer.20310506070809").read_bytes(), first)
        self.assertEqual((self.ca / "certs" / "gw.cer.20310506070810").read_bytes(), second)
        self.assertEqual(self.permissions("certs/gw.cer"), 0o644)

    def test_other_directories(self) -> None:
        (self.ca / "a" / "b").mkdir(parents=True)
        self.request().rename(self.ca / "a" / "gw.req")
        path = self.authority().enrol("gw", req_dir="a", cert_dir="a/b")
        self.assertEqual(path, self.ca / "a" / "b" / "gw.cer")
        self.assertTrue((self.ca / "certs" / "1000.pem").exists())

    def test_names_that_lead_elsewhere(self) -> None:
        self.request()
        authority, before = self.authority(), snapshot(self.directory)
        for name in ("", "..", "../gw", "a/b", "/gw", ".gw", "-gw", "gw\n", "gw\0", "g w", "x" * 201, "ä"):
            self.assertIn("not a name", str(self.assertRaises(PkiError, authority.enrol, name)))
            self.assertRaises(PkiError, authority.renew, name)
        for place in ("..", "/etc", "a/../..", "a\n"):
            for option in ("cert_dir", "req_dir"):
                error = self.assertRaises(PkiError, authority.enrol, "gw", **{option: place})
                self.assertIn("leads elsewhere", str(error))
        self.assertEqual(snapshot(self.directory), before)

    def test_missing_and_damaged_requests(self) -> None:
        authority = self.authority()
        self.assertIn("requests/gw.req", str(self.assertRaises(PkiError, authority.enrol, "gw")))
        self.request().write_bytes(b"no request")
        self.assertIn("requests/gw.req", str(self.assertRaises(PkiError, authority.enrol, "gw")))

    def test_database_without_its_last_line_feed(self) -> None:
        (self.ca / "database.txt").write_text("V\t320606070808Z\t\t0F\tunknown\t/CN=x")
        self.authority().sign(make_request(key()), san=SAN)
        self.assertEqual(
            [each.serial for each in parse_database(self.text("database.txt").encode())], [15, 0x1000]
        )

    def test_serial_numbers_that_are_taken(self) -> None:
        authority = self.authority()
        authority.sign(make_request(key()), san=SAN)
        (self.ca / "serial.txt").write_text("1000\n")
        before = snapshot(self.ca)
        for _ in ("in the database and in certs", "in the database alone"):
            error = self.assertRaises(PkiError, authority.sign, make_request(key()), san=SAN)
            self.assertIn("serial.txt: 1000 is taken", str(error))
            self.assertEqual(snapshot(self.ca), before)
            (self.ca / "certs" / "1000.pem").unlink(missing_ok=True)
            before = snapshot(self.ca)

    def test_out(self) -> None:
        out = self.directory / "tls.pem"
        pem = self.authority().sign(make_request(key()), san=SAN, out=out)
        self.assertEqual(out.read_bytes(), pem)
        self.assertEqual(stat.S_IMODE(out.stat().st_mode), 0o644)
        missing = self.directory / "none" / "tls.pem"
        before = snapshot(self.directory)
        self.assertRaises(PkiError, self.authority().sign, make_request(key()), san=SAN, out=missing)
        self.assertEqual(snapshot(self.directory), before)

    def test_renew(self) -> None:
        self.request()
        authority = self.authority()
        authority.enrol("gw", san=f"{SAN},IP:::1", ku="digitalSignature,keyAgreement", ca_url="http://x/ca")
        (old,) = parse_chain((self.ca / "certs" / "gw.cer").read_bytes())
        self.assertIsNone(authority.renew("gw"))
        self.now += 337 * DAY
        path = authority.renew("gw")
        assert path is not None
        (new,) = parse_chain(path.read_bytes())
        self.assertTrue(same_key(new.public_key(), old.public_key()))
        self.assertEqual((new.subject, names(new)), (old.subject, names(old)))
        kept = {type(each.value): each for each in old.extensions}
        self.assertEqual({type(each.value): each for each in new.extensions}, kept)
        self.assertEqual(new.not_valid_after_utc, old.not_valid_after_utc + 337 * DAY)
        self.assertEqual(new.serial_number, 0x1001)
        self.assertTrue((self.ca / "certs" / "gw.cer.20320407070809").exists())
        self.assertIsNone(authority.renew("gw"))

    def test_renew_of_what_the_original_signed(self) -> None:
        """No alternative name, and good for clients too: the one is found, the other not repeated."""
        authority = self.authority()
        ca_key = Authority.open(self.ca)._key
        old = (
            x509.CertificateBuilder(
                authority.certificate.subject,
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gw.example.com")]),
                key().public_key(),
                99,
                NOW - DAY,
                NOW + DAY,
            )
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                True,
            )
            .sign(ca_key, hashes.SHA256())
        )
        (self.ca / "certs" / "gw.cer").write_bytes(b"Certificate:\n  text\n" + chain_pem([old]))
        path = authority.renew("gw")
        assert path is not None
        (new,) = parse_chain(path.read_bytes())
        self.assertEqual(names(new), [SAN])
        purposes = new.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(purpose_names(purposes), ["serverAuth"])

    def test_not_renewed(self) -> None:
        self.request()
        authority = self.authority()
        path = authority.enrol("gw")
        database = self.ca / "database.txt"
        line = database.read_text()
        database.write_text(line.replace("V\t320606070808Z\t", "R\t320606070808Z\t310507070808Z"))
        error = self.assertRaises(PkiError, authority.renew, "gw", within=500)
        self.assertIn("revoked", str(error))
        database.write_text(line)
        other = Authority.create(self.directory / "o", subject=SUBJECT, kind=KeyKind.EC, clock=lambda: NOW)
        path.write_bytes(other.sign(make_request(key()), san=SAN))
        self.assertIn(
            "not signed by this CA", str(self.assertRaises(PkiError, authority.renew, "gw", within=500))
        )
        self.now = NOW + 3640 * DAY
        path.write_bytes(authority.sign(make_request(key()), san=SAN))
        self.assertIn("CA", str(self.assertRaises(PkiError, authority.renew, "gw")))
