"""A program that answers setup's machine dialect, as deployment tools do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

__all__ = ["Conversation", "converse"]

Answer = str | Sequence[str] | Callable[["Conversation"], str | Sequence[str]]
"""A line, several lines, or what finds out at that time."""


@attrs.define
class Conversation:
    """What was said."""

    asked: list[str] = attrs.field(factory=list)
    """Names of the questions, in their order."""
    hidden: set[str] = attrs.field(factory=set)
    """Names of those whose answer was to be hidden."""
    choices: dict[str, list[str]] = attrs.field(factory=dict)
    defaults: dict[str, str] = attrs.field(factory=dict)
    shown: dict[str, list[str]] = attrs.field(factory=dict)
    """Texts of several lines, by their names."""
    values: dict[str, str] = attrs.field(factory=dict)
    log: list[tuple[str, str]] = attrs.field(factory=list)
    """Levels and messages."""
    strange: list[str] = attrs.field(factory=list)
    """Lines that are none of the dialect."""
    current: str = ""
    """The question that is being put."""
    ended: bool = False
    """Whether it said that nothing more would come."""
    status: int | None = None


def converse(
    command: Sequence[str], answers: Mapping[str, Answer], *, cwd: Path, environ: Mapping[str, str]
) -> Conversation:
    """Run a command and answer what it asks; what has no answer here gets an empty line."""
    said = Conversation()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        output = process.stdout
        for line in output:
            words = line.split()
            match words:
                case ["***Q:STRING" | "***Q:MULTI-STRING" | "***Q:VALUE" as kind, name, *rest]:
                    said.asked.append(name)
                    process.stdin.write(_reply(kind, name, rest, answers, said))
                    process.stdin.flush()
                case ["***D:MULTI-STRING", name, boundary]:
                    said.shown[name] = [text.rstrip("\n") for text in iter(output.readline, f"{boundary}\n")]
                case ["***TERMINATE"]:
                    said.ended = True
                case _:
                    _note(line.rstrip("\n"), said)
    said.status = process.returncode
    return said


def _reply(
    kind: str, name: str, rest: Sequence[str], answers: Mapping[str, Answer], said: Conversation
) -> str:
    answer = answers.get(name, "")
    if callable(answer):
        answer = answer(said)
    if kind == "***Q:MULTI-STRING":
        assert not isinstance(answer, str)
        return "".join(f"{line}\n" for line in [*answer, rest[0]])
    assert isinstance(answer, str)
    return f"VALUE {name}=str:{answer}\n" if kind == "***Q:VALUE" else f"{answer}\n"


def _note(line: str, said: Conversation) -> None:
    """What needs no answer."""
    if line.startswith("***L:"):
        level, _, text = line.removeprefix("***L:").partition(" ")
        said.log.append((level, text))
    elif line.startswith("***D:VALUE "):
        name, _, value = line.removeprefix("***D:VALUE ").partition("=")
        said.values[name] = value
    elif line.startswith("**%Q"):
        what, _, value = line.removeprefix("**%Q").partition(": ")
        if what == "Start":
            said.current = value
        elif what == "Default":
            said.defaults[said.current] = value
        elif what == "ValidValues":
            said.choices[said.current] = value.split("|")
        elif what == "Hidden" and value == "TRUE":
            said.hidden.add(said.current)
    elif line and not line.startswith("###"):
        said.strange.append(line)
