"""What setup is going to do, for the eyes of whoever confirms it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gateway.setup.host.plan import Change, ChangeKind

__all__ = ["change_lines", "setting_line"]

_COLUMNS: Final = 40
_LABELS: Final = {
    ChangeKind.NEW: "new",
    ChangeKind.CHANGED: "changed",
    ChangeKind.ACCESS: "access",
}
_KIND_WIDTH: Final = 7


def setting_line(label: str, value: object) -> str:
    """One setting: its label in 40 columns, then the value."""
    return f"{label:<{_COLUMNS}}: {value}"


def change_lines(changes: Iterable[Change]) -> list[str]:
    """Files and what becomes of them, those that stay as they are left out."""
    return [
        f"  {_LABELS[change.kind]:<{_KIND_WIDTH}}  {change.place}  {change.detail}".rstrip()
        for change in changes
        if change.kind is not ChangeKind.UNCHANGED
    ]
