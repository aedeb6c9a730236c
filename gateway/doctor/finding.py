"""What a check says."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs

from gateway.settings import one_line

__all__ = ["Finding", "Level", "fail", "ok", "warn"]


class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """The gateway works, but not as well or not as long as it should."""
    FAIL = "fail"
    """The gateway does not start, or sessions fail."""


def _line(text: str) -> str:
    return one_line(text)


@attrs.frozen
class Finding:
    """What was found out about one thing, in printable lines without secrets."""

    name: str
    """Of the check."""
    level: Level
    detail: str = attrs.field(converter=_line)
    remedy: str = attrs.field(default="", converter=_line)
    """What to do; empty exactly where all is well."""

    def __attrs_post_init__(self) -> None:
        assert bool(self.remedy) == (self.level is not Level.OK), self

    @staticmethod
    def any_failed(findings: Iterable[Finding]) -> bool:
        """Whether something has to be done before the gateway works."""
        return any(finding.level is Level.FAIL for finding in findings)


def ok(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name, Level.OK, detail)


def warn(name: str, detail: str, remedy: str) -> Finding:
    """It works, for now."""
    return Finding(name, Level.WARN, detail, remedy)


def fail(name: str, detail: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name, Level.FAIL, detail, remedy)
