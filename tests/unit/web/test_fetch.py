"""Fetching the browser library, with a stand-in for npm."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

import gateway.web
from gateway.web.fetch import FetchError, fetch

WEB = Path(gateway.web.__file__).parent
VERSION = "1.2.3"

GOOD_NPM = """
mkdir -p node_modules/@novnc/novnc/core/util node_modules/@novnc/novnc/vendor node_modules/@novnc/novnc/docs
cd node_modules/@novnc/novnc
echo '{"version": "%(version)s"}' > package.json
echo 'export default 1;' > core/rfb.js
echo 'export default 2;' > core/util/events.js
echo 'export default 3;' > vendor/inflate.js
echo 'A license' > LICENSE.txt
echo 'Its text' > docs/LICENSE.MPL-2.0
echo 'not needed' > docs/API.md
"""


class FetchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.web = self.directory / "web"
        self.web.mkdir()
        (self.web / "package.json").write_text(json.dumps({"dependencies": {"@novnc/novnc": VERSION}}))
        (self.web / "package-lock.json").write_text("{}")
        self.library = self.web / "static" / "novnc"
        self.bin = self.directory / "bin"
        self.bin.mkdir()
        patch = mock.patch.dict(os.environ, {"PATH": f"{self.bin}:/usr/bin:/bin"})
        patch.start()
        self.addCleanup(patch.stop)

    def npm(self, script: str) -> None:
        """Put a program called npm first on the path; it notes its arguments and where it runs."""
        path = self.bin / "npm"
        path.write_text(
            f'#!/bin/sh\necho "$@" >> {self.directory}/calls\nls >> {self.directory}/files\n{script}\n'
        )
        path.chmod(0o755)

    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()

    def failure(self) -> str:
        """The one line a failed fetch leaves behind, and nothing else."""
        error = self.assertRaises(FetchError, fetch, self.web)
        text = str(error)
        self.assertEqual(len(text.splitlines()), 1)
        self.assertFalse(self.library.exists())
        static = self.web / "static"
        self.assertEqual(list(static.iterdir()) if static.exists() else [], [])
        return text

    def test_puts_what_a_browser_needs(self) -> None:
        self.npm(GOOD_NPM % {"version": VERSION})
        self.assertTrue(fetch(self.web))
        found = sorted(str(p.relative_to(self.library)) for p in self.library.rglob("*") if p.is_file())
        self.assertEqual(
            found,
            [
                "LICENSE.txt",
                "VERSION",
                "core/rfb.js",
                "core/util/events.js",
                "docs/LICENSE.MPL-2.0",
                "vendor/inflate.js",
            ],
        )
        self.assertEqual((self.library / "VERSION").read_text(), f"{VERSION}\n")
        self.assertEqual([p.name for p in self.library.parent.iterdir()], ["novnc"])

    def test_npm_runs_no_scripts_and_sees_only_the_two_files(self) -> None:
        self.npm(GOOD_NPM % {"version": VERSION})
        fetch(self.web)
        (call,) = self.calls()
        self.assertTrue(call.startswith("ci --ignore-scripts"))
        self.assertEqual(
            (self.directory / "files").read_text().split(), ["package-lock.json", "package.json"]
        )
        self.assertFalse((self.web / "node_modules").exists())

    def test_does_nothing_when_it_is_there(self) -> None:
        self.npm(GOOD_NPM % {"version": VERSION})
        fetch(self.web)
        self.assertFalse(fetch(self.web))
        self.assertEqual(len(self.calls()), 1)

    def test_replaces_another_version(self) -> None:
        self.npm(GOOD_NPM % {"version": VERSION})
        self.library.mkdir(parents=True)
        (self.library / "VERSION").write_text("1.0.0\n")
        (self.library / "old.js").write_text("")
        self.assertTrue(fetch(self.web))
        self.assertFalse((self.library / "old.js").exists())
        self.assertEqual((self.library / "VERSION").read_text(), f"{VERSION}\n")

    def test_without_npm(self) -> None:
        with mock.patch.dict(os.environ, {"PATH": str(self.bin)}):
            text = self.failure()
        self.assertIn("npm is not installed", text)
        self.assertIn("python -m gateway.web.fetch", text)

    def test_npm_fails(self) -> None:
        self.npm("echo 'npm error code E404' >&2; echo 'npm error Not here\x1b[0m' >&2; exit 7")
        text = self.failure()
        self.assertIn("exit status 7", text)
        self.assertIn("Not here[0m", text)

    def test_npm_fails_silently(self) -> None:
        self.npm("exit 1")
        self.assertIn("gave no reason", self.failure())

    def test_npm_brings_another_version(self) -> None:
        self.npm(GOOD_NPM % {"version": "9.9.9"})
        self.assertIn("9.9.9", self.failure())

    def test_npm_brings_nothing(self) -> None:
        self.npm("exit 0")
        self.failure()

    def test_npm_brings_half(self) -> None:
        self.npm(GOOD_NPM % {"version": VERSION} + "rm -r vendor")
        self.assertIn("vendor", self.failure())

    def test_version_must_be_exact(self) -> None:
        (self.web / "package.json").write_text('{"dependencies": {"@novnc/novnc": "^1.2.3"}}')
        self.assertIn("exact", self.failure())
        for broken in ("", "[]", "{", '{"dependencies": []}', '{"dependencies": {"@novnc/novnc": 1}}'):
            (self.web / "package.json").write_text(broken)
            self.assertIn("package.json", self.failure())

    def test_missing_lock(self) -> None:
        self.npm("exit 0")
        (self.web / "package-lock.json").unlink()
        self.assertIn("package-lock.json", self.failure())


class PinTests(SynchronousTestCase):
    def test_lock_and_package_agree_and_name_no_registry(self) -> None:
        pinned = json.loads((WEB / "package.json").read_text())["dependencies"]["@novnc/novnc"]
        self.assertTrue(re.fullmatch(r"\d+\.\d+\.\d+", pinned))
        text = (WEB / "package-lock.json").read_text()
        self.assertNotIn("http", text)
        self.assertNotIn("resolved", text)
        packages = json.loads(text)["packages"]
        self.assertEqual(packages[""]["dependencies"], {"@novnc/novnc": pinned})
        self.assertEqual(packages["node_modules/@novnc/novnc"]["version"], pinned)
        self.assertTrue(packages["node_modules/@novnc/novnc"]["integrity"].startswith("sha512-"))
        self.assertEqual(set(packages), {"", "node_modules/@novnc/novnc"})


class ProgramTests(SynchronousTestCase):
    """The two programs, run as a user runs them, on a copy that has nothing and no npm."""

    def run_program(self, name: str) -> subprocess.CompletedProcess[str]:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        for file in ("fetch.py", "build_hook.py", "package.json", "package-lock.json"):
            shutil.copyfile(WEB / file, directory / file)
        return subprocess.run(
            [sys.executable, str(directory / name)],
            env={"PATH": str(directory)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def test_failure_is_one_line_and_status_1(self) -> None:
        for name in ("fetch.py", "build_hook.py"):
            done = self.run_program(name)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn("npm is not installed", done.stderr)
