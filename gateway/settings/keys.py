"""The settings model seen as sections and keys, for code that treats all of them alike."""

from __future__ import annotations

import enum
import functools
import types
import typing
from pathlib import Path
from typing import Any

import attrs

from gateway.settings.model import Settings

__all__ = ["Key", "Section", "sections", "type_name"]

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "string",
    Path: "path",
    tuple[str, ...]: "list of strings",
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
    """One table of the settings file."""

    name: str
    cls: type
    doc: str
    keys: tuple[Key, ...]


def sections(model: type = Settings) -> tuple[Section, ...]:
    """Every section of *model*, in its order."""
    fields = attrs.fields(attrs.resolve_types(model))
    return tuple(_section(field.name, field.type) for field in fields)


def type_name(kind: Any) -> str:
    """The type of a key in an operator's words."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(f"'{member.value}'" for member in kind)
    return "table" if attrs.has(kind) else _NAMES[kind]


@functools.cache
def _section(name: str, cls: type) -> Section:
    default = cls()
    keys = tuple(
        Key(
            section=name,
            name=field.name,
            type=_without_none(field.type),
            default=getattr(default, field.name),
            **{label: value for label, value in field.metadata.items() if label in _METADATA},
        )
        for field in attrs.fields(attrs.resolve_types(cls))
    )
    return Section(name, cls, (cls.__doc__ or "").strip(), keys)


def _without_none(kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
    return kind


_METADATA = frozenset({"doc", "unit", "low", "high", "secret"})
