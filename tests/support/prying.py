"""Somebody who looks at the list of processes all the time."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Prying"]

_PAUSE = 0.002


class Prying:
    """Reads every process's command line and environment, over and over, while it is entered.

    :ivar found: where a secret was seen: the process's command line, and which of both had it.
    :ivar seen: command lines that were seen.
    """

    def __init__(self, *secrets: str) -> None:
        self.found: list[str] = []
        self.seen: set[str] = set()
        self._secrets = [secret.encode() for secret in secrets]
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._own = {str(os.getpid()), "self", "thread-self"}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.join()

    def _look(self) -> None:
        before = {entry.name for entry in Path("/proc").iterdir()}
        while not self._enough.wait(_PAUSE):
            # A process that was there before has nothing of ours, but for those that fork and run others.
            for name in os.listdir("/proc"):
                if name.isdigit() and name not in self._own and name not in before:
                    self._examine(Path("/proc") / name)

    def _examine(self, process: Path) -> None:
        for file in ("cmdline", "environ"):
            try:
                content = (process / file).read_bytes()
            except OSError:
                continue
            if file == "cmdline":
                line = content.replace(b"\0", b" ").decode("utf-8", "replace").strip()
                self.seen.add(line)
            if any(secret in content for secret in self._secrets):
                self.found.append(f"{file} of {line}")
