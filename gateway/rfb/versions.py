"""RFB's versions and the line that carries them (RFC 6143, section 7.1.1)."""

from __future__ import annotations

import enum
import re

from gateway.rfb.errors import RfbError

__all__ = ["VERSION_SIZE", "Version", "client_version", "server_version"]

VERSION_SIZE = 12
"""Length of the version line, in bytes."""

_LINE = re.compile(rb"RFB ([0-9]{3})\.([0-9]{3})\n")


class Version(enum.Enum):
    """Protocol versions; the value is the version line."""

    V3_3 = b"RFB 003.003\n"
    V3_7 = b"RFB 003.007\n"
    V3_8 = b"RFB 003.008\n"


def client_version(line: bytes) -> Version:
    """Which version a client's answer stands for.

    :raises RfbError: it does not speak RFB 3.
    """
    major, _ = _numbers(line, "client")
    if major != 3:
        raise RfbError("client does not speak RFB 3")
    try:
        return Version(line)
    except ValueError:
        # Numbers that were never published speak the oldest handshake.
        return Version.V3_3


def server_version(line: bytes) -> Version:
    """The best version to speak with a server that announces ``line`` as its own best.

    :raises RfbError: it does not speak RFB 3 or later.
    """
    numbers = _numbers(line, "server")
    if numbers < (3, 0):
        raise RfbError(f"server speaks RFB {numbers[0]}.{numbers[1]}, which is too old")
    if numbers >= (3, 8):
        return Version.V3_8
    return Version.V3_7 if numbers == (3, 7) else Version.V3_3


def _numbers(line: bytes, peer: str) -> tuple[int, int]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise RfbError(f"{peer} does not speak RFB 3")
    return int(match[1]), int(match[2])
