"""Interrupts while something must not stop halfway: heard at once, obeyed where it is safe."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final

from gateway.setup.errors import Cancelled

__all__ = ["Interrupts"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """A context in which Ctrl-C, SIGTERM and SIGHUP raise nothing: :meth:`check` tells of them.

    So nothing is torn in the middle, and a second Ctrl-C does not stop what the first began to undo.  In a
    thread other than the main one, which gets no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """:raise Cancelled: there was an interrupt."""
        if self.heard is not None:
            raise Cancelled(f"interrupted by {self.heard.name}")

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # What somebody chose not to hear (nohup), or what is not Python's, stays as it is.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard = self.heard or signal.Signals(number)
