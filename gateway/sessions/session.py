"""The life of one session, from the finished upgrade to its one end."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.net import Channel, Poller, SocketChannel
from gateway.reasons import EndReason
from gateway.relay import Ending, Heartbeat, Leg, RawLeg, Relay, RemoteWebSocketLeg, WebSocketLeg
from gateway.sessions.face import BrowserFace
from gateway.sessions.registry import Place, Registry
from gateway.settings import RelaySettings
from gateway.targets import Dialler, Securer, TargetError
from gateway.tickets import Grant

__all__ = ["Session", "Sessions"]


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
        settings: RelaySettings,
    ) -> None:
        self.clock = clock
        self.poller = poller
        self.dialler = dialler
        self.securer = securer
        self.registry = registry
        self.settings = settings
        self.heartbeat = Heartbeat(clock, settings.ping_interval)
        self._drained: defer.Deferred[None] | None = None

    def start(self, grant: Grant, place: Place, channel: Channel, *, unsent: bytes, early: bytes) -> Session:
        """Begin a session on a client's channel whose opening handshake is done.

        :param place: the place taken for it; given back when the session has ended.
        :param unsent: bytes of the opening handshake still to be sent.
        :param early: bytes that arrived behind the opening handshake.
        """
        leg = WebSocketLeg(
            channel, self.poller, max_message=self.settings.max_message, unsent=unsent, early=early
        )
        session = Session(self, grant, place, leg)
        self.registry.sessions[session.id] = session
        session.run()
        return session

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

    def forget(self, session: Session) -> None:
        """A session has ended."""
        del self.registry.sessions[session.id]
        if self._drained is not None and not self.registry.sessions:
            drained, self._drained = self._drained, None
            drained.callback(None)


class Session:
    """One console in use: dials the target, joins the legs, and knows how it ended."""

    __slots__ = ("_begun", "_dialling", "_place", "_shared", "_silence", "grant", "id", "relay")

    def __init__(self, shared: Sessions, grant: Grant, place: Place, leg: WebSocketLeg) -> None:
        self.id = secrets.token_hex(6)
        self.grant = grant
        self._shared = shared
        self._place = place
        self._begun = shared.clock.seconds()
        self._dialling: defer.Deferred[None] | None = None
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
        return self._place.client

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
        dialling = defer.Deferred.fromCoroutine(self._dial())
        if self.relay.how is not None:
            dialling.cancel()
        elif not dialling.called:
            self._dialling = dialling

    def end(self, reason: EndReason, detail: str = "") -> None:
        """End the session in order."""
        self.relay.end(reason, detail)

    async def _dial(self) -> None:
        shared = self._shared
        target = self.grant.target
        try:
            channel = await shared.dialler.dial(target)
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
        self._watch_silence()
        self.relay.join(leg)
        if unused and not leg.is_closed:
            leg.put(unused, 0, len(unused))

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
        self._place.give_back()
        fields: dict[str, Any] = {
            "id": self.id,
            "client": self.client,
            "target": str(self.grant.target),
            "ticket": self.grant.id,
            "subject": self.grant.subject or "-",
            "duration": round(shared.clock.seconds() - self._begun, 3),
            "to_target": relay.client.received,
            "to_client": relay.target.received if relay.target is not None else 0,
            "reason": how.reason.label,
            "detail": how.detail,
        }
        shared.log.info(
            "session ended id={id} client={client} target={target} ticket={ticket} subject={subject} "
            "duration={duration}s to_target={to_target} to_client={to_client} reason={reason} "
            "detail={detail!r}",
            **fields,
        )
        shared.forget(self)
