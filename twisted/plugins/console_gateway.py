"""Makes ``twistd console-gateway`` known to Twisted; everything else is in :mod:`gateway.tap`."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

console_gateway = ServiceMaker(
    "Console Gateway",
    "gateway.tap",
    "Virtual-machine consoles in the browser, through signed tickets",
    "console-gateway",
)
