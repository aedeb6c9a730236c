"""The log of a setup, and the lock."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from pathlib import Path

from twisted.trial import unittest

from gateway.setup.errors import SetupError
from gateway.setup.host.system import System
from gateway.setup.lock import alone
from gateway.setup.setuplog import SetupLog

STAMP = "20300101120000"


class SetupLogTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.patch(tempfile, "tempdir", str(self.base))
        self.system = System(self.base / "root", owners=False)
        (self.base / "root").mkdir()

    def log(self, path: Path | None = None) -> SetupLog:
        log = SetupLog("setup", STAMP, path)
        self.addCleanup(log.close)
        return log

    def test_it_is_put_in_its_place(self) -> None:
        log = self.log()
        self.assertEqual(stat.S_IMODE(log.path.stat().st_mode), 0o600)
        log.write("INFO", "one\ntwo\n")
        temporary = log.path
        assert log.place is not None
        self.assertRegex(log.place.name, rf"^ovirt-engine-setup-{STAMP}-[0-9a-f]{{6}}\.log$")
        self.system.make_directories(log.place)
        log.settle(self.system)
        self.assertFalse(temporary.exists())
        path = self.system.locate(log.place)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        lines = path.read_text().splitlines()
        self.assertEqual(log.path, path)
        log.discard()
        self.assertTrue(path.exists())
        self.assertEqual([re.sub(r"^\S+Z ", "", line) for line in lines], ["INFO one", "INFO two"])

    def test_whoever_shows_it_sees_text(self) -> None:
        log = self.log()
        log.write("ANSWER", "a\x1b]0;title\x07b \udcff \u202e c")
        (line,) = log.path.read_text().splitlines()
        self.assertTrue(line.isprintable())
        self.assertTrue(line.endswith(r"ANSWER a\x1b]0;title\x07b \udcff \u202e c"), line)

    def test_where_there_is_no_place(self) -> None:
        log = self.log()
        log.write("INFO", "one")
        self.assertRaises(SetupError, log.settle, self.system)
        self.assertIn("one", log.path.read_text())

    def test_it_can_be_thrown_away(self) -> None:
        log = self.log()
        log.discard()
        log.write("INFO", "late")
        self.assertEqual(list(self.base.glob("*.log")), [])

    def test_a_file_of_the_users(self) -> None:
        path = self.base / "mine"
        path.write_text("before\n")
        log = self.log(path)
        log.write("INFO", "one")
        self.assertEqual(log.settle(self.system), path)
        log.discard()
        self.assertTrue(path.read_text().startswith("before\n"))
        self.assertIn("INFO one\n", path.read_text())

    def test_files_that_will_not_do(self) -> None:
        link = self.base / "link"
        link.symlink_to(self.base / "target")
        os.mkfifo(self.base / "fifo")
        for path in (link, self.base, self.base / "missing/log", self.base / "fifo"):
            error = self.assertRaises(SetupError, self.log, path)
            self.assertIn(str(path), str(error))
        self.assertFalse((self.base / "target").exists())

    def test_a_full_disk_costs_the_log_only(self) -> None:
        log = self.log(Path("/dev/full"))
        log.write("INFO", "one")

    def test_others_cannot_hold_it(self) -> None:
        """Anybody can open, and lock, the root directory of a host."""
        (self.base / "root").chmod(0o700)
        held = os.open(self.base, os.O_RDONLY)
        self.addCleanup(os.close, held)
        fcntl.flock(held, fcntl.LOCK_EX)
        with alone(self.base):
            self.assertRaises(SetupError, alone(self.base).__enter__)
        (self.base / "root").chmod(0o755)
        self.assertRaises(SetupError, alone(self.base).__enter__)

    def test_one_at_a_time(self) -> None:
        with alone(self.base):
            error = self.assertRaises(SetupError, alone(self.base).__enter__)
            self.assertIn(str(self.base), str(error))
        with alone(self.base):
            pass
        self.assertRaises(SetupError, alone(self.base / "missing").__enter__)
