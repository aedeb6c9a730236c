"""A host below a root directory: nothing leads out of it; its accounts, its commands."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.setup.errors import Cancelled, SetupError
from gateway.setup.host.system import System
from tests.unit.setup.faults import scratch

_OTHER = 4711


class SystemTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.base = scratch(self)
        self.root = self.base / "root"
        (self.root / "etc/real").mkdir(parents=True)
        (self.base / "secret").write_text("outside")
        self.system = System(self.root, owners=False)

    def locate(self, place: str) -> str:
        return str(self.system.locate(PurePosixPath(place)).relative_to(self.root))

    def test_links_stay_inside(self) -> None:
        for name, target, expected in (
            ("absolute", "/etc/real", "etc/real/x"),
            ("up", "../../../../..", "x"),
            ("outside", str(self.base), f"{str(self.base)[1:]}/x"),
            ("missing", "/nowhere/./a/..//b", "nowhere/b/x"),
            ("chain", "absolute", "etc/real/x"),
        ):
            (self.root / "etc" / name).symlink_to(target)
            self.assertEqual(self.locate(f"/etc/{name}/x"), expected)
            self.assertEqual(self.locate(f"/etc/{name}"), expected.removesuffix("x").rstrip("/") or ".")

    def test_nothing_outside_is_read(self) -> None:
        for target in (str(self.base / "secret"), "../../secret", "/../secret"):
            link = self.root / "etc/file"
            link.symlink_to(target)
            self.assertIsNone(self.system.read(PurePosixPath("/etc/file")))
            link.unlink()
        (self.root / "secret").write_text("inside")
        (self.root / "etc/file").symlink_to("../../secret")
        self.assertEqual(self.system.read(PurePosixPath("/etc/file")), b"inside")

    def test_devices_are_not_opened(self) -> None:
        """To open one may be an order: to a watchdog, to a tape."""
        os.mkfifo(self.root / "etc/pipe")
        place = PurePosixPath("/etc/pipe")
        opened: list[object] = []
        really = os.open

        def watch(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if not flags & os.O_PATH:
                opened.append(path)
            return really(path, flags, *rest, **more)

        with mock.patch("os.open", watch), self.assertRaisesRegex(SetupError, "not a regular file"):
            self.system.read(place)
        self.assertEqual(opened, [])

    def test_numbers_that_no_account_has(self) -> None:
        system = System(self.root)
        for number, known in (("4294967295", False), ("9999999999", False), ("4294967294", True)):
            (self.root / "etc/passwd").write_text(f"ovirt:x:{number}:5::/:/sbin/nologin\n")
            (self.root / "etc/group").write_text("ovirt:x:5:\n")
            if known:
                self.assertEqual(system.account("ovirt", "ovirt"), (4294967294, 5))
            else:
                self.assertRaises(SetupError, system.account, "ovirt", "ovirt")

    def test_nothing_outside_is_written(self) -> None:
        (self.root / "etc/out").symlink_to(self.base)
        tree = self.system.tree
        with self.assertRaises(FileNotFoundError):
            tree.create(PurePosixPath("/etc/out/new"), b"", uid=os.geteuid(), gid=os.getegid(), mode=0o600)
        with self.assertRaises(FileNotFoundError):
            tree.remove(PurePosixPath("/etc/out/secret"))
        self.assertEqual((self.base / "secret").read_text(), "outside")

    def test_circles_and_depths(self) -> None:
        (self.root / "a").symlink_to("b")
        (self.root / "b").symlink_to("a")
        (self.root / "self").symlink_to("self/self/self/self")
        for place in ("/a", "/a/x", "/self/x"):
            with self.assertRaisesRegex(SetupError, "too many links"):
                self.system.locate(PurePosixPath(place))
        with self.assertRaisesRegex(SetupError, "parts"):
            self.system.locate(PurePosixPath("/x" * 1000))

    def test_places_are_plain(self) -> None:
        for place in ("etc", "/etc/../etc", "//etc/passwd", "", "/a\0b"):
            with self.assertRaisesRegex(SetupError, "not an absolute path"):
                self.system.locate(PurePosixPath(place))
            with self.assertRaises(SetupError):
                self.system.read(PurePosixPath(place))

    def test_links_of_strangers(self) -> None:
        """Whoever owns a directory below cannot have root follow where they point."""
        if os.geteuid() != 0:
            return
        link = self.root / "etc/theirs"
        link.symlink_to("real")
        os.chown(link, _OTHER, _OTHER, follow_symlinks=False)
        with self.assertRaisesRegex(SetupError, "neither root nor you own"):
            self.system.read(PurePosixPath("/etc/theirs/x"))
        os.chown(self.root, _OTHER, _OTHER)
        self.assertEqual(self.locate("/etc/theirs"), "etc/real")

    @given(st.lists(st.tuples(st.sampled_from("abcd"), st.text("abcd./", max_size=12)), max_size=4))
    @settings(max_examples=60, deadline=None)
    def test_any_links_stay_inside(self, links: list[tuple[str, str]]) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.base))
        for name, target in links:
            if target and not os.path.lexists(folder / name):
                (folder / name).symlink_to(target)
        system = System(folder, owners=False)
        for name in "abcd":
            try:
                place = system.locate(PurePosixPath("/", name, "a"))
            except SetupError:
                continue
            self.assertTrue(place.is_relative_to(folder), place)
            self.assertNotIn("..", place.parts)

    def test_reading_is_bounded(self) -> None:
        place = PurePosixPath("/etc/file")
        with open(self.root / "etc/file", "wb") as file:
            file.truncate(1024 * 1024)
        self.assertEqual(len(self.system.read(place) or b""), 1024 * 1024)
        with open(self.root / "etc/file", "ab") as file:
            file.write(b"x")
        with self.assertRaisesRegex(SetupError, "more than 1048576 bytes"):
            self.system.read(place)
        (self.root / "etc/file").unlink()
        os.mkfifo(self.root / "etc/file")
        with self.assertRaisesRegex(SetupError, "not a regular file"):
            self.system.read(place)
        with self.assertRaisesRegex(SetupError, "not a regular file"):
            self.system.read(PurePosixPath("/etc/real"))
        self.assertIsNone(self.system.read(PurePosixPath("/etc/file/below")))

    def test_accounts_of_a_root_directory(self) -> None:
        system = System(self.root)
        with self.assertRaisesRegex(
            SetupError,
            f"useradd --root {self.root} --system --no-create-home --shell /sbin/nologin --user-group ovirt",
        ):
            system.account("ovirt", "ovirt")
        (self.root / "etc/group").write_text("# groups\nother:x:5:\novirt:x:109:\n")
        with self.assertRaisesRegex(SetupError, "--gid ovirt ovirt"):
            system.account("ovirt", "ovirt")
        (self.root / "etc/passwd").write_bytes(b"\xff:x\novirt\novirt:x:-1:\novirt:x:108:109::/:\n")
        self.assertEqual(system.account("ovirt", "ovirt"), (108, 109))
        self.assertEqual(system.account("root", "root"), (0, 0))
        with self.assertRaisesRegex(SetupError, "groupadd .*--system kvm"):
            system.account("ovirt", "kvm")
        self.assertEqual(self.system.account("ovirt", "kvm"), (os.geteuid(), os.getegid()))

    def test_accounts_of_this_host(self) -> None:
        system = System()
        self.assertTrue(system.live)
        self.assertEqual(system.account("root", "root"), (0, 0))
        self.assertEqual(system.account("daemon", "daemon")[0] > 0, True)
        with self.assertRaisesRegex(SetupError, "make it with: useradd --system"):
            system.account("nobody-is-called-so", "nobody-is-called-so")

    def test_programs(self) -> None:
        self.assertFalse(self.system.has("sh"))
        (self.root / "usr/bin").mkdir(parents=True)
        (self.root / "usr/bin/sh").touch()
        self.assertTrue(self.system.has("sh"))
        self.assertTrue(System().has("sh"))

    def test_directories(self) -> None:
        made = self.system.make_directories(PurePosixPath("/etc/real/a/b/file"))
        self.assertEqual([str(place) for place in made], ["/etc/real/a", "/etc/real/a/b"])
        self.assertEqual((self.root / "etc/real/a/b").stat().st_mode & 0o7777, 0o755)
        (self.root / "file").touch()
        with self.assertRaisesRegex(SetupError, "cannot make the directory /file/a"):
            self.system.make_directories(PurePosixPath("/file/a/b"))

    def test_commands(self) -> None:
        output = System(self.root, live=True).run(["cat"], data=b"x" * 300_000)
        self.assertEqual(output, "x" * 300_000)
        with self.assertRaisesRegex(SetupError, r"^false failed \(exit status 1\): it said nothing$"):
            System(self.root, live=True).run(["false"])
        with self.assertRaisesRegex(SetupError, r"\(exit status 3\): last\ufffdline$"):
            System(self.root, live=True).run(["sh", "-c", "printf 'one\nlast\\033line\n' >&2; exit 3"])
        with self.assertRaisesRegex(SetupError, "there is no program no-such-program"):
            System(self.root, live=True).run(["no-such-program"])
        with self.assertRaisesRegex(SetupError, "only the running host has commands"):
            self.system.run(["true"])

    def test_commands_end(self) -> None:
        with self.assertRaisesRegex(SetupError, "took more than 0.2 seconds"):
            System(self.root, live=True).run(["sleep", "60"], timeout=0.2)
        with self.assertRaisesRegex(SetupError, "said more than"):
            System(self.root, live=True).run(["yes"])

        def interrupted() -> None:
            raise Cancelled("interrupted by SIGINT")

        system = System(self.root, live=True)
        started = time.monotonic()
        with self.assertRaises(Cancelled), system.checking(interrupted):
            system.run(["sleep", "60"])
        self.assertLess(time.monotonic() - started, 30)
        self.assertEqual(system.run(["echo", "again"]), "again\n")
