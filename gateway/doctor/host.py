"""Checks of the host: clock, name, native code, limits."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gateway.doctor.finding import Finding, ok, warn
from gateway.relay import NATIVE
from gateway.settings import LimitSettings

__all__ = ["check_clock", "check_descriptors", "check_masker", "check_name", "check_user"]

_TIME_ERROR: Final = 5
_TIMEX: Final = 512
"""Bytes, more than any system's struct timex has."""
_SLACK: Final = 100
"""Descriptors for listeners, logs, the ledger, the control API and the like."""
_NAME_TIMEOUT: Final = 5.0


def check_clock(state: Callable[[], int | None] | None = None) -> Iterator[Finding]:
    """Whether something keeps the clock right: tickets are valid for minutes.

    :param state: of the kernel's clock, as adjtimex(2) returns it, or ``None`` if it cannot be had.
    """
    found = (state or _clock_state)()
    if found is None:
        yield warn(
            "clock",
            "whether the clock is synchronised cannot be found out here",
            "see to it that chronyd, ntpd or systemd-timesyncd runs on this host",
        )
    elif found == _TIME_ERROR:
        yield warn(
            "clock",
            "the clock is not synchronised; tickets are refused when it differs from the engine's by more "
            "than tickets.skew",
            "run chronyd, ntpd or systemd-timesyncd on this host (in a container: on its host)",
        )
    else:
        yield ok("clock", "the clock is synchronised")


def _clock_state() -> int | None:
    # The first member of struct timex says what to change: nothing.
    data = ctypes.create_string_buffer(_TIMEX)
    try:
        state = int(ctypes.CDLL(None, use_errno=True).adjtimex(data))
    except (OSError, AttributeError):
        return None
    return state if state >= 0 else None


def check_name(
    host: str | None = None, resolve: Callable[[str], list[str]] | None = None, timeout: float = _NAME_TIMEOUT
) -> Iterator[Finding]:
    """Whether this host's resolver knows the host's own name.

    :param resolve: returns addresses or raises ``OSError``.
    :param timeout: seconds to wait for it.
    """
    host = socket.gethostname() if host is None else host
    answer: list[list[str] | OSError] = []

    def ask() -> None:
        try:
            answer.append((resolve or _addresses)(host))
        except OSError as error:
            answer.append(error)
        except ValueError:
            answer.append(OSError("it is no host name"))

    # A thread of its own, because a resolver that hangs cannot be stopped.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    remedy = (
        "look at /etc/resolv.conf and /etc/hosts; targets that tickets name by host names need a resolver"
    )
    if not answer:
        yield warn("dns", f"the resolver gave no answer for {host!r} within {timeout:g} s", remedy)
    elif isinstance(found := answer[0], OSError):
        yield warn(
            "dns", f"this host's own name {host!r} does not resolve ({found.strerror or found})", remedy
        )
    else:
        yield ok("dns", f"this host's name {host!r} resolves to {', '.join(found[:4])}")


def _addresses(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def check_masker(native: bool = NATIVE) -> Iterator[Finding]:
    """Whether WebSocket payload is unmasked by compiled code."""
    if native:
        yield ok("masker", "unmasking is native")
    else:
        yield warn(
            "masker",
            "no native unmasking routine could be loaded: uploads are slow",
            "install the 'websockets' package with its compiled extension",
        )


def check_descriptors(
    limits: LimitSettings, pid: int | None = None, limit: Callable[[int | None], int | None] | None = None
) -> Iterator[Finding]:
    """Whether there are file descriptors for all that ``limits`` admits.

    :param pid: the running gateway, whose limit counts; without one, this process's.
    :param limit: the soft limit of a process, or ``None`` if it cannot be had.
    """
    need = 2 * limits.sessions + limits.handshakes + _SLACK
    have = (limit or _open_files)(pid)
    if have is None:
        yield warn(
            "descriptors",
            "the running gateway's limit of open files cannot be read",
            "run this as root or as the service's user",
        )
        return
    whose = "the running gateway" if pid is not None else "a process started here"
    text = f"{whose} may open {have} files, and limits.sessions and limits.handshakes need {need}"
    if have >= need:
        yield ok("descriptors", text)
        return
    remedy = f"set LimitNOFILE={need} or more in the unit (ulimit -n in a shell), or lower the limits"
    yield warn("descriptors", text, remedy)


def _open_files(pid: int | None) -> int | None:
    if pid is None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    else:
        try:
            lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
            text = next(line for line in lines if line.startswith("Max open files")).split()[3]
            soft = resource.RLIM_INFINITY if text == "unlimited" else int(text)
        except (OSError, StopIteration, ValueError, IndexError):
            return None
    return 1 << 30 if soft == resource.RLIM_INFINITY else soft


def check_user(user: int | None = None) -> Iterator[Finding]:
    """Who asks: root may do everything, and so finds no missing permission."""
    user = os.geteuid() if user is None else user
    if user == 0:
        yield ok("user", "this runs as root: what the service's own user may not read or write is not found")
    else:
        yield ok("user", f"this runs as user id {user}")
