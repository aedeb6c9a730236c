"""Programs that setup runs: bounded in time and output, and gone with their children when they are left.

A program gets a session of its own: it has no terminal to ask questions on, and the Ctrl-C of the terminal
reaches only us, who then end it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final

import attrs

from gateway.pki.errors import printable
from gateway.setup.errors import SetupError

__all__ = ["Finished", "TookTooLong", "run_child", "run_command", "start_child", "stop_child"]

_PIECE: Final = 16384
_WRITTEN: Final = 4096
_PAUSE: Final = 0.1
"""Seconds within which an interrupt is noticed."""
_OUTPUT: Final = 1024 * 1024
_SHOWN: Final = 300
_PR_SET_PDEATHSIG: Final = 1
_NEVER_STARTED: Final = 255
_libc = ctypes.CDLL(None)


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
        return _last_line(self.complaints) or f"exit status {self.status}, and no reason given"


def run_command(
    command: Sequence[str], *, timeout: float, data: bytes = b"", check: Callable[[], None] = lambda: None
) -> str:
    """Run a command of the host, which speaks English, and return its standard output.

    :param timeout: seconds it may take.
    :param data: what it reads from standard input.
    :param check: raises what is to stop it.
    :raise SetupError: it is not there, failed, took too long or said too much; with the last line that it
        said, so give it nothing secret to say.
    """
    plain = {"LC_ALL": "C", "LANGUAGE": "", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    done = run_child(command, {**os.environ, **plain}, data=data, timeout=timeout, limit=_OUTPUT, check=check)
    output = done.output.decode("utf-8", "replace")
    if done.status != 0:
        how = f"killed by signal {-done.status}" if done.status < 0 else f"exit status {done.status}"
        said = _last_line(done.complaints) or _last_line(output) or "it said nothing"
        raise SetupError(f"{printable(' '.join(command), _SHOWN)} failed ({how}): {said}")
    return output


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    data: bytes = b"",
    timeout: float = 60.0,
    limit: int = 262144,
    check: Callable[[], None] = lambda: None,
) -> Finished:
    """Run a program to its end.

    :param environment: all of its environment.
    :param data: what it reads.
    :param timeout: time for it, in seconds.
    :param limit: most bytes that it may say, for each of its two voices.
    :param check: raises what is to stop it.
    :raises TookTooLong: it was ended because it took longer.
    :raises SetupError: it cannot be started, or said more.
    """
    late = TookTooLong(f"{os.path.basename(command[0])} took more than {timeout:g} seconds")
    end = time.monotonic() + timeout

    def watch() -> None:
        check()
        if time.monotonic() > end:
            raise late

    process = start_child(command, environment)
    try:
        output, complaints = _Exchange(process, data, limit, watch).run()
        while True:
            try:
                status = process.wait(_PAUSE)
                break
            except subprocess.TimeoutExpired:
                watch()
        return Finished(status, output, complaints.decode("utf-8", "replace"))
    finally:
        stop_child(process)


def start_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int = subprocess.PIPE,
    lasting: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own.

    :param environment: all of its environment.
    :param lasting: whether it does not end by itself; the kernel ends it then should we be killed.
    :raises SetupError: it cannot be started.
    """
    name = os.path.basename(command[0])
    parent = os.getpid()

    def end_with_us() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(_NEVER_STARTED)

    try:
        return subprocess.Popen(  # noqa: S603 - a list, no shell
            list(command),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=end_with_us if lasting else None,
        )
    except FileNotFoundError:
        raise SetupError(f"there is no program {name}; install it, or choose another way") from None
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no process can be made"
        raise SetupError(f"cannot run {name}: {reason}") from None


def stop_child(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started, and forget what it still had to say."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(BrokenPipeError), process:
        pass


class _Exchange:
    """What goes to a program and comes from it."""

    def __init__(
        self, process: subprocess.Popen[bytes], data: bytes, limit: int, watch: Callable[[], None]
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._limit, self._watch = process, limit, watch
        self._input: IO[bytes] = process.stdin
        self._said: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
        self._rest = memoryview(data)

    def run(self) -> tuple[bytes, bytes]:
        """Standard output and standard error, once both are closed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._input, selectors.EVENT_WRITE)
            for stream in self._said:
                selector.register(stream, selectors.EVENT_READ)
            for stream in (*self._said, self._input):
                os.set_blocking(stream.fileno(), False)
            while selector.get_map():
                self._watch()
                ready = [key.fileobj for key, _ in selector.select(_PAUSE)]
                for stream in self._said:
                    if stream in ready and not self._hear(stream):
                        selector.unregister(stream)
                if not self._input.closed and (
                    (self._input in ready and not self._tell()) or self._process.poll() is not None
                ):
                    selector.unregister(self._input)
                    with contextlib.suppress(BrokenPipeError):
                        self._input.close()
        output, complaints = self._said.values()
        return bytes(output), bytes(complaints)

    def _hear(self, stream: IO[bytes]) -> bool:
        """Whether there may be more to hear."""
        piece = os.read(stream.fileno(), _PIECE)
        self._said[stream] += piece
        if len(self._said[stream]) > self._limit:
            name = os.path.basename(str(self._process.args[0]))  # type: ignore[index]
            raise SetupError(f"{name} said more than {self._limit} bytes")
        return bool(piece)

    def _tell(self) -> bool:
        """Whether there is more to tell to somebody who listens."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._input.fileno(), self._rest[:_WRITTEN]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self._rest)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return printable(lines[-1].strip(), _SHOWN) if lines else ""
