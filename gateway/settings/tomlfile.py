"""Read a TOML file: bounded, never waiting, and with errors that say where."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from gateway.settings.problems import Problem, SettingsError

__all__ = ["read_toml"]

_MAX_FILE = 1 << 20
# The TOML parser needs memory in the square of the parts of a dotted key.  Strings are not told from keys
# here, but what stands in them has no 32 dots either.
_MANY_DOTS = re.compile(rb"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")
_POSITION = re.compile(r" \(at line (\d+), column (\d+)\)$")


def read_toml(path: Path, what: str, *, secret: bool = False) -> dict[str, Any]:
    """The tables and keys of the file *path*, which may have up to 1 MiB.

    :param what: what the file should be, such as "a settings file".
    :param secret: no error quotes what is in the file, and the file must not be accessible to others.
    :raises SettingsError: when it cannot be read, or is not TOML 1.0.
    """
    try:
        return _parse(path, _read(path, what, secret), secret)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    raise SettingsError([Problem(path, "", f"cannot be read: {reason}", "check its name and permissions")])


def _read(path: Path, what: str, secret: bool) -> bytes:
    # Not blocking, because opening a FIFO would otherwise wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise SettingsError([Problem(path, "", "is not a regular file", f"name {what} in TOML")])
        if secret and mode & 0o007:
            text = f"is open to every user (mode {stat.S_IMODE(mode):04o})"
            raise SettingsError([Problem(path, "", text, f"chmod o= {path}")])
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        text = f"is larger than {_MAX_FILE} bytes"
        raise SettingsError([Problem(path, "", text, f"name {what} in TOML")])
    return data


def _parse(path: Path, data: bytes, secret: bool) -> dict[str, Any]:
    remedy = "correct the syntax"
    try:
        if _MANY_DOTS.search(data):
            raise RecursionError
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        where, text, remedy = f"line {line}, column {column}", "is not UTF-8", "save the file as UTF-8"
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        match = _POSITION.search(text)
        if match:
            where, text = f"line {match[1]}, column {match[2]}", text[: match.start()]
        else:
            last = data.decode("utf-8").split("\n")
            where = f"line {len(last)}, column {len(last[-1]) + 1}"
            text = text.removesuffix(" (at end of document)") + " at the end of the file"
        if secret:
            # The parser names the character that it did not expect.
            text = "is not valid TOML"
    except RecursionError:
        where, text = "", "is nested too deeply"
    except ValueError:  # int() refuses thousands of digits with a plain ValueError
        where, text, remedy = "", "has a number that is too long", "write numbers within their bounds"
    raise SettingsError([Problem(path, where, text, remedy)])
