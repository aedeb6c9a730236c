"""The example in docs/embedding.md is run as it stands."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.client import WebSocketClient
from tests.support.pki import install
from tests.support.process import ROOT
from tests.support.targets import TargetServer, echo


def test_the_documented_example_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert code is not None
    script = tmp_path / "app.py"
    script.write_text(code[1], encoding="utf-8")
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
