"""Certificates by name, and certificates of engines, as they stand in a settings file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import CertificateSettings, Settings, SettingsError, load_settings

MINIMAL = "[tls]\ncertificate = 'server.pem'\n[tickets]\ncertificate = 'engine.pem'\n"


class CertificatesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.path = self.directory / "gateway.toml"

    def load(self, text: str) -> Settings:
        self.path.write_text(MINIMAL + text)
        return load_settings(self.path)

    def problems(self, text: str) -> list[str]:
        error = self.assertRaises(SettingsError, self.load, text)
        return [line.removeprefix(f"{self.path}: ") for line in str(error).splitlines()]

    def assert_problems(self, cases: dict[str, str]) -> None:
        for text, expected in cases.items():
            lines = self.problems(text)
            self.assertEqual(len(lines), 1, lines)
            self.assertTrue(lines[0].startswith(expected), lines[0])


class NamedCertificateTests(CertificatesTestCase):
    def test_good(self) -> None:
        settings = self.load(
            "[certificates.dmz]\ncertificate = 'dmz.pem'\nkey = '/k'\nnames = ['*.dmz.example.com', 'A.b.']\n"
            "[certificates.b-2]\ncertificate = 'b.pem'\n"
        )
        self.assertEqual(
            settings.certificates,
            {
                "dmz": CertificateSettings(
                    self.directory / "dmz.pem", Path("/k"), ("*.dmz.example.com", "A.b.")
                ),
                "b-2": CertificateSettings(self.directory / "b.pem"),
            },
        )

    def test_problems(self) -> None:
        self.assert_problems(
            {
                "[certificates]\na = 1": "certificates",
                "[certificates]\ncertificate = 'x'": "certificates",
                "[certificates.a]": "certificates.a.certificate: is not set; name the PEM file",
                "[certificates.a]\ncertificate = 3": "certificates.a.certificate: path expected",
                "[certificates.a]\ncertificate = 'x'\nkeys = 'y'": "certificates.a.keys: unknown key; did",
                "[certificates.a]\ncertificate = 'x'\nnames = 'y'": "certificates.a.names: list of strings",
                "[certificates.A]\ncertificate = 'x'": "certificates.A: is no name of a table; use 1 to 64",
                "[certificates.'a.b']\ncertificate = 'x'": "certificates.'a.b': is no name",
            }
        )

    def test_names(self) -> None:
        for name in ("", ".", "*", "a..b", "192.0.2.1", "::1", "*.*.a", "a.*", "https://a", "a b", "a" * 64):
            lines = self.problems(f"[certificates.a]\ncertificate = 'x'\nnames = ['{name}']")
            self.assertEqual(len(lines), 1, lines)
            self.assertIn("is not a DNS name; write 'gw.example.com', or '*.example.com'", lines[0])
        (line,) = self.problems("[certificates.a]\ncertificate = 'x'\nnames = ['b\u00fccher.example']")
        self.assertIn("with 'xn--'", line)

    def test_too_many(self) -> None:
        tables = "".join(f"[certificates.n{index}]\ncertificate = 'x'\n" for index in range(201))
        self.assertEqual(self.problems(tables), ["certificates: more than 200 certificates; remove some"])


class EngineTests(CertificatesTestCase):
    def test_good(self) -> None:
        tickets = self.load("also = ['next.pem', '/other.pem']\noverlap = 0").tickets
        self.assertEqual(tickets.also, (self.directory / "next.pem", Path("/other.pem")))
        self.assertEqual(tickets.overlap, 0)

    def test_problems(self) -> None:
        self.assert_problems(
            {
                "also = 'next.pem'": "tickets.also: list of paths expected, string found; put the values",
                "also = ['a', 3]": "tickets.also: item 2: path expected, whole number found",
                "also = ['']": "tickets.also: item 1: '' is not a path",
                f"also = {['a'] * 9}": "tickets.also: more than 8 certificates; remove those",
                "overlap = 604801": "tickets.overlap: 604801.0 is out of bounds; use 0 to 604800 seconds",
                "overlap = -1": "tickets.overlap: -1.0 is out of bounds",
            }
        )
