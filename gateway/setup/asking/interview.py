"""Questions and what becomes of the answers.

An answer comes from the first of these that has one: a value that is set already (unless a former setup
left it and there is a newer one), an answer file in question form, the default if defaults are to be taken,
whoever is asked.
What was given in advance must be right; whoever is asked may try again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import attrs

from gateway.setup.asking.dialog import Dialog, Level, Query
from gateway.setup.asking.environment import HIDDEN, Environment, Value
from gateway.setup.errors import AnswerError, SetupError

__all__ = ["Interview", "Journal", "Question"]

_ATTEMPTS: Final = 1000
_MAX_ANSWER: Final = 65536
_YES: Final = "Yes"
_NO: Final = "No"
_SHOWN: Final = 60


class Journal(Protocol):
    """Where everything that is said is kept, passwords covered."""

    def write(self, kind: str, text: str) -> None:
        """Keep ``text``; ``kind`` is a word for what it is."""


@attrs.frozen
class Question:
    """A question that has one line for an answer."""

    name: str
    """Answer files go by it: ``QUESTION/1/NAME``, where 1 counts how often it was asked."""
    prompt: str
    default: str | None = None
    """What an empty line means.  ``None``: an answer is needed; empty: an empty answer will do."""
    choices: tuple[str, ...] = ()
    """The answers that will do, in any case of letters; the answer is returned as it is written here."""
    hidden: bool = False
    """A password: not echoed, not in the log, not in generated answer files."""
    check: Callable[[str], str] | None = None
    """Returns the answer as it is to be used, or raises :exc:`AnswerError`."""
    key: str | None = None
    """Where the answer is kept, and given in advance."""


class Interview:
    """Asks, tells, and keeps what was answered."""

    def __init__(
        self,
        dialog: Dialog,
        environment: Environment,
        *,
        accept_defaults: bool = False,
        journal: Journal | None = None,
    ) -> None:
        """:param accept_defaults: take the default of every question that has one."""
        self.environment = environment
        self.accept_defaults = accept_defaults
        self.in_advance = False
        """Whether the answer that is being checked was given before anybody saw the question."""
        self._dialog = dialog
        self._journal = journal
        self._asked: dict[str, int] = {}
        self._answers: list[tuple[str, str]] = []

    @property
    def unattended(self) -> bool:
        """Whether nobody is expected to sit there."""
        return self.accept_defaults

    @property
    def answers(self) -> tuple[tuple[str, str], ...]:
        """What was answered, as keys and values of an answer file in question form, without passwords."""
        counts: dict[str, int] = {}
        found = []
        for name, answer in self._answers:
            if self.environment.is_secret(name):
                continue
            counts[name] = counts.get(name, 0) + 1
            found.append((f"QUESTION/{counts[name]}/{name}", answer))
        return tuple(sorted(found))

    def title(self, text: str) -> None:
        """Begin a part of the conversation."""
        self._keep("TITLE", text)
        self._dialog.note(f"\n--== {text} ==--\n")

    def note(self, text: str) -> None:
        """Explain something."""
        text = self.environment.scrub(text)
        self._keep("NOTE", text)
        self._dialog.note(text)

    def info(self, text: str) -> None:
        """Tell what is going on."""
        self._log(Level.INFO, text)

    def warning(self, text: str) -> None:
        """Tell what may be a problem."""
        self._log(Level.WARNING, text)

    def error(self, text: str) -> None:
        """Tell what is a problem."""
        self._log(Level.ERROR, text)

    def value(self, name: str, value: str) -> None:
        """Hand out a result to a program on the other side; people are to be told in a note."""
        self._keep("VALUE", f"{name}={value}")
        self._dialog.value(name, value)

    def ask(self, question: Question) -> str:
        """Ask until the answer will do.

        :raises SetupError: if an answer that was given in advance will not do, or the input ends, or nothing
            right has come in 1000 attempts.
        """
        if question.hidden and question.key is not None:
            self.environment.conceal(question.key)
        answer = self._preset(question)
        if answer is None:
            answer = self._obtain(question)
        if question.hidden:
            self.environment.conceal_text(answer)
        else:
            self._answers.append((question.name, answer))
        if question.key is not None:
            self.environment.set(question.key, answer)
        self._keep("ANSWER", f"{question.name}: {HIDDEN if question.hidden else answer}")
        return answer

    def confirm(self, name: str, prompt: str, default: bool | None, *, key: str | None = None) -> bool:
        """Ask a question for yes or no.

        :param key: where the answer is kept, as a boolean, and given in advance.
        :raises SetupError: as :meth:`ask`.
        """
        question = Question(
            name,
            prompt,
            default=None if default is None else _word(default),
            choices=(_YES, _NO),
            key=key,
        )
        answer = self._preset(question)
        if answer is None:
            answer = self._obtain(question)
        yes = answer == _YES
        self._answers.append((name, answer.lower()))
        if key is not None:
            self.environment.set(key, yes)
        self._keep("ANSWER", f"{name}: {answer}")
        return yes

    def show(self, name: str, lines: Sequence[str]) -> None:
        """Show lines that are to be taken as they are."""
        self._keep("SHOWN", "\n".join([name, *lines]))
        self._dialog.show(name, lines)

    def collect(self, name: str, prompt: str, *, key: str | None = None) -> list[str]:
        """Ask for lines.

        :param key: where they may be given in advance.
        :raises SetupError: if the input ends before they do, or they are too much.
        """
        for source in filter(None, (key, f"QUESTION/{self._next(name)}/{name}")):
            value = self.environment.get(source)
            if isinstance(value, str):
                lines = value.split("\n")
                break
        else:
            self._keep("QUESTION", f"{name}: {prompt}")
            lines = self._dialog.collect(name, prompt)
        if sum(map(len, lines)) > _MAX_ANSWER:
            raise SetupError(f"more than {_MAX_ANSWER} characters for {name}; give what is asked for alone")
        self._answers.append((name, "\n".join(lines)))
        self._keep("ANSWER", f"{name}: {len(lines)} lines")
        return lines

    def _preset(self, question: Question) -> str | None:
        """What was given for the question's key, if that is to be used."""
        if question.key is None:
            return None
        entry = self.environment.entry(question.key)
        if entry.value is None:
            return None
        answered = f"QUESTION/{self._asked.get(question.name, 0) + 1}/{question.name}"
        if entry.remembered and self.environment.get(answered) is not None:
            return None
        origin = f"{entry.origin}: {question.key}" if entry.origin else question.key
        try:
            return self._checked(question, _text(entry.value, question), in_advance=True)
        except AnswerError as error:
            raise SetupError(f"{origin}: {error}") from None

    def _obtain(self, question: Question) -> str:
        """The answer in an answer file, or the default, or what is answered now."""
        for _ in range(_ATTEMPTS):
            number = self._next(question.name)
            source = f"QUESTION/{number}/{question.name}"
            if question.hidden:
                self.environment.conceal(source)
            entry = self.environment.entry(source)
            scripted = entry.value is not None
            if scripted:
                answer = _text(entry.value, question)
            elif self.accept_defaults and question.default is not None:
                answer = ""
            else:
                self._keep("QUESTION", f"{question.name}: {question.prompt}")
                answer = self._dialog.query(
                    Query(question.name, question.prompt, question.default, question.choices, question.hidden)
                )
            try:
                return self._checked(question, answer, in_advance=scripted)
            except AnswerError as error:
                again = f"QUESTION/{number + 1}/{question.name}"
                if scripted and self.environment.get(again) is None:
                    origin = f"{entry.origin}: {source}" if entry.origin else source
                    raise SetupError(f"{origin}: {error}") from None
                if not scripted and self.accept_defaults and question.default is not None:
                    raise SetupError(
                        f"the default of {question.name} will not do: {error}; give an answer to it"
                    ) from None
                if not scripted and not self._dialog.forgiving:
                    raise SetupError(f"invalid reply to {question.name}: {error}") from None
                self.error(f"Invalid value: {error}")
        raise SetupError(f"no right answer to {question.name} in {_ATTEMPTS} attempts")

    def _next(self, name: str) -> int:
        self._asked[name] = self._asked.get(name, 0) + 1
        return self._asked[name]

    def _checked(self, question: Question, answer: str, *, in_advance: bool) -> str:
        """The answer in its proper form.

        :raises AnswerError: if it will not do.
        """
        self.in_advance = in_advance
        if not answer:
            if question.default is None:
                raise AnswerError("an answer is needed")
            answer = question.default
        if len(answer) > _MAX_ANSWER:
            raise AnswerError(f"more than {_MAX_ANSWER} characters")
        if question.choices:
            answer = _choice(question.choices, answer)
        return question.check(answer) if question.check is not None else answer

    def _log(self, level: Level, text: str) -> None:
        text = self.environment.scrub(text)
        self._keep(level.value, text)
        self._dialog.log(level, text)

    def _keep(self, kind: str, text: str) -> None:
        if self._journal is not None:
            self._journal.write(kind, self.environment.scrub(text))


def _text(value: Value, question: Question) -> str:
    """A value as it would be typed."""
    if isinstance(value, bool):
        return _word(value) if set(question.choices) == {_YES, _NO} else str(value)
    return str(value)


def _word(yes: bool) -> str:
    return _YES if yes else _NO


def _choice(choices: tuple[str, ...], answer: str) -> str:
    wanted = answer.strip().casefold()
    for choice in choices:
        if choice.casefold() == wanted:
            return choice
    if {_YES, _NO} <= set(choices) and wanted in {"y", "n"}:
        return _word(wanted == "y")
    shown = f"'{answer}'" if re.fullmatch(r"[ -~]*", answer) and len(answer) <= _SHOWN else "this"
    raise AnswerError(f"{shown} is none of {', '.join(choices)}")
