from __future__ import annotations

import tempfile
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.migrate_config import migrate_config
from gateway.settings import Verification, load_settings


class MigrateConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.conf = self.directory / "proxy.conf"
        (self.directory / "ca.pem").touch()

    def migrate(self, text: str) -> Result:
        self.conf.write_text(text)
        return CliRunner().invoke(migrate_config, ["--ovirt-conf", str(self.conf)])

    def test_output(self) -> None:
        further = self.directory / "further.toml"
        further.write_text('[limits]\nsessions = 7\n[rules."lab"]\ntargets = ["lab"]\nmode = "tls"\n')
        result = self.migrate(
            "PROXY_PORT=6200\nPROXY_HOST=192.0.2.1\nTRACE_ENABLE=yes\nPACKAGE_NAME=x\nSSL_ONLY=True\n"
            f"SSL_CERTIFICATE=/a/server.cer\nCERT_FOR_DATA_VERIFICATION={self.directory}/certs/engine.cer\n"
            f'SSL_MIN_VERSION=TLSv1\nCONSOLE_GATEWAY_SETTINGS={further}\nSSL_CIPHERS="ECDHE+AESGCM #"\n'
        )
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        head, _, rest = result.stdout.partition("\n\n")
        self.assertIn("console-gateway run --config", head.replace("\n# ", " "))
        expected = f"""\
# read: {self.conf}
# read: {further}
# left out: TRACE_ENABLE ({self.conf}:3): sessions are not recorded
# left out: PACKAGE_NAME ({self.conf}:4): it changes nothing here
# left out: SSL_ONLY ({self.conf}:5): as by default (listen.plain)
# left out: SSL_MIN_VERSION ({self.conf}:8): as by default (tls.min_version)
# note: {self.conf}: line 8, SSL_MIN_VERSION: 'TLSv1' is not known, TLSv1.2 is used; write TLSv1.2 or TLSv1.3

[listen]
# PROXY_HOST ({self.conf}:2), PROXY_PORT ({self.conf}:1)
tls = ["tcp:6200:interface=192.0.2.1"]

[tls]
# SSL_CERTIFICATE ({self.conf}:6)
certificate = "/a/server.cer"
# SSL_CIPHERS ({self.conf}:10)
ciphers = "ECDHE+AESGCM #"

[tickets]
# CERT_FOR_DATA_VERIFICATION ({self.conf}:7)
certificate = "{self.directory}/certs/engine.cer"

[limits]
# {further}
sessions = 7

[security]
# because the engine's CA is there
verify = "chain"
# because the engine's CA is there
ca = "{self.directory}/ca.pem"

# {further}
[rules.lab]
targets = ["lab"]
mode = "tls"
"""
        self.assertEqual(rest, expected)
        toml = self.directory / "new" / "gateway.toml"
        toml.parent.mkdir()
        toml.write_text(result.stdout)
        settings = load_settings(toml)
        self.assertEqual(settings.limits.sessions, 7)
        self.assertIs(settings.security.verify, Verification.CHAIN)

    def test_hostile_names(self) -> None:
        odd = self.directory / "x.conf.d"
        odd.mkdir()
        (odd / "a\nb\x1b.conf").write_text("Ä\u200d=1\n")
        (odd / "c\nd\x1b.conf").write_text(
            "SSL_CERTIFICATE=/c\nCERT_FOR_DATA_VERIFICATION=/x/certs/y\nLOG_FILE=x"
        )
        (self.directory / "x.conf").touch()
        result = CliRunner().invoke(migrate_config, ["--ovirt-conf", str(self.directory / "x.conf")])
        self.assertIn(result.exit_code, (0, 1))
        self.assertNotIn("\x1b", result.output)
        for line in result.output.splitlines():
            self.assertTrue(line.isprintable(), line)

    def test_problems(self) -> None:
        result = self.migrate("PROXY_PORT=x\nexport A=1\n")
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertTrue(line.startswith(f"{self.conf}: line "), line)

    def test_missing_file(self) -> None:
        result = CliRunner().invoke(migrate_config, ["--ovirt-conf", str(self.conf)])
        self.assertEqual((result.exit_code, result.stdout), (1, ""))
        self.assertIn("No such file", result.stderr)
