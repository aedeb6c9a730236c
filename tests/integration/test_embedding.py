"""The examples in docs/embedding.md are run as they stand, the second as part of an application."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from gateway.rfb import vnc_response
from tests.support.client import WebSocketClient
from tests.support.http import read_answer, upgrade
from tests.support.pki import install
from tests.support.process import ROOT, GatewayProcess
from tests.support.rfb import NONE, Viewer
from tests.support.targets import TargetServer, echo

PASSWORD = "tr0ub4"
CHALLENGE = bytes(range(16))
APPLICATION = """
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.python import log

from gateway.settings import ListenSettings, TargetSettings
from gateway.tickets import load_verification_key


class Passwords(dict):
    def __getitem__(self, target):
        if target.endswith(":2"):
            raise ZeroDivisionError(f"nothing for {target}")
        return super().__getitem__(target)


log.startLogging(sys.stdout, setStdout=False)
passwords = Passwords(known)
settings = Settings(
    listen=ListenSettings(tls=(), plain=("tcp:0:interface=127.0.0.1",)),
    targets=TargetSettings(networks=("127.0.0.1/32",), ports=("1-65535",)),
    security=SecuritySettings(password=PasswordMode.GATEWAY),
)
service = build(settings, [load_verification_key(Path(sys.argv[1]))])
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
"""


def examples() -> list[str]:
    text = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def guarded(sock: socket.socket, stop: threading.Event) -> None:
    """A VNC server with a password and a screen of one pixel."""
    sock.sendall(b"RFB 003.008\n")
    assert sock.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n"
    sock.sendall(b"\1\2")
    assert sock.recv(1) == b"\2"
    sock.sendall(CHALLENGE)
    if sock.recv(16, socket.MSG_WAITALL) != vnc_response(CHALLENGE, PASSWORD):
        sock.sendall(b"\0\0\0\1\0\0\0\2No")
        return
    sock.sendall(b"\0\0\0\0")
    assert sock.recv(1) == b"\1"
    sock.sendall(b"\0\1\0\1" + bytes(16) + b"\0\0\0\3one")
    stop.wait()


def test_the_documented_example_runs(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(examples()[0], encoding="utf-8")
    installation = install(tmp_path)
    trust = installation.client_context()
    with (
        TargetServer(echo) as target,
        subprocess.Popen(
            [sys.executable, script, tmp_path, "tcp:0:interface=127.0.0.1", "127.0.0.1", str(target.port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            request = urllib.request.Request(f"https://localhost:{port}/app/grant", method="POST")
            with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
                grant = json.load(answer)
            plain = socket.create_connection(("127.0.0.1", port), 10)
            sock = trust.wrap_socket(plain, server_hostname="localhost")
            with WebSocketClient(sock, f"wss://localhost:{port}/{grant['ticket']}") as console:
                console.send(b"hello")
                assert console.recv(timeout=10) == b"hello"
                process.send_signal(signal.SIGTERM)
                assert list(console) == []
                assert console.close_code == 1001
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_an_application_completes_grants(tmp_path: Path) -> None:
    installation = install(tmp_path)
    with TargetServer(guarded) as target:
        script = tmp_path / "app.py"
        known = {f"127.0.0.1:{target.port}": PASSWORD}
        # The documented imports and functions come first.
        script.write_text(f"{examples()[1]}\nknown = {known!r}\n{APPLICATION}", encoding="utf-8")
        command = [sys.executable, str(script), str(installation.engine_file)]
        with GatewayProcess(tmp_path, command=command) as gateway:
            port = gateway.plain_port

            def connect(target_port: int) -> socket.socket:
                sock = socket.create_connection(("127.0.0.1", port), 10)
                sock.sendall(upgrade("/" + installation.ticket(target_port)))
                return sock

            sock = socket.create_connection(("127.0.0.1", port), 10)
            uri = f"ws://localhost:{port}/{installation.ticket(target.port)}"
            with WebSocketClient(sock, uri) as browser:
                viewer = Viewer(browser).enter()
                assert (viewer.types, viewer.name) == ([NONE], "one")
            # One that it does not know, and one for which its code breaks.
            for other, status, words in ((1, 403, "disallowed"), (2, 500, "ZeroDivisionError")):
                with connect(other) as refused:
                    assert read_answer(refused)[0].status == status
                gateway.wait_for(words)
            for secret in (PASSWORD, "nothing for 127"):
                assert secret not in gateway.output
        assert gateway.wait() == 0
