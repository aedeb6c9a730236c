"""A gateway that logs to a file, as one under rotation does."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tests.support.process import GatewayProcess

__all__ = ["LoggedGateway"]


class LoggedGateway(GatewayProcess):
    """A running gateway whose log is read from its file."""

    def __init__(self, settings: Path, log: Path, **others: Any) -> None:
        """
        :param log: what ``log.file`` says.
        :param others: as for :class:`GatewayProcess`.
        """
        super().__init__(settings, **others)
        self.log = log

    def wait_for(self, pattern: str, timeout: float = 15) -> re.Match[str]:
        """Wait until ``pattern`` is in the log.

        :raises AssertionError: when it does not come within ``timeout`` seconds, or the process ends first.
        """
        expression = re.compile(pattern, re.MULTILINE)
        end = time.monotonic() + timeout
        while True:
            running = self._process.poll() is None and time.monotonic() < end
            text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
            match = expression.search(text)
            if match is not None:
                return match
            assert running, f"{pattern!r} never came:\n{text}{self.output}"
            time.sleep(0.02)
