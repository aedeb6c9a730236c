"""How long sessions may go on when the gateway is to stop or to be replaced."""

from __future__ import annotations

import attrs

from gateway.settings.fields import setting

__all__ = ["DrainSettings"]


@attrs.frozen
class DrainSettings:
    """Restarts that wait for users.

    While the gateway drains, it takes no new session, pages that understand it count down, and whoever is
    left at the end is disconnected with code 1012.
    """

    cap: float = setting(
        300.0,
        "Time that sessions have when an operator drains the gateway, or hands over to a new process.",
        unit="seconds",
        low=0,
        high=604800,
    )
    on_stop: float = setting(
        0.0,
        "Time that sessions have when the gateway is told to stop (SIGTERM). 0 ends them at once, with "
        "code 1001.",
        unit="seconds",
        low=0,
        high=86400,
    )
    start_timeout: float = setting(
        30.0,
        "Time for the new process of a hand-over to accept connections. One that takes longer is ended, and "
        "the old one goes on.",
        unit="seconds",
        low=1,
        high=600,
    )
