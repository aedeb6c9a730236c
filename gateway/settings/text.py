"""How values from outside are shown in one line of a message or a log."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["dotted", "one_line", "shown"]

_SHOWN_LENGTH = 80
_BARE = re.compile(r"[A-Za-z0-9_-]{1,80}")


def one_line(text: str) -> str:
    """Escape whatever is not printable.

    Control characters, line and paragraph separators, invisible format characters (text direction
    among them) and lone surrogates become backslash escapes, so that the result is a single line that
    a terminal shows as it stands.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(text: str) -> str:
    """*text* in quotes, in one line, cut to a length that fits a message."""
    cut = text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "..."
    return f"'{one_line(cut)}'"


def dotted(place: Iterable[str]) -> str:
    """The keys that lead to a place in a file, with dots between; those of odd characters in quotes."""
    return ".".join(name if _BARE.fullmatch(name) else shown(name) for name in place)
