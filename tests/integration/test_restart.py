"""Restarts that lose nothing: hand-over, drain, sockets that somebody else holds, the service manager."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.case import InstallationTestCase, Table, eventually
from tests.integration.control import UnixConnection
from tests.support.client import WebSocketClient
from tests.support.http import read_answer
from tests.support.process import ROOT, GatewayProcess
from tests.support.storm import Storm
from tests.support.targets import TargetServer, echo

_SERVES = r"hand-over: process (\d+) accepts connections; process (\d+) serves"


class RestartCase(InstallationTestCase):
    def setUp(self) -> None:
        self.target = TargetServer(echo)
        self.addCleanup(self.target.close)
        self.control = Path(f"/tmp/console-gateway-test-{os.getpid()}-control.sock")
        self.addCleanup(self.control.unlink, missing_ok=True)

    def settings(self, **changes: Table) -> Path:
        return self.settings_file(control={"listen": [f"unix:{self.control}"]}, **changes)

    def start(self, settings: Path, **options: Any) -> GatewayProcess:
        gateway = GatewayProcess(settings, **options)
        self.addCleanup(gateway.stop)
        return gateway.ready()

    def successor(self, gateway: GatewayProcess, after: int) -> int:
        """The process that takes over from the one that is ``after``; it is ended with the test."""
        match = gateway.wait_for(_SERVES.replace(r"process (\d+) serves", f"process {after} serves"), 30)
        pid = int(match[1])
        self.addCleanup(_end, pid)
        return pid

    def hand_over(self, gateway: GatewayProcess) -> int:
        """Have it done by a signal; returns the new process."""
        gateway.signal(signal.SIGUSR2)
        return self.successor(gateway, gateway.pid)

    def call(self, method: str, path: str, body: Any = None, *, socket_path: Path | None = None) -> Any:
        connection = UnixConnection(socket_path or self.control)
        try:
            data = None if body is None else json.dumps(body)
            connection.timeout = 40
            connection.request(
                method, f"/api/v1/{path}", data, {"Content-Type": "application/json"} if data else {}
            )
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=ROOT,
            env={**os.environ, "CONSOLE_GATEWAY_CONTROL": str(self.control)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def plain(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), 30)

    def tls(self, port: int) -> socket.socket:
        context = self.installation.client_context()
        sock = socket.create_connection(("127.0.0.1", port), 30)
        try:
            return context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    def open(self, port: int, *, notices: bool = False) -> WebSocketClient:
        uri = f"ws://127.0.0.1:{port}/{self.installation.ticket(self.target.port)}"
        subprotocols = ["console-gateway.v1"] if notices else ["binary"]
        client = WebSocketClient(self.plain(port), uri, subprotocols=subprotocols)
        self.addCleanup(client.socket.close)
        return client

    def assert_echo(self, client: WebSocketClient, data: bytes) -> None:
        client.send(data)
        received = b""
        while len(received) < len(data):
            received += client.recv(timeout=10)
        self.assertEqual(received, data)

    def readiness(self, port: int) -> tuple[int, str]:
        with self.plain(port) as sock:
            sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer, _ = read_answer(sock)
            return answer.status, answer.body.decode().strip()


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
        for _ in range(500):
            os.kill(pid, 0)
            if _state(pid) == "Z":
                return
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


class HandOverTests(RestartCase):
    def test_a_storm_is_served_and_sessions_live_on(self) -> None:
        gateway = self.start(self.settings(drain={"cap": 60}))
        ports = gateway.plain_port, gateway.tls_port
        sessions = [self.open(ports[0]) for _ in range(10)]
        tickets = [self.installation.ticket(self.target.port) for _ in range(6)]
        sent = [0] * len(sessions)

        def exchange() -> bool:
            for number, session in enumerate(sessions):
                data = os.urandom(3000)
                self.assert_echo(session, data)
                sent[number] += len(data)
            return True

        with (
            Storm(lambda: self.plain(ports[0]), tickets) as plain,
            Storm(lambda: self.tls(ports[1]), tickets, clients=3) as tls,
        ):
            eventually(lambda: plain.served > 20 and tls.served > 10, 30)
            exchange()
            gateway.signal(signal.SIGUSR2)
            eventually(lambda: exchange() and re.search(_SERVES, gateway.output), 30)
            first = self.successor(gateway, gateway.pid)
            before = plain.served, tls.served
            eventually(lambda: plain.served > before[0] + 50 and tls.served > before[1] + 20, 30)
            exchange()
            # And once more, while the first of them still has its sessions.
            os.kill(first, signal.SIGUSR2)
            second = self.successor(gateway, first)
            before = plain.served, tls.served
            eventually(lambda: plain.served > before[0] + 50 and tls.served > before[1] + 20, 30)
            exchange()
        self.assertEqual((dict(plain.failures), dict(tls.failures)), ({}, {}))
        self.assertEqual(len({gateway.pid, first, second}), 3)
        # What the old process counts is what was sent.
        own = Path(f"{self.control}.{gateway.pid}")
        _, listed = self.call("GET", "sessions", socket_path=own)
        self.assertEqual(sorted(each["to_client"] for each in listed["sessions"]), sorted(sent))
        _, status = self.call("GET", "status")
        self.assertFalse(status["drain"]["draining"])
        for session in sessions:
            session.close()
        gateway.wait_for(f"process {gateway.pid} has no session left and ends", 30)
        eventually(lambda: _state(gateway.pid) == "Z")
        self.assertFalse(own.exists())
        self.assert_echo(self.open(ports[0]), b"still there")
        self.assertNotIn("Traceback", gateway.output)
        # The last of them takes its socket with it.
        self.assertTrue(self.control.exists())
        _end(second)
        eventually(lambda: not self.control.exists())

    def test_the_time_of_the_old_sessions(self) -> None:
        gateway = self.start(self.settings())
        port = gateway.plain_port
        session = self.open(port, notices=True)
        done = self.cli("hand-over", "--seconds", "2", "--message", "Back at once", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["former"], gateway.pid)
        self.assertEqual(self.successor(gateway, gateway.pid), answer["pid"])
        notice = json.loads(session.recv())
        self.assertEqual((notice["type"], notice["text"]), ("drain", "Back at once"))
        self.assertTrue(1 < notice["seconds"] <= 2, notice)
        own = Path(f"{self.control}.{gateway.pid}")
        status, progress = self.call("GET", "drain", socket_path=own)
        self.assertEqual((status, progress["draining"], progress["sessions"]), (200, True, 1))
        self.assertEqual(self.call("DELETE", "drain", socket_path=own)[0], 409)
        self.assertEqual(self.call("POST", "hand-over", {}, socket_path=own)[0], 409)
        self.assertEqual(self.call("POST", "reload", {}, socket_path=own)[0], 409)
        _, history = self.call("GET", "history?type=admin-action&limit=1000", socket_path=own)
        actions = [(each["action"], each["detail"]) for each in history["events"]]
        self.assertIn(("hand-over", "Back at once"), actions)
        with self.assertRaises(ConnectionClosed):
            session.recv(timeout=10)
        self.assertEqual((session.close_code, session.close_reason), (1012, "Back at once"))
        gateway.wait_for("has no session left and ends", 20)
        self.assertEqual(self.readiness(port), (200, "ok"))

    def test_a_process_that_cannot_start_changes_nothing(self) -> None:
        settings = self.settings()
        gateway = self.start(settings)
        port = gateway.plain_port
        session = self.open(port)
        good = settings.read_text()
        settings.write_text(good + "\n[limits]\nsesions = 3\n")
        status, answer = self.call("POST", "hand-over", {})
        self.assertEqual(status, 409)
        self.assertIn("sesions", answer["error"]["message"])
        # One that gets as far as the sockets, and must not take their paths along.
        settings.write_text(good + '\n[audit]\nfile = "/nonexistent/audit.jsonl"\n')
        done = self.cli("hand-over")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/audit.jsonl", done.stderr)
        gateway.signal(signal.SIGUSR2)
        gateway.wait_for(r"(?s)(hand-over failed, this process goes on.*){3}", 30)
        self.assertTrue(self.control.exists())
        self.assert_echo(session, b"as before")
        self.assert_echo(self.open(port), b"new")
        self.assertEqual(self.readiness(port), (200, "ok"))
        settings.write_text(good)
        self.hand_over(gateway)
        self.assert_echo(session, b"at last")

    def test_it_stops_while_a_new_process_starts(self) -> None:
        settings = self.settings()
        gateway = self.start(settings)
        settings.unlink()
        os.mkfifo(settings)
        gateway.signal(signal.SIGUSR2)
        gateway.wait_for("a new process is started")
        begun = time.monotonic()
        gateway.signal()
        settings.unlink()
        self.assertEqual(gateway.wait(), 0)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertFalse(self.control.exists())

    def test_twistd(self) -> None:
        start = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
        settings = self.settings()

        def command(pid_file: str) -> list[str]:
            return [
                sys.executable,
                "-c",
                start,
                "-n",
                f"--pidfile={pid_file}",
                "console-gateway",
                "-c",
                str(settings),
            ]

        gateway = self.start(settings, command=command(""))
        session = self.open(gateway.plain_port)
        self.hand_over(gateway)
        self.assert_echo(session, b"still there")
        self.assert_echo(self.open(gateway.plain_port), b"new")

    def test_twistd_with_a_pid_file(self) -> None:
        """It is held by the old process: there is no way, and nothing happens."""
        start = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
        settings = self.settings()
        pid_file = self.installation.directory / f"{os.urandom(4).hex()}.pid"
        command = [sys.executable, "-c", start, "-n", "--pidfile", str(pid_file), "console-gateway"]
        gateway = self.start(settings, command=[*command, "-c", str(settings)])
        session = self.open(gateway.plain_port)
        gateway.signal(signal.SIGUSR2)
        gateway.wait_for("hand-over failed, this process goes on", 30)
        self.assert_echo(session, b"still there")
        self.assert_echo(self.open(gateway.plain_port), b"new")


class DrainTests(RestartCase):
    def test_progress(self) -> None:
        gateway = self.start(self.settings())
        port = gateway.plain_port
        sessions = [self.open(port, notices=True) for _ in range(3)]
        done = self.cli("drain", "--seconds", "60", "--message", "Maintenance", "--no-wait")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"3 sessions left, (59 s|1 min) for them\.")
        for session in sessions:
            notice = json.loads(session.recv())
            self.assertEqual((notice["type"], notice["text"]), ("drain", "Maintenance"))
        self.assertEqual(self.readiness(port), (503, "draining"))
        with self.assertRaises(InvalidStatus) as refused:
            self.open(port)
        self.assertEqual(refused.exception.response.status_code, 503)
        self.assertIn("reason=draining", gateway.output)
        self.assertIn("3 sessions left", self.cli("status").stdout)
        cancelled = self.cli("drain", "--cancel")
        self.assertEqual((cancelled.returncode, cancelled.stdout), (0, "Sessions are taken.\n"))
        self.assertEqual(json.loads(sessions[0].recv()), {"type": "drain-over"})
        self.assertEqual(self.readiness(port), (200, "ok"))
        self.assert_echo(sessions[0], b"on")

        waiting = subprocess.Popen(
            [sys.executable, "-m", "gateway", "drain", "--seconds", "3", "--json"],
            cwd=ROOT,
            env={**os.environ, "CONSOLE_GATEWAY_CONTROL": str(self.control)},
            stdout=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: self.call("GET", "drain")[1]["draining"], 10)
        sessions[0].close()
        output, _ = waiting.communicate(timeout=30)
        self.assertEqual(waiting.returncode, 0)
        seen = [json.loads(line) for line in output.splitlines()]
        counts = [each["sessions"] for each in seen]
        self.assertEqual(sorted(counts, reverse=True), counts)
        self.assertEqual((counts[0], counts[-1]), (3, 0))
        self.assertGreater(seen[0]["left_seconds"], seen[1]["left_seconds"])
        for session in sessions[1:]:
            with self.assertRaises(ConnectionClosed):
                while True:
                    session.recv()
            self.assertEqual(session.close_code, 1012)
        # The gateway is still there, and empty.
        self.assertEqual(self.readiness(port), (503, "draining"))
        self.assertEqual(gateway.output.count("reason=restart"), 2)

    def test_stop_waits(self) -> None:
        gateway = self.start(self.settings(drain={"on_stop": 30}))
        port = gateway.plain_port
        leaving, staying = self.open(port, notices=True), self.open(port)
        gateway.signal()
        notice = json.loads(leaving.recv())
        self.assertEqual(notice["type"], "drain")
        self.assertEqual(self.readiness(port), (503, "draining"))
        with self.assertRaises(InvalidStatus):
            self.open(port)
        leaving.close()
        self.assert_echo(staying, b"still there")
        # Who asks again does not want to wait.
        gateway.signal()
        with self.assertRaises(ConnectionClosed):
            staying.recv()
        self.assertEqual(staying.close_code, 1012)
        self.assertEqual(gateway.wait(), 0)
        self.assertNotIn("Traceback", gateway.output)

    def test_stop_when_everybody_has_left(self) -> None:
        gateway = self.start(self.settings(drain={"on_stop": 30}))
        session = self.open(gateway.plain_port)
        gateway.signal()
        gateway.wait_for("draining: 1 sessions")
        session.close()
        self.assertEqual(gateway.wait(), 0)


class HeldSocketTests(RestartCase):
    """Somebody else holds the socket, as systemd does."""

    def setUp(self) -> None:
        super().setUp()
        self.held = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.addCleanup(self.held.close)
        self.port = self.held.getsockname()[1]

    def activated(self, settings: Path, **environ: str) -> GatewayProcess:
        start = (
            "import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web'); "
            "os.set_inheritable(3, True); "
            "os.execv(sys.executable, [sys.executable, '-m', 'gateway', 'run', '-c', sys.argv[2]])"
        )
        command = [sys.executable, "-c", start, str(self.held.fileno()), str(settings)]
        return self.start(settings, command=command, pass_fds=[self.held.fileno()], environ=environ)

    def test_restart_under_a_storm(self) -> None:
        for kind, connect in (("tls", self.tls), ("plain", self.plain)):
            listen = {"tls": [], "plain": [], kind: ["systemd:web"]}
            settings = self.settings_file(listen=listen)
            gateway = self.activated(settings)
            tickets = [self.installation.ticket(self.target.port) for _ in range(8)]
            # Sessions end with their process; connections are not refused.
            with Storm(_to(connect, self.port), tickets, clients=8, echo=False) as storm:
                for _ in range(2):
                    _go_on(storm)
                    self.assertEqual(gateway.stop(), 0)
                    gateway = self.activated(settings)
                _go_on(storm)
            self.assertEqual(dict(storm.failures), {})
            gateway.stop()

    def test_hand_over_of_an_activated_socket(self) -> None:
        settings = self.settings_file(listen={"tls": [], "plain": ["systemd:web"]})
        gateway = self.activated(settings)
        session = self.open(self.port)
        self.hand_over(gateway)
        self.assert_echo(session, b"still there")
        self.assert_echo(self.open(self.port), b"new")

    def test_kill(self) -> None:
        """Who connects meanwhile is served by the next process, and used tickets stay used."""
        uses = self.installation.directory / "uses.sqlite"
        settings = self.settings_file(
            listen={"tls": [], "plain": ["systemd:web"]}, uses={"vnc": "single", "file": str(uses)}
        )
        gateway = self.activated(settings)
        used = self.installation.ticket(self.target.port)
        uri = f"ws://127.0.0.1:{self.port}/{used}"
        session = WebSocketClient(self.plain(self.port), uri, subprotocols=["binary"])
        self.addCleanup(session.socket.close)
        self.assert_echo(session, b"x")
        gateway.signal(signal.SIGKILL)
        self.assertEqual(gateway.wait(), -signal.SIGKILL)
        with self.assertRaises(ConnectionClosed):
            session.recv()
        # Nobody is there to accept, and nobody is refused.
        waiting = self.plain(self.port)
        self.addCleanup(waiting.close)
        self.activated(settings)
        with self.assertRaises(InvalidStatus) as refused:
            WebSocketClient(waiting, uri, subprotocols=["binary"])
        self.assertEqual(refused.exception.response.status_code, 403)
        fresh = WebSocketClient(
            self.plain(self.port),
            f"ws://127.0.0.1:{self.port}/{self.installation.ticket(self.target.port)}",
            subprotocols=["binary"],
        )
        self.addCleanup(fresh.socket.close)
        self.assert_echo(fresh, b"served")


def _to(connect: Callable[[int], socket.socket], port: int) -> Callable[[], socket.socket]:
    return lambda: connect(port)


def _go_on(storm: Storm) -> None:
    """Wait until it has been served some more."""
    before = storm.served
    eventually(lambda: storm.served > before + 20, 30)


class ManagerTests(RestartCase):
    """What the service manager hears, and from whom."""

    def setUp(self) -> None:
        super().setUp()
        name = f"\0console-gateway-test-{os.getpid()}-{os.urandom(4).hex()}"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(name)
        self.manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.environ = {"NOTIFY_SOCKET": "@" + name[1:], "WATCHDOG_USEC": "1000000"}

    def hear(self, wanted: Callable[[int, str], bool], timeout: float = 20) -> list[tuple[int, str]]:
        """Everything up to what is wanted: who said it, and what."""
        heard: list[tuple[int, str]] = []
        end = time.monotonic() + timeout
        while not heard or not wanted(*heard[-1]):
            self.manager.settimeout(max(0.01, end - time.monotonic()))
            data, ancillary, _, _ = self.manager.recvmsg(4096, socket.CMSG_SPACE(12))
            (credentials,) = [item[2] for item in ancillary if item[1] == socket.SCM_CREDENTIALS]
            heard.append((int.from_bytes(credentials[:4], sys.byteorder), data.decode()))
        return heard

    def test_watchdog_reload_and_hand_over(self) -> None:
        settings = self.settings()
        gateway = GatewayProcess(settings, environ=self.environ)
        self.addCleanup(gateway.stop)
        pid = gateway.pid
        self.assertEqual(self.hear(lambda _, said: True), [(pid, "READY=1")])
        gateway.ready()
        begun = time.monotonic()
        for _ in range(4):
            self.hear(lambda _, said: said == "WATCHDOG=1")
        self.assertLess(time.monotonic() - begun, 3)
        gateway.signal(signal.SIGHUP)
        reloading = self.hear(lambda _, said: said == "READY=1")
        self.assertTrue(any(said.startswith("RELOADING=1\nMONOTONIC_USEC=") for _, said in reloading))
        # A loop that does not turn feeds no watchdog.
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.1)
        self.drop()
        time.sleep(1.2)
        self.assertEqual(self.drop(), 0)
        os.kill(pid, signal.SIGCONT)
        self.hear(lambda _, said: said == "WATCHDOG=1")
        session = self.open(gateway.plain_port)
        successor = self.hand_over(gateway)
        heard = self.hear(lambda _, said: said.startswith("MAINPID="))
        self.assertEqual(heard[-1], (pid, f"MAINPID={successor}"))
        later = self.hear(lambda _, said: said.startswith("STATUS="))
        self.assertEqual({who for who, _ in later}, {successor})
        self.assertIn("WATCHDOG=1", [said for _, said in later])
        self.assertNotIn("READY=1", [said for _, said in later])
        self.assertRegex(later[-1][1], r"\ASTATUS=0 sessions, \d+ handshakes\Z")
        # The end of the old one is no business of the service manager's.
        session.close()
        gateway.wait_for("has no session left and ends", 20)
        self.assertNotIn(pid, {who for who, _ in self.hear(lambda _, said: said == "WATCHDOG=1")})
        os.kill(successor, signal.SIGTERM)
        self.assertEqual(self.hear(lambda _, said: said == "STOPPING=1")[-1][0], successor)

    def drop(self) -> int:
        """Forget what was said, and tell how much that was."""
        count = 0
        self.manager.setblocking(False)
        try:
            while True:
                self.manager.recv(4096)
                count += 1
        except BlockingIOError:
            return count

    def test_a_stop_that_waits(self) -> None:
        gateway = GatewayProcess(self.settings(drain={"on_stop": 60}), environ=self.environ)
        self.addCleanup(gateway.stop)
        gateway.ready()
        session = self.open(gateway.plain_port)
        gateway.signal()
        self.hear(lambda _, said: said == "STOPPING=1")
        (longer,) = self.hear(lambda _, said: said.startswith("EXTEND_TIMEOUT_USEC="))
        self.assertGreater(int(longer[1].partition("=")[2]), 60_000_000)
        draining = self.hear(lambda _, said: said.startswith("STATUS=draining: 1 sessions left"))
        self.assertIn("WATCHDOG=1", [said for _, said in draining])
        session.close()
        self.assertEqual(gateway.wait(), 0)
