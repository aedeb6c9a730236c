"""How OpenSSH gets a password from us: its SSH_ASKPASS program, which reads a private named pipe.

The password is in the memory of this process, in the kernel's buffer of the
pipe, and in ssh: never in an argument, in an environment, or on a disk.  The
program is a few lines of shell whose ``read`` and ``printf`` are built in, so
that no command line shows it either.  Directory and pipe are ours alone.

Only the ssh that we started gets it.  The one that this starts for a jump host
inherits its environment, and would have the jump host know the password.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from gateway.setup.errors import AnswerError, SetupError

__all__ = ["Offer", "check_password", "explained", "offered_password", "private_directory"]

MAX_PASSWORD: Final = 1000
"""Bytes; so many times :data:`_ANSWERS` still fits into the smallest buffer of a pipe."""
_ANSWERS: Final = 4
"""How often the password is there to be read in one attempt: for a key, a dialogue, a question."""
_SCRIPT: Final = """#!/bin/sh
tries=0
until [ -s '{asker}' ]; do
    tries=$((tries + 1))
    [ "$tries" -le 100 ] || exit 1
    sleep 0.1
done
read -r asker < '{asker}'
[ "$asker" = "$PPID" ] || exit 1
IFS= read -r answer < '{pipe}' || exit 1
printf '%s\\n' "$answer"
"""
_PLACES: Final = ("/run", "/dev/shm", "/var/tmp")  # noqa: S108 - only where a private directory is made
_MAX_DIRECTORY: Final = 60
"""Characters; a socket's path has room for 108, and ssh appends some of its own."""


@attrs.frozen
class Offer:
    """A password that is there to be read, by nobody yet."""

    environment: dict[str, str]
    """What ssh needs in its environment; the password is not in there."""
    _asker: Path

    def to(self, process: int) -> None:
        """Let a process have it, given its number.

        :raises SetupError: that cannot be written down.
        """
        with explained():
            self._asker.write_bytes(b"%d\n" % process)


def check_password(text: str) -> str:
    """The password as it can be handed over.

    :raises AnswerError: it is too long, or has characters that end a line.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise AnswerError("the password is not UTF-8") from None
    if size > MAX_PASSWORD:
        raise AnswerError(f"a password has at most {MAX_PASSWORD} bytes")
    if any(character in text for character in "\0\r\n"):
        raise AnswerError("a password is one line")
    return text


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """A directory that nobody else can look into, where programs may be started; gone in the end.

    :raises SetupError: there is no place for one.
    """
    for place in (tempfile.gettempdir(), *_PLACES):
        try:
            if len(place) > _MAX_DIRECTORY or os.statvfs(place).f_flag & os.ST_NOEXEC:
                continue
            directory = Path(tempfile.mkdtemp(prefix="cgw", dir=place))  # 0700
        except OSError:
            continue
        break
    else:
        raise SetupError(
            "no directory for temporary files lets programs be started; set TMPDIR to one that does "
            "(mounted without noexec)"
        )
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def offered_password(directory: Path, password: str) -> Iterator[Offer]:
    """Offer a password to ssh for one attempt, and take it back.

    :param directory: from :func:`private_directory`.
    :returns: to be made to the process that may have it.
    """
    pipe, program, asker = directory / "answer", directory / "askpass", directory / "asker"
    with contextlib.ExitStack() as offered:
        offered.callback(pipe.unlink, missing_ok=True)
        offered.callback(program.unlink, missing_ok=True)
        offered.callback(asker.unlink, missing_ok=True)
        with explained():
            os.mkfifo(pipe, 0o600)
            # Open for both: opening waits for no reader, and the content lasts as long as this is open.
            descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            offered.callback(os.close, descriptor)
            os.write(descriptor, (password.encode("utf-8") + b"\n") * _ANSWERS)
            program.write_text(_SCRIPT.format(pipe=pipe, asker=asker), encoding="ascii")
            program.chmod(0o700)
        # Old releases ask the program only where there seems to be a display and is no terminal.
        display = os.environ.get("DISPLAY") or ":0"
        variables = {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": display}
        yield Offer(variables, asker)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a failure to write temporary files into a line."""
    try:
        yield
    except OSError as error:
        raise SetupError(f"temporary files cannot be written: {error.strerror}") from None
