"""Which shell-like configuration files are read, in which order, and what they assign together."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from gateway.settings.ovirt_grammar import Assignment, parse_lines
from gateway.settings.problems import Problem

__all__ = ["DEFAULT_CONF", "SHIPPED_CONF", "Assigned", "Variables", "read_variables"]

SHIPPED_CONF: Final = Path(
    "/usr/share/ovirt-engine/services/ovirt-websocket-proxy/ovirt-websocket-proxy.conf"
)
"""Defaults of the package; absent where that is not installed."""
DEFAULT_CONF: Final = Path("/etc/ovirt-engine/ovirt-websocket-proxy.conf")

MAX_BYTES: Final = 1 << 20
"""Of all files together."""
MAX_FILES: Final = 256
MAX_ASSIGNMENTS: Final = 2000
"""Of all files together."""
MAX_TOLD: Final = 20
"""Bad lines of one file."""
_MAX_ENTRIES: Final = 10_000
"""Of a directory, whatever they are."""


@attrs.frozen
class Assigned:
    """The last assignment of a variable."""

    name: str
    value: str
    file: Path
    line: int
    shipped: bool = False
    """Whether it comes with the package, and not from who runs this host."""

    @property
    def place(self) -> str:
        """``FILE:LINE``."""
        return f"{self.file}:{self.line}"

    def problem(self, text: str, remedy: str) -> Problem:
        """Something that is wrong with it."""
        return Problem(self.file, f"line {self.line}, {self.name}", text, remedy)


@attrs.frozen
class Variables:
    """What the files assign together."""

    main: Path
    """The file that local settings belong into, or whose directory has them."""
    files: tuple[Path, ...]
    """Those that were read, in this order."""
    assigned: dict[str, Assigned]
    problems: tuple[Problem, ...]


def read_variables(conf: Path | None = None) -> Variables:
    """Read the configuration of this host, or one that is named.

    The first is the defaults of the package and their directory, then ``/etc/ovirt-engine``'s file and
    directory, as far as they are there.  Of the second, the file has to be there; its directory need not.

    :param conf: names the file; the directory is its name with ``.d`` added.
    """
    reader = _Reader()
    if conf is None:
        reader.read_pair(SHIPPED_CONF, shipped=True)
        reader.read_pair(DEFAULT_CONF)
    else:
        reader.read_pair(conf, needed=True)
    return Variables(conf or DEFAULT_CONF, tuple(reader.files), reader.assigned, tuple(reader.problems))


class _Reader:
    def __init__(self) -> None:
        self.files: list[Path] = []
        self.assigned: dict[str, Assigned] = {}
        self.problems: list[Problem] = []
        self._values: dict[str, str] = {}
        self._bytes = 0
        self._assignments = 0

    def read_pair(self, file: Path, *, shipped: bool = False, needed: bool = False) -> None:
        """A file, and those of the directory that belongs to it."""
        directory = file.with_name(f"{file.name}.d") if file.name else file
        if needed or os.path.lexists(file):
            self._read(file, shipped, directory)
        for path in self._listed(directory):
            self._read(path, shipped)

    def _listed(self, directory: Path) -> Iterator[Path]:
        """The files of a directory that count, in the order of the bytes of their names."""
        names: list[bytes] = []
        try:
            with os.scandir(os.fsencode(directory)) as entries:
                for count, entry in enumerate(entries):
                    if count >= _MAX_ENTRIES:
                        self._wrong(directory, f"has more than {_MAX_ENTRIES} files", "remove some")
                        return
                    # Those that begin with a dot are left by editors.
                    if entry.name.endswith(b".conf") and not entry.name.startswith(b"."):
                        names.append(entry.name)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._wrong(directory, f"cannot be read: {_reason(error)}", "check its name and permissions")
            return
        yield from (directory / os.fsdecode(name) for name in sorted(names))

    def _read(self, path: Path, shipped: bool, directory: Path | None = None) -> None:
        if len(self.files) >= MAX_FILES:
            if len(self.files) == MAX_FILES:
                self._wrong(path, f"is one of more than {MAX_FILES} files", "put their lines into fewer")
            self.files.append(path)
            return
        self.files.append(path)
        try:
            data = self._bytes_of(path)
        except FileNotFoundError as error:
            remedy = "name a file that exists"
            if directory is not None and directory.is_dir():
                remedy = f"make it, if only empty, so that {directory} is read as well"
            self._wrong(path, f"cannot be read: {_reason(error)}", remedy)
        except (OSError, ValueError) as error:
            self._wrong(path, f"cannot be read: {_reason(error)}", "check its name and permissions")
        else:
            self._parse(path, data, shipped)

    def _bytes_of(self, path: Path) -> bytes:
        # Not blocking, because opening a FIFO would otherwise wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("it is not a regular file")
            data = file.read(MAX_BYTES + 1 - self._bytes)
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise ValueError(f"the files are larger than {MAX_BYTES} bytes together")
        return data

    def _parse(self, path: Path, data: bytes, shipped: bool) -> None:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.problems.append(Problem(path, f"line {line}", "is not UTF-8", "save the file as UTF-8"))
            return
        told = 0
        for found in parse_lines(text, self._values):
            if isinstance(found, Assignment):
                self._assignments += 1
                if self._assignments > MAX_ASSIGNMENTS:
                    text = f"there are more than {MAX_ASSIGNMENTS} assignments in all"
                    self.problems.append(Problem(path, f"line {found.line}", text, "remove some"))
                    return
                self.assigned[found.name] = Assigned(found.name, found.value, path, found.line, shipped)
                continue
            told += 1
            if told > MAX_TOLD:
                text = f"has more than {MAX_TOLD} lines that cannot be used"
                self._wrong(path, text, "see whether it is a configuration file of this service")
                return
            self.problems.append(Problem(path, f"line {found.line}", found.text, found.remedy))

    def _wrong(self, path: Path, text: str, remedy: str) -> None:
        self.problems.append(Problem(path, "", text, remedy))


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
