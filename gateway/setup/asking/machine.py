r"""The dialect for programs: every line tells by its beginning what it is.

=================================  ==================================================================
``### text``                       a note, for people who look on
``***L:INFO text``                 what happened; also ``WARNING`` and ``ERROR``
``**%QStart: NAME``                a question begins, with notes and the next three
``**%QDefault: text``              what an empty line means
``**%QValidValues: a|b``           the answers that will do, ``|`` and ``\`` in them escaped by ``\``
``**%QHidden: FALSE``              or ``TRUE``: whether the answer is a password
``**%QEnd: NAME``                  all is said of the question; the answer may come
``***Q:STRING NAME``               a question; its answer is a line, an empty one for the default
``***Q:MULTI-STRING NAME A B``     a question; its answer ends with the line A, and B gives up
``***D:MULTI-STRING NAME A``       lines that are shown, up to the line A
``***D:VALUE NAME=str:text``       a result
``***TERMINATE``                   nothing more will come
=================================  ==================================================================

A wrong answer ends it all: programs do not get better by being asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Final, TextIO

from gateway.setup.asking.answerfile import render_value
from gateway.setup.asking.dialog import BOUNDARY, Dialog, Level, Query, plain, read_line, read_lines

__all__ = ["ABORT_BOUNDARY", "MachineDialog"]

ABORT_BOUNDARY: Final = "--=451b80dc-996f-ABORT-9e4f-2b29ef6d1141=--"
"""The line that gives up instead of ending several lines of text."""


class MachineDialog(Dialog):
    """Questions for programs."""

    forgiving = False

    def __init__(self, source: BinaryIO, sink: TextIO) -> None:
        self._source = source
        self._sink = sink

    def note(self, text: str) -> None:
        self._write(*_notes(text))

    def log(self, level: Level, text: str) -> None:
        self._write(f"***L:{level.value} {'. '.join(plain(text).split(chr(10)))}")

    def query(self, query: Query) -> str:
        lines = [f"**%QStart: {query.name}", *_notes(query.prompt)]
        if query.default and not query.hidden:
            lines.append(f"**%QDefault: {_single(query.default)}")
        if query.choices:
            lines.append(f"**%QValidValues: {'|'.join(map(_escaped, query.choices))}")
        lines.append(f"**%QHidden: {'TRUE' if query.hidden else 'FALSE'}")
        self._write(*lines, f"***Q:STRING {query.name}", f"**%QEnd: {query.name}")
        return read_line(self._source, query.name)

    def show(self, name: str, lines: Sequence[str]) -> None:
        self._write(f"***D:MULTI-STRING {name} {BOUNDARY}", *map(plain, lines), BOUNDARY)

    def collect(self, name: str, prompt: str) -> list[str]:
        self._write(
            f"**%QStart: {name}",
            *_notes(prompt),
            *_notes(f"The end is a line with this alone: {BOUNDARY}"),
            *_notes(f"This line gives up: {ABORT_BOUNDARY}"),
            f"***Q:MULTI-STRING {name} {BOUNDARY} {ABORT_BOUNDARY}",
            f"**%QEnd: {name}",
        )
        return list(read_lines(self._source, name, ABORT_BOUNDARY))

    def value(self, name: str, value: str) -> None:
        self._write(f"***D:VALUE {name}={render_value(_single(value))}")

    def end(self) -> None:
        self._write("***TERMINATE")

    def _write(self, *lines: str) -> None:
        self._sink.write("".join(f"{line}\n" for line in lines))
        self._sink.flush()


def _notes(text: str) -> list[str]:
    return [f"### {line}".rstrip() for line in plain(text).split("\n")]


def _single(text: str) -> str:
    return plain(text).replace("\n", " ")


def _escaped(choice: str) -> str:
    return choice.replace("\\", "\\\\").replace("|", "\\|")
