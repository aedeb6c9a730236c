"""Security types of RFB (RFC 6143, section 7.1.2, and the registry behind it) and of VeNCrypt 0.2."""

from __future__ import annotations

import enum
from collections.abc import Iterable

__all__ = ["Method", "SecurityType", "VencryptSubtype", "describe"]

_MAX_NAMES = 16


class Method(enum.Enum):
    """How the client authenticates, whatever protects the bytes; the value is its name in logs."""

    NONE = "None"
    VNC = "VNC authentication"
    PLAIN = "Plain"
    SASL = "SASL"


class SecurityType(enum.IntEnum):
    """Security types; those that are only named here are never chosen."""

    INVALID = 0
    NONE = 1
    VNC_AUTHENTICATION = 2
    RA2 = 5
    RA2NE = 6
    TIGHT = 16
    ULTRA = 17
    TLS = 18
    VENCRYPT = 19
    SASL = 20
    MD5_HASH = 21
    XVP = 22
    APPLE_DH = 30
    MS_LOGON_II = 113
    RA2_256 = 129
    RA2NE_256 = 130

    @property
    def method(self) -> Method | None:
        """The authentication that follows at once; ``None`` where something else follows."""
        return _DIRECT.get(self)


class VencryptSubtype(enum.IntEnum):
    """What VeNCrypt negotiates: a protection and an authentication inside it."""

    PLAIN = 256
    TLS_NONE = 257
    TLS_VNC = 258
    TLS_PLAIN = 259
    X509_NONE = 260
    X509_VNC = 261
    X509_PLAIN = 262
    X509_SASL = 263
    TLS_SASL = 264

    @property
    def method(self) -> Method:
        """The authentication inside the protection."""
        return _INNER[self]

    @property
    def anonymous(self) -> bool:
        """Whether its TLS has no certificates, so that nobody knows who is at the other end."""
        return self.name.startswith("TLS_")

    @property
    def verified(self) -> bool:
        """Whether its TLS has certificates."""
        return self.name.startswith("X509_")


_DIRECT = {
    SecurityType.NONE: Method.NONE,
    SecurityType.VNC_AUTHENTICATION: Method.VNC,
    SecurityType.SASL: Method.SASL,
}
_INNER = {
    VencryptSubtype.PLAIN: Method.PLAIN,
    VencryptSubtype.TLS_NONE: Method.NONE,
    VencryptSubtype.TLS_VNC: Method.VNC,
    VencryptSubtype.TLS_PLAIN: Method.PLAIN,
    VencryptSubtype.X509_NONE: Method.NONE,
    VencryptSubtype.X509_VNC: Method.VNC,
    VencryptSubtype.X509_PLAIN: Method.PLAIN,
    VencryptSubtype.X509_SASL: Method.SASL,
    VencryptSubtype.TLS_SASL: Method.SASL,
}


def describe(kind: type[SecurityType] | type[VencryptSubtype], numbers: Iterable[int]) -> str:
    """The names of types a peer offered, for a log: each once, sixteen at most."""
    names = [_name(kind, number) for number in dict.fromkeys(numbers)]
    if len(names) > _MAX_NAMES:
        names[_MAX_NAMES:] = [f"{len(names) - _MAX_NAMES} more"]
    return ", ".join(names) or "nothing"


def _name(kind: type[SecurityType] | type[VencryptSubtype], number: int) -> str:
    try:
        return kind(number).name
    except ValueError:
        return f"type {number}"
