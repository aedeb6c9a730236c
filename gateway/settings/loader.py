"""Read a TOML file into :class:`Settings`, or say everything that is wrong with it."""

from __future__ import annotations

import difflib
import enum
import math
import typing
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from gateway.settings.check import check_settings
from gateway.settings.keys import sections, type_name, without_none
from gateway.settings.model import Settings
from gateway.settings.problems import BadValueError, Problem, SettingsError
from gateway.settings.text import dotted, shown
from gateway.settings.tomlfile import read_toml

__all__ = ["examine_settings", "examine_tables", "load_settings"]

_MAX_TOLD = 50
_MAX_ITEMS = 10_000
_FOUND = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    list: "list",
    dict: "table",
}

_REMEDIES = {
    "true or false": "write true or false, without quotes",
    "whole number": "write it in digits, without quotes",
    "number": "write it in digits, without quotes",
    "string": "put the value in quotes",
    "path": "put the value in quotes",
    "list of strings": 'put the values in brackets, each in quotes: ["..."]',
    "list of paths": 'put the values in brackets, each in quotes: ["..."]',
    "table of strings": 'write it as { "name" = "value" }',
    "table": "give it a line of its own, [NAME], with its keys below",
    "table of tables": "give each a line of its own, [TABLE.NAME], with its keys below",
}

_Place = tuple[str, ...]


def load_settings(path: Path) -> Settings:
    """Read, type-check and check the settings file *path*.

    Relative paths in the file are taken from the file's own directory.

    :raises SettingsError: with all problems at once.
    """
    settings, problems = examine_settings(path)
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def examine_settings(path: Path) -> tuple[Settings | None, tuple[Problem, ...]]:
    """As :func:`load_settings`, but return what could be understood together with the problems.

    Where there are problems the settings are good for looking for more of them, and for nothing else: what
    was not understood has its default.  They are ``None`` when the file could not be read as TOML.
    """
    try:
        raw = read_toml(path, "a settings file")
    except SettingsError as error:
        return None, error.problems
    return examine_tables(raw, path)


def examine_tables(
    raw: dict[str, Any], path: Path, not_understood: Collection[str] = ()
) -> tuple[Settings, tuple[Problem, ...]]:
    """As :func:`examine_settings`, of tables that were read already.

    :param raw: is used up.
    :param path: the file that they are said to come from; relative paths are taken from its directory.
    :param not_understood: settings that are left out because of problems that are known.
    """
    settings, wrong = _structure(raw, path.absolute().parent)
    problems = [Problem(path, dotted(place), error.text, error.remedy) for place, error in wrong]
    reported = {problem.key for problem in problems}.union(not_understood)
    problems += (
        problem for problem in check_settings(settings, path) if reported.isdisjoint(_causes(problem.key))
    )
    return settings, tuple(problems)


def _causes(key: str) -> Iterator[str]:
    """Where a value that was not understood has a default instead, of which nothing true can be said."""
    table, _, name = key.rpartition(".")
    yield key
    yield table
    yield key.partition(".")[0]
    if key.startswith("rules."):
        yield f"security.{name}"


def _structure(raw: dict[str, Any], base: Path) -> tuple[Settings, list[tuple[_Place, BadValueError]]]:
    converter = _converter(base)
    try:
        return converter.structure(raw, Settings), []
    except ClassValidationError as error:
        wrong = list(_walk(error, ()))
    for place, _ in wrong:
        _drop(raw, place)
    return converter.structure(raw, Settings), wrong


def _converter(base: Path) -> cattrs.Converter:
    """A converter that converts next to nothing: TOML has types, and they must be the right ones."""
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)
    converter.register_structure_hook(str, lambda value, _: _exactly(str, value))
    converter.register_structure_hook(bool, lambda value, _: _exactly(bool, value))
    converter.register_structure_hook(int, lambda value, _: _exactly(int, value))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook(Path, lambda value, _: _path(value, base))
    converter.register_structure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, enum.Enum),
        lambda value, kind: _member(value, kind),
    )
    converter.register_structure_hook_factory(attrs.has, lambda kind: _class_hook(converter, kind))
    return converter


def _class_hook(converter: cattrs.Converter, kind: type) -> Any:
    # cattrs takes any iterable for a tuple and any mapping for a class; a string is an iterable, too.
    def strictly(value: Any, wanted: Any) -> Any:
        wanted = without_none(wanted)
        container = {tuple: list, dict: dict}.get(typing.get_origin(wanted))
        if container is not None:
            if type(value) is not container:
                raise _mismatch(type_name(wanted), value)
            if len(value) > _MAX_ITEMS:
                raise BadValueError(f"more than {_MAX_ITEMS} items", "write fewer")
        return converter.structure(value, wanted)

    def table(value: Any, wanted: Any) -> Any:
        if type(value) is not dict:
            raise _mismatch("table", value)
        return structure(value, wanted)

    fields = attrs.fields(attrs.resolve_types(kind))
    overrides = {field.name: override(struct_hook=strictly) for field in fields}
    structure: Callable[[Any, Any], Any] = make_dict_structure_fn(
        kind,
        converter,
        _cattrs_forbid_extra_keys=True,
        **overrides,  # type: ignore[arg-type]
    )
    return table


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _mismatch(type_name(kind), value)
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise _mismatch("number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadValueError("is not a finite number", "write an ordinary number")
    return number


def _path(value: Any, base: Path) -> Path:
    if type(value) is not str:
        raise _mismatch("path", value)
    if not value or not value.isprintable():
        raise BadValueError(f"{shown(value)} is not a path", "write a printable path, or leave the key out")
    return base / value


def _member(value: Any, kind: type[enum.Enum]) -> enum.Enum:
    values = [member.value for member in kind]
    if value in values and type(value) is str:
        return kind(value)
    if type(value) is not str:
        raise _mismatch(type_name(kind), value)
    raise BadValueError(f"is not {type_name(kind)}", _suggestion(value, values) or f"write {type_name(kind)}")


def _mismatch(wanted: str, value: Any) -> BadValueError:
    found = _FOUND.get(type(value), "date or time")
    return BadValueError(
        f"{wanted} expected, {found} found", _REMEDIES.get(wanted, "put one of them in quotes")
    )


def _walk(error: Exception, place: _Place) -> Iterator[tuple[_Place, BadValueError]]:
    """The leaves of cattrs' tree of errors, each with the key it belongs to."""
    if isinstance(error, ClassValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            yield from _walk(inner, (*place, note.name))
        for inner in others:
            yield from _walk(inner, place)
    elif isinstance(error, IterableValidationError):
        elements, _ = error.group_exceptions()
        for count, (inner, element) in enumerate(elements):
            if attrs.has(element.type):
                yield from _walk(inner, (*place, str(element.index)))
                continue
            if count >= _MAX_TOLD:
                break
            for _, wrong in _walk(inner, place):
                item = element.index + 1 if isinstance(element.index, int) else shown(element.index)
                yield place, BadValueError(f"item {item}: {wrong.text}", wrong.remedy)
    elif isinstance(error, ForbiddenExtraKeysError):
        yield from _unknown(error, place)
    elif isinstance(error, BadValueError):
        yield place, error
    else:
        raise error


def _unknown(error: ForbiddenExtraKeysError, place: _Place) -> Iterator[tuple[_Place, BadValueError]]:
    known = [field.name for field in attrs.fields(error.cl)]
    homes: dict[str, list[str]] = {}
    for section in sections():
        for key in section.keys:
            if not key.inherited:
                homes.setdefault(key.name, []).append(f"[{key.section}]")
    what = "key" if place else "table or key"
    for count, name in enumerate(sorted(error.extra_fields)):
        if count < _MAX_TOLD:
            remedy = _suggestion(name, known)
            if remedy is None and name in homes:
                remedy = f"move it under {' or '.join(homes[name])}"
            remedy = remedy or f"remove it; known here: {', '.join(known)}"
        else:
            remedy = "remove it"
        yield (*place, name), BadValueError(f"unknown {what}", remedy)


def _suggestion(text: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(text[:64].lower(), known, n=1)
    return f"did you mean '{close[0]}'?" if close else None


def _drop(raw: dict[str, Any], place: _Place) -> None:
    *tables, last = place
    table: Any = raw
    for name in tables:
        table = table.get(name, {})
    table.pop(last, None)
