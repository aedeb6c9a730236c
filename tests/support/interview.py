"""Interviews whose answers are known beforehand, through the seams that dialects have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.setup.asking.dialog import Dialog, Level, Query
from gateway.setup.asking.environment import Environment, Value
from gateway.setup.asking.interview import Interview
from gateway.setup.errors import SetupError

__all__ = ["ScriptedDialog", "ScriptedInterview"]


class ScriptedDialog(Dialog):
    """Answers questions by their names and keeps what it is told."""

    forgiving = True

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        """
        :param answers: for each question the lines that are answered, one after the other.  For lines that
            are collected, one answer is all of them.
        """
        self._answers = {name: list(given) for name, given in answers.items()}
        self.asked: list[Query] = []
        self.notes: list[str] = []
        self.logged: list[tuple[Level, str]] = []
        self.shown: dict[str, list[str]] = {}
        self.values: dict[str, str] = {}

    @property
    def left(self) -> dict[str, list[str]]:
        """Answers that nobody asked for."""
        return {name: given for name, given in self._answers.items() if given}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def log(self, level: Level, text: str) -> None:
        self.logged.append((level, text))

    def query(self, query: Query) -> str:
        self.asked.append(query)
        return self._take(query.name)

    def show(self, name: str, lines: Sequence[str]) -> None:
        self.shown[name] = list(lines)

    def collect(self, name: str, prompt: str) -> list[str]:
        self.asked.append(Query(name, prompt))
        return self._take(name).split("\n")

    def value(self, name: str, value: str) -> None:
        self.values[name] = value

    def messages(self, level: Level) -> list[str]:
        return [text for found, text in self.logged if found is level]

    def _take(self, name: str) -> str:
        given = self._answers.get(name)
        if not given:
            raise SetupError(f"the input ended when {name} was asked")
        return given.pop(0)


class ScriptedInterview(Interview):
    """An interview with a :class:`ScriptedDialog`."""

    def __init__(
        self,
        answers: Mapping[str, Sequence[str]] | None = None,
        values: Mapping[str, Value] | None = None,
        **others: Any,
    ) -> None:
        """
        :param answers: as for :class:`ScriptedDialog`.
        :param values: what the environment has.
        """
        self.dialog = ScriptedDialog(answers or {})
        environment = Environment()
        for key, value in (values or {}).items():
            environment.set(key, value)
        super().__init__(self.dialog, environment, **others)

    @property
    def asked(self) -> list[str]:
        """Names of the questions that were put, in order."""
        return [query.name for query in self.dialog.asked]

    @property
    def warnings(self) -> list[str]:
        return self.dialog.messages(Level.WARNING)

    @property
    def errors(self) -> list[str]:
        return self.dialog.messages(Level.ERROR)
