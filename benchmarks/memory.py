"""Memory: idle sessions, and a browser that stops reading."""

from __future__ import annotations

import multiprocessing
import socket
import ssl
import time
from multiprocessing.connection import Connection
from typing import Any

import attrs

from benchmarks.load import open_session, raise_file_limit, target_process
from benchmarks.subject import Subject, running_gateway

__all__ = ["IdleResult", "StallResult", "measure_idle", "measure_stall"]

_SETTLE = 2.0
"""Seconds to let allocations of the connecting phase settle."""


@attrs.frozen
class IdleResult:
    """What idle sessions cost."""

    sessions: int
    seconds: float
    bytes_per_session: float
    cpu_share: float
    """Share of one core used while nothing happens."""


@attrs.frozen
class StallResult:
    """What a client that stops reading costs."""

    offered: int
    """Bytes that the target wanted to send."""
    growth: int
    """Bytes the gateway grew by."""


def measure_idle(sessions: int, *, tls: bool) -> IdleResult:
    """Hold idle sessions in one gateway process."""
    with running_gateway() as gateway, target_process() as target:
        with _clients(gateway, target, 20, tls=tls):
            # The first sessions load code and fill caches that all share.
            time.sleep(_SETTLE)
        time.sleep(_SETTLE)
        before = gateway.memory()
        began = time.monotonic()
        with _clients(gateway, target, sessions, tls=tls):
            seconds = time.monotonic() - began
            time.sleep(_SETTLE)
            grown = gateway.memory() - before
            cpu, clock = gateway.cpu(), time.monotonic()
            time.sleep(5)
            share = (gateway.cpu() - cpu) / (time.monotonic() - clock)
        return IdleResult(sessions, seconds, grown / sessions, share)


def measure_stall(offered: int, *, tls: bool) -> StallResult:
    """Let a target send to a client that does not read."""
    with running_gateway() as gateway, target_process(flood=offered) as target:
        with open_session(*_door(gateway, target, tls=tls)):
            time.sleep(_SETTLE)
        time.sleep(_SETTLE)
        before = gateway.memory()
        peak = before
        with open_session(*_door(gateway, target, tls=tls)):
            for _ in range(20):
                time.sleep(0.25)
                peak = max(peak, gateway.memory())
        return StallResult(offered, peak - before)


class _clients:  # noqa: N801 - used as a context manager
    """Idle clients in a process of their own."""

    def __init__(self, gateway: Subject, target: int, count: int, *, tls: bool) -> None:
        port, ticket, _ = _door(gateway, target, tls=tls)
        ca = str(gateway.pki.ca_file) if tls else None
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_hold, args=(theirs, port, ticket, ca, count), daemon=True)

    def __enter__(self) -> None:
        self._process.start()
        answer = self._pipe.recv()
        if answer is not None:
            raise RuntimeError(answer)

    def __exit__(self, *_: object) -> None:
        self._pipe.send(None)
        lost = self._pipe.recv()
        self._process.join()
        if lost:
            raise RuntimeError(f"{lost} sessions were lost")


def _hold(pipe: Connection[Any, Any], port: int, ticket: str, ca: str | None, count: int) -> None:
    raise_file_limit()
    context = ssl.create_default_context(cafile=ca) if ca else None
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            held.append(open_session(port, ticket, context))
    except OSError as error:
        pipe.send(f"after {len(held)} sessions: {error}")
        return
    pipe.send(None)
    pipe.recv()
    pipe.send(sum(_is_lost(sock) for sock in held))
    for sock in held:
        sock.close()


def _is_lost(sock: socket.socket) -> bool:
    sock.settimeout(0.0)
    try:
        return sock.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def _door(gateway: Subject, target: int, *, tls: bool) -> tuple[int, str, ssl.SSLContext | None]:
    context = ssl.create_default_context(cafile=str(gateway.pki.ca_file)) if tls else None
    return gateway.port if tls else gateway.plain_port, gateway.ticket(target), context
