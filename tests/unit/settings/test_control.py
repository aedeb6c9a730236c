from __future__ import annotations

from pathlib import Path

from gateway.settings import Role, Settings, check_settings
from gateway.settings.control import ControlSettings
from tests.unit.settings.test_loader import MINIMAL, LoaderTestCase

TOKENS = "tokens = 't'\n"
CA = "client_ca = 'ca.pem'\n"


class LoadControlTests(LoaderTestCase):
    def control(self, text: str) -> ControlSettings:
        return self.load(MINIMAL + "[control]\n" + text).control

    def test_defaults(self) -> None:
        self.assertEqual(self.load(MINIMAL).control, ControlSettings())

    def test_every_key(self) -> None:
        self.assertEqual(
            self.control(
                "listen = ['unix:/run/x.sock:mode=600', 'tcp:1:interface=[::1]', 'systemd:control']\n"
                "tls = ['tcp:6102']\nunix_role = 'read'\ncertificate = 'c.pem'\nkey = 'k.pem'\n"
                "clients = { 'ops' = 'operate', 'watch' = 'read' }\nhosts = ['a.example.com']\n" + TOKENS + CA
            ),
            ControlSettings(
                listen=("unix:/run/x.sock:mode=600", "tcp:1:interface=[::1]", "systemd:control"),
                tls=("tcp:6102",),
                unix_role=Role.READ,
                tokens=self.directory / "t",
                certificate=self.directory / "c.pem",
                key=self.directory / "k.pem",
                client_ca=self.directory / "ca.pem",
                clients={"ops": "operate", "watch": "read"},
                hosts=("a.example.com",),
            ),
        )

    def test_good(self) -> None:
        for text in (
            "listen = ['tcp:1:interface=127.0.0.1', 'tcp:2:interface=127.9.9.9']\n" + TOKENS,
            "tls = ['tcp:1']\ncertificate = 'c'\n" + TOKENS,
            "tls = ['tcp:1']\ncertificate = 'c'\nclients = { 'a' = 'read' }\n" + CA,
            "listen = ['systemd:0']",
        ):
            self.control(text)

    def test_bad(self) -> None:
        for text, expected in {
            "listen = ['tcp:x']": "control.listen: endpoint 'tcp:x' has no valid port",
            "tls = ['x']": "control.tls: endpoint 'x' is of no known kind",
            "hosts = ['a b']": "control.hosts: 'a b' is not a host name or address",
            "hosts = ['a:1']": "control.hosts: 'a:1' is not a host name or address",
            "unix_role = 'admin'": "control.unix_role: is not one of 'read', 'operate'",
            "listen = ['tcp:1']\n" + TOKENS: "control.listen: 'tcp:1' is without TLS and can be reached",
            "listen = ['tcp:1:interface=192.0.2.1']\n" + TOKENS: "is without TLS and can",
            "listen = ['tcp:1:interface=[::]']\n" + TOKENS: "is without TLS and",
            "listen = ['tcp:1:interface=127.0.0.1']": "control.tokens: is not set, but",
            "tls = ['tcp:1']\ncertificate = 'c'": "control.tokens: is not set, nor are",
            "key = 'k'": "control.certificate: is not set, but control.key is",
            "clients = { 'a' = 'read' }": "control.client_ca: is not set, but control.clients is",
            "tls = ['tcp:1']\ncertificate = 'c'\n" + CA: "control.tokens: is not set, nor are",
            "clients = { 'a' = 'admin' }\n" + CA: "control.clients: 'admin' is no role; use 'read'",
            "clients = { '' = 'read' }\n" + CA: "control.clients: '' is no common name",
            f"clients = {{ '{'x' * 65}' = 'read' }}\n" + CA: "is no common name of a certificate",
            "listen = ['unix:/a']\ntls = ['unix:/a']\ncertificate = 'c'\n" + TOKENS: "clashes with 'unix:/a",
            "tls = ['tcp:6100']\ncertificate = 'c'\n" + TOKENS: "clashes with 'tcp:6100' under listen.",
        }.items():
            (line, *_) = self.problems(MINIMAL + "[control]\n" + text)
            self.assertIn(expected, line)

    def test_without_any_certificate(self) -> None:
        settings = Settings(control=ControlSettings(tls=("tcp:1",), tokens=Path("t")))
        keys = [problem.key for problem in check_settings(settings, Path("x"))]
        self.assertIn("control.certificate", keys)
