"""How a field of the settings model says what it means."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["inherited", "setting"]


def setting(
    default: Any, doc: str, *, unit: str = "", low: float | None = None, high: float | None = None
) -> Any:
    """A documented field.  ``low`` and ``high`` are inclusive bounds on a number."""
    metadata = {"doc": doc, "unit": unit, "low": low, "high": high}
    if isinstance(default, dict):
        return attrs.field(factory=lambda: dict(default), metadata=metadata)
    return attrs.field(default=default, metadata=metadata)


def inherited(cls: type, name: str) -> Any:
    """A field that means what *name* of *cls* means, and has that one's value where it is ``None``."""
    metadata = getattr(attrs.fields(cls), name).metadata
    return attrs.field(default=None, metadata={**metadata, "inherited": True})
