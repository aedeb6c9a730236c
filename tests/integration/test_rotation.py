"""Rotation of log and audit by SIGUSR1, while sessions come and go: not a line is lost, or there twice."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.integration.case import InstallationTestCase, eventually
from tests.support.http import read_answer, upgrade
from tests.support.logfile import LoggedGateway
from tests.support.targets import TargetServer, greet

AT_ONCE = 4
ROTATIONS = 5
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"


class RotationTests(InstallationTestCase):
    def setUp(self) -> None:
        self.target = TargetServer(greet)
        self.addCleanup(self.target.close)
        self.directory = self.installation.directory / os.urandom(4).hex()
        for name in ("log", "audit"):
            (self.directory / name).mkdir(parents=True)
        self.log = self.directory / "log" / "gateway.log"
        self.audit = self.directory / "audit" / "audit.jsonl"

    def start(self, *twistd: str) -> LoggedGateway:
        """A gateway, run by twistd where options for that are given."""
        settings = self.settings_file(log={"file": str(self.log)}, audit={"file": str(self.audit)})
        command = None
        if twistd:
            pid = self.directory / "twistd.pid"
            options = ("--nodaemon", "--pidfile", str(pid), *twistd)
            command = [sys.executable, "-c", TWISTD, *options, "console-gateway", "--config", str(settings)]
        gateway = LoggedGateway(settings, self.log, command=command)
        self.addCleanup(gateway.stop)
        gateway.ready()
        self.port = gateway.plain_port
        return gateway

    def visit(self) -> None:
        """A session, from its beginning to its end."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(upgrade("/" + self.ticket))
            answer, greeting = read_answer(sock)
            self.assertEqual(answer.status, 101)
            while b"RFB" not in greeting:
                piece = sock.recv(100)
                self.assertTrue(piece)
                greeting += piece

    @contextlib.contextmanager
    def visitors(self) -> Iterator[list[int]]:
        """Sessions come and go meanwhile; the list has one item for each."""
        self.ticket = self.installation.ticket(self.target.port)
        visits: list[int] = []
        enough = threading.Event()

        def run() -> None:
            while not enough.is_set():
                self.visit()
                visits.append(1)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = [pool.submit(run) for _ in range(AT_ONCE)]
            try:
                yield visits
            finally:
                enough.set()
        for each in running:
            each.result()

    def rotate(self, gateway: LoggedGateway, number: int, visits: list[int]) -> list[Path]:
        """Rename both files and say so; returns what they are called then."""
        moved = [path.with_name(f"{path.name}.{number}") for path in (self.log, self.audit)]
        for path, to in zip((self.log, self.audit), moved, strict=True):
            path.rename(to)
        before = len(visits)
        # What happens until the signal is sent still goes to the files that were renamed.
        eventually(lambda: len(visits) > before + 10, 20)
        gateway.signal(signal.SIGUSR1)
        eventually(lambda: self.log.exists() and self.audit.exists(), 20)
        sizes = [path.stat().st_size for path in moved]
        before = len(visits)
        eventually(lambda: len(visits) > before + 20, 20)
        # And after it, not a byte does.
        self.assertEqual([path.stat().st_size for path in moved], sizes)
        for path in (self.log, self.audit):
            self.assertEqual(path.stat().st_mode & 0o777, 0o640)
            self.assertGreater(path.stat().st_size, 0)
        return moved

    def assert_whole(self, logs: list[Path], audits: list[Path], visits: int) -> None:
        """Each file is part of one record, in which each session begins and ends once."""
        text = "".join(path.read_text() for path in logs)
        found = [record for path in audits for record in self.records(path)]
        self.assertEqual([each["number"] for each in found], list(range(1, len(found) + 1)))
        self.assertEqual(found[0]["event"], "audit-started")
        self.assertEqual(found[-1]["event"], "audit-stopped")
        for event, words in (("session-opened", "session started"), ("session-ended", "session ended")):
            logged = re.findall(rf"(?m)^\S+ info \S+ {words} id=(\w+) ", text)
            audited = [each["session"] for each in found if each["event"] == event]
            self.assertEqual(logged, audited)
            self.assertEqual((len(logged), len(set(logged))), (visits, visits))
        self.assertNotIn("Traceback", text)
        self.assertNotIn(" error ", text)

    @staticmethod
    def records(path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True)]

    def rotate_under_load(self, gateway: LoggedGateway) -> None:
        logs, audits = [], []
        with self.visitors() as visits:
            for number in range(ROTATIONS):
                log, audit = self.rotate(gateway, number, visits)
                logs.append(log)
                audits.append(audit)
        gateway.stop()
        self.assert_whole([*logs, self.log], [*audits, self.audit], len(visits))

    def test_under_load(self) -> None:
        self.rotate_under_load(self.start())

    def test_under_twistd(self) -> None:
        for name in ("poll", "asyncio"):
            with self.subTest(reactor=name):
                self.setUp()
                self.rotate_under_load(self.start(f"--reactor={name}"))

    def test_twistd_with_a_log_of_its_own(self) -> None:
        """It would take the signal for its own log if nobody else wanted it."""
        own = self.directory / "twistd.log"
        gateway = self.start("--logfile", str(own))
        self.log.rename(self.log.with_name("log.1"))
        gateway.signal(signal.SIGUSR1)
        eventually(self.log.exists)
        gateway.stop()
        self.assertIn("Received SIGTERM", self.log.read_text())

    def test_files_that_cannot_be_opened(self) -> None:
        gateway = self.start()
        self.ticket = self.installation.ticket(self.target.port)
        moved = self.directory / "moved"
        moved.mkdir()
        for path in (self.log, self.audit):
            path.parent.rename(moved / path.parent.name)
        log, audit = moved / "log" / self.log.name, moved / "audit" / self.audit.name
        descriptors = gateway.descriptors()
        for times in (1, 2):
            gateway.signal(signal.SIGUSR1)
            eventually(lambda times=times: log.read_text().count("audit: ") == times)  # type: ignore[misc]
            errors = [line for line in log.read_text().splitlines() if " error " in line]
            self.assertEqual(len(errors), 2 * times, errors)
            for line, path, words in zip(
                errors[-2:], (self.log, self.audit), ("SIGUSR1", "stays in use"), strict=True
            ):
                self.assertIn("No such file or directory", line)
                self.assertIn(str(path), line)
                self.assertIn(words, line)
            # Both go on in the files that are open.
            before = len(self.records(audit))
            self.visit()
            eventually(lambda before=before: len(self.records(audit)) == before + 3)  # type: ignore[misc]
            eventually(lambda times=times: log.read_text().count("session ended") == times)  # type: ignore[misc]
        self.assertEqual(gateway.descriptors(), descriptors)

        # As soon as it is possible, it is done.
        for path in (self.log, self.audit):
            path.parent.mkdir()
        gateway.signal(signal.SIGUSR1)
        eventually(lambda: self.log.exists() and self.audit.exists())
        self.visit()
        gateway.stop()
        self.assertNotIn("Traceback", log.read_text() + self.log.read_text())
        numbers = [each["number"] for path in (audit, self.audit) for each in self.records(path)]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
