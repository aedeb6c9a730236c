"""The decision before the upgrade: who may open a session with what they sent."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NoReturn

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.front.watch import Watch
from gateway.reasons import Refusal
from gateway.sessions import Admission, Events, Full, Registry, RequestRefused, Uses
from gateway.settings import FrontSettings, parse_origin
from gateway.tickets import Grant, TicketRefused

__all__ = ["UNPROVEN", "Gate", "Refused"]

UNPROVEN: Final = frozenset(
    {
        Refusal.MALFORMED,
        Refusal.SUBPROTOCOL,
        Refusal.TICKET_REFUSED,
        Refusal.TOO_MANY_FAILURES,
        Refusal.ORIGIN_FORBIDDEN,
    }
)
"""What is said to clients that have shown no genuine ticket."""

_MEMORY: Final = 30
"""Seconds for which it is remembered why a ticket was refused."""
_REMEMBERED: Final = 1000
"""Tickets for which it is."""


class Refused(Exception):
    """The request is turned away; it was logged."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.label)
        self.refusal = refusal


class Gate:
    """Checks origin, ticket, limits and use, in this order, and notes every refusal.

    Where too many tickets failed, none from there is looked at for a while.  Were the good ones let in, the
    answer would tell them from the bad ones, and each guess would cost the check of a signature.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: FrontSettings,
        decode: Callable[[str], Grant],
        registry: Registry,
        uses: Uses,
        events: Events,
        watch: Watch,
        *,
        recording: Callable[[], bool] = lambda: True,
    ) -> None:
        """
        :param decode: verifies a ticket as it stands in the path; raises ``TicketRefused``.
        :param events: is told of every refusal.
        :param watch: knows from where too many tickets failed.
        :param recording: whether sessions can be recorded as the operator demands.
        """
        self._clock = clock
        self._origins = frozenset(parse_origin(origin) for origin in settings.origins)
        self._decode = decode
        self._registry = registry
        self._uses = uses
        self._events = events
        self._watch = watch
        self._recording = recording
        self._turned_away: OrderedDict[str, tuple[float, Refusal]] = OrderedDict()

    async def admit(self, path: str, origin: str | None, client: str) -> Admission:
        """Decide about an upgrade request.

        :param path: the request path without its leading slash.
        :param origin: value of the Origin header, if there is one.
        :param client: the client's address.
        :raises Refused: when it is turned away.
        """
        if origin is not None and self._origins and not self._allows(origin):
            self.refuse(Refusal.ORIGIN_FORBIDDEN, client)
        grant = self._verify(path, client)
        try:
            if not self._recording():
                raise Full(Refusal.AUDIT_UNAVAILABLE)
            place = self._registry.take_place(client, grant)
            try:
                claim = await self._uses.claim(grant, place.group)
            except BaseException:
                place.give_back()
                raise
        except Full as full:
            self._remember(grant.id, full.refusal)
            self.refuse(full.refusal, client, grant=grant, detail=full.detail)
        self._turned_away.pop(grant.id, None)
        return Admission(grant, place, claim)

    def verdict(self, path: str, client: str) -> Refusal | None:
        """What an upgrade with this ticket was just refused for, or what it would be; ``None`` if it holds.

        A browser that was refused cannot read why, and asks.  Nothing is logged: that was done already; but a
        ticket that fails counts here as well, or guesses would be free.
        """
        if self._watch.patience(client):
            return Refusal.TOO_MANY_FAILURES
        try:
            grant = self._decode(path)
        except TicketRefused as refused:
            self._count(refused, client)
            return refused.refusal
        except Exception as error:
            self._log_defect(error)
            return Refusal.INTERNAL_ERROR
        when, refusal = self._turned_away.get(grant.id, (0.0, None))
        return refusal if refusal is not None and self._clock.seconds() - when <= _MEMORY else None

    def retry_after(self, refusal: Refusal, client: str) -> int | None:
        """Seconds after which a client that was refused may come again; ``None`` where nobody knows."""
        if refusal is not Refusal.TOO_MANY_FAILURES:
            return None
        return max(1, math.ceil(self._watch.patience(client)))

    def _verify(self, path: str, client: str) -> Grant:
        """Verify a ticket without using it.

        :raises Refused: when it does not hold.
        """
        if self._watch.patience(client):
            self.refuse(Refusal.TOO_MANY_FAILURES, client)
        try:
            return self._decode(path)
        except TicketRefused as refused:
            self._count(refused, client)
            self.refuse(refused.refusal, client, ticket=refused.ticket_id, detail=str(refused))
        except Exception as error:
            self._log_defect(error)
            self.refuse(Refusal.INTERNAL_ERROR, client)

    def _count(self, refused: TicketRefused, client: str) -> None:
        # Genuine ones do not count: pages come back with tickets that have expired or were used.
        if refused.refusal is Refusal.TICKET_REFUSED:
            self._watch.ticket_failed(client)

    def _log_defect(self, error: Exception) -> None:
        # The frames tell what broke; the error's own text could quote the ticket.
        nameless = RuntimeError(type(error).__name__)
        self.log.failure("Unexpected error in a ticket", Failure(nameless, None, error.__traceback__))

    def refuse(
        self,
        refusal: Refusal,
        client: str,
        *,
        ticket: str | None = None,
        grant: Grant | None = None,
        detail: str = "",
    ) -> NoReturn:
        """Note a refusal and raise it."""
        self.note(refusal, client, ticket=ticket, grant=grant, detail=detail)
        raise Refused(refusal)

    def note(
        self,
        refusal: Refusal,
        client: str,
        *,
        ticket: str | None = None,
        grant: Grant | None = None,
        detail: str = "",
    ) -> None:
        """Log and publish a refusal.

        :param ticket: id of a ticket that is genuine,
        :param grant: or what it grants.
        """
        ticket = grant.id if grant is not None else ticket
        # Whoever is turned away for a flood must not flood the log with it.
        if refusal is not Refusal.TOO_MANY_FAILURES or self._watch.worth_a_line(client):
            self.log.info(
                "request refused client={client} ticket={ticket} reason={reason} detail={detail!r}",
                client=client,
                ticket=ticket or "-",
                reason=refusal.label,
                detail=detail,
            )
        subject = grant.subject if grant is not None else None
        target = grant.target.console if grant is not None else None
        self._events.publish(RequestRefused(client, ticket, subject, target, refusal, detail))

    def _remember(self, ticket: str, refusal: Refusal) -> None:
        self._turned_away[ticket] = (self._clock.seconds(), refusal)
        self._turned_away.move_to_end(ticket)
        if len(self._turned_away) > _REMEMBERED:
            self._turned_away.popitem(last=False)

    def _allows(self, origin: str) -> bool:
        try:
            return parse_origin(origin) in self._origins
        except ValueError:
            # "null" and other opaque origins are never in the list.
            return False
