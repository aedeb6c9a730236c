"""The decision before the upgrade: who may open a session with what they sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from gateway.reasons import Refusal
from gateway.sessions import Full, Place, Registry
from gateway.settings import FrontSettings, parse_origin
from gateway.tickets import Grant, TicketRefused

__all__ = ["Admission", "Gate", "Refused"]


class Refused(Exception):
    """The request is turned away; it was logged."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.label)
        self.refusal = refusal


@attrs.frozen
class Admission:
    """A grant, and the place taken for its session."""

    grant: Grant
    place: Place


class Gate:
    """Checks origin, ticket and limits, in this order, and logs every refusal."""

    log = Logger()

    def __init__(self, settings: FrontSettings, decode: Callable[[str], Grant], registry: Registry) -> None:
        """:param decode: verifies a ticket as it stands in the path; raises ``TicketRefused``."""
        self._origins = frozenset(parse_origin(origin) for origin in settings.origins)
        self._decode = decode
        self._registry = registry

    async def admit(self, path: str, origin: str | None, client: str) -> Admission:
        """Decide about an upgrade request.

        :param path: the request path without its leading slash.
        :param origin: value of the Origin header, if there is one.
        :param client: the client's address.
        :raises Refused: when it is turned away.
        """
        if origin is not None and self._origins and not self._allows(origin):
            self.refuse(Refusal.ORIGIN_FORBIDDEN, client)
        grant = self.verify(path, client)
        try:
            place = self._registry.take_place(client)
        except Full as full:
            self.refuse(full.refusal, client, ticket=grant.id)
        return Admission(grant, place)

    def verify(self, path: str, client: str) -> Grant:
        """Verify a ticket without using it.

        :raises Refused: when it does not hold.
        """
        try:
            return self._decode(path)
        except TicketRefused as refused:
            self.refuse(refused.refusal, client, ticket=refused.ticket_id, detail=str(refused))
        except Exception as error:
            # The frames tell what broke; the error's own text could quote the ticket.
            nameless = RuntimeError(type(error).__name__)
            self.log.failure("Unexpected error in a ticket", Failure(nameless, None, error.__traceback__))
            self.refuse(Refusal.INTERNAL_ERROR, client)

    def refuse(
        self, refusal: Refusal, client: str, *, ticket: str | None = None, detail: str = ""
    ) -> NoReturn:
        """Log a refusal and raise it."""
        self.note(refusal, client, ticket=ticket, detail=detail)
        raise Refused(refusal)

    def note(self, refusal: Refusal, client: str, *, ticket: str | None = None, detail: str = "") -> None:
        """Log a refusal that was decided elsewhere."""
        self.log.info(
            "request refused client={client} ticket={ticket} reason={reason} detail={detail!r}",
            client=client,
            ticket=ticket or "-",
            reason=refusal.label,
            detail=detail,
        )

    def _allows(self, origin: str) -> bool:
        try:
            return parse_origin(origin) in self._origins
        except ValueError:
            # "null" and other opaque origins are never in the list.
            return False
