from __future__ import annotations

import tempfile
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.check_config import check_config
from gateway.demo.pki import make_pki
from gateway.settings.describe import describe
from gateway.settings.loader import load_settings

MINIMAL = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n[tickets]\ncertificate = "engine.pem"\n'


class CheckConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        self.path = directory / "gateway.toml"
        pki = make_pki(directory, ["localhost"])
        (directory / "engine.pem").write_bytes(pki.engine_certificate.public_bytes(Encoding.PEM))

    def run_on(self, text: str, *options: str) -> Result:
        self.path.write_text(text)
        return CliRunner().invoke(check_config, [*options, str(self.path)])

    def test_no_problems(self) -> None:
        result = self.run_on(MINIMAL)
        self.assertEqual(result.exit_code, 0)
        expected = f"{describe(load_settings(self.path))}\n{self.path}: no problems found\n"
        self.assertEqual(result.stdout, expected)
        self.assertEqual(result.stderr, "")

    def test_quiet(self) -> None:
        result = self.run_on(MINIMAL, "--quiet")
        self.assertEqual((result.exit_code, result.output), (0, ""))

    def test_every_problem_is_a_line(self) -> None:
        result = self.run_on("[log]\nlevel = 3\nx = 1\n")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(result.stdout, "")
        self.assertEqual(len(result.stderr.splitlines()), 4)
        for line in result.stderr.splitlines():
            self.assertTrue(line.startswith(f"{self.path}: "), line)

    def test_missing_file(self) -> None:
        result = CliRunner().invoke(check_config, [str(self.path)])
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(len(result.stderr.splitlines()), 1)

    def test_files_are_read(self) -> None:
        (self.path.parent / "server.key").chmod(0o604)
        (self.path.parent / "engine.pem").write_text("nothing of the kind")
        result = self.run_on(MINIMAL)
        self.assertEqual(result.exit_code, 1)
        self.assertIn("[tickets]", result.stdout)
        self.assertNotIn("no problems", result.stdout)
        keys = [line.split(": ")[1] for line in result.stderr.splitlines()]
        self.assertEqual(keys, ["tls.key", "tickets.certificate"])

    def test_nothing_is_said_of_the_default_of_a_bad_key(self) -> None:
        result = self.run_on('[tls]\ncertificate = 3\n[tickets]\ncertificate = "engine.pem"\n')
        self.assertEqual([line.split(": ")[1] for line in result.stderr.splitlines()], ["tls.certificate"])
