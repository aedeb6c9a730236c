"""State notifications to systemd: one datagram, see sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

__all__ = ["notify"]


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell the service manager ``state`` (such as ``READY=1``); false where there is none to tell."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        # A service manager that cannot listen must not stop the service.
        with contextlib.suppress(OSError):
            sock.sendto(state.encode("utf-8"), address)
            return True
    return False
