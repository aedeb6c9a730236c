"""Signals, answered inside the reactor by whatever owns the process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

__all__ = ["on_signal"]

_log = Logger()


def on_signal(reactor: Any, number: signal.Signals, *answers: Callable[[], object]) -> None:
    """Call each of ``answers`` inside ``reactor`` when a signal comes; one that fails is logged.

    To be called in the main thread.
    """

    def heard() -> None:
        for answer in answers:
            try:
                answer()
            except OSError as error:
                _log.error("{signal}: {problem}", signal=number.name, problem=str(error))
            except Exception:
                _log.failure("Unexpected error after {signal}", signal=number.name)

    signal.signal(number, lambda *_: reactor.callFromThread(heard))
