from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.settings import ovirt_files
from gateway.settings.ovirt_files import MAX_FILES, MAX_TOLD, Variables, read_variables


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.conf = self.directory / "proxy.conf"

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def read(self) -> Variables:
        return read_variables(self.conf)

    def values(self) -> dict[str, str]:
        found = self.read()
        self.assertEqual(found.problems, ())
        return {name: each.value for name, each in found.assigned.items()}

    def problems(self) -> list[str]:
        found = [str(each) for each in self.read().problems]
        for each in found:
            self.assertTrue(each.isprintable(), each)
        return found


class OrderTests(FilesTestCase):
    def test_file_and_directory(self) -> None:
        self.write("proxy.conf", "A=1\nB=1\n")
        self.write("proxy.conf.d/10-setup.conf", 'B=2\nC="${A}${B}"')
        found = self.read()
        self.assertEqual([each.name for each in found.files], ["proxy.conf", "10-setup.conf"])
        self.assertEqual(self.values(), {"A": "1", "B": "2", "C": "12"})
        self.assertEqual(found.assigned["B"].place, f"{self.conf}.d/10-setup.conf:1")
        self.assertFalse(found.assigned["B"].shipped)

    def test_order_of_bytes(self) -> None:
        self.write("proxy.conf", "")
        names = ["9.conf", "10.conf", "a.conf", "B.conf", "é.conf", "~.conf"]
        for name in names:
            self.write(f"proxy.conf.d/{name}", f'ALL="${{ALL}} {name}"')
        odd = os.fsencode(self.directory) + b"/proxy.conf.d/\xff.conf"
        Path(os.fsdecode(odd)).write_text('ALL="${ALL} ff"')
        self.assertEqual(self.values()["ALL"], " 10.conf 9.conf B.conf a.conf ~.conf é.conf ff")

    def test_other_files_do_not_count(self) -> None:
        self.write("proxy.conf", "A=1")
        for name in ("x.conf.rpmnew", "x.conf~", "README", ".x.conf", "sub/y.conf"):
            self.write(f"proxy.conf.d/{name}", "A=2")
        self.assertEqual(self.values(), {"A": "1"})

    def test_this_host(self) -> None:
        shipped = self.write("share/proxy.conf", "A=1\nB=1\nC=1\nD=1")
        self.write("share/proxy.conf.d/x.conf", "B=2\nC=2\nD=2")
        local = self.write("etc/proxy.conf", "C=3\nD=3")
        self.write("etc/proxy.conf.d/x.conf", "D=4")
        self.patch(ovirt_files, "SHIPPED_CONF", shipped)
        self.patch(ovirt_files, "DEFAULT_CONF", local)
        found = read_variables()
        self.assertEqual(
            {name: each.value for name, each in found.assigned.items()},
            dict(zip("ABCD", "1234", strict=True)),
        )
        self.assertEqual([each.shipped for each in found.assigned.values()], [True, True, False, False])
        self.assertEqual(found.main, local)

    def test_nothing_has_to_be_there(self) -> None:
        self.patch(ovirt_files, "SHIPPED_CONF", self.directory / "share.conf")
        self.patch(ovirt_files, "DEFAULT_CONF", self.conf)
        found = read_variables()
        self.assertEqual((found.files, found.assigned, found.problems), ((), {}, ()))


class TroubleTests(FilesTestCase):
    def test_missing(self) -> None:
        (problem,) = self.problems()
        self.assertEqual(
            problem, f"{self.conf}: cannot be read: No such file or directory; name a file that exists"
        )
        self.write("proxy.conf.d/10-setup.conf", "A=1")
        (problem,) = self.problems()
        self.assertIn(f"so that {self.conf}.d is read as well", problem)

    def test_no_files(self) -> None:
        self.conf.mkdir()
        (self.directory / "proxy.conf.d").mkdir()
        os.mkfifo(self.directory / "proxy.conf.d" / "fifo.conf")
        (self.directory / "proxy.conf.d" / "link.conf").symlink_to("nowhere")
        (self.directory / "proxy.conf.d" / "sub.conf").mkdir()
        found = self.problems()
        self.assertEqual(len(found), 4)
        for name, problem in zip(("proxy.conf", "fifo.conf", "link.conf", "sub.conf"), found, strict=True):
            self.assertIn(f"{name}: cannot be read: ", problem)

    def test_directory_is_a_file(self) -> None:
        self.write("proxy.conf", "A=1")
        self.write("proxy.conf.d", "")
        (problem,) = self.problems()
        self.assertIn("proxy.conf.d: cannot be read: Not a directory", problem)

    def test_odd_names(self) -> None:
        for name in ("", "/", ".", "..", "a\0b", "x" * 5000):
            found = read_variables(Path(name))
            self.assertTrue(found.problems, name)
            self.assertTrue(all(str(each).isprintable() for each in found.problems))

    def test_hostile_name(self) -> None:
        self.write("proxy.conf", "")
        self.write("proxy.conf.d/\x1b[2J\n.conf", "x")
        (problem,) = self.problems()
        self.assertIn("\\x1b[2J\\n.conf: line 1: ", problem)

    def test_not_utf8(self) -> None:
        self.write("proxy.conf", b"A=1\nB=\xff\n")
        (problem,) = self.problems()
        self.assertEqual(problem, f"{self.conf}: line 2: is not UTF-8; save the file as UTF-8")

    def test_every_bad_line_is_told_up_to_a_number(self) -> None:
        self.write("proxy.conf", "x\n" * MAX_TOLD)
        self.assertEqual(len(self.problems()), MAX_TOLD)
        self.write("proxy.conf", "x\n" * 100_000)
        found = self.problems()
        self.assertEqual(len(found), MAX_TOLD + 1)
        self.assertIn(f"more than {MAX_TOLD} lines", found[-1])

    def test_too_large(self) -> None:
        self.write("proxy.conf", "#" * 1000)
        self.write("proxy.conf.d/a.conf", "#" * 1000)
        with mock.patch.object(ovirt_files, "MAX_BYTES", 2000):
            self.assertEqual(self.problems(), [])
        with mock.patch.object(ovirt_files, "MAX_BYTES", 1999):
            (problem,) = self.problems()
        self.assertIn("a.conf: cannot be read: the files are larger than 1999 bytes together", problem)

    def test_endless_file(self) -> None:
        self.conf = Path("/dev/zero")
        (problem,) = self.problems()
        self.assertIn("not a regular file", problem)

    def test_too_many_files(self) -> None:
        self.write("proxy.conf", "")
        for number in range(MAX_FILES + 5):
            self.write(f"proxy.conf.d/{number}.conf", "")
        (problem,) = self.problems()
        self.assertIn(f"more than {MAX_FILES} files", problem)

    def test_too_many_assignments(self) -> None:
        self.write("proxy.conf", "A=1\n" * 2001)
        (problem,) = self.problems()
        self.assertIn("line 2001: there are more than 2000 assignments in all", problem)

    @given(st.binary(max_size=300))
    def test_anything_is_read(self, data: bytes) -> None:
        self.write("proxy.conf", data)
        self.problems()
