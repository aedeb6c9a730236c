"""The gateway as its operator runs it: a process of its own, a settings file, a log, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["ROOT", "GatewayProcess", "write_settings"]

ROOT = Path(__file__).resolve().parents[2]

_LISTENS = re.compile(r"listens on (?P<addresses>.*)$", re.MULTILINE)
_ADDRESS = re.compile(r"(?:\S*:(?P<port>\d+)|unix:(?P<path>\S+)) \((?P<kind>TLS|plain)\)")

_WORST_CASE = """
import sys, txaio
txaio.use_twisted()
txaio.set_global_log_level("debug")
from gateway.cli import main
main(prog_name="console-gateway")
"""


def write_settings(path: Path, tables: Mapping[str, Mapping[str, object]]) -> Path:
    """Write a settings file; values are what JSON and TOML have in common, or flat tables."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_value(value)}" for key, value in table.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class GatewayProcess:
    """A running gateway; a context manager that stops it.

    :ivar output: standard output and error so far.
    """

    def __init__(
        self,
        settings: Path,
        *,
        command: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        chatty: bool = False,
    ) -> None:
        """
        :param command: runs the gateway instead of ``python -m gateway run``.
        :param environ: further environment variables.
        :param chatty: have the libraries below log all they can.
        """
        start = ["-c", _WORST_CASE] if chatty else ["-m", "gateway"]
        self._process = subprocess.Popen(
            command or [sys.executable, *start, "run", "--config", str(settings)],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            # Whoever runs the tests in the background has had it ignored, and that is inherited.
            preexec_fn=_hear_interrupts,
        )
        self._written = b""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._written.decode("utf-8", "replace")

    def wait_for(self, pattern: str, timeout: float = 15) -> re.Match[str]:
        """Wait until ``pattern`` is in the output.

        :raises AssertionError: when it does not come within ``timeout`` seconds, or the process ends first.
        """
        expression = re.compile(pattern, re.MULTILINE)
        with self._changed:
            self._changed.wait_for(
                lambda: expression.search(self.output) or not self._reader.is_alive(), timeout
            )
            match = expression.search(self.output)
        assert match is not None, f"{pattern!r} never came:\n{self.output}"
        return match

    def ready(self) -> GatewayProcess:
        """Wait until it listens."""
        self.wait_for(_LISTENS.pattern)
        return self

    def ports(self, kind: str) -> list[int]:
        """Bound TCP ports, ``"TLS"`` or ``"plain"``."""
        addresses = self.wait_for(_LISTENS.pattern)["addresses"]
        found = _ADDRESS.finditer(addresses)
        return [int(match["port"]) for match in found if match["kind"] == kind and match["port"]]

    @property
    def tls_port(self) -> int:
        return self.ports("TLS")[0]

    @property
    def plain_port(self) -> int:
        return self.ports("plain")[0]

    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 15) -> int:
        """The exit status."""
        status = self._process.wait(timeout)
        self._reader.join(timeout)
        return status

    def stop(self) -> int:
        """Ask it to end, and return the exit status."""
        if self._process.poll() is None:
            self.signal()
        try:
            return self.wait()
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while True:
            data = os.read(self._process.stdout.fileno(), 65536)
            with self._changed:
                self._written += data
                if not data:
                    break
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
