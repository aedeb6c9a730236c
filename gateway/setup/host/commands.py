"""Commands of the host, run so that they end: bounded in time and output, and stopped on an interrupt."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final

from gateway.setup.errors import SetupError

__all__ = ["run_command"]

_OUTPUT: Final = 1024 * 1024
_SHOWN: Final = 300
_PAUSE: Final = 0.1
"""Seconds within which an interrupt is noticed."""


def run_command(
    command: Sequence[str], *, timeout: float, data: bytes = b"", check: Callable[[], None] = lambda: None
) -> str:
    """Run a command to its end and return its standard output.

    It gets a session of its own, so that the terminal's Ctrl-C reaches only us; and messages in English.

    :param timeout: seconds it may take.
    :param data: what it reads from standard input.
    :param check: raises what is to stop it.
    :raise SetupError: it is not there, failed, took too long or said too much; with the last line that it
        said, so give it nothing secret to say.
    """
    program = os.path.basename(command[0])
    try:
        process = subprocess.Popen(  # noqa: S603 - a list, no shell
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", "LANGUAGE": "", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
            start_new_session=True,
        )
    except OSError as error:
        raise SetupError(f"cannot run {program}: {error.strerror}") from None
    with process:
        try:
            output, complaints = _converse(process, program, data, timeout, check)
        except BaseException:
            _end(process)
            raise
    if process.returncode != 0:
        said = _last_line(complaints) or _last_line(output) or "it said nothing"
        raise SetupError(f"{' '.join(command)[:_SHOWN]} failed ({_status(process.returncode)}): {said}")
    return output.decode("utf-8", "replace")


def _converse(
    process: subprocess.Popen[bytes], program: str, data: bytes, timeout: float, check: Callable[[], None]
) -> tuple[bytes, bytes]:
    end = time.monotonic() + timeout
    pending: bytes | None = data
    while True:
        check()
        try:
            return process.communicate(pending, timeout=_PAUSE)
        except subprocess.TimeoutExpired as waiting:
            pending = None
            if len(waiting.output or b"") + len(waiting.stderr or b"") > _OUTPUT:
                raise SetupError(f"{program} said more than {_OUTPUT} bytes") from None
            if time.monotonic() > end:
                raise SetupError(f"{program} took more than {timeout:g} seconds") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return "".join(c if c.isprintable() else "?" for c in lines[-1].strip()[:_SHOWN]) if lines else ""


def _status(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
