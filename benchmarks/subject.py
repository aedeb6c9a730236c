"""The gateway under measurement: a process of its own, as an operator would start it."""

from __future__ import annotations

import datetime
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.demo.pki import DemoPki, make_pki
from gateway.tickets import Target, encode_ticket

__all__ = ["Subject", "running_gateway"]

_TICK = os.sysconf("SC_CLK_TCK")
_START_TIMEOUT = 20.0


@attrs.frozen
class Subject:
    """A running gateway and how to get into it."""

    pid: int
    port: int
    """TLS port on 127.0.0.1."""
    plain_port: int
    pki: DemoPki

    def ticket(self, port: int) -> str:
        """A ticket for a target on 127.0.0.1."""
        return encode_ticket(
            self.pki.engine_key,
            Target("127.0.0.1", port),
            certificate=self.pki.engine_certificate,
            valid_from=datetime.datetime.now(datetime.UTC),
            lifetime=datetime.timedelta(minutes=30),
        )

    def memory(self) -> int:
        """Anonymous memory in bytes, shared pages in proportion: what the process itself takes.

        File pages are left out: their share changes whenever another Python process comes or goes.
        """
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        match = re.search(r"^Pss_Anon:\s+(\d+) kB$", text, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    def cpu(self) -> float:
        """CPU seconds used so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK


@contextmanager
def running_gateway(*, sessions: int = 20000) -> Iterator[Subject]:
    """Start a gateway with throw-away keys that may dial 127.0.0.1, and stop it afterwards."""
    with tempfile.TemporaryDirectory(prefix="console-gateway-bench-") as name:
        directory = Path(name)
        pki = make_pki(directory, ["localhost", "127.0.0.1"])
        engine = directory / "engine.pem"
        engine.write_bytes(pki.engine_certificate.public_bytes(Encoding.PEM))
        config = directory / "gateway.toml"
        config.write_text(
            f"""
            listen.tls = ["tcp:0:interface=127.0.0.1"]
            listen.plain = ["tcp:0:interface=127.0.0.1"]
            tls.certificate = "{pki.certificate_file}"
            tls.key = "{pki.key_file}"
            tickets.certificate = "{engine}"
            limits.sessions = {sessions}
            limits.sessions_per_client = {sessions}
            targets.networks = ["127.0.0.1/32"]
            targets.ports = ["1-65535"]
            """,
            encoding="utf-8",
        )
        log = directory / "gateway.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "run", "--config", str(config)], stderr=stream
            )
        try:
            port, plain_port = _wait_for_ports(process, log)
            yield Subject(process.pid, port, plain_port, pki)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_ports(process: subprocess.Popen[bytes], log: Path) -> tuple[int, int]:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8")
        match = re.search(r"listens on \S+:(\d+) \(TLS\), \S+:(\d+) \(plain\)", text)
        if match is not None:
            return int(match[1]), int(match[2])
        if process.poll() is not None:
            raise RuntimeError(f"the gateway did not start: {text}")
        time.sleep(0.02)
    raise RuntimeError("the gateway did not start in time")
