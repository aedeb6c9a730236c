"""How often sessions were opened and ended, and requests refused, since the start."""

from __future__ import annotations

from collections import Counter

from gateway.reasons import EndReason, Refusal
from gateway.sessions.events import Event, Events, RequestRefused, SessionEnded, SessionOpened

__all__ = ["Tally"]


class Tally:
    """Counts events by their reasons, which are closed enums: its size is bounded."""

    def __init__(self, events: Events) -> None:
        self.ended: Counter[EndReason] = Counter()
        self.refused: Counter[Refusal] = Counter()
        self.opened = 0
        self._stop = events.subscribe(self._count)

    def stop(self) -> None:
        """Count no more; idempotent."""
        self._stop()

    def _count(self, event: Event) -> None:
        match event.what:
            case SessionOpened():
                self.opened += 1
            case SessionEnded(reason=end):
                self.ended[end] += 1
            case RequestRefused(reason=refusal):
                self.refused[refusal] += 1
