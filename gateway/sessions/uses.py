"""How often a ticket may be used, by what its console speaks; and what the gate has decided.

What is spoken is in the ticket or found out from the first bytes.  Until then
the policy for VNC holds: the first connection of a SPICE client shows what it
is before the client opens its other channels.
"""

from __future__ import annotations

from typing import Final

import attrs

from gateway.reasons import Refusal
from gateway.sessions.group import Group
from gateway.sessions.registry import Full, Place
from gateway.settings import UseSettings
from gateway.tickets import Claim, Grant, Kind, Ledger, LedgerRefusal, LedgerRefused, UsePolicy

__all__ = ["Admission", "Uses"]

_REFUSALS: Final = {
    LedgerRefusal.LEDGER_FULL: Refusal.LEDGER_FULL,
    LedgerRefusal.UNAVAILABLE: Refusal.LEDGER_UNAVAILABLE,
}


@attrs.frozen
class Admission:
    """A grant, the place taken for its session, and the use of its ticket."""

    grant: Grant
    place: Place
    claim: Claim

    def give_back(self, *, used: bool = False) -> None:
        """The session has ended, or never was; idempotent.

        :param used: whether the user sent anything to the console.
        """
        self.claim.release(used=used)
        self.place.give_back()


class Uses:
    """Asks the ledger, with the policy that fits."""

    def __init__(self, ledger: Ledger, settings: UseSettings) -> None:
        self._ledger = ledger
        self._policies = {
            Kind.VNC: UsePolicy(settings.vnc, settings.vnc_count, settings.window),
            Kind.SPICE: UsePolicy(settings.spice, settings.spice_count, settings.window),
            Kind.SERIAL: UsePolicy(settings.serial, settings.serial_count, settings.window),
        }

    async def claim(self, grant: Grant, group: Group) -> Claim:
        """Use a ticket for one more connection.

        :raises Full: with what the ledger has against it.
        """
        try:
            return await self._ledger.claim(grant.id, grant.valid_to, self._policies[group.kind or Kind.VNC])
        except LedgerRefused as refused:
            raise Full(_REFUSALS.get(refused.reason, Refusal.TICKET_USED), refused.reason.value) from None
