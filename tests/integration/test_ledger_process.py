"""The ledger's file between processes: claims at the same time, a kill without warning, a full disk."""

from __future__ import annotations

import datetime
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path

from twisted.internet import defer
from twisted.internet.task import Clock

from gateway.settings import Use
from gateway.tickets.ledger import LedgerRefusal, LedgerRefused, UsePolicy
from gateway.tickets.sqlite_ledger import SqliteLedger
from tests.integration.case import InstallationTestCase, eventually
from tests.support.http import upgrade
from tests.support.process import ROOT, GatewayProcess
from tests.support.targets import TargetServer, greet

START = 1_900_000_000.0
VALID_TO = datetime.datetime.fromtimestamp(START + 120, datetime.UTC)

PROGRAM = r"""
import datetime, os, resource, sys
from pathlib import Path
from twisted.internet import defer, task, threads
from twisted.logger import globalLogPublisher, formatEvent
from gateway.settings import Use
from gateway.tickets.ledger import LedgerRefused, UsePolicy
from gateway.tickets.sqlite_ledger import SqliteLedger

START = 1_900_000_000.0
VALID_TO = datetime.datetime.fromtimestamp(START + 120, datetime.UTC)

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()

async def claim(ledger, ticket, use=Use.SINGLE):
    try:
        await ledger.claim(ticket, VALID_TO, UsePolicy(use))
    except LedgerRefused as refused:
        return refused.reason.value
    return "claimed"

async def main(reactor, path, what):
    @globalLogPublisher.addObserver
    def observe(event):
        if event["log_namespace"].startswith("gateway."):
            say("log", formatEvent(event))
    listen = lambda: threads.deferToThread(sys.stdin.readline)
    ledger = SqliteLedger(reactor, Path(path), now=lambda: START)
    say("ready")
    if what == "race":
        # Each ticket in its own heat, and all attempts of a heat at once.
        while heat := (await listen()).strip():
            attempts = [defer.ensureDeferred(claim(ledger, heat)) for _ in range(50)]
            for outcome in await defer.gatherResults(attempts):
                say(outcome)
            say("over")
    elif what == "claim":
        for ticket, use in (("single", Use.SINGLE), ("group", Use.GROUP), ("unlimited", Use.UNLIMITED)):
            say(await claim(ledger, ticket, use))
        await listen()
    elif what == "claim on":
        number = 0
        while await claim(ledger, str(number)) == "claimed":
            say(number)
            number += 1
    elif what == "fill":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
        number = 0
        while (outcome := await claim(ledger, f"{number:0>100}")) == "claimed":
            number += 1
        say(number, outcome)
        for _ in range(3):
            say(await claim(ledger, "more"))
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        say(await claim(ledger, "more"), await ledger.size())
    await ledger.close()

task.react(main, sys.argv[1:])
"""


class Child:
    """Another process with a ledger on the file."""

    def __init__(self, path: Path, what: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), what],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def hear_all(self) -> list[str]:
        """Everything until it ends, which must be in order."""
        heard = self.process.communicate(timeout=30)[0].splitlines()
        assert self.process.returncode == 0, heard
        return heard

    def kill(self) -> list[str]:
        """Kill it, and hear what it still said."""
        self.process.send_signal(signal.SIGKILL)
        heard = self.process.communicate(timeout=30)[0].splitlines()
        assert self.process.returncode == -signal.SIGKILL
        return heard

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class LedgerProcessTests(unittest.TestCase):
    def setUp(self) -> None:
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "ledger"
        self.wall = Clock()
        self.wall.advance(START)

    def child(self, what: str) -> Child:
        child = Child(self.path, what)
        self.addCleanup(child.stop)
        return child

    def open(self) -> SqliteLedger:
        ledger = SqliteLedger(Clock(), self.path, now=self.wall.seconds, run=defer.execute)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(ledger.close()))
        return ledger

    def size(self, ledger: SqliteLedger) -> object:
        outcome: list[object] = []
        defer.Deferred.fromCoroutine(ledger.size()).addBoth(outcome.append)
        return outcome[0]

    def refusal(self, ledger: SqliteLedger, ticket: str, use: Use) -> LedgerRefusal | None:
        """Why a claim is refused; ``None`` where it is not."""
        reasons: list[LedgerRefusal] = []

        async def attempt() -> None:
            try:
                (await ledger.claim(ticket, VALID_TO, UsePolicy(use))).release(used=False)
            except LedgerRefused as refused:
                reasons.append(refused.reason)

        defer.Deferred.fromCoroutine(attempt())
        return reasons[0] if reasons else None

    def test_a_race_of_processes(self) -> None:
        """Two that also open the new file at once, and then use the same tickets."""
        children = [self.child("race") for _ in range(2)]
        for child in children:
            self.assertEqual(child.hear(), "ready")
        winners = Counter[int]()
        for heat in range(30):
            for child in children:
                child.tell(str(heat))
            claimed = 0
            for number, child in enumerate(children):
                outcomes = Counter(iter(child.hear, "over"))
                self.assertEqual(outcomes["claimed"] + outcomes["used-up"], 50)
                claimed += outcomes["claimed"]
                winners[number] += outcomes["claimed"]
            self.assertEqual(claimed, 1)
        self.assertEqual(winners.total(), 30)
        for child in children:
            child.tell("")
            self.assertEqual(child.hear_all(), [])

    def test_killed(self) -> None:
        child = self.child("claim")
        self.assertEqual([child.hear() for _ in range(4)], ["ready", "claimed", "claimed", "claimed"])
        ledger = self.open()
        self.assertIs(self.refusal(ledger, "single", Use.SINGLE), LedgerRefusal.USED_UP)
        self.assertIsNone(self.refusal(ledger, "group", Use.GROUP))
        # Expired, but its members live.
        self.wall.advance(1000)
        self.assertEqual(self.size(ledger), 3)
        self.assertIs(self.refusal(ledger, "group", Use.GROUP), LedgerRefusal.USED_UP)
        self.wall.rightNow = START
        child.kill()
        # What it had claimed stays claimed, and it does not take part any more.
        self.assertEqual(self.size(ledger), 3)
        self.assertIs(self.refusal(ledger, "single", Use.SINGLE), LedgerRefusal.GROUP_ENDED)
        self.assertIs(self.refusal(ledger, "group", Use.GROUP), LedgerRefusal.GROUP_ENDED)
        self.assertIsNone(self.refusal(ledger, "unlimited", Use.UNLIMITED))
        self.wall.advance(1000)
        self.assertEqual(self.size(ledger), 0)

    def test_killed_while_it_writes(self) -> None:
        """Every claim that was answered is known to whoever opens the file next."""
        claimed: set[str] = set()
        for patience in (1, 40):
            child = self.child("claim on")
            self.assertEqual(child.hear(), "ready")
            heard = [child.hear() for _ in range(patience)]
            heard += child.kill()
            ledger = self.open()
            self.assertGreaterEqual(len(heard), patience)
            claimed.update(heard)
            for ticket in claimed:
                self.assertIs(self.refusal(ledger, ticket, Use.SINGLE), LedgerRefusal.GROUP_ENDED)
            defer.Deferred.fromCoroutine(ledger.close())
            os.rename(self.path, self.path.with_name(f"after {patience}"))
            claimed.clear()

    def test_no_room(self) -> None:
        """Files cannot grow: claims are refused, it is said once, and it goes on when there is room."""
        heard = self.child("fill").hear_all()
        logged = [line for line in heard if line.startswith("log")]
        said = [line for line in heard if not line.startswith("log")]
        self.assertEqual(said[0], "ready")
        number, outcome = said[1].split()
        self.assertGreater(int(number), 5)
        self.assertEqual([outcome, *said[2:5]], ["ledger-unavailable"] * 4)
        self.assertEqual(said[5:], [f"claimed {int(number) + 1}"])
        self.assertEqual(len(logged), 2, logged)
        self.assertIn("ledger cannot be used", logged[0])
        self.assertIn("can be used again", logged[1])
        ledger = self.open()
        for ticket in ("more", f"{int(number) - 1:0>100}"):
            self.assertIs(self.refusal(ledger, ticket, Use.SINGLE), LedgerRefusal.GROUP_ENDED)
        self.assertIsNone(self.refusal(ledger, f"{int(number):0>100}", Use.SINGLE))


class GatewayTests(InstallationTestCase):
    """A gateway that is killed while it lets people in, whose tickets may be used once."""

    LATE = 10
    SENT = 40

    def setUp(self) -> None:
        self.file = self.installation.directory / "uses.sqlite"
        self.target = TargetServer(greet)
        self.addCleanup(self.target.close)

    def start(self) -> GatewayProcess:
        uses = {"vnc": "single", "spice": None, "serial": None, "file": str(self.file)}
        gateway = GatewayProcess(self.settings_file(uses=uses, limits={"users_per_console": 1000}))
        self.addCleanup(gateway.stop)
        return gateway.ready()

    def begin(self, gateway: GatewayProcess, tickets: list[str]) -> list[socket.socket]:
        """Connections on which a single byte is missing to the requests."""
        socks = []
        for ticket in tickets:
            socks.append(socket.create_connection(("127.0.0.1", gateway.plain_port), 10))
            self.addCleanup(socks[-1].close)
            socks[-1].sendall(upgrade("/" + ticket)[:-1])
        return socks

    @staticmethod
    def is_answered(sock: socket.socket) -> bool:
        """Whether the ticket has opened a session; waits for it, or for the end of the connection."""
        try:
            answer = sock.recv(12)
        except ConnectionResetError:
            return False
        return answer == b"HTTP/1.1 101"

    def claimed(self) -> int:
        """How many tickets the file knows."""
        ledger = SqliteLedger(Clock(), self.file, now=time.time, run=defer.execute)
        sizes: list[int] = []
        defer.Deferred.fromCoroutine(ledger.size()).addCallback(sizes.append)
        defer.Deferred.fromCoroutine(ledger.close())
        return sizes[0]

    @staticmethod
    def assert_refused(gateway: GatewayProcess, count: int) -> None:
        """So many requests were refused because of used tickets."""
        eventually(lambda: gateway.output.count("reason=ticket-used ") == count)

    def test_killed_in_the_middle_of_upgrades(self) -> None:
        """Whoever got in does not get in again, and whoever did not still can."""
        known = 0
        gateway = self.start()
        # So many answers are waited for before the kill: claims are written a few at a time.
        for patience in (1, 2, 10):
            tickets = [self.installation.ticket(self.target.port) for _ in range(self.SENT + self.LATE)]
            socks = self.begin(gateway, tickets)
            for sock in socks[: self.SENT]:
                sock.sendall(b"\n")
            end = time.monotonic() + 10
            while len(select.select(socks, (), (), 0.001)[0]) < patience:
                self.assertLess(time.monotonic(), end)
            gateway.signal(signal.SIGKILL)
            self.assertEqual(gateway.wait(), -signal.SIGKILL)
            opened = {ticket for ticket, sock in zip(tickets, socks, strict=True) if self.is_answered(sock)}
            self.assertGreaterEqual(len(opened), patience)
            claimed = self.claimed() - known
            self.assertLessEqual(len(opened), claimed)

            gateway = self.start()
            for attempt in ("first", "second"):
                again = self.begin(gateway, tickets)
                for sock in again:
                    sock.sendall(b"\n")
                let_in = {
                    ticket for ticket, sock in zip(tickets, again, strict=True) if self.is_answered(sock)
                }
                if attempt == "first":
                    self.assertEqual(let_in & opened, set())
                    self.assertLessEqual(set(tickets[self.SENT :]), let_in)
                    self.assertEqual(len(let_in), len(tickets) - claimed)
                else:
                    self.assertEqual(let_in, set())
            known += len(tickets)
            self.assert_refused(gateway, claimed + len(tickets))
            self.assertNotIn("Traceback", gateway.output)
