"""Signals, answered inside the reactor by whatever owns the process.

What comes before anybody can answer is kept by :func:`hold_signals`: by default, it
would end a process that is only about to hear it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted.logger import Logger

__all__ = ["hold_signals", "on_signal"]

_ANSWERED: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What every process that is the gateway has an answer to."""

_log = Logger()
_held: set[int] = set()


def hold_signals() -> None:
    """Keep SIGHUP, SIGUSR1 and SIGUSR2 for :func:`on_signal`; those of one kind count once.

    To be called in the main thread, before anything that takes time.
    """
    for number in _ANSWERED:
        signal.signal(number, _hold)


def on_signal(reactor: Any, number: signal.Signals, *answers: Callable[[], object]) -> None:
    """Call each of ``answers`` inside ``reactor`` when a signal comes, or was held; one that fails is logged.

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
    # Not before: from here on, nothing is held any more.
    if number in _held:
        _held.remove(number)
        reactor.callFromThread(heard)


def _hold(number: int, _: FrameType | None) -> None:
    _held.add(number)
