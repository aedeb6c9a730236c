"""The audit of a process: rotation by signal, death in the middle, several processes, and a gateway's own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

from tests.integration.case import GatewayTestCase, Table, eventually
from tests.support.http import read_answer, upgrade
from tests.support.process import ROOT, GatewayProcess
from tests.support.targets import TargetServer, closed_port, echo

_BUSY = """
import signal, sys
from pathlib import Path
from twisted.internet import reactor, task
from gateway.audit import Audit
from gateway.sessions.events import Events
from gateway.settings import AuditSettings
from tests.unit.audit.samples import every

events = Events()
audit = Audit(AuditSettings(file=Path(sys.argv[1])), events, reactor)
audit.open()
signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(audit.reopen))
reactor.addSystemEventTrigger("after", "shutdown", audit.close)

def happen():
    for _ in range(20):
        for what in every():
            events.publish(what)

task.LoopingCall(happen).start(0.001)
reactor.run()
"""
"""Publishes events without pause."""


def records(*paths: Path) -> list[dict[str, Any]]:
    """What is in files; every line has to be a record."""
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines() if line]


class WritingTests(unittest.TestCase):
    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="console-gateway-audit-"))
        self.addCleanup(shutil.rmtree, directory)
        self.path = directory / "audit.jsonl"

    def start(self) -> subprocess.Popen[bytes]:
        before = self.path.stat().st_size if self.path.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", _BUSY, str(self.path)], cwd=ROOT)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        eventually(lambda: self.path.exists() and self.path.stat().st_size > before + 50000, 20)
        return process

    def assert_complete(self, found: list[dict[str, Any]]) -> None:
        """Every record of one process, in order."""
        self.assertEqual([each["number"] for each in found], list(range(1, len(found) + 1)))
        self.assertEqual(len({each["instance"] for each in found}), 1)
        self.assertEqual(found[0]["event"], "audit-started")

    def test_rotation_by_signal(self) -> None:
        process = self.start()
        moved = []
        for number in range(5):
            moved.append(self.path.with_name(f"audit.jsonl.{number}"))
            self.path.rename(moved[-1])
            process.send_signal(signal.SIGUSR1)
            eventually(lambda: self.path.exists() and self.path.stat().st_size > 10000)
        process.terminate()
        self.assertEqual(process.wait(10), 0)
        found = records(*moved, self.path)
        self.assert_complete(found)
        self.assertEqual(found[-1]["event"], "audit-stopped")

    def test_killed(self) -> None:
        """What is in the file is whole records, and the next process goes on behind them."""
        process = self.start()
        process.kill()
        process.wait()
        first = records(self.path)
        self.assert_complete(first)
        process = self.start()
        process.terminate()
        self.assertEqual(process.wait(10), 0)
        self.assert_complete(records(self.path)[len(first) :])

    def test_two_processes_and_one_file(self) -> None:
        processes = [self.start(), self.start()]
        started = '"event":"audit-started"'
        eventually(lambda: self.path.read_text().count(started) == 2, 20)
        size = self.path.stat().st_size
        eventually(lambda: self.path.stat().st_size > size + 200000)
        for process in processes:
            process.terminate()
            self.assertEqual(process.wait(10), 0)
        found = records(self.path)
        instances = {each["instance"] for each in found}
        self.assertEqual(len(instances), 2)
        for instance in instances:
            self.assert_complete([each for each in found if each["instance"] == instance])


class GatewayTests(GatewayTestCase):
    """What a gateway records of sessions."""

    changes: ClassVar[dict[str, Table]] = {"audit": {"file": "audit.jsonl", "required": True}}

    @property
    def path(self) -> Path:
        return self.installation.directory / "audit.jsonl"

    def new(self, before: int, count: int) -> list[dict[str, Any]]:
        eventually(lambda: len(records(self.path)) >= before + count)
        return records(self.path)[before:]

    def test_a_session(self) -> None:
        before = len(records(self.path))
        with TargetServer(echo) as target:
            port = target.port
            ticket = self.installation.ticket(port)
            sock = self.raw(tls=False)
            sock.sendall(upgrade("/" + ticket))
            self.assertEqual(read_answer(sock)[0].status, 101)
            eventually(lambda: target.accepted)
            sock.shutdown(socket.SHUT_RDWR)
            found = self.new(before, 3)
        self.assertEqual(
            [each["event"] for each in found], ["session-opened", "session-joined", "session-ended"]
        )
        self.assertEqual(len({each["session"] for each in found}), 1)
        for each in found:
            self.assertEqual((each["client"], each["target"]), ("127.0.0.1", f"127.0.0.1:{port}"))
        self.assertEqual((found[-1]["reason"], found[-1]["code"]), ("client-gone", None))
        self.assertNotIn(ticket, self.path.read_text())

    def test_a_target_that_is_not_there(self) -> None:
        before = len(records(self.path))
        sock = self.raw(tls=False)
        sock.sendall(upgrade("/" + self.installation.ticket(closed_port())))
        found = self.new(before, 2)
        self.assertEqual([each["event"] for each in found], ["session-opened", "session-ended"])
        self.assertEqual((found[-1]["reason"], found[-1]["code"]), ("target-refused", 4001))

    def test_a_refusal(self) -> None:
        before = len(records(self.path))
        ticket = self.installation.ticket(closed_port(), begin=-500, lifetime=10)
        self.assertEqual(self.ask(upgrade("/" + ticket), tls=False).status, 403)
        (found,) = self.new(before, 1)
        self.assertEqual(
            (found["event"], found["reason"], found["status"]), ("request-refused", "ticket-expired", 403)
        )
        self.assertNotIn(ticket, self.path.read_text())

    def test_rotation(self) -> None:
        moved = self.path.with_name("audit.1")
        self.path.rename(moved)
        self.gateway.signal(signal.SIGUSR1)
        eventually(self.path.exists)
        self.test_a_refusal()
        self.assertTrue(moved.read_bytes().endswith(b"\n"))

    def test_no_audit_no_start(self) -> None:
        settings = self.settings_file("no-audit.toml", audit={"file": "missing/audit.jsonl"})
        gateway = GatewayProcess(settings)
        self.addCleanup(gateway.stop)
        self.assertEqual(gateway.wait(), 1)
        self.assertRegex(gateway.output, r"console-gateway: .*missing/audit\.jsonl: audit\.file: .*make the")
        self.assertNotIn("Traceback", gateway.output)
