"""How OpenSSH gets a password from us: its SSH_ASKPASS program, which reads a private named pipe.

The password is in the memory of this process, in the kernel's buffer of the
pipe, and in ssh: never in an argument, in an environment, or on a disk.  The
program is a few lines of shell whose ``read`` and ``printf`` are built in, so
that no command line shows it either.  Directory and pipe are ours alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.setup.errors import AnswerError, SetupError

__all__ = ["check_password", "explained", "offered_password", "private_directory"]

MAX_PASSWORD: Final = 1000
"""Bytes; so many times :data:`_ANSWERS` still fits into the smallest buffer of a pipe."""
_ANSWERS: Final = 4
"""How often the password is there to be read in one attempt: for a key, a dialogue, a question."""
_SCRIPT: Final = """#!/bin/sh
IFS= read -r answer < '{pipe}' || exit 1
printf '%s\\n' "$answer"
"""
_PLACES: Final = ("/run", "/dev/shm", "/var/tmp")  # noqa: S108 - only where a private directory is made
_MAX_DIRECTORY: Final = 60
"""Characters; a socket's path has room for 108, and ssh appends some of its own."""


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
def offered_password(directory: Path, password: str) -> Iterator[dict[str, str]]:
    """Offer a password to ssh for one attempt, and take it back.

    :param directory: from :func:`private_directory`.
    :returns: what ssh needs in its environment; the password is not in there.
    """
    pipe, program = directory / "answer", directory / "askpass"
    with contextlib.ExitStack() as offered:
        offered.callback(pipe.unlink, missing_ok=True)
        offered.callback(program.unlink, missing_ok=True)
        with explained():
            os.mkfifo(pipe, 0o600)
            # Open for both: opening waits for no reader, and the content lasts as long as this is open.
            descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            offered.callback(os.close, descriptor)
            os.write(descriptor, (password.encode("utf-8") + b"\n") * _ANSWERS)
            program.write_text(_SCRIPT.format(pipe=pipe), encoding="ascii")
            program.chmod(0o700)
        # Old releases ask the program only where there seems to be a display and is no terminal.
        display = os.environ.get("DISPLAY") or ":0"
        yield {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": display}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a failure to write temporary files into a line."""
    try:
        yield
    except OSError as error:
        raise SetupError(f"temporary files cannot be written: {error.strerror}") from None
