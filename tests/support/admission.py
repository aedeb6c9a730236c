"""Grants that were let in, without the gate that did it."""

from __future__ import annotations

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from gateway.sessions import Admission, Registry
from gateway.settings import LimitSettings, SessionSettings, Use
from gateway.tickets import Claim, Grant, Ledger, MemoryLedger, UsePolicy

__all__ = ["admit", "make_registry"]

CLIENT = "198.51.100.5"


def make_registry(
    clock: IReactorTime, limits: LimitSettings | None = None, settings: SessionSettings | None = None
) -> Registry:
    """A registry, by default with everything as it is by default."""
    return Registry(clock, limits or LimitSettings(), settings or SessionSettings())


def admit(
    registry: Registry, grant: Grant, client: str = CLIENT, *, ledger: Ledger | None = None
) -> Admission:
    """Let a grant in, however often it was.

    :raises gateway.sessions.Full: there is no place.
    """
    place = registry.take_place(client, grant)
    claims: list[Claim] = []
    asked = defer.Deferred.fromCoroutine(
        (ledger or MemoryLedger()).claim(grant.id, grant.valid_to, UsePolicy(Use.UNLIMITED))
    )
    asked.addCallback(claims.append)
    (claim,) = claims
    return Admission(grant, place, claim)
