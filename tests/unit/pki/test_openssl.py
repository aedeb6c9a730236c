"""A directory in which this and ``openssl ca`` take turns, and files that either reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gateway.pki import (
    Authority,
    KeyKind,
    key_pem,
    load_key,
    load_request,
    make_request,
    parse_chain,
    same_key,
    subject_text,
)
from gateway.pki.altnames import alt_names_text, names_of
from gateway.pki.database import parse_database
from gateway.pki.describe import describe_directory
from gateway.pki.subjects import one_line_name
from tests.peers import needs
from tests.unit.pki.samples import NOW, CaTestCase, key

pytestmark = needs("openssl")

CONFIGURATION = """\
[ca]
default_ca = engine
[engine]
database = database.txt
serial = serial.txt
new_certs_dir = certs
certificate = ca.pem
private_key = private/ca.pem
default_days = 365
default_md = sha256
policy = anything
[anything]
countryName = optional
organizationName = optional
commonName = optional
[san]
subjectAltName = DNS:theirs.example.com
"""
SUBJECT = r"/C=US/O=A\/B Grün \\ 50%/CN=gw.example.com"


class OpensslTests(CaTestCase):
    """Both ways."""

    def openssl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.ca, capture_output=True, text=True, timeout=20, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def openssl_signs(self, name: str) -> None:
        (self.ca / "engine.cnf").write_text(CONFIGURATION)
        self.openssl(
            *("ca", "-batch", "-utf8", "-config", "engine.cnf", "-extensions", "san", "-notext"),
            *("-startdate", "310506000000Z", "-enddate", "320506000000Z", "-subj", SUBJECT),
            *("-in", f"requests/{name}.req", "-out", f"certs/{name}.cer"),
        )

    def test_taking_turns(self) -> None:
        self.request("ours")
        self.request("theirs")
        self.authority().enrol("ours", subject=SUBJECT)
        self.openssl_signs("theirs")
        self.authority().enrol("ours", subject=SUBJECT)
        self.openssl_signs("ours")
        self.authority().enrol("theirs", san="DNS:x")
        self.assertEqual(self.text("serial.txt"), "1005\n")
        rows = self.text("database.txt").splitlines()
        self.assertEqual([row.split("\t")[3] for row in rows], ["1000", "1001", "1002", "1003", "1004"])
        # The subject was one and the same, and so is what both wrote of it.
        self.assertEqual(len({row.split("\t")[5] for row in rows[:4]}), 1)
        self.assertEqual(len({len(row.split("\t")) for row in rows}), 1)
        found = {
            parse_chain((self.ca / "certs" / f"{number}.pem").read_bytes())[0].serial_number
            for number in range(1000, 1005)
        }
        self.assertEqual(found, set(range(0x1000, 0x1005)))
        # openssl can end what either began.
        self.openssl("ca", "-config", "engine.cnf", "-revoke", "certs/1002.pem")
        statuses = [each.status.value for each in parse_database(self.text("database.txt").encode())]
        self.assertEqual(statuses, ["V", "V", "R", "V", "V"])
        view = describe_directory(self.ca, NOW)
        self.assertEqual(
            [each.status for each in view.issued], ["valid", "valid", "revoked", "valid", "valid"]
        )
        self.assertEqual([each.file for each in view.issued], [None, None, None, "ours.cer", "theirs.cer"])

    def test_renewal_of_theirs(self) -> None:
        self.request("theirs")
        self.openssl_signs("theirs")
        path = self.authority().renew("theirs", within=400)
        assert path is not None
        (made,) = parse_chain(path.read_bytes())
        self.assertEqual(alt_names_text(names_of(made.extensions)), ["DNS:theirs.example.com"])
        self.assertEqual(subject_text(made.subject), SUBJECT)

    def test_what_openssl_verifies(self) -> None:
        self.request(names=("DNS:gw.example.com",))
        self.openssl("req", "-verify", "-noout", "-in", "requests/gw.req")
        self.authority().enrol("gw", san="DNS:gw.example.com,IP:192.0.2.1")
        for option, value in (("-verify_hostname", "gw.example.com"), ("-verify_ip", "192.0.2.1")):
            self.openssl(
                *("verify", "-x509_strict", "-attime", f"{NOW.timestamp():.0f}", "-purpose", "sslserver"),
                *(option, value, "-CAfile", "ca.pem", "certs/gw.cer"),
            )

    def test_beyond_2049(self) -> None:
        later = NOW.replace(year=2048)
        place = self.directory / "later"
        authority = Authority.create(place, subject="/CN=x", kind=KeyKind.EC, clock=lambda: later)
        authority.sign(make_request(key()), san="DNS:x", days=1827)
        self.ca = place
        (place / "engine.cnf").write_text(CONFIGURATION)
        self.assertEqual(self.text("database.txt").split("\t")[1], "20530507070808Z")
        self.openssl("ca", "-config", "engine.cnf", "-gencrl", "-crldays", "1")

    def test_keys_and_requests_of_either(self) -> None:
        path = self.directory / "key.pem"
        path.write_bytes(key_pem(key(), b"correct horse"))
        secret = self.directory / "password"
        secret.write_text("correct horse\n" * 2)
        plain = self.openssl("pkey", "-in", str(path), "-passin", f"file:{secret}")
        self.assertTrue(same_key(load_key(plain.encode()).public_key(), key().public_key()))
        back = self.openssl(
            "pkey", "-in", str(path), "-passin", f"file:{secret}", "-aes256", "-passout", f"file:{secret}"
        )
        self.assertTrue(same_key(load_key(back.encode(), b"correct horse").public_key(), key().public_key()))
        Path(path).write_bytes(key_pem(key()))
        csr = self.openssl(
            "req",
            "-new",
            "-utf8",
            "-key",
            str(path),
            "-subj",
            SUBJECT,
            "-addext",
            "subjectAltName=DNS:a,IP:::1",
        )
        request = load_request(csr.encode())
        self.assertEqual(subject_text(request.subject), SUBJECT)
        self.assertEqual(alt_names_text(request.names), ["DNS:a", "IP:::1"])
        self.assertEqual(one_line_name(request.subject), r"/C=US/O=A\/B Gr\xC3\xBCn \ 50%/CN=gw.example.com")
