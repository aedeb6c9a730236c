"""A CA when the disk is full, the process is killed, or several sign at once."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from unittest import mock

from gateway.pki import (
    PkiError,
    parse_chain,
)
from gateway.pki.database import parse_database
from gateway.pki.lock import exclusive
from tests.unit.pki.faults import disk_full, each_failure, failing, interrupt
from tests.unit.pki.samples import SAN, CaTestCase, snapshot


class FaultTests(CaTestCase):
    """What goes wrong while signing, and what is left."""

    def enrol(self) -> Path:
        return self.authority().enrol("gw", san=SAN)

    def unchanged(self, fault: object) -> None:
        self.request()
        self.enrol()
        before, steps = snapshot(self.ca), 0
        for steps in each_failure(fault, self.enrol):  # type: ignore[arg-type]
            self.assertEqual(snapshot(self.ca), before, f"step {steps}")
        self.assertGreater(steps, 30)
        self.assertEqual(self.text("serial.txt"), "1002\n")
        self.assertEqual(len(self.text("database.txt").splitlines()), 2)

    def test_full_disk(self) -> None:
        self.unchanged(disk_full)

    def test_read_only(self) -> None:
        self.request()
        self.enrol()
        before = snapshot(self.ca)
        original = os.open
        for place in (self.ca, self.ca / "certs"):

            def guarded(path: Path, flags: int, mode: int = 0o777, *, place: Path = place) -> int:
                if flags & os.O_CREAT and Path(path).parent == place:
                    raise OSError(errno.EROFS, "Read-only file system")
                return original(path, flags, mode)

            with mock.patch.object(os, "open", guarded):
                error = self.assertRaises(PkiError, self.enrol)
            self.assertIn("Read-only file system", str(error))
            self.assertEqual(snapshot(self.ca), before)

    def test_interrupt(self) -> None:
        self.unchanged(interrupt)

    def test_no_crash_gives_out_a_number_twice(self) -> None:
        """The process is gone at any step; the next ones go on, and no two certificates share a number."""
        self.request()
        for at in range(1, 60):
            child = os.fork()
            if child == 0:
                with failing(at, lambda: os._exit(9)):
                    try:
                        self.enrol()
                    finally:
                        os._exit(0)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 9:
                break
        self.assertGreater(at, 30)
        self.assertLess(at, 59)
        self.enrol()
        entries = [each.serial for each in parse_database(self.text("database.txt").encode())]
        self.assertEqual(len(entries), len(set(entries)))
        # Whatever certificate there is anywhere, under any name, has a number of its own.
        found = {path.read_bytes() for path in (self.ca / "certs").rglob("*") if path.is_file()}
        found |= {path.read_bytes() for path in (self.ca / "certs").glob(".*") if path.is_file()}
        serials = [parse_chain(pem)[0].serial_number for pem in found if pem]
        self.assertEqual(len(serials), len(set(serials)))

    def test_eight_at_once(self) -> None:
        children = []
        for number in range(8):
            self.request(f"gw{number}")
        for number in range(8):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    self.authority().enrol(f"gw{number}", san=SAN)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        self.assertEqual({os.waitpid(child, 0)[1] for child in children}, {0})
        self.assertEqual(self.text("serial.txt"), "1008\n")
        entries = parse_database(self.text("database.txt").encode())
        self.assertEqual([each.serial for each in entries], list(range(0x1000, 0x1008)))
        serials = {
            parse_chain((self.ca / "certs" / f"gw{number}.cer").read_bytes())[0].serial_number
            for number in range(8)
        }
        self.assertEqual(serials, set(range(0x1000, 0x1008)))

    def test_locked(self) -> None:
        self.request()
        with exclusive(self.ca / "ca.pem", 1):
            error = self.assertRaises(PkiError, self.authority().enrol, "gw", timeout=0.05)
            self.assertIn("--timeout", str(error))
            self.assertIn("ca.pem", str(error))
        self.enrol()

    def test_the_other_ca_waits_too(self) -> None:
        shutil.copy(self.ca / "ca.pem", self.ca / "qemu-ca.pem")
        shutil.copy(self.ca / "private" / "ca.pem", self.ca / "private" / "qemu-ca.pem")
        self.request()
        with exclusive(self.ca / "ca.pem", 1):
            self.assertRaises(PkiError, self.authority("qemu-ca").enrol, "gw", timeout=0)
        self.authority("qemu-ca").enrol("gw", timeout=0)

    def test_damaged_memory(self) -> None:
        self.request()
        for name, content in (("serial.txt", "no"), ("database.txt", "no")):
            good = self.text(name)
            (self.ca / name).write_text(content)
            before = snapshot(self.ca)
            self.assertIn(name, str(self.assertRaises(PkiError, self.enrol)))
            self.assertEqual(snapshot(self.ca), before)
            (self.ca / name).unlink()
            self.assertIn(name, str(self.assertRaises(PkiError, self.enrol)))
            (self.ca / name).write_text(good)
        self.enrol()
