"""Makes ``twistd console-gateway`` known to Twisted; everything else is in :mod:`gateway.tap`."""

from __future__ import annotations

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

console_gateway = ServiceMaker(
    "Console Gateway",
    "gateway.tap",
    "Virtual-machine consoles in the browser, through signed tickets",
    "console-gateway",
)

console_reactor = Reactor(
    "consoles",
    "gateway.net.reactor",
    "epoll, with the sockets of Console Gateway dispatched directly (fastest for it)",
)
