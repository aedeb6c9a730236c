from __future__ import annotations

import tempfile
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from gateway import source
from gateway.cli.check_config import check_config
from gateway.demo.pki import make_pki
from gateway.settings.describe import describe
from gateway.settings.loader import load_settings

MINIMAL = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\n[tickets]\ncertificate = "engine.pem"\n'


class CheckConfigTestCase(SynchronousTestCase):
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


class CheckConfigTests(CheckConfigTestCase):
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

    def test_what_is_wrong_with_a_value_is_said_of_the_settings_file(self) -> None:
        result = self.run_on(MINIMAL.replace("[tls]\n", '[tls]\nciphers = "NOPE"\n'))
        self.assertIn(f"{self.path}: tls.ciphers: names no cipher", result.stderr)

    def test_the_usual_file_without_any(self) -> None:
        self.run_on("")
        self.patch(source, "DEFAULT_CONFIG", str(self.path))
        result = CliRunner().invoke(check_config)
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"{self.path}: tickets.certificate: is not set", result.stderr)

    def test_sources_exclude_each_other(self) -> None:
        for options in (["--ovirt"], ["--ovirt-conf", "x"]):
            result = self.run_on(MINIMAL, *options)
            self.assertEqual(result.exit_code, 2)
            self.assertIn("FILE, --ovirt and --ovirt-conf exclude each other", result.stderr)


class OvirtTests(CheckConfigTestCase):
    """Problems with files are said of the variables that name them."""

    def run_on_variables(self, local: str) -> tuple[str, Path]:
        """What is on standard error; and the file that has the variables."""
        directory = self.path.parent
        conf = directory / "proxy.conf"
        conf.write_text(
            f"SSL_CERTIFICATE={directory}/server.pem\nSSL_KEY={directory}/server.key\n"
            f"CERT_FOR_DATA_VERIFICATION={directory}/engine.pem\nSSL_ONLY=True\n{local}\n"
        )
        result = CliRunner().invoke(check_config, ["--quiet", "--ovirt-conf", str(conf)])
        self.assertEqual(result.exit_code, 1)
        problems = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
        self.assertEqual(len(problems), 1, problems)
        return problems[0], conf

    def test_a_file_that_is_not_there(self) -> None:
        gone = self.path.parent / "gone.key"
        problem, conf = self.run_on_variables(f"SSL_KEY={gone}")
        self.assertTrue(problem.startswith(f"{gone}: SSL_KEY in {conf}:5: "), problem)

    def test_a_value(self) -> None:
        problem, conf = self.run_on_variables("SSL_CIPHERS=NOPE")
        self.assertTrue(problem.startswith(f"{conf}: line 5, SSL_CIPHERS: names no cipher"), problem)

    def test_a_value_of_the_further_file(self) -> None:
        self.path.write_text('[tls]\nciphers = "NOPE"\n')
        problem, _conf = self.run_on_variables(f"CONSOLE_GATEWAY_SETTINGS={self.path}")
        self.assertTrue(problem.startswith(f"{self.path}: tls.ciphers: names no cipher"), problem)
