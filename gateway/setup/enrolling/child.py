"""Programs that setup talks to: bounded in time and output, and gone with their children when they are left.

A program gets a session of its own: it has no terminal to ask questions on,
and the Ctrl-C of the terminal reaches only us, who then end it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

import attrs

from gateway.pki.errors import printable
from gateway.setup.errors import SetupError

__all__ = ["Finished", "TookTooLong", "run_child", "start_child", "stop_child"]

_PIECE: Final = 16384
_PAUSE: Final = 0.1


class TookTooLong(SetupError):
    """A program did not end in its time."""


@attrs.frozen
class Finished:
    """What became of a program."""

    status: int
    """Exit status; negative if a signal ended it."""
    output: bytes = attrs.field(repr=False)
    complaints: str = attrs.field(repr=False)
    """What it wrote to standard error."""

    @property
    def reason(self) -> str:
        """The last line of its complaints, fit for a message."""
        lines = self.complaints.strip().splitlines()
        return printable(lines[-1].strip()) if lines else f"exit status {self.status}, and no reason given"


def start_child(
    command: Sequence[str], environment: Mapping[str, str], *, stdin: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own.

    :param environment: all of its environment.
    :raises SetupError: it cannot be started.
    """
    name = os.path.basename(command[0])
    try:
        return subprocess.Popen(  # noqa: S603 - a list, no shell
            list(command),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise SetupError(f"there is no program {name}; install it, or enrol in another way") from None
    except OSError as error:
        raise SetupError(f"{name} cannot be started: {error.strerror}") from None


def stop_child(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started, and forget what it still had to say."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(BrokenPipeError), process:
        pass


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    data: bytes = b"",
    timeout: float = 60.0,
    limit: int = 262144,
) -> Finished:
    """Run a program to its end.

    :param environment: all of its environment.
    :param data: what it reads.
    :param timeout: time for it, in seconds.
    :param limit: most bytes that it may say, for each of its two voices.
    :raises TookTooLong: it was ended because it took longer.
    :raises SetupError: it cannot be started, or said more.
    """
    name = os.path.basename(command[0])
    end = time.monotonic() + timeout
    process = start_child(command, environment)
    try:
        output, complaints = _converse(process, name, data, end, limit)
        try:
            status = process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            raise TookTooLong(f"{name} did not end in {timeout:g} seconds") from None
        return Finished(status, output, complaints.decode("utf-8", "replace"))
    finally:
        stop_child(process)


def _converse(
    process: subprocess.Popen[bytes], name: str, data: bytes, end: float, limit: int
) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    rest = memoryview(data)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        for stream in (*said, process.stdin):
            os.set_blocking(stream.fileno(), False)
        for stream in said:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > end:
                raise TookTooLong(f"{name} did not end in time")
            for key, _ in selector.select(_PAUSE):
                if key.fileobj is process.stdin:
                    with contextlib.suppress(BlockingIOError):
                        rest = _written(process.stdin, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        with contextlib.suppress(BrokenPipeError):
                            process.stdin.close()
                    continue
                stream = process.stdout if key.fileobj is process.stdout else process.stderr
                piece = os.read(stream.fileno(), _PIECE)
                said[stream] += piece
                if not piece:
                    selector.unregister(stream)
                if len(said[stream]) > limit:
                    raise SetupError(f"{name} said more than {limit} bytes")
            if process.poll() is not None and not process.stdin.closed:
                # Nobody reads it any more.
                selector.unregister(process.stdin)
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
    return bytes(said[process.stdout]), bytes(said[process.stderr])


def _written(stream: IO[bytes], data: memoryview) -> memoryview:
    """What is left to write; nothing if nobody reads."""
    try:
        return data[os.write(stream.fileno(), data[:4096]) :] if data else data
    except BrokenPipeError:
        return data[:0]
