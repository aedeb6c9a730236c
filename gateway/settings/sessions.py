"""How often a ticket may be used, how long sessions last, and who may be on a console with whom."""

from __future__ import annotations

import enum
from pathlib import Path

import attrs

from gateway.settings.fields import setting

__all__ = ["Attach", "SessionSettings", "Use", "UseSettings"]


class Use(enum.Enum):
    """How often a ticket may be used."""

    SINGLE = "single"
    """By one connection."""
    GROUP = "group"
    """By some connections that begin within a short window."""
    UNLIMITED = "unlimited"
    """By any number of connections, for as long as it is valid."""


class Attach(enum.Enum):
    """What happens to others on a console when somebody comes to it."""

    SHARE = "share"
    """They stay."""
    TAKE_OVER = "take-over"
    """They have to leave, and are told why."""
    REFUSE = "refuse"
    """They stay, and whoever comes is turned away."""


@attrs.frozen
class UseSettings:
    """How often a ticket may be used.

    The first connection claims a ticket for its group. More may join while the window is open, up to a count;
    none may once somebody has used the console and everybody has left.
    """

    vnc: Use = setting(
        Use.GROUP, "For VNC, and until it is known what is spoken: 'single', 'group' or 'unlimited'."
    )
    spice: Use = setting(Use.GROUP, "For SPICE, which opens a connection for each of its channels.")
    serial: Use = setting(Use.GROUP, "For serial lines.")
    vnc_count: int = setting(2, "Connections of one ticket with vnc = 'group'.", low=1, high=1000)
    spice_count: int = setting(16, "Connections of one ticket with spice = 'group'.", low=1, high=1000)
    serial_count: int = setting(2, "Connections of one ticket with serial = 'group'.", low=1, high=1000)
    window: float = setting(
        15.0, "Time from the first connection of a group to its last.", unit="seconds", low=0, high=3600
    )
    file: Path | None = setting(
        None,
        "SQLite file that remembers used tickets over a restart, made where it is missing. Without it, "
        "tickets that are still valid can be used once more after a restart.",
    )
    limit: int = setting(
        100000,
        "Used tickets remembered. Beyond it, tickets are refused until older ones have expired.",
        low=100,
        high=10000000,
    )
    timeout: float = setting(
        5.0, "Time for the file to answer before a ticket is refused.", unit="seconds", low=0.1, high=60
    )


@attrs.frozen
class SessionSettings:
    """How long sessions last, and who may be on a console at the same time."""

    idle: float = setting(
        0.0,
        "A user who gives no input for so long is disconnected: no key, pointer or clipboard message of RFB, "
        "nothing on the inputs channel of SPICE, no byte on a serial line. What the screen shows does not "
        "count. 0 turns it off.",
        unit="seconds",
        low=0,
        high=604800,
    )
    max_duration: float = setting(
        0.0,
        "Longest time on a console, from the first connection of a ticket. 0 turns it off.",
        unit="seconds",
        low=0,
        high=31536000,
    )
    warning: float = setting(
        60.0,
        "Pages that understand it are told so long before either of these ends a session, but not before "
        "half of its time.",
        unit="seconds",
        low=0,
        high=3600,
    )
    attach: Attach = setting(
        Attach.SHARE,
        "What happens to others on a console when somebody comes to it whose ticket does not say: 'share', "
        "'take-over' (the others are disconnected and told so) or 'refuse' (whoever comes is turned away).",
    )
