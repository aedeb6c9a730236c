"""What a verified ticket grants: where to, for whom, what, and until when."""

from __future__ import annotations

import datetime
import enum

import attrs

from gateway.settings import Attach, TargetSecurity

__all__ = ["Grant", "Kind", "Permission", "Target"]


class Permission(enum.Enum):
    """What the bearer of a grant may do with the console."""

    VIEW = "view"
    """See the screen or read the line."""
    CONTROL = "control"
    """Send keys, pointer events and other input."""


class Kind(enum.Enum):
    """What a console server speaks."""

    VNC = "vnc"
    """RFB (RFC 6143)."""
    SPICE = "spice"
    """SPICE, which opens a connection for each of its channels."""
    SERIAL = "serial"
    """A serial line or anything else: bytes without meaning to the gateway."""


@attrs.frozen
class Target:
    """The console server named by a ticket (not yet resolved, not yet allowed)."""

    host: str
    """Name, IPv4 address, or IPv6 address without brackets."""
    port: int
    """TCP port, 1 to 65535."""
    tls: bool = False
    """``ssl_target`` of the ticket: the console leg must be secured."""
    path: str | None = None
    """WebSocket path of a KubeVirt console, or ``None``."""
    token: str | None = attrs.field(default=None, repr=False)
    """Bearer token for :attr:`path`; a secret, never in a ``repr``."""
    security: TargetSecurity | None = None
    """How the console leg must be secured, where the ticket says more than :attr:`tls`."""
    server_name: str | None = None
    """The name that the console server's certificate must be for, where it is not that of :attr:`host`."""
    kind: Kind | None = None
    """What the console server speaks, where the ticket says so; otherwise it is found out."""

    @property
    def console(self) -> str:
        """One text for one console, however its ticket spells it."""
        return f"{self}{self.path or ''}".lower()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Grant:
    """A ticket that was verified: everything the rest of the gateway may know of it."""

    target: Target
    valid_from: datetime.datetime
    """Start of validity, UTC."""
    valid_to: datetime.datetime
    """End of validity, UTC."""
    id: str
    """Derived from the signature; identifies the ticket in logs, useless to an attacker."""
    subject: str | None = None
    """Who the ticket was made for, where it says so."""
    attach: Attach | None = None
    """What happens to others on the console, where the ticket says so; otherwise the settings do."""
    permissions: frozenset[Permission] = frozenset(Permission)
    username: str | None = None
    """With :attr:`password`, for console servers that ask for one."""
    password: str | None = attrs.field(default=None, repr=False)
    """What the gateway answers where it does so itself.

    Never from a ticket, which its bearer can read: an embedding application adds it.
    """
