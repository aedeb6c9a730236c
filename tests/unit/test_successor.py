"""Starting a process that takes over, with small programs in its place."""

from __future__ import annotations

import os
import socket
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from twisted.internet import defer, reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from gateway.net import SOCKETS, Listener
from gateway.predecessor import READY, Predecessor
from gateway.successor import HandOverError, Successor, own_command

ROOT = Path(__file__).resolve().parents[2]

_PRELUDE = """
import json, os, sys, time
sys.path.insert(0, {root!r})
pipe = int(os.environ["CONSOLE_GATEWAY_READY"])
def say(line):
    os.write(pipe, line.encode() + b"\\n")
"""


class SuccessorTests(TestCase):
    timeout = 30

    def setUp(self) -> defer.Deferred[None]:  # type: ignore[override]
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        self.successor = Successor(reactor)

        # The reactor opens some of its own.
        return self.pause(0).addCallback(self.count)

    def count(self, _: object) -> None:
        self.descriptors = len(os.listdir("/proc/self/fd"))

    def pause(self, seconds: float) -> defer.Deferred[None]:
        return deferLater(reactor, seconds, lambda: None)

    def start(self, program: str, timeout: float = 20, **environ: str) -> defer.Deferred[int]:
        code = _PRELUDE.format(root=str(ROOT)) + textwrap.dedent(program)
        return self.run_command([sys.executable, "-c", code], timeout, **environ)

    def run_command(self, command: Sequence[str], timeout: float = 20, **environ: str) -> defer.Deferred[int]:
        listener = Listener(self.server, "tcp:6100", tls=True)
        return defer.Deferred.fromCoroutine(
            self.successor.start(command, [listener], timeout, {**os.environ, **environ})
        )

    async def refused(self, starting: defer.Deferred[int]) -> str:
        with self.assertRaises(HandOverError) as caught:
            await starting
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.descriptors)
        self.assertNotIn("\n", str(caught.exception))
        return str(caught.exception)

    async def test_it_has_the_sockets_and_no_others(self) -> None:
        pid = await self.start(
            """
            import socket
            (name, tls, descriptor), = json.loads(os.environ["CONSOLE_GATEWAY_SOCKETS"])
            assert (name, tls) == ("tcp:6100", True)
            open_ones = {int(each) for each in os.listdir("/proc/self/fd")} - {0, 1, 2, descriptor, pipe}
            assert all(not os.path.exists(f"/proc/self/fd/{each}") for each in open_ones), open_ones
            for gone in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"):
                assert gone not in os.environ, gone
            assert os.environ["WATCHDOG_USEC"] == "5"
            say("ready")
            socket.socket(fileno=descriptor).accept()[0].sendall(b"me")
            """,
            LISTEN_FDS="1",
            LISTEN_PID="1",
            LISTEN_FDNAMES="x",
            WATCHDOG_PID="1",
            WATCHDOG_USEC="5",
        )
        self.assertEqual(self.successor.pid, pid)
        with socket.create_connection(self.server.getsockname(), 10) as client:
            self.assertEqual(client.recv(10), b"me")
        os.waitpid(pid, 0)
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.descriptors)

    async def test_it_says_what_is_wrong(self) -> None:
        said = await self.refused(
            self.start("say('problem tls.key: is missing'); say('problem a\\x07b'); sys.exit(1)")
        )
        self.assertIn("could not start: tls.key: is missing; a", said)
        self.assertNotIn("\x07", said)

    async def test_it_says_nothing_and_ends(self) -> None:
        self.assertIn("could not start", await self.refused(self.start("sys.exit(3)")))

    async def test_it_is_never_ready(self) -> None:
        said = await self.refused(self.start("time.sleep(60)", timeout=1.5))
        self.assertEqual(said, "the new process was not ready after 1.5 s")
        self.assertRaises(ProcessLookupError, os.kill, self.successor.pid, 0)

    async def test_one_with_another_parent_is_never_ready(self) -> None:
        said = await self.refused(
            self.start(
                """
                pid = os.fork()
                if pid:
                    say(f"pid {pid}")
                    os._exit(0)
                time.sleep(60)
                """,
                timeout=1.5,
            )
        )
        self.assertIn("not ready", said)
        await self.gone(self.successor.pid)

    async def gone(self, pid: int) -> None:
        for _ in range(200):
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return
            if state == "Z":
                return
            await self.pause(0.02)
        self.fail("it is still there")

    async def test_it_talks_without_end(self) -> None:
        said = await self.refused(self.start("while True: say('x' * 1000)", timeout=2))
        self.assertIn("not ready", said)

    async def test_there_is_no_such_program(self) -> None:
        said = await self.refused(self.run_command(["/nonexistent/python"]))
        self.assertIn("No such file", said)

    async def test_the_gateway_stops_meanwhile(self) -> None:
        starting = self.start("time.sleep(60)")
        reactor.callLater(0.2, self.successor.abandon)
        self.assertIn("given up", await self.refused(starting))
        self.assertRaises(ProcessLookupError, os.kill, self.successor.pid, 0)
        self.successor.abandon()


class PredecessorTests(SynchronousTestCase):
    def pipe(self) -> tuple[int, str]:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self.addCleanup(os.close, reading)
        os.set_inheritable(writing, True)
        return reading, str(writing)

    def test_there_is_none(self) -> None:
        for text in ("", "x", "-1", "999", "99999999999", "\u0663"):
            environ = {READY: text}
            former = Predecessor(environ)
            self.assertEqual(environ, {})
            self.assertFalse(former.is_there)
            former.detach()
            former.complain("nobody hears it")
            self.assertFalse(former.ready())

    def test_what_is_no_pipe_stays_open(self) -> None:
        with socket.socket() as sock:
            self.assertFalse(Predecessor({READY: str(sock.fileno())}).is_there)
            sock.getsockname()

    def test_it_hears_of_problems_and_readiness(self) -> None:
        reading, writing = self.pipe()
        former = Predecessor({READY: writing})
        self.assertFalse(os.get_inheritable(int(writing)))
        former.complain("a key\nis wrong " + "x" * 1000)
        line = os.read(reading, 10000).decode()
        self.assertTrue(line.startswith("problem a key"))
        self.assertEqual(line.count("\n"), 1)
        self.assertLess(len(line), 600)
        self.assertTrue(former.ready())
        self.assertEqual(os.read(reading, 100), b"ready\n")
        self.assertEqual(os.read(reading, 100), b"")
        self.assertFalse(former.ready())

    def test_it_is_gone(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        former = Predecessor({READY: str(writing)})
        former.complain("x")
        self.assertTrue(former.ready())


class CommandTests(SynchronousTestCase):
    def test_own_command(self) -> None:
        with mock.patch.object(sys, "orig_argv", ["python", "-m", "gateway", "run"]):
            self.assertEqual(own_command(), [sys.executable, "-m", "gateway", "run"])
        with mock.patch.object(sys, "orig_argv", []):
            self.assertRaises(HandOverError, own_command)
        self.assertNotEqual(SOCKETS, READY)
