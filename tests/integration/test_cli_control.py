"""Commands as processes of their own, in front of the real control API and of a real gateway."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from gateway.control.tokens import new_token, token_line
from gateway.reasons import EndReason
from gateway.sessions.events import AdminAction, SessionEnded
from gateway.settings import Role
from tests.integration.case import InstallationTestCase, eventually
from tests.support.client import WebSocketClient
from tests.support.process import ROOT, GatewayProcess
from tests.support.targets import TargetServer, echo
from tests.unit.control.gateways import ControlTestCase, session


class Command:
    """A command that runs; its output goes to files, so that nothing waits for a reader."""

    def __init__(self, *arguments: str, environ: Mapping[str, str]) -> None:
        self._output, self._error = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "80", **environ},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._error,
            # Whoever runs the tests in the background has had it ignored, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )

    @property
    def output(self) -> str:
        return os.pread(self._output.fileno(), 1 << 20, 0).decode()

    @property
    def error(self) -> str:
        return os.pread(self._error.fileno(), 1 << 20, 0).decode()

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._output.close()
        self._error.close()


class ServedTests(ControlTestCase):
    """The API itself, whose sessions are only a list."""

    def setUp(self) -> None:
        super().setUp()
        self.sessions.live = [session(1), session(2, subject="alice", client="198.51.100.7")]

    def start(self, *arguments: str, **environ: str) -> Command:
        command = Command(*arguments, environ={"CONSOLE_GATEWAY_CONTROL": str(self.socket), **environ})
        self.addCleanup(command.close)
        return command

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "it never became true"
            self.serve()
            time.sleep(0.005)

    def run_cli(self, *arguments: str, status: int = 0, **environ: str) -> str:
        """What a command prints, on standard output or, where it fails, on standard error."""
        command = self.start(*arguments, **environ)
        self.until(lambda: command.status is not None)
        self.assertEqual(command.status, status, command.error)
        self.assertNotIn("Traceback", command.error)
        return command.error if status else command.output

    def test_sessions(self) -> None:
        table = self.run_cli("sessions").splitlines()
        self.assertEqual([line.split()[0] for line in table], ["ID", f"{1:012x}", f"{2:012x}", "2"])
        self.assertIn("alice", table[2])
        found = json.loads(self.run_cli("sessions", "--client", "198.51.100.0/24", "--json"))
        self.assertEqual((found["total"], found["sessions"][0]["subject"]), (1, "alice"))
        self.assertIn("host1.example.com:5900", self.run_cli("sessions", "show", f"{1:012x}"))
        self.assertIn("HTTP status 404", self.run_cli("sessions", "show", "none", status=1))
        self.assertIn("HTTP status 422", self.run_cli("sessions", "--client", "x" * 100, status=1))

    def test_end(self) -> None:
        said = self.run_cli("sessions", "end", "--subject", "alice", "--message", "H\xf6rt auf", "--yes")
        self.assertIn("Ended 1 session.", said)
        self.assertEqual([info.subject for info in self.sessions.live], [None])
        self.assertEqual(self.sessions.messages, ["H\xf6rt auf"])
        action = self.events.recent[-1].what
        assert isinstance(action, AdminAction)
        self.assertEqual((action.actor, action.action), (f"uid:{os.getuid()}", "end"))
        # Nobody is there to answer.
        self.assertIn("Aborted", self.run_cli("sessions", "end", "--all", status=1))
        self.assertEqual(len(self.sessions.live), 1)

    def test_admission(self) -> None:
        self.assertIn("turned away", self.run_cli("admission", "stop", "--reason", "Noon"))
        self.assertFalse(self.sessions.registry.admitting)
        self.assertIn("turned away", self.run_cli("admission"))
        self.assertEqual(json.loads(self.run_cli("admission", "resume", "--json")), {"admitting": True})

    def test_status(self) -> None:
        command = self.start("status")
        self.until(lambda: command.status is not None)
        self.assertIn("2 of", command.output)
        self.assertIn(f"uid:{os.getuid()}, role operate", command.output)
        command = self.start("status", "--json")
        self.until(lambda: command.status is not None)
        self.assertEqual(json.loads(command.output)["sessions"]["total"], 2)

    def test_tokens(self) -> None:
        token = self.directory / "token"
        token.write_text(self.reading)
        token.chmod(0o600)
        where: tuple[str, ...] = ("--url", f"http://127.0.0.1:{self.port}")
        self.assertIn("--token-file", self.run_cli("sessions", *where, status=1))
        where = (*where, "--token-file", str(token))
        self.assertIn("alice", self.run_cli("sessions", *where))
        refused = self.run_cli("sessions", "end", "--all", "--yes", *where, status=1)
        self.assertIn("role 'operate'", refused)
        self.assertEqual(len(self.sessions.live), 2)

    def test_events(self) -> None:
        self.events.publish(AdminAction("uid:0", "end", (), "before"))
        following = self.start("events")
        everything = self.start("events", "--json", "--after", "0", "--count", "3")
        streams = self.server._api._streams  # type: ignore[union-attr]
        self.until(lambda: len(streams) == 2)
        for number in (1, 2):
            self.events.publish(SessionEnded(session(number), EndReason.IDLE, "d\x1b[2J"))
        self.until(lambda: everything.status is not None and following.output.count("\n") == 2)
        found = [json.loads(line) for line in everything.output.splitlines()]
        self.assertEqual([each["number"] for each in found], [1, 2, 3])
        self.assertIn("idle (4020) after 12 s", following.output)
        self.assertIn("d\\x1b[2J", following.output)
        self.assertNotIn("before", following.output)
        following.interrupt()
        self.until(lambda: following.status is not None)
        self.assertEqual((following.status, following.error), (0, ""))

    def test_events_over_a_restart(self) -> None:
        following = self.start("events", "--json")
        self.until(lambda: self.server._api._streams)  # type: ignore[union-attr]
        self.events.publish(AdminAction("uid:0", "end", (), "first"))
        self.until(lambda: following.output)
        self.server.stop()
        self.events.publish(AdminAction("uid:0", "end", (), "meanwhile"))
        self.until(lambda: "Trying again" in following.error)
        self.server.bind()
        self.server.start(self.reactor, self.controlled())
        self.until(lambda: following.output.count("\n") == 2)
        self.assertIn("meanwhile", following.output)
        following.interrupt()
        self.until(lambda: following.status is not None)
        self.assertEqual(following.status, 0)

    def test_watch(self) -> None:
        watching = self.start("sessions", "--watch", "0.2")
        self.until(lambda: watching.output.count("2 sessions.") >= 2)
        watching.interrupt()
        self.until(lambda: watching.status is not None)
        self.assertEqual((watching.status, watching.error), (0, ""))
        self.assertIn("0 B/s", watching.output)


class GatewayTests(InstallationTestCase):
    """A gateway, somebody on a console, and commands."""

    directory: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.directory = Path(tempfile.mkdtemp(prefix="console-gateway-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)

    def setUp(self) -> None:
        self.socket = self.directory / "control.sock"
        self.token = new_token()
        tokens = self.directory / "tokens"
        tokens.write_text(f"{token_line('eve', Role.READ, self.token)}\n")
        tokens.chmod(0o600)
        settings = self.settings_file(
            control={
                "listen": [f"unix:{self.socket}:mode=600"],
                "tls": ["tcp:0:interface=127.0.0.1"],
                "tokens": str(tokens),
            }
        )
        self.gateway = GatewayProcess(settings)
        self.addCleanup(self.gateway.stop)
        self.gateway.ready()
        self.target = TargetServer(echo)
        self.addCleanup(self.target.close)

    def run_cli(self, *arguments: str, status: int | None = 0) -> str:
        command = Command(*arguments, environ={"CONSOLE_GATEWAY_CONTROL": str(self.socket)})
        self.addCleanup(command.close)
        eventually(lambda: command.status is not None, 20)
        if status is not None:
            self.assertEqual(command.status, status, command.error)
        self.assertNotIn("Traceback", command.error)
        return command.error if status else command.output

    def open(self) -> WebSocketClient:
        sock = socket.create_connection(("127.0.0.1", self.gateway.plain_port), 10)
        uri = f"ws://127.0.0.1:{self.gateway.plain_port}/{self.installation.ticket(self.target.port)}"
        return self.enterContext(WebSocketClient(sock, uri, subprotocols=("binary",)))

    def test_an_end_with_a_message(self) -> None:
        following = Command("events", "--json", environ={"CONSOLE_GATEWAY_CONTROL": str(self.socket)})
        self.addCleanup(following.close)
        connection = self.open()
        connection.send(b"hello")
        self.assertEqual(connection.recv(timeout=5), b"hello")
        (found,) = json.loads(self.run_cli("sessions", "--json"))["sessions"]
        self.assertEqual((found["state"], found["to_target"], found["to_client"]), ("active", 5, 5))
        self.assertEqual(found["target"], f"127.0.0.1:{self.target.port}")
        self.assertIn(found["ticket"], self.run_cli("sessions", "show", found["id"]))
        self.assertIn(
            "Ended 1 session.", self.run_cli("sessions", "end", found["id"], "--message", "Noon", "--yes")
        )
        with self.assertRaises(Exception):  # noqa: B017 - the code is looked at below
            connection.recv(timeout=5)
        self.assertEqual((connection.close_code, connection.close_reason), (4023, "Noon"))
        self.assertIn("0 sessions.", self.run_cli("sessions"))
        self.run_cli("sessions", "end", found["id"], "--yes", status=1)

    def test_admission_and_status(self) -> None:
        self.run_cli("admission", "stop", "--reason", "Noon")
        with self.assertRaises(Exception):  # noqa: B017 - whichever the client has for a 503
            self.open()
        # It is not well: it admits nobody, and the certificate of these tests expires soon.
        status = json.loads(self.run_cli("status", "--json", status=None))
        self.assertFalse(status["admitting"])
        self.assertEqual(status["refused"].get("not-admitting"), 1)
        self.run_cli("admission", "resume")
        self.open()
        self.assertIn("Admission     open", self.run_cli("status", status=None))

    def test_over_tls(self) -> None:
        address = self.gateway.wait_for(r"control API is served on .*?(\d+) \(TLS\)")[1]
        token = self.directory / "token"
        token.write_text(self.token)
        token.chmod(0o600)
        ca = str(self.installation.pki.ca_file)
        where: tuple[str, ...] = ("--url", f"https://localhost:{address}", "--ca", ca)
        self.assertIn("--token-file", self.run_cli("sessions", *where, status=1))
        where = (*where, "--token-file", str(token))
        self.assertIn("0 sessions.", self.run_cli("sessions", *where))
        self.assertIn("token:eve, role read", self.run_cli("status", *where, status=None))
        self.assertIn("role 'operate'", self.run_cli("admission", "stop", *where, status=1))
        self.assertNotIn(self.token, self.gateway.output)
