"""Files that are private from the first byte, and changes that happen as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gateway.pki import PkiError, read_file, write_private, write_public
from gateway.pki.files import Changes
from tests.unit.pki.faults import CALLS, disk_full, each_failure, interrupt
from tests.unit.pki.samples import snapshot

SECRET = b"-----BEGIN PRIVATE KEY-----\nsecret\n"


class FileTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="console-gateway-files-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "tls.key"

    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)


class PrivateTests(FileTestCase):
    """write_private"""

    def with_umask(self, umask: int) -> None:
        self.addCleanup(os.umask, os.umask(umask))

    def test_any_umask(self) -> None:
        for umask in (0, 0o022, 0o077, 0o777):
            self.with_umask(umask)
            write_private(self.path, SECRET)
            self.assertEqual((self.mode(), self.path.read_bytes()), (0o600, SECRET))

    def test_a_file_that_was_open_to_all_is_not(self) -> None:
        self.path.write_bytes(b"old")
        self.path.chmod(0o666)
        write_private(self.path, SECRET)
        self.assertEqual(self.mode(), 0o600)

    def test_private_after_every_step(self) -> None:
        """With umask 0, and after each call to the system, nobody else may read any file there."""
        self.with_umask(0)
        seen: set[int] = set()

        def watched(original: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                result = original(*args, **kwargs)
                with os.scandir(self.directory) as entries:
                    seen.update(stat.S_IMODE(each.stat(follow_symlinks=False).st_mode) for each in entries)
                return result

            return call

        for name in (*CALLS, "unlink"):
            self.patch(os, name, watched(getattr(os, name)))
        for _ in range(2):
            write_private(self.path, SECRET)
        self.assertEqual(seen, {0o600})

    def test_private_to_those_who_watch(self) -> None:
        """The same, by a thread that looks as often as it can."""
        self.with_umask(0)
        stop = threading.Event()
        seen: set[int] = set()

        def watch() -> None:
            while not stop.is_set():
                for entry in os.scandir(self.directory):
                    try:
                        seen.add(stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode))
                    except FileNotFoundError:
                        continue

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            for _ in range(10):
                write_private(self.path, SECRET)
        finally:
            stop.set()
            thread.join()
        self.assertEqual(seen, {0o600})

    def test_a_link_is_not_followed(self) -> None:
        victim = self.directory / "victim"
        victim.write_bytes(b"mine")
        self.path.symlink_to(victim)
        write_private(self.path, SECRET)
        self.assertEqual(victim.read_bytes(), b"mine")
        self.assertFalse(self.path.is_symlink())

    def test_not_over_an_existing_file(self) -> None:
        self.path.write_bytes(b"mine")
        error = self.assertRaises(PkiError, write_private, self.path, SECRET, replace=False)
        self.assertIn(str(self.path), str(error))
        self.assertEqual(snapshot(self.directory).keys(), {"tls.key"})

    def test_missing_directory(self) -> None:
        missing = self.directory / "none" / "tls.key"
        error = self.assertRaises(PkiError, write_private, missing, SECRET)
        self.assertIn(str(missing), str(error))
        self.assertNotIn("secret", str(error))

    def test_public(self) -> None:
        self.with_umask(0o077)
        write_public(self.path, b"certificate")
        self.assertEqual(self.mode(), 0o644)


class ChangesTests(FileTestCase):
    """Several files at once."""

    def setUp(self) -> None:
        super().setUp()
        (self.directory / "a").write_bytes(b"old a")
        (self.directory / "b").write_bytes(b"old b")
        (self.directory / "b").chmod(0o640)
        os.utime(self.directory / "b", (1000, 1000))
        self.before = snapshot(self.directory)

    def change(self) -> None:
        with Changes() as changes:
            changes.write(self.directory / "a", b"new a")
            changes.write(self.directory / "b", b"new b", mode=0o600)
            changes.write(self.directory / "c", b"new c", replace=False)
            changes.commit()

    def changed(self) -> None:
        contents = {name: each[2] for name, each in snapshot(self.directory).items()}
        self.assertEqual(contents, {"a": b"new a", "b": b"new b", "c": b"new c"})

    def test_all(self) -> None:
        self.change()
        self.changed()
        self.assertEqual(stat.S_IMODE((self.directory / "b").stat().st_mode), 0o640)

    def nothing(self, fault: Callable[[], None]) -> None:
        steps = 0
        for steps in each_failure(fault, self.change):
            self.assertEqual(snapshot(self.directory), self.before, f"step {steps}")
        self.assertGreater(steps, 15)
        self.changed()

    def test_or_nothing_on_a_full_disk(self) -> None:
        self.nothing(disk_full)

    def test_or_nothing_when_interrupted(self) -> None:
        self.nothing(interrupt)

    def test_not_committed(self) -> None:
        with Changes() as changes:
            changes.write(self.directory / "a", b"new a")
        self.assertEqual(snapshot(self.directory), self.before)


class ReadTests(FileTestCase):
    """read_file"""

    def test_bounds(self) -> None:
        self.path.write_bytes(b"12345")
        self.assertEqual(read_file(self.path, 5), b"12345")
        self.assertIn("larger than 4", str(self.assertRaises(PkiError, read_file, self.path, 4)))

    def test_what_is_no_file(self) -> None:
        os.mkfifo(self.path)
        for path in (self.path, self.directory, Path("/dev/zero"), self.directory / "none"):
            error = self.assertRaises(PkiError, read_file, path, 10)
            self.assertTrue(str(error).startswith(f"{path}: "), error)
