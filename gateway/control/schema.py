"""Values that callers send: one description that is both the check and its JSON schema (2020-12).

What a kind of value accepts and what its schema says are written side by side,
so that the OpenAPI document can be believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from gateway.control.errors import ApiError, Fault

__all__ = ["Body", "Choice", "Field", "Flag", "Kind", "Text", "Whole", "read_body", "read_fields"]

_WHOLE: Final = re.compile(r"0|[1-9][0-9]{0,15}")


class UnfitError(Exception):
    """A value is not of its kind; the text says what it should be."""


class Kind(Protocol):
    """What a value may be."""

    def schema(self) -> dict[str, Any]:
        """The JSON schema."""

    def of_text(self, text: str) -> Any:
        """The value of a parameter.

        :raises UnfitError: it is none.
        """

    def of_json(self, value: Any) -> Any:
        """The value of a member of a body.

        :raises UnfitError: it is none.
        """


@attrs.frozen
class Text:
    """A string."""

    longest: int
    """In characters."""
    shortest: int = 1
    most_bytes: int | None = None
    """In UTF-8, where that matters; a format of our own in the schema, which has no word for it."""
    printable: bool = False
    """Without control characters."""

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "minLength": self.shortest, "maxLength": self.longest}
        if self.printable:
            schema["pattern"] = r"^[^\u0000-\u001f\u007f-\u009f]*$"
        if self.most_bytes is not None:
            schema["format"] = f"utf8-{self.most_bytes}"
        return schema

    def of_text(self, text: str) -> str:
        return self.of_json(text)

    def of_json(self, value: Any) -> str:
        if not isinstance(value, str) or not self.shortest <= len(value) <= self.longest:
            raise UnfitError(f"text of {self.shortest} to {self.longest} characters is expected")
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise UnfitError("half a surrogate pair is no character") from None
        if self.most_bytes is not None and size > self.most_bytes:
            raise UnfitError(f"it has more than {self.most_bytes} bytes in UTF-8")
        if self.printable and any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in value):
            raise UnfitError("control characters are not allowed")
        return value


@attrs.frozen
class Choice:
    """One of a few strings."""

    values: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.values)}

    def of_text(self, text: str) -> str:
        return self.of_json(text)

    def of_json(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.values:
            raise UnfitError("one of " + ", ".join(f"'{each}'" for each in self.values) + " is expected")
        return value


@attrs.frozen
class Whole:
    """A whole number; both bounds are inclusive."""

    low: int
    high: int

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def of_text(self, text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise UnfitError(f"a whole number from {self.low} to {self.high} is expected")
        return self.of_json(int(text))

    def of_json(self, value: Any) -> int:
        # JSON knows one kind of number: 3.0 is whole.
        whole = isinstance(value, float) and value.is_integer()
        if (not whole and type(value) is not int) or not self.low <= value <= self.high:
            raise UnfitError(f"a whole number from {self.low} to {self.high} is expected")
        return int(value)


@attrs.frozen
class Flag:
    """True or false, or one of them alone."""

    only: bool | None = None

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"} if self.only is None else {"type": "boolean", "enum": [self.only]}

    def of_text(self, text: str) -> bool:
        return self.of_json({"true": True, "false": False}.get(text))

    def of_json(self, value: Any) -> bool:
        if not isinstance(value, bool) or self.only not in (None, value):
            wanted = "true or false" if self.only is None else json.dumps(self.only)
            raise UnfitError(f"{wanted} is expected")
        return value


@attrs.frozen
class Field:
    """A parameter, or a member of a body."""

    name: str
    kind: Kind
    doc: str
    default: Any = None
    """Where it is not given; ``None`` for nothing."""
    repeated: bool = False
    """It may be given more than once, and its value is a tuple.  For parameters."""
    required: bool = False
    """For members of a body."""

    def schema(self) -> dict[str, Any]:
        """The JSON schema."""
        schema = self.kind.schema()
        if self.repeated:
            return {"type": "array", "items": schema, "maxItems": 10}
        return schema if self.default is None else {**schema, "default": self.default}


@attrs.frozen
class Body:
    """A JSON object."""

    fields: tuple[Field, ...]
    one_of: tuple[str, ...] = ()
    """At least one of these has to be there."""

    def schema(self) -> dict[str, Any]:
        """The JSON schema."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {field.name: {**field.schema(), "description": field.doc} for field in self.fields},
            "additionalProperties": False,
        }
        if required := [field.name for field in self.fields if field.required]:
            schema["required"] = required
        if self.one_of:
            schema["anyOf"] = [{"required": [name]} for name in self.one_of]
        return schema


def read_fields(fields: Sequence[Field], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The values of parameters by name, with defaults for what is not given.

    :raises ApiError: one is unknown, given more often than it may be, or not of its kind.
    """
    known = {field.name: field for field in fields}
    given: dict[str, list[Any]] = {}
    for name, text in pairs:
        field = known.get(name)
        if field is None:
            raise ApiError(Fault.INVALID, "There is an unknown parameter", _known(known))
        try:
            given.setdefault(name, []).append(field.kind.of_text(text))
        except UnfitError as error:
            raise ApiError(Fault.INVALID, f"Parameter '{name}': {error}") from None
        if len(given[name]) > (10 if field.repeated else 1):
            raise ApiError(Fault.INVALID, f"Parameter '{name}' is given too often")
    return {
        field.name: tuple(given.get(field.name, ())) if field.repeated else _first(given, field)
        for field in fields
    }


def read_body(body: Body, data: bytes) -> dict[str, Any]:
    """The members of a body by name, with defaults for what is not given.

    :raises ApiError: it is no JSON object, or a member is missing, unknown or not of its kind.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ApiError(Fault.BAD_REQUEST, "The body is not JSON in UTF-8 without repeated names") from None
    if not isinstance(value, dict):
        raise ApiError(Fault.INVALID, "The body is not an object")
    known = {field.name: field for field in body.fields}
    if not value.keys() <= known.keys():
        raise ApiError(Fault.INVALID, "The body has an unknown member", _known(known))
    for field in body.fields:
        if field.name not in value:
            if field.required:
                raise ApiError(Fault.INVALID, f"The body has no '{field.name}'")
            continue
        try:
            value[field.name] = field.kind.of_json(value[field.name])
        except UnfitError as error:
            raise ApiError(Fault.INVALID, f"'{field.name}': {error}") from None
    if body.one_of and not value.keys() & set(body.one_of):
        raise ApiError(Fault.INVALID, "The body says nothing of whom it is for", _known(body.one_of))
    return {field.name: value.get(field.name, field.default) for field in body.fields}


def _first(given: Mapping[str, list[Any]], field: Field) -> Any:
    values = given.get(field.name)
    return values[0] if values else field.default


def _known(names: Sequence[str] | Mapping[str, Any]) -> str:
    return "use " + ", ".join(f"'{name}'" for name in names) if names else "there is none here"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("repeated name")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
