r"""The shell-like configuration files of oVirt's services: their grammar, without reading any file.

A line is blank, a comment that begins with ``#``, or ``NAME=VALUE`` with nothing around the equals sign.
The value is read from left to right:

- a space or ``#`` outside of quotes ends it, and what follows is not looked at;
- ``"`` turns quoting on and off anywhere and is not part of it, and may be left open at the end of the line;
- ``\`` takes the next character literally, inside quotes and outside; a last one stands for nothing;
- ``${NAME}`` stands for the value assigned before, in any file, and for nothing where there is none; any
  other ``$`` is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Final

import attrs

from gateway.settings.problems import BadValueError
from gateway.settings.text import shown

__all__ = ["Assignment", "BadLine", "expand", "parse_lines"]

MAX_LINE: Final = 8192
"""Characters of a line, and of a value after expansion."""

_NEWLINE: Final = re.compile(r"\r\n|\r|\n")
_IGNORED: Final = re.compile(r"\s*(#|$)")
_ASSIGNMENT: Final = re.compile(r"\s*(\w+)=(.*)", re.DOTALL)
_ALMOST: Final = re.compile(r"\s*(export\s+)?(\w+)\s*=")
# What a value is made of; the order is that in which they are tried.
_TOKEN: Final = re.compile(r'\\(?P<literal>.?)|\$\{(?P<name>[^}]*)\}|(?P<mark>["$# ])|[^\\$"# ]+', re.DOTALL)


@attrs.frozen
class Assignment:
    """One ``NAME=VALUE``."""

    line: int
    """From 1."""
    name: str
    value: str
    """After expansion."""


@attrs.frozen
class BadLine:
    """A line that cannot be used."""

    line: int
    """From 1."""
    text: str
    """What is wrong with it; nothing of the line is quoted but a name."""
    remedy: str


def parse_lines(text: str, values: MutableMapping[str, str]) -> Iterator[Assignment | BadLine]:
    """Read the lines of a file.

    :param values: what earlier files assigned; every assignment is added to it as it is read, so that later
        lines see it.
    """
    for number, line in enumerate(_NEWLINE.split(text), 1):
        try:
            pair = _pair(line, values)
        except BadValueError as error:
            yield BadLine(number, error.text, error.remedy)
            continue
        if pair is not None:
            values[pair[0]] = pair[1]
            yield Assignment(number, *pair)


def expand(text: str, values: Mapping[str, str]) -> str:
    """The value that is written as ``text``.

    :raises BadValueError: when it is malformed, or longer than 8192 characters.
    """
    parts: list[str] = []
    length, position, quoted = 0, 0, False
    while position < len(text):
        token = _TOKEN.match(text, position)
        assert token is not None, "every character begins a token"
        position = token.end()
        part = token[0]
        if token["literal"] is not None:
            part = token["literal"]
        elif token["name"] is not None:
            part = values.get(token["name"], "")
        elif part == "$":
            raise BadValueError("has a '$' that is not of the form ${NAME}", r"write '\$' for the character")
        elif part == '"':
            quoted = not quoted
            continue
        elif token["mark"] and not quoted:
            break
        length += len(part)
        if length > MAX_LINE:
            raise BadValueError(f"has more than {MAX_LINE} characters once it is expanded", "shorten it")
        parts.append(part)
    return "".join(parts)


def _pair(line: str, values: Mapping[str, str]) -> tuple[str, str] | None:
    """:raises BadValueError: it is neither blank, nor a comment, nor an assignment."""
    if len(line) > MAX_LINE:
        raise BadValueError(f"is longer than {MAX_LINE} characters", "shorten it")
    if _IGNORED.match(line):
        return None
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        raise BadValueError("is not of the form NAME=VALUE", _advice(line))
    name, text = match.groups()
    try:
        return name, expand(text, values)
    except BadValueError as error:
        raise BadValueError(f"the value of {shown(name)} {error.text}", error.remedy) from None


def _advice(line: str) -> str:
    almost = _ALMOST.match(line)
    if almost is None:
        return "correct it, or make it a comment with '#'"
    if almost[1]:
        return "leave out 'export'"
    return "leave out the blanks before '='"
