"""What enrolment uses of the world, so that a test, or an unusual host, can say otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

import attrs

from gateway.setup.places import PKI

__all__ = ["ENROL_PROGRAM", "Tools"]

ENROL_PROGRAM: Final = PurePosixPath("/usr/share/ovirt-engine/bin/pki-enroll-request.sh")
"""The engine's own program that signs requests."""


@attrs.frozen
class Tools:
    """Programs, places on the engine's host, and patience."""

    ssh: str = "ssh"
    ssh_keyscan: str = "ssh-keyscan"
    ssh_keygen: str = "ssh-keygen"
    ssh_options: tuple[str, ...] = ()
    """In front of all our own arguments of ssh, for example ``-F FILE``."""
    remote_pki: PurePosixPath = PKI
    """The engine's PKI directory on its host."""
    remote_enrol: PurePosixPath = ENROL_PROGRAM
    http_port: int = 80
    https_port: int = 443
    engine_address: str | None = None
    """Where the engine's web server is, if its name does not say so."""
    attempts: int = 6
    """How often a connection that fails is tried."""
    pause: Callable[[float], None] = time.sleep
    """Waits a number of seconds between them; an interrupt ends it."""
    timeout: float = 20.0
    """Time for one attempt, in seconds."""
    command_timeout: float = 60.0
    """Time for the engine's host to sign, in seconds."""

    def delays(self) -> tuple[float, ...]:
        """Seconds to wait after each attempt but the last: 1, 2, 4, 8, then 10."""
        return tuple(min(2.0**number, 10.0) for number in range(self.attempts - 1))
