"""The life of one session, from the finished upgrade to its one end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.net import Poller, ProxyHeader, SocketChannel
from gateway.reasons import EndReason
from gateway.relay import Ending, Heartbeat, Leg, RawLeg, Relay, RemoteWebSocketLeg, WebSocketLeg
from gateway.sessions.activity import Activity
from gateway.sessions.events import Events, SessionEnded, SessionJoined, SessionWarned
from gateway.sessions.face import BrowserFace
from gateway.sessions.info import SessionInfo, SessionState
from gateway.sessions.tap import GreetingTap, InputTap
from gateway.sessions.uses import Admission
from gateway.settings import RelaySettings
from gateway.targets import Dialler, Securer, TargetError

__all__ = ["MAX_MESSAGE", "Session", "Shared"]

MAX_MESSAGE: Final = 120
"""Bytes of UTF-8 that a user can be told at the end; a close frame has room for 123 (RFC 6455, 5.5)."""

_log = Logger()
"""Not the class's, or what is logged would keep a session alive."""


class Shared(Protocol):
    """What all sessions use: a :class:`gateway.sessions.Sessions`."""

    clock: IReactorTime
    poller: Poller
    dialler: Dialler
    securer: Securer
    events: Events
    settings: RelaySettings
    heartbeat: Heartbeat

    def ended(self, session: Session, what: SessionEnded) -> None:
        """Forget a session, and tell everybody that it has ended."""


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
        self, shared: Shared, admission: Admission, leg: WebSocketLeg, on_behalf_of: ProxyHeader | None
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
        _log.info(
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

    def abort(self) -> None:
        """End the session at once, whatever is still to be delivered."""
        self.relay.give_up()

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
            _log.failure("Unexpected error while dialling id={id}", id=self.id)
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
        _log.info(
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
        _log.info(
            "session ended id={id} client={client} target={target} ticket={ticket} subject={subject} "
            "duration={duration}s to_target={to_target} to_client={to_client} reason={reason} "
            "detail={detail!r}",
            **fields,
        )
        shared.ended(self, SessionEnded(info, how.reason, how.detail))
