"""Values, keys and comments as TOML 1.0 has them."""

from __future__ import annotations

import enum
import re
import textwrap
from typing import Any, Final

__all__ = ["toml_assignment", "toml_comment", "toml_key", "toml_value"]

_WIDTH: Final = 100
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def toml_comment(text: str) -> str:
    """*text*, whose line breaks stay, as lines that begin with ``#``."""
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, _WIDTH - 2) or [""]]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def toml_assignment(name: str, value: Any) -> str:
    """One key and its value, a long list over several lines."""
    line = f"{name} = {toml_value(value)}"
    if len(line) > _WIDTH and isinstance(value, tuple):
        items = "".join(f"    {toml_value(item)},\n" for item in value)
        return f"{name} = [\n{items}]"
    return line


def toml_value(value: Any) -> str:
    """A value of the settings model; paths and enumerations are strings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return _string(str(value.value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        pairs = (f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, int | float):
        return repr(value)
    return _string(str(value))


def toml_key(name: str) -> str:
    """A key, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    """A basic string (TOML 1.0, "String"); what cannot be written in TOML, a lone surrogate, becomes '?'."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escape(c) for c in text) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
