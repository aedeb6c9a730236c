"""Answer files and other files of defaults, as oVirt's setup tools write and read them.

An INI file in UTF-8 with case-sensitive keys, each line ``KEY=type:value``::

    # a comment
    [environment:default]
    OVESETUP_CONFIG/fqdn=str:gateway.example.com
    QUESTION/1/OVESETUP_DIALOG_CONFIRM_SETTINGS=str:ok

Types are ``none``, ``bool`` (true unless it is one of f, F, false, False), ``int``, ``str``, and
``multi-str``, whose further lines are indented.
"""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from gateway.setup.asking.environment import Value
from gateway.setup.errors import SetupError

__all__ = [
    "MAX_SIZE",
    "AnswerFile",
    "Given",
    "Section",
    "parse_answers",
    "parse_settings",
    "parse_value",
    "render_answers",
    "render_value",
]

MAX_SIZE: Final = 1048576
"""Bytes of a file."""
_MAX_KEY: Final = 256
_FALSE: Final = frozenset({"f", "F", "false", "False"})
_LOOKS_FALSE: Final = frozenset({"", "0", "f", "false", "n", "no", "none", "null", "off"})
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_TYPES: Final = "none, bool, int, str, multi-str"
_SHOWN: Final = 60


class Section(enum.Enum):
    """When the values of a section are put in force."""

    INIT = "environment:init"
    """First of all, whatever there is."""
    DEFAULT = "environment:default"
    """After that, where there is nothing yet."""
    OVERRIDE = "environment:override"
    """When the questions begin, whatever there is."""
    ENFORCE = "environment:enforce"
    """When the questions are over, whatever was answered."""


@attrs.frozen
class Given:
    """A value that somebody gave for a key, and where."""

    key: str
    value: Value = attrs.field(repr=False)
    origin: str
    """File and line, for messages."""


@attrs.frozen
class AnswerFile:
    """What a file says."""

    sections: Mapping[Section, tuple[Given, ...]]
    warnings: tuple[str, ...] = ()
    """What can be read but hardly means what it says, a line each."""


@attrs.define
class _Item:
    key: str
    lines: list[str]
    number: int


def parse_answers(data: bytes, name: str) -> AnswerFile:
    """Read an answer file.

    :param data: its content.
    :param name: what messages call it.
    :raises SetupError: if it is not one, naming the line.  The value is not in the message.
    """
    if len(data) > MAX_SIZE:
        raise SetupError(f"{name}: more than {MAX_SIZE} bytes; this is no answer file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SetupError(f"{name}, line {line}: not UTF-8; save the file in this encoding") from None
    found: dict[Section, tuple[Given, ...]] = {}
    warnings: list[str] = []
    for section, items in _sections(text, name).items():
        given = []
        for item in items.values():
            origin = f"{name}, line {item.number}"
            value, doubt = _typed("\n".join(item.lines), f"{origin}: {item.key}")
            given.append(Given(item.key, value, origin))
            if doubt is not None:
                warnings.append(doubt)
        found[section] = tuple(given)
    return AnswerFile(found, tuple(warnings))


def parse_settings(text: str, name: str) -> AnswerFile:
    """Read ``KEY=type:value KEY=type:value ...``, with the quotes of a shell around what has blanks.

    :param name: what messages call it, the option for example.
    :raises SetupError: if something in it has another form.
    """
    if len(text) > MAX_SIZE:
        raise SetupError(f"{name}: more than {MAX_SIZE} characters; use an answer file")
    try:
        words = shlex.split(text)
    except ValueError:
        raise SetupError(f"{name}: a quotation mark has no partner") from None
    given: list[Given] = []
    warnings: list[str] = []
    for number, word in enumerate(words, 1):
        key, equals, rest = word.partition("=")
        if not equals:
            raise SetupError(f"{name}: item {number} is not of the form KEY=type:value")
        _check_key(key, f"{name}, item {number}")
        value, doubt = _typed(rest, f"{name}: {key}")
        given.append(Given(key, value, name))
        if doubt is not None:
            warnings.append(doubt)
    return AnswerFile({Section.INIT: tuple(given)}, tuple(warnings))


def parse_value(text: str, where: str) -> Value:
    """Read ``type:value``.

    :param where: the beginning of messages.
    :raises SetupError: if it has another form.
    """
    return _typed(text, where)[0]


def render_answers(values: Iterable[tuple[str, Value]], comment: str) -> bytes:
    """Write an answer file with all values in the section of defaults, in the given order.

    :param comment: the first line, without its ``#``.
    """
    lines = [f"# {comment}", f"[{Section.DEFAULT.value}]"]
    lines += (f"{key}={render_value(value)}" for key, value in values)
    return ("\n".join(lines) + "\n").encode()


def render_value(value: Value) -> str:
    """``type:value``; further lines are indented by a blank."""
    match value:
        case None:
            return "none:None"
        case bool():
            return f"bool:{value}"
        case int():
            return f"int:{value}"
        case str() if "\n" in value:
            return "multi-str:" + "\n ".join(["", *value.split("\n")])
        case _:
            return f"str:{value}"


def _sections(text: str, name: str) -> dict[Section, dict[str, _Item]]:
    sections: dict[Section, dict[str, _Item]] = {}
    current: dict[str, _Item] | None = None
    item: _Item | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip()
        bare = line.lstrip()
        where = f"{name}, line {number}"
        if "\0" in line:
            raise SetupError(f"{where}: a NUL character; this is no answer file")
        if bare.startswith(("#", ";")):
            continue
        if item is not None and (not bare or line != bare):
            item.lines.append(bare)
        elif not bare:
            continue
        elif bare.startswith("["):
            item = None
            current = sections.setdefault(_section(bare, where), {})
        elif current is None:
            raise SetupError(f"{where}: before the first section; begin with [{Section.DEFAULT.value}]")
        else:
            item = _item(bare, number, where)
            if item.key in current:
                former = current[item.key].number
                raise SetupError(f"{where}: {item.key} is in line {former} already; keep one of them")
            current[item.key] = item
    return sections


def _section(line: str, where: str) -> Section:
    if line.endswith("]"):
        try:
            return Section(line[1:-1])
        except ValueError:
            pass
    known = ", ".join(f"[{section.value}]" for section in Section)
    raise SetupError(f"{where}: not a section; there are {known}")


def _item(line: str, number: int, where: str) -> _Item:
    key, equals, rest = line.partition("=")
    key = key.rstrip()
    if not equals:
        raise SetupError(f"{where}: not of the form KEY=type:value")
    _check_key(key, where)
    return _Item(key, [rest.lstrip()], number)


def _check_key(key: str, where: str) -> None:
    if not key or len(key) > _MAX_KEY or not key.isprintable():
        raise SetupError(f"{where}: the key is empty, too long, or has characters that cannot be printed")


def _typed(text: str, where: str) -> tuple[Value, str | None]:
    """A value, and what is doubtful about it."""
    kind, colon, value = text.partition(":")
    if not colon:
        raise SetupError(f"{where}: has no type; write KEY=type:value, the type one of {_TYPES}")
    if kind == "multi-str":
        lines = value.rstrip("\n").split("\n")
        return "\n".join(lines[1:] if len(lines) > 1 and not lines[0] else lines), None
    value = value.rstrip("\n")
    if "\n" in value:
        raise SetupError(f"{where}: more than one line; only multi-str may have them")
    match kind:
        case "none":
            return None, None
        case "str":
            return value, None
        case "int":
            if _INTEGER.fullmatch(value) is None:
                raise SetupError(f"{where}: not an integer")
            return int(value), None
        case "bool":
            if value in _FALSE:
                return False, None
            if value.strip().lower() in _LOOKS_FALSE:
                return True, (
                    f"{where}: bool:{value} is true, as everything but f, F, false and False; "
                    "write bool:False if no is meant"
                )
            return True, None
        case _:
            shown = kind if kind.isprintable() and len(kind) <= _SHOWN else "what stands there"
            raise SetupError(f"{where}: {shown} is not a type; there are {_TYPES}")
