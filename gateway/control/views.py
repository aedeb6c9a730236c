"""What the control API shows, as JSON: sessions, events, settings.

The JSON of an attrs class and its schema come from the class's own types, so
neither can be forgotten when a field is added.  Enums appear by the name they
have in logs, what is absent as ``null``, and times in seconds with three
decimals.
"""

from __future__ import annotations

import enum
import functools
import operator
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import attrs

from gateway.control.health import Check
from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import Event, Happening
from gateway.sessions.info import SessionInfo
from gateway.settings import RuleSettings, Settings, resolve_rule
from gateway.settings.keys import sections

__all__ = ["EVENT_TYPES", "SCHEMAS", "event_json", "record_json", "settings_json"]

_NOTES: Final = {
    "duration": "Seconds since the session began.",
    "idle": "Seconds since the user's last input to the console.",
    "started": "Seconds since the epoch.",
    "subject": "Who the ticket was made for, where it says so.",
    "target": "As the ticket names it.",
    "ticket": "Id of the ticket, which is no ticket.",
    "to_client": "Bytes that the target sent.",
    "to_target": "Bytes that the client sent.",
}
_Plan: TypeAlias = tuple[
    tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Callable[[Any], Any]], ...]
]
"""Names of fields, what reads their values, and what is done to some of these."""
_PLAIN: Final = {str: "string", float: "number", int: "integer", bool: "boolean"}
_LABELLED: Final = (EndReason, Refusal)
_AS_IT_IS: Final = (str, int)
_HAPPENINGS: Final = typing.get_args(Happening)

EVENT_TYPES: Final[tuple[str, ...]] = tuple(cls.name for cls in _HAPPENINGS)
"""Names of what events are about."""


def record_json(record: Any) -> dict[str, Any]:
    """An attrs object as JSON."""
    names, read, converted = _plan(record.__class__)
    content = dict(zip(names, read(record), strict=True))
    for name, convert in converted:
        content[name] = convert(content[name])
    return content


def event_json(event: Event) -> dict[str, Any]:
    """An event as JSON: its number, time and type, and what it is about."""
    what = event.what
    content = {"number": event.number, "time": round(event.time, 3), "type": what.name, **record_json(what)}
    match getattr(what, "reason", None):
        case EndReason() as reason if what.name == "session-ended":
            content["code"] = reason.code
        case Refusal() as refusal:
            content["status"] = refusal.status
    return content


def settings_json(settings: Settings) -> dict[str, dict[str, Any]]:
    """What is in force, by section and key, without what is secret.  Rules are as they inherit."""
    shown: dict[str, dict[str, Any]] = {}
    for section in sections():
        for place, table in section.tables(settings):
            in_force = resolve_rule(settings.security, table) if isinstance(table, RuleSettings) else table
            shown[".".join(place)] = {
                key.name: _json(getattr(in_force if key.inherited else table, key.name))
                for key in section.keys
                if not key.secret
            }
    return shown


@functools.cache
def _plan(cls: Hashable) -> _Plan:
    """How objects of a class become JSON; there can be thousands of sessions, and no time for each field."""
    fields = attrs.fields(attrs.resolve_types(cast("type[attrs.AttrsInstance]", cls)))
    names = tuple(field.name for field in fields)
    # With one name alone, an attrgetter gives no tuple; every class of ours has more.
    converted = [(field.name, _converter(field.type)) for field in fields if not _is_plain(field.type)]
    return names, operator.attrgetter(*names), tuple(converted)


def _is_plain(kind: Any) -> bool:
    """Whether values of a type are JSON as they are."""
    parts = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return all(part in (str, int, bool, types.NoneType) for part in parts)


def _converter(kind: Any) -> Callable[[Any], Any]:
    if kind is float:
        return _rounded
    return _enum if isinstance(kind, type) and issubclass(kind, enum.Enum) else _json


def _rounded(value: float) -> float:
    return round(value, 3)


def _enum(value: enum.Enum) -> Any:
    return value.label if isinstance(value, _LABELLED) else value.value


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if value is None or isinstance(value, _AS_IT_IS):
        return value
    if isinstance(value, enum.Enum):
        return _enum(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    return record_json(value)


# -- schemas ---------------------------------------------------------------------


def _record_schema(cls: type, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    properties = {**(extra or {})}
    for field in attrs.fields(attrs.resolve_types(cls)):
        properties[field.name] = _type_schema(field.type)
        if field.name in _NOTES and "$ref" not in properties[field.name]:
            properties[field.name]["description"] = _NOTES[field.name]
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _type_schema(kind: Any) -> dict[str, Any]:
    if isinstance(kind, types.UnionType):
        (inner,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
        schema = _type_schema(inner)
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        return schema
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if kind is SessionInfo:
        return {"$ref": "#/components/schemas/Session"}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"type": "string", "enum": [_json(member) for member in kind]}
    (item, _) = typing.get_args(kind)
    return {"type": "array", "items": _type_schema(item)}


def _event_schema(cls: Any) -> dict[str, Any]:
    extra: dict[str, Any] = {
        "number": {"type": "integer", "minimum": 1, "description": "Counts up in the life of a process."},
        "time": {"type": "number", "description": "Seconds since the epoch."},
        "type": {"type": "string", "enum": [cls.name]},
    }
    if cls.name == "session-ended":
        codes = sorted({reason.code for reason in EndReason if reason.code is not None})
        extra["code"] = {"type": ["integer", "null"], "enum": [*codes, None]}
    if cls.name == "request-refused":
        extra["status"] = {"type": "integer", "enum": sorted({refusal.status for refusal in Refusal})}
    return _record_schema(cls, extra)


SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "Session": _record_schema(SessionInfo),
    "Check": _record_schema(Check),
    **{cls.__name__: _event_schema(cls) for cls in _HAPPENINGS},
    "Event": {
        "oneOf": [{"$ref": f"#/components/schemas/{cls.__name__}"} for cls in _HAPPENINGS],
        "discriminator": {
            "propertyName": "type",
            "mapping": {cls.name: f"#/components/schemas/{cls.__name__}" for cls in _HAPPENINGS},
        },
    },
}
"""JSON schemas by name."""
