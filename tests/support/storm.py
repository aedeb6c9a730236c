"""Clients that connect without a pause, and do not forgive a refused connection."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from tests.support.http import read_answer, upgrade

__all__ = ["Storm"]

_PIECE = b"\x82\x85\0\0\0\0hello"
_ECHO = b"\x82\x05hello"


class Storm:
    """Threads that open sessions one after the other, echo a message, and leave.

    A context manager that begins and ends it.

    :ivar served: how many sessions were had.
    :ivar failures: what else happened, and how often.
    """

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        tickets: Sequence[str],
        *,
        clients: int = 6,
        echo: bool = True,
    ) -> None:
        """
        :param connect: makes a connection, with TLS where that is meant.
        :param tickets: are used in turn, by each client its own.
        :param echo: whether a session that ends before its echo is a failure.
        """
        self.served = 0
        self.failures: Counter[str] = Counter()
        self._connect = connect
        self._echo = echo
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(ticket,), daemon=True)
            for ticket in (list(tickets) * clients)[:clients]
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, ticket: str) -> None:
        while not self._ending.is_set():
            try:
                failure = self._visit(ticket)
            except (OSError, AssertionError) as error:
                failure = f"{type(error).__name__}: {error}"
            with self._lock:
                if failure:
                    self.failures[failure] += 1
                else:
                    self.served += 1

    def _visit(self, ticket: str) -> str:
        with self._connect() as sock:
            sock.settimeout(30)
            sock.sendall(upgrade("/" + ticket))
            answer, early = read_answer(sock)
            if answer.status != 101:
                return f"status {answer.status}: {answer.body.decode()}"
            if not self._echo:
                return ""
            sock.sendall(_PIECE)
            data = early
            while len(data) < len(_ECHO):
                piece = sock.recv(1000)
                if not piece:
                    return "no echo"
                data += piece
            return "" if data == _ECHO else f"instead of the echo: {data[:40]!r}"
