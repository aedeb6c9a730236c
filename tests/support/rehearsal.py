"""Runs ``console-gateway`` many times without starting Python each time, and with accidents if wanted.

A process that has imported the commands (:mod:`tests.support.stage`) forks
for each run, and a witness (:mod:`tests.support.witness`) reports what the
run did.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from tests.support.hosts import Host
from tests.support.process import ROOT
from tests.support.terminal import Terminal, open_terminal
from tests.support.witness import Accident

__all__ = ["Rehearsal", "Run"]


class Run:
    """One run in a terminal; what it did to files is known at its end."""

    def __init__(self, pid: int, pidfd: int, report: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._report = report
        self._status: int | None = None
        self._written = b""

    def wait(self, timeout: float) -> int:
        """The exit status, or minus the number of a signal."""
        if self._status is None:
            deadline = time.monotonic() + timeout
            while chunk := self._read(deadline):
                self._written += chunk
            self._status = int(self.report["status"]) if self._written else -int(signal.SIGKILL)
        return self._status

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._pidfd, number)

    @property
    def report(self) -> dict[str, Any]:
        """``changes``, a list of what was done to files; ``exposed``, where secrets lay open; ``status``."""
        report: dict[str, Any] = json.loads(self._written)
        return report

    @property
    def changes(self) -> list[str]:
        return list(self.report["changes"])

    def _read(self, deadline: float) -> bytes:
        ready, _, _ = select.select([self._report], [], [], max(deadline - time.monotonic(), 0))
        assert ready, "it does not end"
        return os.read(self._report, 65536)


class Rehearsal:
    """The process that forks; a context manager that ends it."""

    def __init__(self, host: Host, environ: Mapping[str, str] | None = None) -> None:
        """
        :param host: where the runs are.
        :param environ: further environment variables of every run.
        """
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                host.command(sys.executable, "-m", "tests.support.stage", str(other.fileno())),
                cwd=ROOT,
                env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), **(environ or {})},
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
            )

    def start(
        self,
        *arguments: str,
        accident: Accident | None = None,
        secrets: Sequence[str] = (),
        watched: Sequence[Path] = (),
        environ: Mapping[str, str] | None = None,
        addresses: Mapping[str, tuple[str, int | None]] | None = None,
        cwd: Path | None = None,
    ) -> Terminal:
        """Run ``console-gateway`` with these arguments in a new terminal.

        :param secrets: what must never be in a file that others may read, beside private keys.
        :param watched: directories where such files are looked for, as the run sees them.
        :param environ: further environment variables.
        :param addresses: where ``NAME`` or ``NAME:PORT`` is, instead of what the resolver says.
        """
        master, slave = open_terminal()
        report, write_end = os.pipe()
        order = {
            "arguments": arguments,
            "accident": attrs.asdict(accident or Accident()),
            "secrets": list(secrets),
            "watched": [str(path) for path in watched],
            "environ": dict(environ or {}),
            "addresses": dict(addresses or {}),
            "cwd": str(cwd) if cwd else None,
        }
        fds = array.array("i", [slave, write_end])
        self._socket.sendmsg([json.dumps(order).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        os.close(slave)
        os.close(write_end)
        self._socket.settimeout(30)
        answer, ancillary, _, _ = self._socket.recvmsg(64, socket.CMSG_SPACE(fds.itemsize))
        pidfd = array.array("i", ancillary[0][2][: fds.itemsize])[0]
        return Terminal(master, Run(int(answer), pidfd, report))

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
