"""VeNCrypt 0.2, the client's side up to the start of TLS (security type 19).

The server names its highest version (two bytes), the client the one to speak;
the server acknowledges with 0, then offers subtypes (a count, 32 bits each);
the client chooses, the server acknowledges with 1 (this time 0 means no), and
TLS begins.
"""

from __future__ import annotations

import struct

from gateway.rfb.errors import RfbError
from gateway.rfb.requirement import Requirement
from gateway.rfb.security import VencryptSubtype
from gateway.rfb.wire import Reading, Wire

__all__ = ["agree_vencrypt"]

_VERSION = b"\x00\x02"
_GIVE_UP = b"\x00\x00"
_VERSION_ACCEPTED = b"\x00"
_SUBTYPE_ACCEPTED = b"\x01"


def agree_vencrypt(wire: Wire, requirement: Requirement) -> Reading[VencryptSubtype]:
    """Agree on a subtype with the server; the next byte either side sends is TLS.

    :raises InsecureTarget: no subtype may be used.
    :raises NeedsCredentials: see :meth:`gateway.rfb.Requirement.choose_subtype`.
    :raises RfbError: another version, a refusal, or bytes that follow where TLS must begin.
    """
    version = yield from wire.read(2)
    if version != _VERSION:
        wire.write(_GIVE_UP)
        raise RfbError(f"server speaks VeNCrypt {version[0]}.{version[1]}, not 0.2")
    wire.write(_VERSION)
    if (yield from wire.read(1)) != _VERSION_ACCEPTED:
        raise RfbError("server refused VeNCrypt 0.2, which it had announced")
    (count,) = yield from wire.read(1)
    offered = struct.unpack(f">{count}I", (yield from wire.read(4 * count)))
    subtype = requirement.choose_subtype(offered)
    wire.write(struct.pack(">I", subtype))
    if (yield from wire.read(1)) != _SUBTYPE_ACCEPTED:
        raise RfbError(f"server refused the VeNCrypt subtype {subtype.name}, which it had offered")
    return subtype
