"""The demo's console server in a process of its own: its screen moves, and shows what is typed."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Self

from tests.support.process import ROOT

__all__ = ["DemoConsole"]

PASSWORD = "moving12"

_SERVE = """
import sys
from twisted.internet import reactor
from gateway.demo.rfb_server import DemoConsoleFactory
port = reactor.listenTCP(0, DemoConsoleFactory(sys.argv[1]), interface="127.0.0.1")
print(port.getHost().port, flush=True)
reactor.run()
"""


class DemoConsole:
    """A running server; a context manager that stops it.

    :ivar port: its TCP port on loopback.
    :ivar password: what it asks for.
    """

    def __init__(self) -> None:
        self.password = PASSWORD
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, PASSWORD],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.strip().isdigit(), "the demo's console server did not start"
        self.port = int(line)

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
