"""Options for the password of a key: from a file, an open file descriptor or the terminal.

There is none for the password itself: arguments and environments of processes can be seen by others.
"""

from __future__ import annotations

import functools
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["PasswordSource", "password_options"]


_MAX_PASSWORD: Final = 1023


class PasswordSource:
    """Where the password comes from."""

    def __init__(self, path: Path | None, descriptor: int | None) -> None:
        self._path = path
        self._descriptor = descriptor

    def given(self) -> bytes | None:
        """The password that an option leads to, or None if there is no such option."""
        if self._path is not None:
            return _from_file(self._path)
        if self._descriptor is not None:
            return _from_descriptor(self._descriptor)
        return None

    def asked(self, what: str, *, confirm: bool = False) -> bytes:
        """The password from the terminal.

        :param what: what it is for.
        :param confirm: ask for it twice.
        """
        if not sys.stdin.isatty():
            raise click.ClickException(f"{what} needs a password; give --password-file or --password-fd")
        text: str = click.prompt(
            f"Password for {what}", hide_input=True, confirmation_prompt=confirm, err=True
        )
        return _checked(text.encode("utf-8", "surrogateescape"), "the terminal")


def password_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command takes ``password``, a :class:`PasswordSource`."""

    @functools.wraps(command)
    def wrapped(*args: Any, password_file: Path | None, password_fd: int | None, **others: Any) -> Any:
        if password_file is not None and password_fd is not None:
            raise click.UsageError("Give --password-file or --password-fd, not both.")
        return command(*args, password=PasswordSource(password_file, password_fd), **others)

    with_fd = click.option(
        "--password-fd",
        type=click.IntRange(0, 1048576),
        metavar="NUMBER",
        help="Open file descriptor to read the password of the CA's key from, up to the end of a line.",
    )(wrapped)
    return click.option(
        "--password-file",
        type=click.Path(path_type=Path),
        help="File with the password of the CA's key in its first line, not accessible to others. "
        "Without either option it is asked for, if need be.",
    )(with_fd)


def _from_file(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}; give a file with the password") from None
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
            raise click.ClickException(f"{path}: others may read this password; run chmod 600 on it")
        return _line(descriptor, str(path))
    finally:
        os.close(descriptor)


def _from_descriptor(descriptor: int) -> bytes:
    return _line(descriptor, f"file descriptor {descriptor}")


def _line(descriptor: int, where: str) -> bytes:
    data = b""
    try:
        while b"\n" not in data and len(data) <= _MAX_PASSWORD + 2:
            chunk = os.read(descriptor, _MAX_PASSWORD + 3 - len(data))
            if not chunk:
                break
            data += chunk
    except OSError as error:
        raise click.ClickException(f"{where}: {error.strerror}; no password can be read there") from None
    return _checked(data.partition(b"\n")[0].removesuffix(b"\r"), where)


def _checked(password: bytes, where: str) -> bytes:
    if not 0 < len(password) <= _MAX_PASSWORD:
        raise click.ClickException(f"{where}: a password has 1 to {_MAX_PASSWORD} bytes in one line")
    return password
