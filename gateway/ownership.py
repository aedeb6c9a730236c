"""A gateway that owns its process: its signals are the process's, and it can be replaced by another one.

An application that runs the gateway beside other things keeps both to itself.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import defer
from twisted.logger import Logger

from gateway.service import GatewayService
from gateway.sessions import AdminAction
from gateway.settings import Settings
from gateway.signals import on_signal
from gateway.successor import HandOverError, own_command

__all__ = ["own_process"]

_log = Logger()


def own_process(
    service: GatewayService, reactor: Any, load: Callable[[], Settings], *reopened: Callable[[], object]
) -> None:
    """Have a service answer signals, those that were held included, and hand over to its command line.

    To be called in the main thread.

    :param load: reads the settings anew.
    :param reopened: open files anew that were rotated, beside those of the service.
    """

    def reload() -> None:
        service.events.publish(AdminAction("signal", "reload", (), ""))
        _begin(service.reload_file(), "reloading")

    def hand_over() -> None:
        service.events.publish(AdminAction("signal", "hand-over", (), ""))
        _begin(_hand_over(service), "handing over")

    service.load = load
    service.handing_over.command = own_command()
    service.handing_over.leave = reactor.stop
    # Rotated files, and settings or certificates that have changed.
    on_signal(reactor, signal.SIGUSR1, *reopened, service.reopen)
    on_signal(reactor, signal.SIGHUP, reload)
    on_signal(reactor, signal.SIGUSR2, hand_over)


async def _hand_over(service: GatewayService) -> None:
    # What did not go well was logged.
    with contextlib.suppress(HandOverError):
        await service.hand_over()


def _begin(doing: Coroutine[Any, Any, object], what: str) -> None:
    defer.Deferred.fromCoroutine(doing).addErrback(
        lambda failure: _log.failure("Unexpected error while {what}", failure, what=what)
    )
