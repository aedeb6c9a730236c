"""``console-gateway setup``: the command line."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.trial import unittest

from gateway.cli import main
from gateway.setup import outset
from gateway.setup.session import Manner


class SetupCommandTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.orders: list[tuple[Manner, dict[str, Any]]] = []

        def run_setup(manner: Manner, **others: Any) -> int:
            self.orders.append((manner, others))
            return 130

        self.patch(outset, "run_setup", run_setup)

    def invoke(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["setup", *arguments])

    def test_nothing_is_needed(self) -> None:
        self.assertEqual(self.invoke().exit_code, 130)
        ((manner, others),) = self.orders
        self.assertEqual(manner, Manner("setup"))
        self.assertEqual(
            others,
            {"generate": None, "engine_ca": None, "offline": False, "new_key": False, "renew": False},
        )

    def test_no_core_file_has_the_passwords(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_CORE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        self.invoke()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_CORE), (0, hard))

    def test_all_options(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            arguments = f"--root {root} --config a --config-append b --config-append c --accept-defaults"
            arguments += (
                " --generate-answer d --dialect machine --log e --offline --engine-ca f --new-key --renew"
            )
            self.assertEqual(self.invoke(*arguments.split(), "--otopi-environment", "A=str:x").exit_code, 130)
        ((manner, others),) = self.orders
        self.assertEqual(
            manner,
            Manner(
                "setup",
                root=Path(root),
                config=Path("a"),
                append=(Path("b"), Path("c")),
                settings="A=str:x",
                accept_defaults=True,
                dialect="machine",
                log=Path("e"),
            ),
        )
        self.assertEqual(
            others,
            {
                "generate": Path("d"),
                "engine_ca": Path("f"),
                "offline": True,
                "new_key": True,
                "renew": True,
            },
        )

    def test_wrong_command_lines(self) -> None:
        for arguments in (["--root", "/nonexistent"], ["--dialect", "klingon"], ["--what"], ["argument"]):
            self.assertEqual(self.invoke(*arguments).exit_code, 2, arguments)
        self.assertEqual(self.orders, [])

    def test_help_shows_how(self) -> None:
        said = self.invoke("--help").output
        self.assertIn("console-gateway setup --config-append answers.conf --accept-defaults", said)

    def test_help_loads_little(self) -> None:
        code = (
            "import sys; from gateway.cli import main; main(['setup', '--help'], standalone_mode=False); "
            "print([each for each in sys.modules if each.startswith(('gateway.setup', 'cryptography'))])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.splitlines()[-1], "[]")
