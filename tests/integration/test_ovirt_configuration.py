"""The gateway with the shell-like configuration files and the command line of the service it replaces."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.demo.pki import make_pki
from tests.integration.case import InstallationTestCase, eventually
from tests.support.client import WebSocketClient
from tests.support.pki import Authority
from tests.support.process import ROOT, GatewayProcess
from tests.support.targets import TargetServer, closed_port, echo


class OvirtTestCase(InstallationTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=self.installation.directory))
        self.conf = self.directory / "proxy.conf"
        self.local = self.directory / "proxy.conf.d" / "99-local.conf"
        self.local.parent.mkdir()
        further = self.directory / "further.toml"
        further.write_text('[targets]\nnetworks = ["127.0.0.0/8"]\nports = ["1-65535"]\n')
        pki = self.installation.pki
        self.conf.write_text(
            f"PROXY_PORT=0\nSSL_CERTIFICATE={pki.certificate_file}\nSSL_KEY={pki.key_file}\n"
            f"CERT_FOR_DATA_VERIFICATION={self.installation.engine_file}\nSSL_ONLY=True\n"
            f"PROXY_HOST=127.0.0.1\nCONSOLE_GATEWAY_SETTINGS={further}\n"
        )

    def start(self, *arguments: str) -> GatewayProcess:
        command = [sys.executable, "-m", "gateway", *arguments]
        gateway = GatewayProcess(self.conf, command=command)
        self.addCleanup(gateway.stop)
        return gateway

    def connect(self, port: int, ticket: str) -> WebSocketClient:
        sock = socket.create_connection(("127.0.0.1", port), 10)
        self.addCleanup(sock.close)
        tls = self.installation.client_context().wrap_socket(sock, server_hostname="localhost")
        self.addCleanup(tls.close)
        return self.enterContext(WebSocketClient(tls, f"wss://localhost:{port}/{ticket}"))

    def other_engine(self) -> tuple[Path, rsa.RSAPrivateKey]:
        """The certificate of another one, as some tools write it, and its key."""
        pki = make_pki(self.directory, ["localhost"])
        path = self.directory / "other.cer"
        path.write_bytes(b"Certificate:\n  Data:\n" + pki.engine_certificate.public_bytes(Encoding.PEM))
        return path, pki.engine_key

    def check_session(self, port: int, ticket: str) -> None:
        client = self.connect(port, ticket)
        client.send(b"console")
        self.assertEqual(client.recv(timeout=5), b"console")
        client.close()


class RunTests(OvirtTestCase):
    def test_sessions_and_reload(self) -> None:
        target = self.enterContext(TargetServer(echo))
        gateway = self.start("run", "--ovirt-conf", str(self.conf)).ready()
        ticket = self.installation.ticket(target.port)
        self.check_session(gateway.tls_port, ticket)
        self.assertIn("ca.pem: does not exist", gateway.output)
        self.assertNotIn(ticket, gateway.output)

        # An engine with another certificate: what it signs is accepted once its file is named, and only then.
        engine, key = self.other_engine()
        ticket = self.installation.ticket(target.port, key=key)
        with self.assertRaises(InvalidStatus):
            self.connect(gateway.tls_port, ticket)
        self.local.write_text(f"CERT_FOR_DATA_VERIFICATION={engine}\nSSL_ONLY=$\n")
        gateway.signal(signal.SIGHUP)
        gateway.wait_for(
            r"reload refused, nothing is changed: \S+99-local\.conf: line 2: the value of 'SSL_ONLY'"
        )
        self.local.write_text(f"CERT_FOR_DATA_VERIFICATION={engine}\nTRACE_ENABLE=1\n")
        gateway.signal(signal.SIGHUP)
        gateway.wait_for(r"settings are reloaded; changed: tickets\.certificate;")
        gateway.wait_for(r"99-local\.conf: line 2, TRACE_ENABLE: sessions are not recorded")
        self.check_session(gateway.tls_port, ticket)
        # What has been said is not said again.
        self.assertEqual(gateway.output.count("ca.pem: does not exist"), 1)
        self.assertEqual(gateway.stop(), 0)
        self.assertNotIn("Traceback", gateway.output)

    def test_targets_are_held_to_the_authority_of_the_engine(self) -> None:
        """Whatever their names: tickets have addresses that certificates do not."""
        ours, other = Authority("Engine CA"), Authority("Another CA")
        certificate, key = ours.issue("host7.example.com").save(self.directory, "host")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        def serve(sock: socket.socket, stop: threading.Event) -> None:
            with context.wrap_socket(sock, server_side=True) as tls:
                echo(tls, stop)

        target = self.enterContext(TargetServer(serve))
        engine = self.directory / "certs" / "engine.cer"
        engine.parent.mkdir()
        shutil.copy(self.installation.engine_file, engine)
        self.local.write_text(f"CERT_FOR_DATA_VERIFICATION={engine}\n")
        with (self.directory / "further.toml").open("a") as further:
            further.write("[security]\nsilence = 0.2\n")
        ours.save(self.directory, "ca")
        gateway = self.start("run", "--ovirt-conf", str(self.conf)).ready()
        self.assertNotIn("warn", gateway.output)
        self.check_session(gateway.tls_port, self.installation.ticket(target.port, tls=True))
        other.save(self.directory, "ca")
        gateway.signal(signal.SIGHUP)
        gateway.wait_for("settings are reloaded")
        client = self.connect(gateway.tls_port, self.installation.ticket(target.port, tls=True))
        with self.assertRaises(ConnectionClosed):
            client.recv(timeout=5)
        gateway.wait_for("reason=target-untrusted")

    def test_hand_over_reads_the_same_files(self) -> None:
        target = self.enterContext(TargetServer(echo))
        gateway = self.start("run", "--ovirt-conf", str(self.conf)).ready()
        port = gateway.tls_port
        gateway.signal(signal.SIGUSR2)
        pid = int(gateway.wait_for(r"hand-over: process (\d+) accepts connections")[1])
        self.addCleanup(_kill, pid)
        self.check_session(port, self.installation.ticket(target.port))

    def test_twistd(self) -> None:
        start = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
        options = ["-n", "--pidfile=", "console-gateway", "--ovirt-conf", str(self.conf)]
        gateway = GatewayProcess(self.conf, command=[sys.executable, "-c", start, *options])
        self.addCleanup(gateway.stop)
        target = self.enterContext(TargetServer(echo))
        self.check_session(gateway.ready().tls_port, self.installation.ticket(target.port))
        self.assertIn("ca.pem: does not exist", gateway.output)
        result = subprocess.run(
            [sys.executable, "-c", start, *options, "--ovirt"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )
        self.assertEqual(result.returncode, 1)
        self.assertIn("exclude each other", result.stdout + result.stderr)


class CommandLineTests(OvirtTestCase):
    """``ovirt-websocket-proxy``."""

    def setUp(self) -> None:
        super().setUp()
        self.pid_file = self.directory / "proxy.pid"
        self.options = ["ovirt-websocket-proxy", "--ovirt-conf", str(self.conf), "--pidf", str(self.pid_file)]

    def test_foreground(self) -> None:
        target = self.enterContext(TargetServer(echo))
        gateway = self.start(*self.options, "-d", "--systemd=notify", "start").ready()
        eventually(self.pid_file.exists)
        self.assertEqual(self.pid_file.read_text(), f"{gateway.pid}\n")
        self.assertEqual(self.pid_file.stat().st_mode & 0o777, 0o644)
        self.local.write_text(f"CERT_FOR_DATA_VERIFICATION={self.other_engine()[0]}\n")
        gateway.signal(signal.SIGHUP)
        gateway.wait_for(
            "settings are reloaded; changed: tickets.certificate; in force after a restart: nothing"
        )
        # Of the engine as it was, which is known for a while.
        ticket = self.installation.ticket(target.port)
        self.check_session(gateway.tls_port, ticket)
        gateway.wait_for(" debug .* former key ")
        self.assertEqual(gateway.stop(), 0)
        self.assertFalse(self.pid_file.exists())
        self.assertNotIn(ticket[20:80], gateway.output)

    def test_failed_bind(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.local.write_text(f"PROXY_PORT={taken.getsockname()[1]}\n")
            for options in ([], ["--background"]):
                gateway = self.start(*self.options, *options, "start")
                self.assertEqual(gateway.wait(), 1)
                self.assertIn("cannot listen on tcp:", gateway.output)
                self.assertFalse(self.pid_file.exists())

    def test_background(self) -> None:
        port = closed_port()
        log = self.directory / "gateway.log"
        (self.directory / "further.toml").write_text(f'[log]\nfile = "{log}"\n')
        self.local.write_text(f"PROXY_PORT={port}\n")
        begun = time.monotonic()
        gateway = self.start(*self.options, "--background", "start")
        self.assertEqual((gateway.wait(), gateway.output), (0, ""))
        self.assertLess(time.monotonic() - begun, 15)
        pid = int(self.pid_file.read_text())
        self.addCleanup(_kill, pid)
        self.assertNotEqual(pid, gateway.pid)
        self.assertEqual(os.getsid(pid) in (pid, os.getsid(0)), False)
        for descriptor in (0, 1, 2):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/{descriptor}"), "/dev/null")
        # It listens by now.
        with self.assertRaises(InvalidStatus):
            self.connect(port, "x")
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not self.pid_file.exists())
        self.assertIn("listens on", log.read_text())


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
