from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway.local_syslog import open_syslog
from gateway.logs import make_observer
from gateway.settings import LogLevel, LogSettings


class SyslogTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = str(Path(temporary.name) / "log")
        self.server = self.serve()
        self.stream = open_syslog("proxy", self.path)
        self.addCleanup(self.stream.close)

    def serve(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(self.path)
        server.settimeout(5)
        return server

    def lines(self, count: int) -> list[str]:
        return [self.server.recv(65536).decode() for _ in range(count)]

    def test_events(self) -> None:
        observer = make_observer(LogSettings(level=LogLevel.DEBUG), self.stream)
        from twisted.logger import LogLevel as Level

        for level, priority in (("debug", 31), ("info", 30), ("warn", 28), ("error", 27), ("critical", 26)):
            observer(
                {
                    "log_level": Level.lookupByName(level),
                    "log_format": "café\n{x}",
                    "x": 1,
                    "log_namespace": "n",
                    "log_time": 0.0,
                }
            )
            (line,) = self.lines(1)
            self.assertRegex(
                line, rf"^<{priority}>\w{{3}} [ \d]\d \d\d:\d\d:\d\d proxy\[{os.getpid()}\]: 1970-"
            )
            self.assertIn(f"Z {level} n ", line)
            self.assertTrue(line.endswith("café\\n1"))

    def test_lines_of_one_event(self) -> None:
        self.stream.write("T error n failure\n    Traceback\n    more\n")
        self.stream.flush()
        self.assertEqual([line[:4] for line in self.lines(3)], ["<27>"] * 3)

    def test_long_lines_are_cut(self) -> None:
        self.stream.write("x" * 100_000 + "\n")
        self.stream.flush()
        self.assertLess(len(self.lines(1)[0]), 8300)

    def test_nothing_waits(self) -> None:
        for number in range(5000):
            self.stream.write(f"{number}\n")
            self.stream.flush()
        self.assertTrue(self.lines(1)[0].endswith(": 0"))

    def test_server_that_comes_and_goes(self) -> None:
        self.server.close()
        os.unlink(self.path)
        self.stream.write("lost\n")
        self.stream.flush()
        self.server = self.serve()
        self.stream.write("found\n")
        self.stream.flush()
        self.assertTrue(self.lines(1)[0].endswith(": found"))
