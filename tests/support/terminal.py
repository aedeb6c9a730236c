"""A pseudo-terminal with a user in front of it who reads, types and presses Ctrl-C."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

__all__ = ["Running", "Terminal", "open_terminal"]

_SIZE = (50, 200)
"""Rows and columns: wide enough that no line of interest is broken."""


class Running(Protocol):
    """What runs in a terminal."""

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float) -> int:
        """The exit status; minus the number of the signal that ended it."""
        ...

    def kill(self) -> None: ...


class Terminal:
    """A process with a terminal of its own; a context manager that ends it.

    :ivar written: everything that appeared, echo of what was typed included.
    """

    def __init__(self, master: int, process: Running) -> None:
        """:param master: the pseudo-terminal's side, which is this object's from then on."""
        self.process = process
        self.written = ""
        self._master = master
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._seen = 0
        self._ended = False

    @classmethod
    def spawn(
        cls, command: Sequence[str], *, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Start a command in a new terminal.

        :param environ: further environment variables.
        """
        master, slave = open_terminal()
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(environ or {})},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return cls(master, process)

    @property
    def text(self) -> str:
        """What appeared, with a plain line feed at each line's end."""
        return self.written.replace("\r\n", "\n")

    @property
    def hides(self) -> bool:
        """Whether what is typed now does not appear."""
        return not termios.tcgetattr(self._master)[3] & termios.ECHO

    def expect(self, pattern: str, timeout: float = 20) -> re.Match[str]:
        """Read until ``pattern`` appears, after what the last call found.

        :raises AssertionError: it does not within ``timeout`` seconds, or the process ends first.
        """
        expression = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        while not (match := expression.search(self.written, self._seen)):
            assert self._read(deadline), f"{pattern!r} never came:\n{self.text}"
        self._seen = match.end()
        return match

    def type_line(self, text: str) -> None:
        """Type a line."""
        self.send(text + "\n")

    def send(self, text: str) -> None:
        """Type keys."""
        data = text.encode()
        deadline = time.monotonic() + 20
        while data:
            # The line discipline's buffer is small, and the echo has to go somewhere.
            readable, writable, _ = select.select([self._master], [self._master], [], 1)
            assert time.monotonic() < deadline, f"it does not read:\n{self.text}"
            if readable and not self._read(deadline):
                return
            if writable:
                data = data[os.write(self._master, data[:512]) :]

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.send("\x03")

    def end_of_input(self) -> None:
        """Press Ctrl-D at the beginning of a line."""
        self.send("\x04")

    def wait(self, timeout: float = 30) -> int:
        """Read what still comes, and return the exit status.

        :raises AssertionError: it does not end within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        assert self._ended, f"it does not end:\n{self.text}"
        return self.process.wait(max(deadline - time.monotonic(), 1))

    def close(self) -> None:
        if self._master >= 0:
            self.process.kill()
            os.close(self._master)
            self._master = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, deadline: float) -> bool:
        """Read something; false at the end, or when there is no more time."""
        remaining = deadline - time.monotonic()
        if self._ended or remaining <= 0:
            return False
        readable, _, _ = select.select([self._master], [], [], remaining)
        if not readable:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # What Linux says when nobody holds the other side any more.
            data = b""
        self._ended = not data
        self.written += self._decoder.decode(data)
        return bool(data)


def open_terminal() -> tuple[int, int]:
    """A new pseudo-terminal: the side of its user, and that of a process."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
    return master, slave
