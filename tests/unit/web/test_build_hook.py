"""The build hook, as hatchling calls it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

from twisted.trial.unittest import SynchronousTestCase

import gateway.web

WEB = Path(gateway.web.__file__).parent


class Application:
    """The part of hatchling's application that the hook speaks to."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)


class BuildHookTests(SynchronousTestCase):
    def setUp(self) -> None:
        try:
            from hatchling.builders.hooks.custom import CustomBuildHook
        except ModuleNotFoundError:
            raise SkipTest("hatchling is not installed") from None
        self.hook_class: Any = CustomBuildHook
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.web = self.root / "gateway" / "web"
        self.web.mkdir(parents=True)
        for name in ("build_hook.py", "fetch.py", "package.json", "package-lock.json"):
            shutil.copyfile(WEB / name, self.web / name)
        self.app = Application()

    def build(self, target: str) -> None:
        """Build without npm."""
        config = {"path": "gateway/web/build_hook.py"}
        hook = self.hook_class(str(self.root), config, None, None, str(self.root / "dist"), target, self.app)
        with mock.patch.dict(os.environ, {"PATH": str(self.root)}):
            hook.initialize("standard", {})

    def test_missing_npm_is_a_warning(self) -> None:
        self.build("wheel")
        (warning,) = self.app.warnings
        self.assertIn("npm is not installed", warning)
        self.assertIn("python -m gateway.web.fetch", warning)

    def test_source_archives_need_nothing(self) -> None:
        self.build("sdist")
        self.assertEqual(self.app.warnings, [])

    def test_library_that_is_there_is_left_alone(self) -> None:
        version = "".join(
            line for line in (WEB / "package.json").read_text().splitlines() if "@novnc" in line
        )
        stamp = self.web / "static" / "novnc" / "VERSION"
        stamp.parent.mkdir(parents=True)
        stamp.write_text(version.split('"')[3] + "\n")
        self.build("wheel")
        self.assertEqual(self.app.warnings, [])
