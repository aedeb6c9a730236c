"""How commands show what a gateway says: tables, sizes, durations.

What comes over the network is text and nothing else here: never markup, never
a command to the terminal.
"""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.control.problems import ControlError
from gateway.settings import one_line

__all__ = [
    "Column",
    "cell",
    "count",
    "duration",
    "moment",
    "pairs",
    "part",
    "records",
    "size",
    "table",
    "terminal",
    "write_json",
]

_GAP: Final = 2
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_NOTHING: Final = "-"
_FOLDED: Final = 20
"""A column that may be wrapped gets as much, if it needs it, before others are left out."""
_WIDE: Final = 1000000
"""Columns of what is no terminal: nothing is wrapped or left out there."""


@attrs.frozen
class Column:
    """A column of a table."""

    title: str
    right: bool = False
    """Numbers stand on the right."""
    whole: bool = False
    """Never wrapped."""
    rank: int = 0
    """Where there is not enough room, those with low ranks come first; 0 is always there."""


def terminal(*, err: bool = False) -> Console:
    """Standard output, or standard error; without colours where it is no terminal."""
    stream = sys.stderr if err else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        # A terminal that cannot show a character shows its code.
        stream.reconfigure(errors="backslashreplace")
    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    return (
        console
        if console.is_terminal
        else Console(file=stream, width=_WIDE, markup=False, emoji=False, highlight=False)
    )


def table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> Table:
    """A table as wide as its contents, without the columns for which there is no room."""
    cells = [[_text(value) for value in row] for row in rows]
    widths = [
        max([cell_len(column.title), *(text.cell_len for text in texts)])
        for column, texts in zip(
            columns, zip(*cells, strict=True) if cells else [()] * len(columns), strict=True
        )
    ]
    needed = [
        width if column.whole else min(width, _FOLDED) for column, width in zip(columns, widths, strict=True)
    ]
    shown = []
    room = console.width + _GAP
    for place in sorted(range(len(columns)), key=lambda place: columns[place].rank):
        if not columns[place].rank or needed[place] + _GAP <= room:
            shown.append(place)
            room -= needed[place] + _GAP
    shown.sort()
    result = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for place in shown:
        column = columns[place]
        result.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.whole,
            overflow="fold",
            min_width=widths[place] if column.whole else None,
        )
    for texts in cells:
        result.add_row(*(texts[place] for place in shown))
    return result


def pairs(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Labels on the left, values on the right."""
    result = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=False)
    result.add_column(no_wrap=True, style="bold")
    result.add_column(overflow="fold")
    for label, value in rows:
        result.add_row(label, _text(value))
    return result


def write_json(text: str) -> None:
    """JSON of the gateway, which is printable already, in a line of its own."""
    terminal().out(text.rstrip("\n"), highlight=False)


def cell(value: object) -> str:
    """A value out of JSON in one printable line."""
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return one_line(value if isinstance(value, str) else json.dumps(value))


def size(value: object) -> str:
    """Bytes, in the largest unit that leaves one before the point."""
    number = _number(value)
    if number is None:
        return cell(value)
    if abs(number) < 1024:
        return f"{number:.0f} B"
    for unit in _UNITS:
        number /= 1024
        if abs(number) < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{number:.1f} {unit}" if abs(number) < 9.95 else f"{number:.0f} {unit}"


def duration(value: object) -> str:
    """Seconds, in one or two units."""
    number = _number(value)
    if number is None:
        return cell(value)
    if number < 60:
        return f"{int(number)} s"
    minutes = int(number // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"


def moment(value: object) -> str:
    """Seconds since the epoch as local time."""
    number = _number(value)
    if number is None:
        return cell(value)
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(number))
    except (OverflowError, ValueError, OSError):
        return cell(value)


def records(value: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The list of objects under ``name``.

    :raises ControlError: there is none.
    """
    items = value.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ControlError(
            f"the gateway's answer has no list of {name}", "Is it of the same version as this command?"
        )
    return items


def part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under ``name``; an empty one where there is none."""
    item = value.get(name)
    return item if isinstance(item, dict) else {}


def count(number: int) -> str:
    """So many sessions."""
    return f"{number} session" if number == 1 else f"{number} sessions"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value)
