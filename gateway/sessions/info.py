"""What may be told of a session: to operators, to the audit, to metrics.

Nothing here can be used to attach to a console: no ticket, no token, no
password.
"""

from __future__ import annotations

import enum
import ipaddress

import attrs

from gateway.settings import Attach
from gateway.tickets import Kind

__all__ = ["Selector", "SessionInfo", "SessionState"]


class SessionState(enum.Enum):
    """How far a session is."""

    CONNECTING = "connecting"
    """The target is dialled, and its handshakes are done."""
    ACTIVE = "active"
    """Client and target are joined."""
    ENDING = "ending"
    """Its end is decided; what is left is delivered."""


@attrs.frozen
class SessionInfo:
    """A session as it is at one moment."""

    id: str
    ticket: str
    """:attr:`gateway.tickets.Grant.id`, which is no ticket."""
    subject: str | None
    client: str
    """Address, or ``unix``."""
    target: str
    """As the ticket names it, ``host:port``."""
    kind: Kind | None
    """``None`` as long as nobody knows."""
    attach: Attach
    state: SessionState
    security: str | None
    """What was agreed on with the target; ``None`` for a target that is relayed as it is."""
    started: float
    """Seconds since the epoch."""
    duration: float
    """Seconds since then."""
    idle: float
    """Seconds since the user's last input to the console, by any connection of the same ticket."""
    to_target: int
    """Bytes that the client sent, without framing."""
    to_client: int
    """Bytes that the target sent, without framing."""
    messages_to_target: int
    """WebSocket data frames that the client sent."""
    messages_to_client: int
    """WebSocket data frames that it was sent."""


@attrs.frozen
class Selector:
    """Which sessions are meant: those that every given criterion fits."""

    session: str | None = None
    """:attr:`SessionInfo.id`."""
    ticket: str | None = None
    subject: str | None = None
    client: str | None = None
    """An address, or a network such as ``192.0.2.0/24``."""
    console: str | None = None
    """A target as :attr:`SessionInfo.target` has it."""

    def matches(self, info: SessionInfo) -> bool:
        """Whether a session is meant."""
        return (
            self.session in (None, info.id)
            and self.ticket in (None, info.ticket)
            and self.subject in (None, info.subject)
            and self.console in (None, info.target)
            and (self.client is None or _is_in(info.client, self.client))
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for, so that every session is meant."""
        return self == Selector()


def _is_in(client: str, wanted: str) -> bool:
    if client == wanted:
        return True
    try:
        return ipaddress.ip_address(client) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False
