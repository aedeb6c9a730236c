"""Signed tickets: what a client shows at the door, and the grant it gets for one."""

from __future__ import annotations

from gateway.tickets.armour import looks_like_ticket
from gateway.tickets.decode import TicketDecoder
from gateway.tickets.encode import TicketStyle, encode_ticket
from gateway.tickets.engine import EngineKey, EngineKeys, load_engine_keys
from gateway.tickets.faults import TicketFault, TicketRefused
from gateway.tickets.grant import Grant, Kind, Permission, Target
from gateway.tickets.keys import KeyFileError, load_certificate, load_signing_key, load_verification_key
from gateway.tickets.ledger import (
    Claim,
    Ledger,
    LedgerError,
    LedgerRefusal,
    LedgerRefused,
    MemoryLedger,
    UsePolicy,
)
from gateway.tickets.sqlite_ledger import SqliteLedger

__all__ = [
    "Claim",
    "EngineKey",
    "EngineKeys",
    "Grant",
    "KeyFileError",
    "Kind",
    "Ledger",
    "LedgerError",
    "LedgerRefusal",
    "LedgerRefused",
    "MemoryLedger",
    "Permission",
    "SqliteLedger",
    "Target",
    "TicketDecoder",
    "TicketFault",
    "TicketRefused",
    "TicketStyle",
    "UsePolicy",
    "encode_ticket",
    "load_certificate",
    "load_engine_keys",
    "load_signing_key",
    "load_verification_key",
    "looks_like_ticket",
]
