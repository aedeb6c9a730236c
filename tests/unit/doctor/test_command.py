"""The command line of ``doctor``: what is refused before anything is looked at."""

from __future__ import annotations

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.doctor import doctor


class UsageTests(SynchronousTestCase):
    def test_refused(self) -> None:
        for arguments in (
            ["--target", "nowhere"],
            ["--target", "host:70000"],
            ["--security", "auto"],
            ["--server-name", "host"],
            ["--security", "none", "--target", "host:1"],
            ["--name", "two words"],
            ["--name", "a\x1b[2J"],
            ["--target", "host:1"] * 21,
        ):
            result = CliRunner().invoke(doctor, ["--config", "/missing", *arguments])
            self.assertEqual(result.exit_code, 2, arguments)
            self.assertIn("Error: ", result.output)
            self.assertNotIn("\x1b", result.output)
