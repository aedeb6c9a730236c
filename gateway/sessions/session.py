"""The life of one session, from the finished upgrade to its one end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.net import Channel, Poller, ProxyHeader, SocketChannel
from gateway.reasons import EndReason
from gateway.relay import (
    Ending,
    Heartbeat,
    Leg,
    RawLeg,
    Relay,
    RemoteWebSocketLeg,
    WebSocketLeg,
)
from gateway.sessions.activity import Activity
from gateway.sessions.events import Events, SessionEnded, SessionJoined, SessionOpened, SessionWarned
from gateway.sessions.face import BrowserFace
from gateway.sessions.info import Selector, SessionInfo, SessionState
from gateway.sessions.registry import Registry
from gateway.sessions.tap import GreetingTap, InputTap
from gateway.sessions.uses import Admission
from gateway.settings import Attach, RelaySettings
from gateway.targets import Dialler, Securer, TargetError
from gateway.tickets import Ledger, LedgerRefused

__all__ = ["MAX_MESSAGE", "Session", "Sessions"]

MAX_MESSAGE: Final = 120
"""Bytes of UTF-8 that a user can be told at the end; a close frame has room for 123 (RFC 6455, 5.5)."""

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
            session.relay.give_up()

    def ended(self, session: Session, what: SessionEnded) -> None:
        """Forget a session, and tell everybody that it has ended."""
        del self.registry.sessions[session.id]
        self.events.publish(what)
        # Not before everybody knows: whoever waits for the last of them stops the audit then.
        if self._drained is not None and not self.registry.sessions:
            drained, self._drained = self._drained, None
            drained.callback(None)


class Session:
    """One console in use: dials the target, joins the legs, and knows how it ended."""

    __slots__ = (
        "_activity",
        "_admission",
        "_begun",
        "_dialling",
        "_on_behalf_of",
        "_security",
        "_shared",
        "_silence",
        "_started",
        "grant",
        "group",
        "id",
        "relay",
    )

    def __init__(
        self, shared: Sessions, admission: Admission, leg: WebSocketLeg, on_behalf_of: ProxyHeader | None
    ) -> None:
        self.id = secrets.token_hex(6)
        self.grant = admission.grant
        self.group = admission.place.group
        self._shared = shared
        self._admission = admission
        self._on_behalf_of = on_behalf_of
        self._begun = shared.clock.seconds()
        self._started = shared.events.now()
        self._activity: Activity | None = None
        self._dialling: defer.Deferred[None] | None = None
        self._security: str | None = None
        self._silence: Callable[[], None] | None = None
        self.relay = Relay(
            shared.clock,
            leg,
            close_timeout=shared.settings.close_timeout,
            ending=self._is_ending,
            ended=self._has_ended,
        )

    @property
    def client(self) -> str:
        """The client's address."""
        return self._admission.place.client

    @property
    def state(self) -> SessionState:
        """How far it is."""
        if self.relay.how is not None:
            return SessionState.ENDING
        return SessionState.CONNECTING if self.relay.target is None else SessionState.ACTIVE

    def info(self) -> SessionInfo:
        """What may be told of it now."""
        now = self._shared.clock.seconds()
        client, target = self.relay.client, self.relay.target
        activity = self._activity
        return SessionInfo(
            id=self.id,
            ticket=self.grant.id,
            subject=self.grant.subject,
            client=self.client,
            target=self.grant.target.console,
            kind=self.grant.target.kind if activity is None else activity.kind,
            attach=self.group.attach,
            state=self.state,
            security=self._security,
            started=self._started,
            duration=now - self._begun,
            idle=now - self.group.last_input,
            to_target=client.received,
            to_client=0 if target is None else target.received,
            messages_to_target=client.messages_received,
            messages_to_client=client.messages_sent,
        )

    def run(self) -> None:
        """Dial the target and relay until one side ends."""
        self._shared.log.info(
            "session started id={id} client={client} target={target} ticket={ticket} subject={subject}",
            id=self.id,
            client=self.client,
            target=str(self.grant.target),
            ticket=self.grant.id,
            subject=self.grant.subject or "-",
        )
        if self.relay.how is not None:
            # Taken over or ended by whoever was told of it.
            return
        dialling = defer.Deferred.fromCoroutine(self._dial())
        if self.relay.how is not None:
            dialling.cancel()
        elif not dialling.called:
            self._dialling = dialling

    def end(self, reason: EndReason, detail: str = "", message: str = "") -> None:
        """End the session in order.

        :param message: what the user is told in place of the reason's public text.
        """
        self.relay.end(reason, detail, message=message)

    def warn(self, reason: EndReason, left: float) -> None:
        """The session is about to end.

        :param left: seconds until then.
        """
        if self.relay.how is None:
            self._notify({"type": "warning", "reason": reason.label, "seconds": round(left, 1)})
            self._shared.events.publish(SessionWarned(self.info(), reason, left))

    def warning_over(self) -> None:
        """The session goes on after all."""
        self._notify({"type": "warning-over"})

    def announce(self, notice: Mapping[str, Any]) -> None:
        """Tell the page something, if it understands notices; see ``docs/notices.md``."""
        self._notify(notice)

    def _notify(self, notice: Mapping[str, Any]) -> None:
        if self.relay.client.notices and self.relay.how is None:
            self.relay.client.notify(json.dumps(notice))

    async def _dial(self) -> None:
        shared = self._shared
        target = self.grant.target
        try:
            client, self._on_behalf_of = self._on_behalf_of, None
            channel = await shared.dialler.dial(target, client)
            if self.relay.how is not None:
                # It was too late to cancel that.
                channel.abort()
                return
            self._activity = Activity(target.kind)
            if shared.securer.needs_nothing(target):
                leg: Leg = RawLeg(channel, shared.poller)
                unused = b""
            else:
                leg, unused = await self._secure(channel)
            self._dialling = None
            self._join(leg, unused)
        except TargetError as error:
            self._dialling = None
            self.relay.end(error.reason, str(error))
        except defer.CancelledError:
            # The client left, or the session was ended, while the target was dialled.
            pass
        except Exception:
            shared.log.failure("Unexpected error while dialling id={id}", id=self.id)
            self._dialling = None
            self.relay.end(EndReason.INTERNAL_ERROR)

    async def _secure(self, channel: SocketChannel) -> tuple[Leg, bytes]:
        """Do the handshakes; returns the target's leg, and what the browser has said to it meanwhile."""
        shared = self._shared
        face = BrowserFace(shared.clock, self.relay.client)
        self._watch_silence()
        secured = await shared.securer.secure(channel, self.grant, face)
        self._security = secured.security
        if secured.authenticated:
            self._activity = Activity(self.grant.target.kind, authenticated=True)
        shared.log.info(
            "target secured id={id} target={target} security={security!r}",
            id=self.id,
            target=str(self.grant.target),
            security=secured.security,
        )
        if secured.websocket:
            leg: Leg = RemoteWebSocketLeg(secured.channel, shared.poller, early=secured.early)
        else:
            leg = RawLeg(secured.channel, shared.poller)
        leg.excuse = secured.explain_end
        return leg, face.unused()

    def _join(self, leg: Leg, unused: bytes) -> None:
        if self.relay.how is not None:
            leg.abort()
            return
        shared, activity = self._shared, self._activity
        assert activity is not None
        self._watch_silence()
        self.group.used()
        to_target = InputTap(leg, activity, self._used)
        to_client: GreetingTap | None = None
        if activity.needs_server:
            to_client = GreetingTap(self.relay.client, leg, activity, self._learned)
        else:
            self._learned()
        self.relay.join(leg, to_target=to_target, to_client=to_client)
        if unused and not leg.is_closed:
            to_target.put(unused, 0, len(unused))
        shared.events.publish(SessionJoined(self.info(), shared.clock.seconds() - self._begun))

    def _used(self) -> None:
        """The user gave input, which also shows what is spoken where the client speaks first."""
        self.group.used()
        if self.group.kind is None:
            self._learned()

    def _learned(self) -> None:
        """What the console speaks may be known."""
        if self._activity is not None and self._activity.kind is not None:
            self.group.kind = self._activity.kind

    def _watch_silence(self) -> None:
        if self._silence is None:
            self._silence = self._shared.heartbeat.add(self.relay.client, self._is_silent)

    def _is_silent(self) -> None:
        self.relay.end(EndReason.CLIENT_TIMEOUT, "no answer to a ping")

    def _is_ending(self, how: Ending) -> None:
        silence, self._silence = self._silence, None
        if silence is not None:
            silence()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            # Not at once: this may be called from one of its own steps, which cannot be cancelled meanwhile.
            self._shared.clock.callLater(0, dialling.cancel)

    def _has_ended(self, how: Ending) -> None:
        shared = self._shared
        relay = self.relay
        self.group.leave(self)
        self._admission.give_back(used=relay.target is not None and relay.client.received > 0)
        info = self.info()
        fields: dict[str, Any] = {
            "id": self.id,
            "client": self.client,
            "target": str(self.grant.target),
            "ticket": self.grant.id,
            "subject": self.grant.subject or "-",
            "duration": round(info.duration, 3),
            "to_target": info.to_target,
            "to_client": info.to_client,
            "reason": how.reason.label,
            "detail": how.detail,
        }
        shared.log.info(
            "session ended id={id} client={client} target={target} ticket={ticket} subject={subject} "
            "duration={duration}s to_target={to_target} to_client={to_client} reason={reason} "
            "detail={detail!r}",
            **fields,
        )
        shared.ended(self, SessionEnded(info, how.reason, how.detail))
