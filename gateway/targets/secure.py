"""From a connection to a channel for the relay: TLS, VeNCrypt, authentication, WebSocket to a KubeVirt VM.

What a target gets is decided by its rule and its ticket.  Whatever asks for
security gets it, verified, or the session ends: nothing is ever downgraded.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

import attrs
from OpenSSL import SSL
from twisted.internet import defer, task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from gateway.net import Channel, ChannelError, Poller, SocketChannel
from gateway.reasons import EndReason
from gateway.rfb import (
    AuthenticationFailed,
    Challenge,
    Credentials,
    InsecureTarget,
    NeedsCredentials,
    Ready,
    Requirement,
    RfbError,
    ServerRefused,
    StartTls,
    TargetHandshake,
)
from gateway.settings import PasswordMode, SecuritySettings, TargetSecurity, Verification
from gateway.targets.certificates import SeenCertificates, chain_only_text
from gateway.targets.checks import TlsCheckFailed, explain, late_refusal, open_connection
from gateway.targets.errors import TargetError
from gateway.targets.exchange import EndOfTarget, Exchange
from gateway.targets.rules import SecurityRule
from gateway.targets.trusts import Trusts
from gateway.targets.upgrade import (
    CONSOLE_SUBPROTOCOL,
    ClientUpgrade,
    UpgradeError,
    UpgradeForbidden,
    bearer_subprotocols,
)
from gateway.tickets import Grant, Target

__all__ = ["Face", "Secured", "Securer"]

_RFB: Final = b"RFB "
_SPICE: Final = b"REDQ"
_REASONS: Final = {
    InsecureTarget: EndReason.TARGET_INSECURE,
    NeedsCredentials: EndReason.TARGET_AUTH_FAILED,
    ServerRefused: EndReason.TARGET_AUTH_FAILED,
    AuthenticationFailed: EndReason.TARGET_AUTH_FAILED,
}

_T = TypeVar("_T")


class Face(Protocol):
    """The browser, as far as a target's handshake needs it."""

    def begin(self) -> None:
        """Listen to the browser; until then it is not read."""

    def spoke(self) -> defer.Deferred[bytes]:
        """Fires with what the browser said unasked, which stays to be passed on."""

    async def ask(self, challenge: bytes) -> bytes:
        """Have the browser answer VNC authentication.

        :raises gateway.targets.TargetError: it broke the protocol.
        """

    async def admit(self) -> None:
        """Tell the browser that it may go on without authentication, unless it was asked."""

    def judge(self, ok: bool, reason: str) -> None:
        """Tell the browser what the target thinks of its answer."""


@attrs.frozen
class Secured:
    """A target that is ready to be relayed."""

    channel: Channel
    websocket: bool = False
    """The target speaks WebSocket."""
    early: bytes = b""
    """What it sent behind its last handshake; only with :attr:`websocket`."""
    security: str = "plain"
    """What was agreed on, for the log."""
    authenticated: bool = False
    """RFB whose security handshakes are over, with the target and with the browser."""
    tls: SSL.Connection | None = None
    """Where the target has said nothing inside TLS yet, so that its verdict about us may be still to come."""

    def explain_end(self) -> tuple[EndReason, str] | None:
        """Why the target left, when it did without having said a word."""
        failed = late_refusal(self.tls) if self.tls is not None else None
        return None if failed is None else (failed.reason, str(failed))


class Securer:
    """Does the handshakes of every session."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        poller: Poller,
        settings: SecuritySettings,
        trusts: Trusts,
        *,
        seen: SeenCertificates | None = None,
    ) -> None:
        """
        :param settings: the times; everything else is the rules'.
        :param seen: what was seen before.
        """
        self._clock = clock
        self._poller = poller
        self._settings = settings
        self._trusts = trusts
        self.seen = SeenCertificates() if seen is None else seen
        """What targets showed last, for metrics."""

    def needs_nothing(self, target: Target) -> bool:
        """Whether a target is relayed as it is."""
        rule = self._trusts.rule(target)
        return target.path is None and _mode(rule, target) is None and rule.password is PasswordMode.BROWSER

    async def secure(self, channel: SocketChannel, grant: Grant, face: Face) -> Secured:
        """Do every handshake that comes before the relay.

        :param channel: connected to the target; closed when this fails or is cancelled.
        :raises TargetError: with the reason for the session's end, and one line for the log.
        """
        exchange = Exchange(self._poller, channel)
        try:
            return await _Handshakes(self, exchange, grant, face).run()
        except BaseException as error:
            exchange.close()
            raise _target_error(error, exchange) from None


class _Handshakes:
    """The handshakes of one session."""

    def __init__(self, shared: Securer, exchange: Exchange, grant: Grant, face: Face) -> None:
        self._shared = shared
        self._exchange = exchange
        self._grant = grant
        self._target = grant.target
        self._face = face
        self._rule = shared._trusts.rule(grant.target)

    async def run(self) -> Secured:
        if self._target.path is not None:
            return await self._bounded(self._websocket())
        mode = _mode(self._rule, self._target)
        if mode is TargetSecurity.AUTO:
            mode = await self._find_out()
        if mode is TargetSecurity.TLS:
            await self._bounded(self._start_tls(self._target.server_name))
            return self._secured("TLS")
        if mode is TargetSecurity.VENCRYPT:
            return await self._rfb(tls=True)
        if await self._speaks_rfb():
            return await self._rfb(tls=False)
        return self._secured("plain")

    async def _find_out(self) -> TargetSecurity:
        """Who speaks first shows what is spoken: an RFB server greets, SPICE waits for its client."""
        exchange, face = self._exchange, self._face
        face.begin()
        who, what = await _first([exchange.readable(), face.spoke(), self._silence()])
        if who == 1 and not what.startswith(_SPICE):
            # Somebody who speaks first and is no SPICE client: the target decides.
            who, _ = await _first([exchange.readable(), self._silence()])
        if who != 0:
            return TargetSecurity.TLS
        greeting = exchange.peek(len(_RFB))
        if not greeting:
            raise EndOfTarget("the target ended the connection at once")
        if _RFB.startswith(greeting):
            return TargetSecurity.VENCRYPT
        raise InsecureTarget("the target speaks first, but not RFB: there is no security to be had from it")

    async def _speaks_rfb(self) -> bool:
        """Whether a plain target greets as an RFB server does."""
        who, _ = await _first([self._exchange.readable(), self._silence()])
        greeting = self._exchange.peek(len(_RFB)) if who == 0 else b""
        return bool(greeting) and _RFB.startswith(greeting)

    def _silence(self) -> defer.Deferred[None]:
        return task.deferLater(self._shared._clock, self._shared._settings.silence, _nothing)

    async def _rfb(self, *, tls: bool) -> Secured:
        rule, face = self._rule, self._face
        asks_browser = rule.password is PasswordMode.BROWSER
        handshake = TargetHandshake(
            Requirement(
                tls=tls,
                anonymous=rule.anonymous,
                credentials=None if asks_browser else self._credentials(),
                browser_answers=asks_browser,
            )
        )
        face.begin()
        try:
            # The target's time stands still while the user is asked.
            while isinstance(event := await self._bounded(self._talk(handshake)), Challenge):
                handshake.answer(await self._ask(event.challenge))
        except AuthenticationFailed as error:
            face.judge(False, str(error))
            raise
        if handshake.unused_data:
            raise RfbError("server spoke before its client was ready")
        await self._bounded(face.admit())
        chosen = handshake.chosen
        return self._secured(f"RFB {chosen.name}" if chosen is not None else "RFB", authenticated=True)

    async def _ask(self, challenge: bytes) -> bytes:
        """Have the user answer, unless the target leaves meanwhile."""
        answer = self._bounded(self._face.ask(challenge), self._shared._settings.answer_timeout)
        left = self._exchange.left()
        left.addCallbacks(lambda _: answer.cancel(), lambda failure: failure.trap(defer.CancelledError))
        try:
            return await answer
        except defer.CancelledError:
            if left.called:
                raise EndOfTarget("the target ended the connection while the user was asked") from None
            raise
        finally:
            left.cancel()

    async def _talk(self, handshake: TargetHandshake) -> Challenge | Ready:
        try:
            while isinstance(event := await self._exchange.talk(handshake), StartTls):
                if event.anonymous:
                    await self._start_anonymous_tls()
                else:
                    await self._start_tls(self._target.server_name)
                handshake.tls_started()
        except EndOfTarget:
            # A server may hang up on a wrong answer without a word.
            handshake.receive_eof()
            try:
                handshake.next_event()
            except AuthenticationFailed:
                raise
            except RfbError:
                pass
            raise
        return event

    async def _websocket(self) -> Secured:
        target, exchange = self._target, self._exchange
        assert target.path is not None
        await self._start_tls(target.server_name)
        offered = bearer_subprotocols(target.token) if target.token else (CONSOLE_SUBPROTOCOL,)
        upgrade = ClientUpgrade(target.host, target.port, target.path, offered, os.urandom)
        await exchange.write(upgrade.data_to_send())
        while not upgrade.done:
            data = await exchange.read(upgrade.wanted)
            if not data:
                raise EndOfTarget("the target ended the connection during the opening handshake")
            upgrade.receive_data(data)
        return self._secured("WebSocket", websocket=True, early=upgrade.unused_data)

    async def _start_tls(self, pinned_name: str | None) -> None:
        """TLS with a verified certificate."""
        exchange, shared, rule = self._exchange, self._shared, self._rule
        trust = shared._trusts.tls(rule)
        name = pinned_name or rule.server_name(self._target.host)
        connection = trust.connection(exchange.sock, name)
        await exchange.start_tls(connection)
        certificate = trust.finish(connection, name)
        shared.seen.record(str(self._target), certificate)
        if rule.verify is Verification.CHAIN:
            shared.log.info("{target}: {text}", text=chain_only_text(certificate), target=str(self._target))

    async def _start_anonymous_tls(self) -> None:
        context = self._shared._trusts.anonymous()
        await self._exchange.start_tls(open_connection(context, self._exchange.sock))

    def _credentials(self) -> Credentials | None:
        grant = self._grant
        if grant.password is not None:
            return Credentials(grant.username, grant.password)
        return self._shared._trusts.credentials(self._rule, self._target)

    def _secured(
        self, what: str, *, websocket: bool = False, early: bytes = b"", authenticated: bool = False
    ) -> Secured:
        tls = self._exchange.tls
        security = what if tls is None else f"{what}, {tls.get_protocol_version_name()}"
        unheard = None if self._exchange.heard else tls
        return Secured(self._exchange.channel, websocket, early, security, authenticated, unheard)

    def _bounded(self, step: Coroutine[Any, Any, _T], seconds: float | None = None) -> defer.Deferred[_T]:
        """Let a step take ``seconds``, by default the time for the target's handshakes."""
        shared = self._shared
        limit = shared._settings.handshake_timeout if seconds is None else seconds
        return defer.Deferred.fromCoroutine(step).addTimeout(limit, shared._clock)


def _mode(rule: SecurityRule, target: Target) -> TargetSecurity | None:
    """How a target is to be secured; ``None`` for not at all."""
    if rule.mode is not TargetSecurity.TICKET:
        return rule.mode
    if target.security is not None and target.security is not TargetSecurity.TICKET:
        return target.security
    return TargetSecurity.AUTO if target.tls else None


def _target_error(error: BaseException, exchange: Exchange) -> BaseException:
    """The session's end that an error stands for."""
    if isinstance(error, TargetError | defer.CancelledError):
        return error
    if isinstance(error, defer.TimeoutError):
        return TargetError(EndReason.TARGET_HANDSHAKE_TIMEOUT, "the target did not finish its handshake")
    if isinstance(error, TlsCheckFailed):
        return TargetError(error.reason, str(error))
    failed = _tls_failure(error, exchange)
    if failed is not None:
        return TargetError(failed.reason, str(failed))
    if isinstance(error, RfbError):
        return TargetError(_REASONS.get(type(error), EndReason.TARGET_PROTOCOL_ERROR), str(error))
    if isinstance(error, UpgradeForbidden):
        return TargetError(EndReason.TARGET_AUTH_FAILED, str(error))
    if isinstance(error, UpgradeError):
        return TargetError(EndReason.TARGET_PROTOCOL_ERROR, str(error))
    if isinstance(error, EndOfTarget):
        return TargetError(EndReason.TARGET_LOST, str(error))
    if isinstance(error, OSError):
        return TargetError(EndReason.TARGET_LOST, error.strerror or str(error))
    return error


def _tls_failure(error: BaseException, exchange: Exchange) -> TlsCheckFailed | None:
    """What TLS has to do with the end of a connection; nothing, once the target has spoken inside it."""
    tls = exchange.tls
    if tls is None or exchange.heard or not isinstance(error, ChannelError | EndOfTarget):
        return None
    if isinstance(error, ChannelError) and not exchange.shaken:
        return explain(tls, error)
    return late_refusal(tls)


async def _first(waits: list[defer.Deferred[Any]]) -> tuple[int, Any]:
    """Which of some waits, none of which can fail, is over first, and with what; the others are cancelled."""
    try:
        return await defer.race(waits)
    except defer.FailureGroup:
        # What is left of a race that was cancelled itself.
        raise defer.CancelledError from None


def _nothing() -> None:
    """Silence has nothing to say."""
