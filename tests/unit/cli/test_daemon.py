from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.cli.daemon import PidFile


class PidFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = Path(temporary.name) / "proxy.pid"
        self.file = PidFile(self.path)

    def test_there_and_gone(self) -> None:
        self.path.write_text("1234567890\nleft behind by another\n")
        self.file.write()
        self.assertEqual(self.path.read_text(), f"{os.getpid()}\n")
        self.file.remove()
        self.assertFalse(self.path.exists())
        self.file.remove()

    def test_that_of_another_stays(self) -> None:
        self.path.write_text("1\n")
        self.file.remove()
        self.assertEqual(self.path.read_text(), "1\n")

    def test_emptied_where_it_cannot_be_removed(self) -> None:
        self.file.write()

        def forbidden(path: Path) -> None:
            raise PermissionError

        self.patch(Path, "unlink", forbidden)
        self.file.remove()
        self.assertEqual(self.path.read_text(), "")

    def test_nothing_else_is_written_to(self) -> None:
        other = self.path.with_name("other")
        other.write_text("kept")
        self.path.symlink_to(other)
        with self.assertRaises(OSError):
            self.file.write()
        self.assertEqual(other.read_text(), "kept")
        self.path.unlink()
        os.mkfifo(self.path)
        with self.assertRaises(OSError):
            self.file.write()
        with self.assertRaises(OSError):
            PidFile(self.path / "below").write()
