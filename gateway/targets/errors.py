"""The one exception of the targets room."""

from __future__ import annotations

from gateway.reasons import EndReason

__all__ = ["TargetError"]


class TargetError(Exception):
    """There is no console to be had from the target; the text is one line for the log."""

    def __init__(self, reason: EndReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
