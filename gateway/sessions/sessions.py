"""All sessions of a gateway: how they begin, how operators end them, and how they end with the service."""

from __future__ import annotations

from typing import Final

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.net import Channel, Poller, ProxyHeader
from gateway.reasons import EndReason
from gateway.relay import Heartbeat, WebSocketLeg
from gateway.sessions.events import Events, SessionEnded, SessionOpened
from gateway.sessions.info import Selector, SessionInfo, SessionState
from gateway.sessions.registry import Registry
from gateway.sessions.session import Session
from gateway.sessions.uses import Admission
from gateway.settings import Attach, RelaySettings
from gateway.targets import Dialler, Securer
from gateway.tickets import Ledger, LedgerRefused

__all__ = ["Sessions"]

_EVERYBODY: Final = Selector()


class Sessions:
    """Starts sessions and ends them all; what every session shares."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        poller: Poller,
        dialler: Dialler,
        securer: Securer,
        registry: Registry,
        ledger: Ledger,
        events: Events,
        settings: RelaySettings,
    ) -> None:
        self.clock = clock
        self.poller = poller
        self.dialler = dialler
        self.securer = securer
        self.registry = registry
        self.ledger = ledger
        self.events = events
        self.settings = settings
        self.heartbeat = Heartbeat(clock, settings.ping_interval)
        self._drained: defer.Deferred[None] | None = None

    def start(
        self,
        admission: Admission,
        channel: Channel,
        *,
        unsent: bytes,
        early: bytes,
        accepted: float | None = None,
        notices: bool = False,
        on_behalf_of: ProxyHeader | None = None,
    ) -> Session:
        """Begin a session on a client's channel whose opening handshake is done.

        :param admission: given back when the session has ended.
        :param unsent: bytes of the opening handshake still to be sent.
        :param early: bytes that arrived behind the opening handshake.
        :param accepted: when the connection was accepted, by the clock; now by default.
        :param notices: whether the client takes text messages from the gateway.
        :param on_behalf_of: the client, for targets that are told.
        """
        leg = WebSocketLeg(
            channel, self.poller, max_message=self.settings.max_message, unsent=unsent, early=early
        )
        leg.notices = notices
        session = Session(self, admission, leg, on_behalf_of)
        self.registry.sessions[session.id] = session
        group = admission.place.group
        if group.attach is Attach.TAKE_OVER and not group.members:
            for other in self.registry.others(group):
                other.end(EndReason.TAKEN_OVER, f"by ticket {group.ticket}")
        group.enter(session)
        now = self.clock.seconds()
        self.events.publish(SessionOpened(session.info(), now - (now if accepted is None else accepted)))
        session.run()
        return session

    def infos(self, selector: Selector = _EVERYBODY) -> list[SessionInfo]:
        """The sessions that are meant, in the order of their beginning."""
        infos = (session.info() for session in self.registry.sessions.values())
        return [info for info in infos if selector.matches(info)]

    def info(self, session_id: str) -> SessionInfo | None:
        """A session, if it lives."""
        session = self.registry.sessions.get(session_id)
        return None if session is None else session.info()

    def end_selected(self, selector: Selector, message: str = "") -> list[SessionInfo]:
        """End sessions for an operator; their tickets open no more of them.

        :param message: what the users are told, :data:`MAX_MESSAGE` bytes at most.
        :returns: those that were not ending already, as they were.
        """
        ended = [info for info in self.infos(selector) if info.state is not SessionState.ENDING]
        tickets = {info.ticket for info in ended}
        if selector.ticket is not None:
            tickets.add(selector.ticket)
        for ticket in tickets:
            defer.Deferred.fromCoroutine(self._end_uses(ticket))
        for info in ended:
            session = self.registry.sessions.get(info.id)
            if session is not None:
                session.end(EndReason.OPERATOR, message, message)
        return ended

    async def _end_uses(self, ticket: str) -> None:
        try:
            await self.ledger.end(ticket)
        except LedgerRefused as refused:
            self.log.error(
                "ledger not told that ticket {ticket} was ended: {reason}",
                ticket=ticket,
                reason=refused.reason.value,
            )
        except Exception:
            self.log.failure("Unexpected error in the ledger")

    def end_all(self, reason: EndReason) -> defer.Deferred[None]:
        """Admit no more, end every session, and fire when the last has ended."""
        self.registry.close()
        for session in list(self.registry.sessions.values()):
            session.end(reason)
        if not self.registry.sessions:
            return defer.succeed(None)
        if self._drained is None:
            self._drained = defer.Deferred()
        return self._drained

    def abort_all(self) -> None:
        """Cut every session that is left."""
        for session in list(self.registry.sessions.values()):
            session.abort()

    def ended(self, session: Session, what: SessionEnded) -> None:
        """Forget a session, and tell everybody that it has ended."""
        del self.registry.sessions[session.id]
        self.events.publish(what)
        # Not before everybody knows: whoever waits for the last of them stops the audit then.
        if self._drained is not None and not self.registry.sessions:
            drained, self._drained = self._drained, None
            drained.callback(None)
