"""Files, journald and syslog: what arrives there, and what happens when it cannot."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.audit import FileSink, JournalSink, Record, Recorder, SyslogSink
from gateway.audit.sinks import _journal_field
from tests.unit.audit.samples import WHEN, admin, ended, event, every, refused


def records(count: int = 1) -> list[Record]:
    recorder = Recorder("gw1", "5f0c8e21ab37")
    return [recorder.of(event(ended())) for _ in range(count)]


@contextlib.contextmanager
def room(size: int) -> Iterator[None]:
    """No file can be larger: what does not fit is cut, as on a full disk (with EFBIG in place of ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.sink = FileSink(self.path)
        self.addCleanup(self.sink.close)

    def lines(self) -> list[bytes]:
        content = self.path.read_bytes()
        self.assertTrue(content.endswith(b"\n"))
        return content.split(b"\n")[:-1]

    def test_lines(self) -> None:
        self.sink.open()
        made = records(3)
        for each in made:
            self.sink.write(each)
        self.assertEqual(self.lines(), [each.line() for each in made])

    def test_how_it_is_opened(self) -> None:
        mask = os.umask(0)
        try:
            self.sink.open()
        finally:
            os.umask(mask)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        descriptor = self.sink._descriptor
        assert descriptor is not None
        self.assertFalse(os.get_inheritable(descriptor))
        self.assertTrue(Path(f"/proc/self/fdinfo/{descriptor}").read_text().find("flags"))
        flags = int(
            re.findall(r"^flags:\s+([0-7]+)$", Path(f"/proc/self/fdinfo/{descriptor}").read_text(), re.M)[0],
            8,
        )
        self.assertTrue(flags & os.O_APPEND)

    def test_each_record_is_one_write(self) -> None:
        self.sink.open()
        seen: list[bytes] = []

        def write(descriptor: int, data: bytes) -> int:
            seen.append(bytes(data))
            return len(data)

        self.patch(os, "write", write)
        (made,) = records()
        self.sink.write(made)
        self.assertEqual(seen, [made.line() + b"\n"])

    def test_what_is_there_stays(self) -> None:
        self.path.write_bytes(b"before\n")
        self.sink.open()
        (made,) = records()
        self.sink.write(made)
        self.assertEqual(self.lines(), [b"before", made.line()])

    def test_a_torn_end_gets_a_line_of_its_own(self) -> None:
        self.path.write_bytes(b'{"schema":1,"ti')
        self.sink.open()
        made = records(2)
        for each in made:
            self.sink.write(each)
        self.assertEqual(self.lines(), [b'{"schema":1,"ti', *(each.line() for each in made)])

    def test_no_room(self) -> None:
        """A record that did not fit is no prefix of the next line, and is written in full later."""
        self.sink.open()
        one, two, three = records(3)
        self.sink.write(one)
        with room(len(one.line()) + 21):
            for _ in range(3):
                with self.assertRaises(OSError) as caught:
                    self.sink.write(two)
                self.assertEqual(caught.exception.errno, errno.EFBIG)
        self.sink.write(two)
        self.sink.write(three)
        self.assertEqual(self.lines(), [one.line(), two.line()[:20], two.line(), three.line()])

    def test_only_the_end_of_the_line_is_missing(self) -> None:
        self.sink.open()
        one, two = records(2)
        with room(len(one.line())), self.assertRaises(OSError):
            self.sink.write(one)
        self.sink.write(one)
        self.sink.write(two)
        self.assertEqual(self.lines(), [one.line(), one.line(), two.line()])

    def test_rotation(self) -> None:
        self.sink.open()
        one, two, three = records(3)
        self.sink.write(one)
        moved = self.path.with_name("moved")
        self.path.rename(moved)
        self.sink.write(two)
        self.sink.renew()
        self.sink.write(three)
        self.assertEqual(moved.read_bytes(), one.line() + b"\n" + two.line() + b"\n")
        self.assertEqual(self.lines(), [three.line()])

    def test_a_failed_rotation_keeps_the_old_file(self) -> None:
        self.sink.open()
        moved = self.path.with_name("moved-too")
        self.path.rename(moved)
        self.path.mkdir()
        self.assertRaises(OSError, self.sink.renew)
        (made,) = records()
        self.sink.write(made)
        self.assertEqual(moved.read_bytes(), made.line() + b"\n")

    def test_descriptors(self) -> None:
        self.sink.open()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            self.sink.renew()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.sink.close()
        self.sink.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 1)
        self.assertRaises(OSError, self.sink.write, records()[0])

    def test_what_is_no_file(self) -> None:
        directory, pipe, link = (self.path.with_name(name) for name in ("directory", "pipe", "link"))
        directory.mkdir()
        os.mkfifo(pipe)
        link.symlink_to("elsewhere")
        before = len(os.listdir("/proc/self/fd"))
        for path in (directory, pipe, link, Path("/dev/full"), Path("missing/audit.jsonl")):
            self.assertRaises(OSError, FileSink(path).open)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self.assertRaises(OSError, FileSink(pipe).open)
        finally:
            os.close(reader)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertFalse(link.with_name("elsewhere").exists())


class DatagramTestCase(SynchronousTestCase):
    def server(self, path: str = "") -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        self.path = path or os.path.relpath(self.mktemp())
        server.bind(self.path)
        server.settimeout(5)
        return server


class JournalTests(DatagramTestCase):
    def fields(self, datagram: bytes) -> list[tuple[str, str]]:
        """The fields of a datagram, read as the protocol says."""
        found = []
        while datagram:
            head, _, rest = datagram.partition(b"\n")
            name, equals, value = head.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", rest[:8])
                value, end, rest = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
                self.assertEqual(end, b"\n")
            found.append((name.decode("ascii"), value.decode("utf-8")))
            datagram = rest
        return found

    def test_fields(self) -> None:
        server = self.server()
        sink = JournalSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        recorder = Recorder("gw1", "5f0c8e21ab37")
        for what in every():
            made = recorder.of(event(what))
            sink.write(made)
            found = self.fields(server.recv(65536))
            fields = dict(found)
            self.assertEqual(fields["MESSAGE"], made.summary())
            self.assertEqual(fields["PRIORITY"], str(made.priority))
            self.assertEqual(fields["SYSLOG_IDENTIFIER"], "console-gateway")
            self.assertEqual(fields["SYSLOG_FACILITY"], "10")
            own = {name: value for name, value in fields.items() if name.startswith("CONSOLE_GATEWAY_")}
            expected = {
                f"CONSOLE_GATEWAY_{key.upper()}": value[0] if isinstance(value, list) else str(value)
                for key, value in made.values.items()
                if value is not None
            }
            self.assertEqual(own, expected)
            for name in fields:
                # What journald accepts: systemd.journal-fields(7).
                self.assertRegex(name, r"\A[A-Z][A-Z0-9_]{0,63}\Z")

    def test_ids_are_given_one_by_one(self) -> None:
        server = self.server()
        sink = JournalSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        sink.write(Recorder("gw1", "x").of(event(admin("aa", "bb"))))
        found = self.fields(server.recv(65536))
        ids = [value for name, value in found if name == "CONSOLE_GATEWAY_SESSIONS"]
        self.assertEqual(ids, ["aa", "bb"])

    def test_values_of_several_lines(self) -> None:
        for value in ("one\ntwo", "\n", "a=b\nMESSAGE=forged", "ümläut", ""):
            field = _journal_field("NAME", value)
            self.assertEqual(self.fields(field), [("NAME", value)])


class SyslogTests(DatagramTestCase):
    FORM = re.compile(
        rb"\A<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([!-~]{1,255}) ([!-~]{1,48}) "
        rb"([!-~]{1,128}) ([!-~]{1,32}) - (\{.*\})\Z"
    )
    """RFC 5424, section 6, without structured data."""

    def test_messages(self) -> None:
        server = self.server()
        sink = SyslogSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        recorder = Recorder("gw1", "5f0c8e21ab37")
        for what in every():
            made = recorder.of(event(what))
            sink.write(made)
            match = self.FORM.match(server.recv(65536))
            assert match is not None
            severity = 4 if made.event == "request-refused" else 5
            self.assertEqual(int(match[1]), 10 * 8 + severity)
            self.assertEqual(match[2].decode(), made.values["time"])
            self.assertEqual(match[3], b"gw1")
            self.assertEqual(match[4], b"console-gateway")
            self.assertEqual(match[5], str(os.getpid()).encode())
            self.assertEqual(match[6].decode(), made.event)
            self.assertEqual(json.loads(match[7]), made.values)

    def test_a_host_without_a_good_name(self) -> None:
        server = self.server()
        sink = SyslogSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        sink.write(Recorder(" ", "x").started("1", WHEN))
        match = self.FORM.match(server.recv(65536))
        assert match is not None
        self.assertEqual(match[3], b"-")

    def test_size(self) -> None:
        server = self.server()
        sink = SyslogSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        face = "\U0001f600" * 5000
        sink.write(Recorder("gw1", "x").of(event(refused(face, subject=face, target=face, client=face))))
        datagram = server.recv(65536)
        self.assertLess(len(datagram), 8192)
        match = self.FORM.match(datagram)
        assert match is not None
        self.assertEqual(json.loads(match[7])["reason"], "ticket-used")


class DatagramFailureTests(DatagramTestCase):
    def test_nobody_there(self) -> None:
        sink = SyslogSink("missing.sock")
        sink.open()
        self.addCleanup(sink.close)
        with self.assertRaises(FileNotFoundError):
            sink.write(records()[0])

    def test_a_server_that_is_started_anew(self) -> None:
        server = self.server()
        sink = JournalSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        sink.write(records()[0])
        server.close()
        with self.assertRaises(ConnectionRefusedError):
            sink.write(records()[0])
        os.unlink(self.path)
        fresh = self.server(self.path)
        sink.write(records()[0])
        self.assertTrue(fresh.recv(65536))

    def test_a_server_that_does_not_read(self) -> None:
        """It is not waited for."""
        server = self.server()
        sink = SyslogSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        sent = 0
        with self.assertRaises(BlockingIOError):
            while sent < 100000:
                sink.write(records()[0])
                sent += 1
        server.recv(65536)
        sink.write(records()[0])

    def test_small_buffers(self) -> None:
        server = self.server()
        sink = JournalSink(self.path)
        sink.open()
        self.addCleanup(sink.close)
        assert sink._socket is not None
        sink._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        face = "\U0001f600" * 5000
        sink.write(Recorder("gw1", "x").of(event(refused(face, subject=face, target=face, client=face))))
        self.assertIn(b"CONSOLE_GATEWAY_REASON=ticket-used\n", server.recv(65536))
