"""What is known before the first question: files of defaults, answer files, the command line.

What counts, most first: sections ``enforce`` and ``override``, the command line, sections ``init``,
sections ``default``.  Within each the latest file counts: ``/etc/ovirt-engine-setup.conf``, its directory in
the order of names, ``--config``, each ``--config-append``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from gateway.setup import places
from gateway.setup.asking.answerfile import (
    MAX_SIZE,
    AnswerFile,
    Given,
    Section,
    parse_answers,
    parse_settings,
)
from gateway.setup.asking.environment import Entry, Environment
from gateway.setup.errors import SetupError
from gateway.setup.host.system import System

__all__ = ["load_environment", "read_file"]

_OPTION: Final = "--otopi-environment"
_MAX_FILES: Final = 1000
_OTHERS: Final = 0o077
_OF_THIS_HOST: Final = frozenset(
    {
        "OVESETUP_CONFIG/pkiWSPCSRFilename",
        "OVESETUP_CONFIG/remoteEngineHostClientKey",
        "OVESETUP_CONFIG/remoteEngineHostKnownHosts",
    }
)
"""Keys for paths of the host that setup runs on: whoever made an image has no say there."""


def load_environment(
    system: System, *, config: Path | None = None, append: Sequence[Path] = (), settings: str = ""
) -> tuple[Environment, tuple[str, ...]]:
    """Gather what was said in advance.

    :param config: the file of ``--config``.
    :param append: the files of ``--config-append``.
    :param settings: the text of ``--otopi-environment``.
    :returns: the environment, and what is doubtful in the files, a line each.
    :raises SetupError: if a file cannot be read or is wrong, or a password is on the command line.
    """
    environment = Environment()
    warnings: list[str] = []
    remembered = _host_files(system)
    given = [(path, *_given_file(path)) for path in (*filter(None, [config]), *append)]
    told = parse_settings(settings, _OPTION)
    for item in _items(told, Section.INIT):
        if environment.is_secret(item.key) and item.value not in (None, ""):
            raise SetupError(
                f"{_OPTION}: {item.key} is a password, and everybody on the host can see the command line; "
                "give it in a file that only you can read, with --config-append"
            )
    for file in (*remembered, *(file for _, file, _ in given), told):
        warnings += file.warnings
    for section in (Section.DEFAULT, Section.INIT):
        _put(environment, section, remembered, remembered=True)
        _put(environment, section, [file for _, file, _ in given])
    _put(environment, Section.INIT, [told])
    for section in (Section.OVERRIDE, Section.ENFORCE):
        _put(environment, section, [*remembered, *(file for _, file, _ in given)])
    for path, file, mode in given:
        if mode & _OTHERS and any(
            environment.is_secret(item.key) and item.value for item in _everything(file)
        ):
            warnings.append(f"{path} holds a password, and others can read it: chmod 600 {path}")
    return environment, tuple(warnings)


def read_file(path: Path) -> tuple[bytes, int]:
    """The content of a file that somebody named, and its permissions.

    :raises SetupError: if it cannot be read, is too big, or could keep us waiting.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _wait(path))) as file:
            found = os.fstat(file.fileno())
            if stat.S_ISDIR(found.st_mode):
                raise SetupError(f"{path} is a directory; name a file")
            data = file.read(MAX_SIZE + 1) or b""
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_SIZE:
        raise SetupError(f"{path}: more than {MAX_SIZE} bytes; this is no answer file")
    return data, stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else 0o600


def _wait(path: Path) -> int:
    # A pipe that a shell made (<(...)) is worth waiting for; one with a name may never get a writer.
    return 0 if path.is_relative_to("/dev") or path.is_relative_to("/proc") else os.O_NONBLOCK


def _given_file(path: Path) -> tuple[AnswerFile, int]:
    data, mode = read_file(path)
    return parse_answers(data, str(path)), mode


def _host_files(system: System) -> list[AnswerFile]:
    """The host's own files of defaults, the earliest first."""
    try:
        names = system.tree.names(places.DEFAULTS_DIRECTORY, _MAX_FILES)
    except OSError as error:
        raise SetupError(f"cannot read {places.DEFAULTS_DIRECTORY}: {error.strerror}") from None
    found = []
    for place in (
        places.DEFAULTS,
        *(places.DEFAULTS_DIRECTORY / name for name in names if name.endswith(".conf")),
    ):
        data = system.read(place)
        if data is not None:
            file = parse_answers(data, str(place))
            found.append(file if system.live else _about_itself(file))
    return found


def _about_itself(file: AnswerFile) -> AnswerFile:
    """What a file of an image may say."""
    kept, warnings = {}, list(file.warnings)
    for section, items in file.sections.items():
        kept[section] = tuple(item for item in items if item.key not in _OF_THIS_HOST)
        warnings += (
            f"{item.origin}: {item.key} is left aside: it is a path of the host that setup runs on"
            for item in items
            if item.key in _OF_THIS_HOST
        )
    return AnswerFile(kept, tuple(warnings))


def _put(
    environment: Environment, section: Section, files: Iterable[AnswerFile], *, remembered: bool = False
) -> None:
    for file in files:
        for item in _items(file, section):
            environment.put(item.key, Entry(item.value, item.origin, remembered))


def _items(file: AnswerFile, section: Section) -> tuple[Given, ...]:
    return file.sections.get(section, ())


def _everything(file: AnswerFile) -> Iterable[Given]:
    for items in file.sections.values():
        yield from items
