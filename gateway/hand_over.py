"""Replacing the process by a new one while its sessions live on.

The new process gets the listening sockets, so that no connection is refused; the
old one serves the connections that it has accepted, drains, and ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import defer
from twisted.logger import Logger

from gateway.drain import Drain
from gateway.entrance import Entrance
from gateway.operations import Operations
from gateway.settings import Settings
from gateway.successor import HandOverError, Successor
from gateway.systemd import ServiceManager

__all__ = ["HandOver"]


class HandOver:
    """Hands over, once.

    :ivar command: starts the new process; without one, there is nothing to hand over to.
    :ivar leave: ends this process.
    :ivar pid: the process that took over, if one did.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Callable[[], Settings],
        entrance: Entrance,
        operations: Operations,
        drain: Drain,
        manager: ServiceManager,
    ) -> None:
        """
        :param settings: those in force.
        :param entrance: is handed over, and so are the listeners of ``operations``.
        :param drain: for the sessions that are left.
        :param manager: is told which process is the service.
        """
        self._reactor = reactor
        self._settings = settings
        self._entrance = entrance
        self._operations = operations
        self._drain = drain
        self._manager = manager
        self._successor: Successor | None = None
        self.command: Sequence[str] | None = None
        self.leave: Callable[[], object] = lambda: None
        self.pid: int | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether a new process is being started, or has taken over."""
        return self._successor is not None or self.pid is not None

    async def begin(self, seconds: float | None = None, message: str = "") -> int:
        """Start the new process; when it accepts connections, stop doing so and drain.

        :param seconds: that sessions have, see :meth:`gateway.drain.Drain.begin`.
        :param message: what users are told.
        :returns: the number of the new process.
        :raises HandOverError: when there is none; nothing is changed then.
        """
        command = self._check()
        # In the order in which they were bound.
        listeners = [*self._entrance.listeners, *self._operations.listeners]
        self._successor = successor = Successor(self._reactor)
        self.log.info("hand-over: a new process is started")
        try:
            pid = await successor.start(command, listeners, self._settings().drain.start_timeout)
        except HandOverError as error:
            self.log.error("hand-over failed, this process goes on: {problem}", problem=str(error))
            raise
        finally:
            self._successor = None
        self.pid = pid
        self.log.info(
            "hand-over: process {pid} accepts connections; process {own} serves its sessions until they end",
            pid=pid,
            own=os.getpid(),
        )
        self._manager.succeeded(pid)
        self._entrance.leave()
        self._operations.leave()
        self._drain.begin(seconds, message, admit=True)
        defer.Deferred.fromCoroutine(self._finish()).addErrback(
            lambda failure: self.log.failure("Unexpected error after a hand-over", failure)
        )
        return pid

    def abandon(self) -> None:
        """Forget about it: the gateway stops, and a new process that is not ready is ended."""
        if self._successor is not None:
            self._successor.abandon()

    def _check(self) -> Sequence[str]:
        if self.pid is not None:
            raise HandOverError(f"process {self.pid} has taken over already")
        if self._successor is not None:
            raise HandOverError("a new process is being started already")
        if self.command is None:
            raise HandOverError("whoever started this process did not provide for it")
        if os.getpid() == 1:
            raise HandOverError("this process is the first of its container, which ends with it")
        return self.command

    async def _finish(self) -> None:
        front = self._settings().front
        await self._entrance.settle(front.handshake_timeout + front.head_timeout)
        self._drain.close_door()
        await self._drain.finished()
        self.log.info("hand-over: process {own} has no session left and ends", own=os.getpid())
        self.leave()
