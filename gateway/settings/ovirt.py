"""Settings from the shell-like configuration files of ``ovirt-websocket-proxy``, for its successor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from gateway.settings.loader import examine_tables
from gateway.settings.model import Settings
from gateway.settings.ovirt_files import Variables, read_variables
from gateway.settings.ovirt_variables import FURTHER, SOURCES, Translation, translate
from gateway.settings.problems import Problem, SettingsError
from gateway.settings.text import dotted
from gateway.settings.tomlfile import read_toml

__all__ = ["SOMEWHERE", "OvirtConfiguration", "examine_ovirt"]

SOMEWHERE: Final = Path("settings")
"""The file of a problem that is found where only values are known, and not which file they come from."""


@attrs.frozen
class OvirtConfiguration:
    """What the files say, in our terms."""

    settings: Settings | None
    """What is in force; with problems, good for nothing but to look for more of them."""
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    variables: Variables
    translation: Translation
    wrong: frozenset[str] = frozenset()
    """Settings that a problem is about."""
    further: Path | None = None
    """The TOML file that the variables name."""
    from_further: frozenset[str] = frozenset()
    """Settings and tables that come from it."""

    def placed(self, problem: Problem) -> Problem:
        """A problem with a setting, or with the file that it names, said of where it is assigned."""
        if problem.key in self.from_further:
            file = self.further if problem.file == SOMEWHERE else None
            return problem if file is None else attrs.evolve(problem, file=file)
        origins = self.translation.origins.get(problem.key, ())
        if problem.file == SOMEWHERE:
            if origins:
                return origins[0].problem(problem.text, problem.remedy)
            return attrs.evolve(problem, file=self.variables.main)
        return attrs.evolve(problem, key=f"{origins[0].name} in {origins[0].place}") if origins else problem


def examine_ovirt(conf: Path | None = None) -> OvirtConfiguration:
    """Read the configuration of this host, or one that is named, with everything that is wrong with it.

    :param conf: as :func:`gateway.settings.ovirt_files.read_variables` has it.
    """
    variables = read_variables(conf)
    return _Examination(variables, translate(variables)).result()


class _Examination:
    def __init__(self, variables: Variables, translation: Translation) -> None:
        self._variables = variables
        self._translation = translation
        self._warnings = list(translation.warnings)
        self._problems = [*variables.problems, *translation.problems]
        self._further = None if translation.further is None else Path(translation.further.value)
        self._tables: dict[str, Any] = {}
        self._from_further: frozenset[str] = frozenset()

    def result(self) -> OvirtConfiguration:
        settings = None
        if not self._variables.files and not self._variables.problems:
            remedy = "run 'console-gateway setup', or name the file with --ovirt-conf"
            text = "there is no configuration, neither here nor in the directory of the same name with '.d'"
            self._problems.append(Problem(self._variables.main, "", text, remedy))
        elif not self._variables.problems and self._read_further():
            self._merge()
            self._complete()
            settings = self._examine()
        return OvirtConfiguration(
            settings,
            tuple(self._problems),
            tuple(self._warnings),
            self._variables,
            self._translation,
            frozenset(self._bad),
            self._further,
            self._from_further,
        )

    def _read_further(self) -> bool:
        """Whether the TOML file could be read, or there is none."""
        if self._further is None:
            return True
        try:
            self._tables = read_toml(self._further, "a settings file")
        except SettingsError as error:
            self._problems.extend(error.problems)
            return False
        self._from_further = frozenset(_keys(self._tables))
        return True

    def _merge(self) -> None:
        """Variables, and what follows from where files are, go where the TOML file leaves room."""
        for name, table in self._translation.tables.items():
            for key, value in table.items():
                path = f"{name}.{key}"
                if path not in self._from_further:
                    self._put(path, value)
                elif local := [each for each in self._translation.origins[path] if not each.shipped]:
                    text = f"is set by {local[0].name} in {local[0].place} as well"
                    remedy = f"remove one of them; '{local[0].name}=' in a later file does it, too"
                    assert self._further is not None
                    self._problems.append(Problem(self._further, path, text, remedy))
        if "security.ca" in self._from_further:
            return
        if self._translation.no_authority is not None and self._value("tickets.certificate"):
            self._warnings.append(self._translation.no_authority)
        for path, value in self._translation.defaults.items():
            if path not in self._from_further:
                self._put(path, value)

    def _complete(self) -> None:
        """What the original and we see differently: TLS and its absence on one port, and no certificate."""
        plain = bool(self._value("listen.plain"))
        if self._value("tls.certificate") is None and "tls.certificate" not in self._bad:
            if not plain:
                text = "is not set, and nobody is served without TLS"
                remedy = (
                    "name the PEM file of the server's certificate; to serve a reverse proxy without TLS, "
                    f"set listen.plain in the file of {FURTHER}"
                )
                self._missing("tls.certificate", text, remedy)
            elif "listen.tls" not in self._from_further:
                self._put("listen.tls", [])
                for each in self._translation.origins.pop("listen.tls", ()):
                    text = "is not used: without SSL_CERTIFICATE, only listen.plain is served"
                    self._warnings.append(each.problem(text, "name a certificate, or remove it"))
        elif not plain and "SSL_ONLY" not in self._used():
            text = "is not true, but clients without TLS (ws://) are refused all the same"
            remedy = f"write SSL_ONLY=True; for a reverse proxy, set listen.plain in the file of {FURTHER}"
            found = self._variables.assigned.get("SSL_ONLY")
            self._warnings.append(
                found.problem(text, remedy)
                if found
                else Problem(self._variables.main, "SSL_ONLY", text, remedy)
            )
        if self._value("tickets.certificate") is None and "tickets.certificate" not in self._bad:
            text = "is not set"
            self._missing("tickets.certificate", text, "name the PEM file of the engine's certificate")

    def _examine(self) -> Settings:
        path = self._further or self._variables.main
        settings, problems = examine_tables(self._tables, path, self._bad)
        self._bad.update(problem.key for problem in problems)
        self._problems.extend(map(self._placed, problems))
        return settings

    def _placed(self, problem: Problem) -> Problem:
        """A problem with a setting, said of the variable that it comes from."""
        if problem.key in self._from_further or not problem.key:
            return problem
        origins = self._translation.origins.get(problem.key, ())
        if origins:
            return origins[0].problem(problem.text, problem.remedy)
        return problem

    def _missing(self, key: str, text: str, remedy: str) -> None:
        self._problems.append(Problem(self._variables.main, SOURCES[key][0], text, remedy))
        self._bad.add(key)

    @property
    def _bad(self) -> set[str]:
        return self._translation.not_understood

    def _used(self) -> set[str]:
        return {each.name for origins in self._translation.origins.values() for each in origins}

    def _value(self, path: str) -> Any:
        section, _, key = path.partition(".")
        table = self._tables.get(section)
        return table.get(key) if isinstance(table, dict) else None

    def _put(self, path: str, value: Any) -> None:
        section, _, key = path.partition(".")
        table = self._tables.setdefault(section, {})
        # What is no table is a problem that is found later.
        if isinstance(table, dict):
            table[key] = value


def _keys(tables: dict[str, Any]) -> Iterator[str]:
    """``table.key``, and ``table`` alone."""
    for name, table in tables.items():
        yield name
        if isinstance(table, dict):
            yield from (dotted((name, key)) for key in table)
