"""Signed tickets: what a client shows at the door, and the grant it gets for one."""

from __future__ import annotations

from gateway.tickets.armour import looks_like_ticket
from gateway.tickets.decode import TicketDecoder
from gateway.tickets.encode import TicketStyle, encode_ticket
from gateway.tickets.faults import TicketFault, TicketRefused
from gateway.tickets.grant import Grant, Permission, Target
from gateway.tickets.keys import KeyFileError, load_certificate, load_signing_key, load_verification_key

__all__ = [
    "Grant",
    "KeyFileError",
    "Permission",
    "Target",
    "TicketDecoder",
    "TicketFault",
    "TicketRefused",
    "TicketStyle",
    "encode_ticket",
    "load_certificate",
    "load_signing_key",
    "load_verification_key",
    "looks_like_ticket",
]
