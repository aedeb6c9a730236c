"""The gateway as a process: how it starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from gateway.reasons import EndReason
from tests.integration.case import InstallationTestCase, Table, eventually
from tests.support.client import WebSocketClient
from tests.support.http import read_answer, read_rest, upgrade
from tests.support.process import ROOT, GatewayProcess
from tests.support.targets import TargetServer, echo, flood, stall


def _twistd(settings: Path, directory: Path) -> list[str]:
    start = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
    pid = str(directory / f"twistd-{os.urandom(4).hex()}.pid")
    return [sys.executable, "-c", start, "-n", "--pidfile", pid, "console-gateway", "--config", str(settings)]


class ProcessTestCase(InstallationTestCase):
    def run_to_the_end(self, settings: Path, command: list[str] | None = None) -> tuple[int, str]:
        gateway = GatewayProcess(settings, command=command)
        self.addCleanup(gateway.stop)
        return gateway.wait(), gateway.output

    def start(self, settings: Path, **options: object) -> GatewayProcess:
        gateway = GatewayProcess(settings, **options)  # type: ignore[arg-type]
        self.addCleanup(gateway.stop)
        return gateway.ready()

    def session(self, gateway: GatewayProcess, target: TargetServer) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", gateway.plain_port), 10)
        self.addCleanup(sock.close)
        sock.sendall(upgrade("/" + self.installation.ticket(target.port)))
        self.assertEqual(read_answer(sock)[0].status, 101)
        eventually(lambda: target.accepted)
        return sock

    def target(self, behaviour: object) -> TargetServer:
        server = TargetServer(behaviour)  # type: ignore[arg-type]
        self.addCleanup(server.close)
        return server


class EndTests(ProcessTestCase):
    def test_sessions_are_told(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            gateway = self.start(self.settings_file())
            target = self.target(echo)
            uri = f"ws://127.0.0.1:{gateway.plain_port}/{self.installation.ticket(target.port)}"
            sock = socket.create_connection(("127.0.0.1", gateway.plain_port), 10)
            with WebSocketClient(sock, uri) as connection:
                connection.send(b"x")
                self.assertEqual(connection.recv(timeout=5), b"x")
                begun = time.monotonic()
                gateway.signal(number)
                with self.assertRaises(ConnectionClosed):
                    connection.recv(timeout=5)
                self.assertEqual(
                    (connection.close_code, connection.close_reason), (1001, EndReason.SHUTDOWN.public)
                )
                self.assertEqual(gateway.wait(), 0)
            self.assertLess(time.monotonic() - begun, 3)
            self.assertIn("reason=shutdown", gateway.output)
            self.assertNotIn("Traceback", gateway.output)

    def test_idle(self) -> None:
        gateway = self.start(self.settings_file())
        waiting = socket.create_connection(("127.0.0.1", gateway.tls_port), 10)
        self.addCleanup(waiting.close)
        begun = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begun, 2)
        self.assertEqual(read_rest(waiting), b"")

    def test_stalled_clients(self) -> None:
        """Neither a client that reads nothing nor one that does not answer keeps the process."""
        gateway = self.start(self.settings_file(relay={"close_timeout": 0.5}))
        flooded = self.session(gateway, self.target(flood))
        silent = self.session(gateway, self.target(stall))
        time.sleep(0.3)
        begun = time.monotonic()
        self.assertEqual(gateway.stop(), 0)
        self.assertLess(time.monotonic() - begun, 3)
        self.assertEqual(gateway.output.count("reason=shutdown"), 2)
        self.assertIn((1001).to_bytes(2, "big"), read_rest(silent))
        flooded.close()

    def test_while_dialling(self) -> None:
        gateway = self.start(self.settings_file())
        with socket.socket() as hole:
            hole.bind(("127.0.0.1", 0))
            hole.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(hole.getsockname())
                self.addCleanup(filler.close)
            sock = socket.create_connection(("127.0.0.1", gateway.plain_port), 10)
            self.addCleanup(sock.close)
            sock.sendall(upgrade("/" + self.installation.ticket(hole.getsockname()[1])))
            self.assertEqual(read_answer(sock)[0].status, 101)
            self.assertEqual(gateway.stop(), 0)
        self.assertIn("reason=shutdown", gateway.output)
        self.assertNotIn("Traceback", gateway.output)

    def test_unix_listener(self) -> None:
        path = Path(f"/tmp/console-gateway-test-{os.getpid()}-listen.sock")
        listen = {"tls": [], "plain": [f"unix:{path}:mode=600"]}
        for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            # The one that was killed leaves its socket behind, and the next one takes its place.
            gateway = self.start(self.settings_file(listen=listen))
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(read_answer(client)[0].status, 200)
            gateway.signal(how)
            self.assertEqual(gateway.wait(), 0 if how is signal.SIGTERM else -signal.SIGKILL)
            self.assertEqual(path.exists(), how is signal.SIGKILL)


class StartTests(ProcessTestCase):
    def fails(self, settings: Path, *words: str, command: list[str] | None = None) -> None:
        """It ends at once with status 1 and one line."""
        status, output = self.run_to_the_end(settings, command)
        self.assertEqual(status, 1, output)
        self.assertEqual(len(output.strip().splitlines()), 1, output)
        for word in words:
            self.assertIn(word, output)

    def test_port_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            name = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            self.fails(self.settings_file(listen={"plain": [name]}), name, "Address already in use")

    def test_files_are_missing(self) -> None:
        self.fails(self.installation.directory / "none.toml", "none.toml")
        for table, key in (("tls", "certificate"), ("tls", "key"), ("tickets", "certificate")):
            broken: dict[str, Table] = {table: {key: "/nonexistent/x.pem"}}
            settings = self.settings_file("bad.toml", **broken)
            self.fails(settings, f"{table}.{key}", "/nonexistent/x.pem")

    def test_settings_are_wrong(self) -> None:
        self.fails(self.settings_file("bad.toml", limits={"sesions": 3}), "sesions")
        self.fails(self.settings_file("bad.toml", tls={"ciphers": "NONSENSE"}), "tls.ciphers")
        self.fails(self.settings_file("bad.toml", tickets={"certificate": None}), "tickets.certificate")
        self.fails(self.settings_file("bad.toml", log={"file": "/nonexistent/log"}), "/nonexistent/log")

    def test_ready_when_bound(self) -> None:
        """The service manager hears READY only when clients can connect, and STOPPING before the end."""
        address = f"\0console-gateway-test-{os.getpid()}-ready"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(10)
            environ = {"NOTIFY_SOCKET": "@" + address[1:]}
            gateway = GatewayProcess(self.settings_file(), environ=environ)
            self.addCleanup(gateway.stop)
            self.assertEqual(manager.recv(100), b"READY=1")
            for port in (gateway.tls_port, gateway.plain_port):
                socket.create_connection(("127.0.0.1", port), 5).close()
            gateway.signal()
            self.assertEqual(manager.recv(100), b"STOPPING=1")
            self.assertEqual(gateway.wait(), 0)
            # One that cannot start is never ready.
            with socket.create_server(("127.0.0.1", 0)) as taken:
                name = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
                failing = GatewayProcess(
                    self.settings_file("bad.toml", listen={"plain": [name]}), environ=environ
                )
                self.addCleanup(failing.stop)
                self.assertEqual(failing.wait(), 1)
            manager.settimeout(0)
            self.assertRaises(BlockingIOError, manager.recv, 100)

    def test_inherited_socket(self) -> None:
        """Sockets that the service manager passes, as systemd.exec(5) describes it."""
        passed = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(passed.close)
        start = (
            "import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web'); "
            "os.set_inheritable(3, True); "
            "os.execv(sys.executable, [sys.executable, '-m', 'gateway', 'run', '-c', sys.argv[2]])"
        )
        for name in ("systemd:web", "systemd:0"):
            settings = self.settings_file(listen={"tls": [], "plain": [name]})
            command = [sys.executable, "-c", start, str(passed.fileno()), str(settings)]
            gateway = self.start(settings, command=command, pass_fds=[passed.fileno()])
            with socket.create_connection(passed.getsockname(), 5) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(read_answer(client)[0].status, 200)
            self.assertEqual(gateway.stop(), 0)

    def test_socket_activation(self) -> None:
        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            self.skipTest("systemd-socket-activate is not here")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = self.settings_file(listen={"tls": [], "plain": ["systemd:web"]})
        command = [
            activate,
            "-l",
            f"127.0.0.1:{port}",
            "--fdname=web",
            sys.executable,
            "-m",
            "gateway",
            "run",
        ]
        gateway = GatewayProcess(settings, command=[*command, "-c", str(settings)])
        self.addCleanup(gateway.stop)
        gateway.wait_for("Listening on")
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.settimeout(15)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(read_answer(client)[0].status, 200)
        self.assertEqual(gateway.stop(), 0)


class TwistdTests(StartTests):
    """The same through Twisted's own runner."""

    def fails(self, settings: Path, *words: str, command: list[str] | None = None) -> None:
        super().fails(settings, *words, command=_twistd(settings, self.installation.directory))

    # What they show has nothing to do with who starts the service.
    test_ready_when_bound = test_inherited_socket = test_socket_activation = None  # type: ignore[assignment]

    def test_run(self) -> None:
        settings = self.settings_file()
        gateway = self.start(settings, command=_twistd(settings, self.installation.directory))
        target = self.target(echo)
        sock = self.session(gateway, target)
        sock.sendall(b"\x82\x85\0\0\0\0hello")
        self.assertEqual(sock.recv(100), b"\x82\x05hello")
        gateway.signal()
        self.assertIn((1001).to_bytes(2, "big"), read_rest(sock))
        # twistd ends by the signal that it got, after it has ended in order.
        self.assertEqual(gateway.wait(), -signal.SIGTERM)
        self.assertIn("Server Shut Down", gateway.output)
        self.assertNotIn("Traceback", gateway.output)

    def test_own_log_file(self) -> None:
        log = self.installation.directory / "own.log"
        settings = self.settings_file(log={"file": str(log)})
        gateway = self.start(settings, command=_twistd(settings, self.installation.directory))
        self.assertEqual(gateway.stop(), -signal.SIGTERM)
        self.assertIn("listens on", log.read_text())

    def test_other_plugins_are_still_listed(self) -> None:
        start = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
        listed = subprocess.run(
            [sys.executable, "-c", start, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        for name in ("console-gateway", "web", "conch"):
            self.assertRegex(listed, rf"(?m)^    {name} ")
