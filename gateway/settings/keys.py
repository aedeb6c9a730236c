"""The settings model seen as sections and keys, for code that treats all of them alike."""

from __future__ import annotations

import enum
import functools
import inspect
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from gateway.settings.model import Settings

__all__ = ["Key", "Section", "sections", "type_name", "without_none"]

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    Path: "path",
    tuple[str, ...]: "list of strings",
    tuple[Path, ...]: "list of paths",
    dict[str, str]: "table of strings",
}


@attrs.frozen
class Key:
    """One key of the settings file."""

    section: str
    name: str
    type: Any
    """The resolved annotation, without ``None``."""
    default: Any
    doc: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    secret: bool = False
    """The value is never shown."""
    inherited: bool = False
    """It means what its namesake of another section means, and has that one's value where it is not set."""

    @property
    def path(self) -> str:
        """``limits.sessions``."""
        return f"{self.section}.{self.name}"

    @property
    def bounds(self) -> str:
        """``1 to 300``, or empty."""
        if self.low is None and self.high is None:
            return ""
        if self.high is None:
            return f"at least {self.low}"
        return f"at most {self.high}" if self.low is None else f"{self.low} to {self.high}"


@attrs.frozen
class Section:
    """One table of the settings file, or any number of tables that are alike: ``[rules.NAME]``."""

    name: str
    """Of the field of the model."""
    cls: type
    doc: str
    """Paragraphs, with an empty line between."""
    keys: tuple[Key, ...]
    many: bool = False

    @property
    def title(self) -> str:
        """What stands in the brackets of the table."""
        return f"{self.name}.NAME" if self.many else self.name

    def tables(self, settings: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Every such table of *settings*, behind the parts of its name."""
        value = getattr(settings, self.name)
        if self.many:
            yield from (((self.name, name), each) for name, each in value.items())
        else:
            yield (self.name,), value


def sections(model: type = Settings) -> tuple[Section, ...]:
    """Every section of *model*, in its order."""
    fields = attrs.fields(attrs.resolve_types(model))
    return tuple(_section(field.name, field.type) for field in fields)


def type_name(kind: Any) -> str:
    """The type of a key in an operator's words."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(f"'{member.value}'" for member in kind)
    if typing.get_origin(kind) is dict and attrs.has(typing.get_args(kind)[1]):
        return "table of tables"
    return "table" if attrs.has(kind) else _NAMES[kind]


def without_none(kind: Any) -> Any:
    """The type that an annotation allows beside ``None``."""
    if isinstance(kind, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
    return kind


@functools.cache
def _section(name: str, kind: Any) -> Section:
    many = typing.get_origin(kind) is dict
    cls: type = typing.get_args(kind)[1] if many else kind
    default = cls()
    keys = tuple(
        Key(
            section=f"{name}.NAME" if many else name,
            name=field.name,
            type=without_none(field.type),
            default=getattr(default, field.name),
            **{label: value for label, value in field.metadata.items() if label in _METADATA},
        )
        for field in attrs.fields(attrs.resolve_types(cls))
    )
    paragraphs = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    return Section(name, cls, "\n\n".join(" ".join(text.split()) for text in paragraphs), keys, many)


_METADATA = frozenset({"doc", "unit", "low", "high", "secret", "inherited"})
