"""Where the settings of a process come from: the one place that commands and the plug-in choose it in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
from twisted.logger import Logger

from gateway.settings import (
    OvirtConfiguration,
    Problem,
    Settings,
    SettingsError,
    examine_ovirt,
    examine_settings,
    one_line,
)
from gateway.settings.ovirt import SOMEWHERE
from gateway.settings.ovirt_files import DEFAULT_CONF

__all__ = ["DEFAULT_CONFIG", "Examined", "OvirtSource", "SettingsSource", "TomlSource", "choose_source"]

DEFAULT_CONFIG: Final = "/etc/console-gateway/console-gateway.toml"


@attrs.frozen
class Examined:
    """Settings, and what there is to say of them."""

    settings: Settings | None
    """With problems, good for nothing but to look for more of them; ``None`` where nothing was understood."""
    problems: tuple[Problem, ...]
    wrong: frozenset[str]
    """Settings that a problem is about, in whatever words: they have defaults, of which nothing is to be
    said.
    """
    warnings: tuple[Problem, ...] = ()
    """What differs from what the files may have meant, and keeps nobody from using the settings."""
    placed: Callable[[Problem], Problem] = lambda problem: problem
    """Says a problem that rooms found with a setting, or with the file that it names, of where it is set."""


class SettingsSource(ABC):
    """Files that settings are read from, as often as they are asked for.  ``str()`` names them."""

    log = Logger()

    def __init__(self) -> None:
        self._said: set[Problem] = set()

    @abstractmethod
    def examine(self) -> Examined:
        """Read the settings, with everything that is wrong with them."""

    def load(self) -> Settings:
        """Read settings that can be used; each warning is logged the first time that there is cause for it.

        :raises SettingsError: with all problems at once.
        """
        examined = self.examine()
        if examined.settings is None or examined.problems:
            raise SettingsError(examined.problems)
        for warning in examined.warnings:
            if warning not in self._said:
                self.log.warn("{warning}", warning=str(warning))
        self._said = set(examined.warnings)
        return examined.settings


class TomlSource(SettingsSource):
    """A settings file of ours."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def __str__(self) -> str:
        return one_line(str(self._path))

    def examine(self) -> Examined:
        settings, problems = examine_settings(self._path)
        wrong = frozenset(problem.key for problem in problems)
        return Examined(settings, problems, wrong, placed=self._placed)

    def _placed(self, problem: Problem) -> Problem:
        return attrs.evolve(problem, file=self._path) if problem.file == SOMEWHERE else problem


class OvirtSource(SettingsSource):
    """The shell-like files of ``ovirt-websocket-proxy``."""

    def __init__(self, conf: Path | None = None) -> None:
        """:param conf: a file of this kind, to which a directory ``CONF.d`` belongs; those of the host
        otherwise.
        """
        super().__init__()
        # A daemon may leave the directory that the name is meant in.
        self._conf = None if conf is None else conf.absolute()

    def __str__(self) -> str:
        return one_line(str(self._conf or DEFAULT_CONF))

    def examine(self) -> Examined:
        found = self.examine_ovirt()
        return Examined(found.settings, found.problems, found.wrong, found.warnings, found.placed)

    def examine_ovirt(self) -> OvirtConfiguration:
        """As :meth:`examine`, with where everything comes from."""
        return examine_ovirt(self._conf)


def choose_source(
    config: Path | None = None, *, ovirt: bool = False, ovirt_conf: Path | None = None
) -> SettingsSource:
    """What a command line asks for; without anything, the usual settings file.

    :param config: ``--config``.
    :param ovirt: ``--ovirt``.
    :param ovirt_conf: ``--ovirt-conf``.
    :raises ValueError: it asks for several.
    """
    if (config is not None) + ovirt + (ovirt_conf is not None) > 1:
        raise ValueError("--config, --ovirt and --ovirt-conf exclude each other: give one of them.")
    if ovirt or ovirt_conf is not None:
        return OvirtSource(ovirt_conf)
    return TomlSource(Path(DEFAULT_CONFIG) if config is None else config)
