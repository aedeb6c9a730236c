"""Passwords of targets, from a file of their own.

The file is TOML: a table for each target or group of targets, named by its
pattern in quotes, with ``password`` and perhaps ``username``.  Nothing in here
quotes a value in an error or a ``repr``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.rfb import Credentials
from gateway.settings import (
    BadValueError,
    Problem,
    SettingsError,
    TargetIndex,
    TargetPattern,
    dotted,
    parse_target,
    read_toml,
)

__all__ = ["Secrets", "load_secrets"]

_KEYS: Final = {"username": 255, "password": 1024}
"""The longest values, in bytes of UTF-8: what every kind of authentication can carry."""


class Secrets:
    """Credentials by target."""

    def __init__(self, index: TargetIndex[Credentials]) -> None:
        """Use :func:`load_secrets`."""
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def find(self, host: str, port: int) -> Credentials | None:
        """What is kept for a target by its host and port, otherwise the first of the file that matches.

        :param host: as it stands in the ticket.
        :raises ValueError: when *host* is neither a name nor an address.
        """
        first: Credentials | None = None
        for pattern, credentials in self._index.matches(host, port):
            if pattern.port is not None:
                return credentials
            first = first or credentials
        return first


def load_secrets(path: Path) -> Secrets:
    """Read a secrets file of up to 1 MiB.

    :raises SettingsError: with every problem: the file cannot be read, is open to every user or is not TOML;
        an entry is not named by a target, is listed twice, or has other keys and values than it should.
    """
    problems: list[Problem] = []
    index: TargetIndex[Credentials] = TargetIndex()
    seen: dict[TargetPattern, str] = {}
    for name, entry in read_toml(path, "a secrets file", secret=True).items():
        found = [(dotted((name, *key)), text, remedy) for key, text, remedy in _wrong(entry)]
        try:
            pattern = parse_target(name)
        except BadValueError as error:
            if not _is_unquoted(entry):
                found.append((dotted([name]), error.text, error.remedy))
        else:
            if pattern in seen:
                text = f"is the same target as {dotted([seen[pattern]])}"
                found.append((dotted([name]), text, "keep one of them"))
            seen.setdefault(pattern, name)
            if not found:
                index.add(pattern, Credentials(entry.get("username"), entry["password"]))
        problems.extend(Problem(path, *problem) for problem in found)
    if problems:
        raise SettingsError(problems)
    return Secrets(index)


def _wrong(entry: Any) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """What is wrong inside an entry: key, text and remedy."""
    if not isinstance(entry, dict):
        yield (), "is no table", 'write ["TARGET"] on a line of its own, with its keys below'
        return
    if _is_unquoted(entry):
        yield (), "has a table in it", 'put the whole target in quotes: ["host.example.com:5900"]'
        return
    for key in entry:
        if key not in _KEYS:
            yield (key,), "unknown key", f"remove it; known here: {', '.join(_KEYS)}"
    for key in _KEYS:
        if key in entry:
            yield from _wrong_value(key, entry[key])
    if "password" not in entry:
        yield ("password",), "is not set", "add it, or remove the entry"


def _wrong_value(key: str, value: Any) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if not isinstance(value, str):
        yield (key,), "is no string", "put the value in quotes"
    elif not 1 <= len(value.encode()) <= _KEYS[key]:
        yield (key,), "has no usable length", f"use 1 to {_KEYS[key]} bytes of UTF-8"
    elif "\0" in value:
        yield (key,), "has a NUL character in it", "remove that"


def _is_unquoted(entry: Any) -> bool:
    """Whether the name of a target was taken for a path of tables, because it stands without quotes."""
    return isinstance(entry, dict) and any(isinstance(value, dict) for value in entry.values())
