"""What SPICE HTML5 and QEMU have said to each other, but for keys and tickets; and more, built alike."""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = [
    "AUTH_SASL",
    "AUTH_SELECTION",
    "AUTH_SPICE",
    "CURSOR_LINK",
    "DISPLAY_LINK",
    "INPUTS_LINK",
    "MAIN_LINK",
    "MINI_HEADER",
    "REPLY",
    "TICKET",
    "agent",
    "full",
    "link",
    "mini",
    "reply",
]

AUTH_SELECTION, AUTH_SPICE, AUTH_SASL, MINI_HEADER = (1 << bit for bit in range(4))

MAIN_LINK = bytes.fromhex(
    "5245445102000000020000001a000000 00000000 01 00 01000000 01000000 12000000 09000000 04000000"
)
DISPLAY_LINK = bytes.fromhex(
    "5245445102000000020000001a000000 9d86d021 02 00 01000000 01000000 12000000 09000000 11070000"
)
INPUTS_LINK = bytes.fromhex(
    "52454451020000000200000016000000 9d86d021 03 00 01000000 00000000 12000000 09000000"
)
CURSOR_LINK = bytes.fromhex(
    "52454451020000000200000016000000 9d86d021 04 00 01000000 00000000 12000000 09000000"
)
TICKET = b"\1\0\0\0" + bytes(range(128))
"""The choice of SPICE's own authentication, and a ticket."""


def link(
    channel: int, common: Sequence[int] = (AUTH_SELECTION | MINI_HEADER,), own: Sequence[int] = ()
) -> bytes:
    """A client's link message.

    :param common: words of common capabilities.
    :param own: words of the channel's capabilities.
    """
    words = struct.pack(f"<{len(common) + len(own)}I", *common, *own)
    message = struct.pack("<IBBIII", 7, channel, 0, len(common), len(own), 18) + words
    return struct.pack("<4sIII", b"REDQ", 2, 2, len(message)) + message


def reply(common: Sequence[int], own: Sequence[int] = (0x0F,), *, offset: int = 178) -> bytes:
    """A server's answer to it."""
    words = bytes(offset - 178) + struct.pack(f"<{len(common) + len(own)}I", *common, *own)
    message = struct.pack("<I162sIII", 0, b"key", len(common), len(own), offset) + words
    return struct.pack("<4sIII", b"REDQ", 2, 2, len(message)) + message


REPLY = reply([AUTH_SELECTION | AUTH_SPICE | MINI_HEADER])


def mini(kind: int, body: bytes = b"") -> bytes:
    """A message with the short header."""
    return struct.pack("<HI", kind, len(body)) + body


def full(kind: int, body: bytes = b"") -> bytes:
    """A message with the long header."""
    return struct.pack("<QHII", 77, kind, len(body), 0) + body


def agent(kind: int, body: bytes = b"") -> bytes:
    """A message to the agent."""
    return struct.pack("<IIQI", 1, kind, 0, len(body)) + body
