"""Certificates of a running gateway: several by name, renewed by SIGHUP; and the engine gets a new one."""

from __future__ import annotations

import datetime
import signal
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.case import InstallationTestCase, Table, eventually
from tests.support.http import read_answer, upgrade
from tests.support.pki import Authority
from tests.support.process import GatewayProcess
from tests.support.targets import TargetServer, greet
from tests.unit.net.samples import DAY, NOW, pem


class CertificateTestCase(InstallationTestCase):
    def start(self, **changes: Table) -> GatewayProcess:
        gateway = GatewayProcess(self.settings_file(f"{self.id()}.toml", **changes))
        self.addCleanup(gateway.stop)
        return gateway.ready()

    def reload(self, gateway: GatewayProcess, says: str = "settings are reloaded") -> None:
        before = gateway.output.count(says)
        gateway.signal(signal.SIGHUP)
        eventually(lambda: gateway.output.count(says) > before)


class NamedTests(CertificateTestCase):
    """The default certificate is for localhost; another authority has issued the other."""

    name = "consoles.dmz.example.com"

    def setUp(self) -> None:
        self.authority = Authority("DMZ CA")
        self.issue(end=NOW + 10 * DAY)
        self.gateway = self.start(
            **{"certificates.dmz": {"certificate": str(self.files[0]), "key": str(self.files[1])}}
        )

    def issue(self, end: datetime.datetime) -> None:
        self.files = self.authority.issue(self.name, end=end).save(self.installation.directory, "dmz")

    def connect(self, name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
        """A client that trusts the authority of what it asks for, and no other."""
        context = self.installation.client_context()
        if name == self.name:
            authority = self.authority.save(self.installation.directory, "dmz-ca")
            context = ssl.create_default_context(cafile=str(authority))
        elif name is None:
            context.check_hostname = False
        context.minimum_version = context.maximum_version = version
        sock = socket.create_connection(("127.0.0.1", self.gateway.tls_port), 10)
        self.addCleanup(sock.close)
        wrapped = context.wrap_socket(sock, server_hostname=name)
        self.addCleanup(wrapped.close)
        return wrapped

    def end(self, sock: ssl.SSLSocket) -> datetime.datetime:
        data = sock.getpeercert(binary_form=True)
        assert data is not None
        return x509.load_der_x509_certificate(data).not_valid_after_utc

    def assert_alive(self, sock: ssl.SSLSocket) -> None:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(read_answer(sock)[0].status, 200)

    def test_each_for_its_name(self) -> None:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for name in ("localhost", self.name, None):
                self.assert_alive(self.connect(name, version))

    def test_renewed(self) -> None:
        old = self.connect(self.name)
        self.assertEqual(self.end(old), NOW + 10 * DAY)
        self.issue(end=NOW + 20 * DAY)
        self.assertEqual(self.end(self.connect(self.name)), NOW + 10 * DAY)
        self.reload(self.gateway)
        self.assertEqual(self.end(self.connect(self.name)), NOW + 20 * DAY)
        self.assert_alive(self.connect("localhost"))
        self.assert_alive(old)

    def test_a_broken_pair_changes_nothing(self) -> None:
        self.files[1].write_bytes(pem(Authority("x").key))
        self.reload(self.gateway, "reload refused")
        self.assertIn("certificates.dmz.key: this key does not belong", self.gateway.output)
        self.assertEqual(self.end(self.connect(self.name)), NOW + 10 * DAY)


class EngineTests(CertificateTestCase):
    def setUp(self) -> None:
        self.target = TargetServer(greet)
        self.addCleanup(self.target.close)
        self.keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
        self.file = self.installation.directory / f"{self.id()}.pem"
        self.enrol(self.file, self.keys[0])

    def enrol(self, path: Path, key: rsa.RSAPrivateKey) -> Path:
        """Put a certificate of an engine in place."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "engine")])
        certificate = (x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY)).sign(
            key, hashes.SHA256()
        )
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path

    def start_gateway(self, overlap: float, also: list[str] | None = None) -> GatewayProcess:
        tickets = {"certificate": str(self.file), "overlap": overlap, "also": also or []}
        return self.start(tickets=tickets, log={"level": "debug"})

    def judged(self, gateway: GatewayProcess) -> list[int]:
        """What is answered to a ticket of the first engine's, and to one of the second's."""
        statuses = []
        for key in self.keys:
            ticket = self.installation.ticket(self.target.port, key=key)
            with socket.create_connection(("127.0.0.1", gateway.plain_port), 10) as sock:
                sock.sendall(upgrade(f"/{ticket}"))
                statuses.append(read_answer(sock)[0].status)
        return statuses

    def test_overlap(self) -> None:
        gateway = self.start_gateway(2)
        self.assertEqual(self.judged(gateway), [101, 401])
        self.enrol(self.file, self.keys[1])
        self.assertEqual(self.judged(gateway), [101, 401])
        self.reload(gateway)
        self.assertEqual(self.judged(gateway), [101, 101])
        gateway.wait_for("is signed with the engine's former key [0-9a-f]{16}, accepted for")
        gateway.wait_for("tickets of the engine's former key [0-9a-f]{16} are no longer accepted")
        self.assertEqual(self.judged(gateway), [401, 101])

    def test_at_once(self) -> None:
        gateway = self.start_gateway(0)
        self.enrol(self.file, self.keys[1])
        self.reload(gateway)
        self.assertEqual(self.judged(gateway), [401, 101])

    def test_the_next_one_beforehand(self) -> None:
        later = self.enrol(self.installation.directory / f"{self.id()}-next.pem", self.keys[1])
        gateway = self.start_gateway(0, [str(later)])
        self.assertEqual(self.judged(gateway), [101, 101])

    def test_a_bad_one_changes_nothing(self) -> None:
        gateway = self.start_gateway(0)
        self.file.write_text("nothing of the kind")
        self.reload(gateway, "reload refused")
        self.assertIn("tickets.certificate: no PEM certificate", gateway.output)
        self.assertEqual(self.judged(gateway), [101, 401])
