"""What console servers and browsers say, for play-books."""

from __future__ import annotations

import struct

from gateway.rfb import Requirement, StartTls, TargetHandshake, vnc_response
from tests.unit.rfb.playbook import Calls, Event, Hears, Says, Step, play

PASSWORD = "s3cret"
CHALLENGE = bytes(range(100, 116))
RESPONSE = vnc_response(CHALLENGE, PASSWORD)
LINE = b"RFB 003.008\n"
LINE_3_7 = b"RFB 003.007\n"
LINE_3_3 = b"RFB 003.003\n"
OK, FAILED = b"\0\0\0\0", b"\0\0\0\1"

# VeNCrypt's subtypes.
PLAIN, TLS_NONE, TLS_VNC, TLS_PLAIN, X509_NONE, X509_VNC, X509_PLAIN, X509_SASL, TLS_SASL = range(256, 265)


def book(requirement: Requirement, *script: Step) -> None:
    """Play a script with the gateway's side towards a console server."""
    play(lambda: TargetHandshake(requirement), *script)


def text(words: bytes) -> bytes:
    """A text with its length before it."""
    return struct.pack(">I", len(words)) + words


def offer(*subtypes: int) -> bytes:
    """VeNCrypt 0.2 accepted, and these subtypes."""
    return struct.pack(f">BB{len(subtypes)}I", 0, len(subtypes), *subtypes)


def agreed(subtype: int, line: bytes = LINE) -> tuple[Step, ...]:
    """Everything up to the start of TLS."""
    return (
        *(Says(line), Hears(line), Says(b"\1\x13"), Hears(b"\x13"), Says(b"\0\2"), Hears(b"\0\2")),
        *(Says(offer(subtype)), Hears(struct.pack(">I", subtype)), Says(b"\1")),
        Event(StartTls(subtype in {TLS_NONE, TLS_VNC, TLS_PLAIN, TLS_SASL})),
        Hears(b""),
        Calls("tls_started"),
    )
