"""What a session to a target would get: its address, its security, its certificate.

The gateway's own parts do it, under the same policy and rules.
"""

from __future__ import annotations

import datetime
import errno
import socket
from typing import Any, Final

from twisted.internet import defer, task

from gateway.doctor.files import SOON
from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.net import ConsoleReactor, PolledReactor, Poller, SocketChannel
from gateway.reasons import EndReason
from gateway.settings import Settings, TcpEndpoint, parse_endpoint
from gateway.targets import (
    DestinationPolicy,
    Dialler,
    OwnAddress,
    Securer,
    TargetError,
    Trusts,
)
from gateway.tickets import Grant, Target

__all__ = ["check_target"]

_STEP: Final = 0.05
_MAX_GREETING: Final = 12
_REMEDIES: Final = {
    EndReason.TARGET_REFUSED: "start the console server there, or correct the port; it may be a firewall",
    EndReason.TARGET_TIMEOUT: "look for a firewall between here and there, and whether the host is up",
    EndReason.TARGET_UNRESOLVED: "correct the name, or this host's resolver (/etc/resolv.conf)",
    EndReason.TARGET_FORBIDDEN: "if sessions are to go there, allow it under [targets] in the settings",
    EndReason.TARGET_UNREACHABLE: "look at this host's routes, and at the target's address or socket",
    EndReason.TARGET_LOST: "look at the console server's log: it ended the connection",
    EndReason.TARGET_TLS_FAILED: "see whether the console server speaks TLS there, and which versions",
    EndReason.TARGET_UNTRUSTED: "set security.ca to the authority that issued the certificate, or pin it",
    EndReason.TARGET_WRONG_NAME: "have the certificate issued for this name, or set security.server_names",
    EndReason.TARGET_EXPIRED: "renew the certificate on the target, or correct the clocks",
    EndReason.TARGET_REJECTED_US: "set security.certificate and security.key to what the target asks for",
    EndReason.TARGET_INSECURE: "set up TLS on the console server, or see which kind of security it has",
    EndReason.TARGET_AUTH_FAILED: "correct the password in security.secrets, or on the console server",
    EndReason.TARGET_PROTOCOL_ERROR: "see whether a console server listens there at all",
    EndReason.TARGET_HANDSHAKE_TIMEOUT: "see whether the console server is overloaded, or is something else",
}


class _AskedError(Exception):
    """The target wants a password that a user would be asked for: as far as a check can go."""


class _Nobody:
    """In the place of the browser; see :class:`gateway.targets.Face`."""

    def begin(self) -> None:
        pass

    def spoke(self) -> defer.Deferred[bytes]:
        return defer.Deferred()

    async def ask(self, challenge: bytes) -> bytes:
        raise _AskedError

    async def admit(self) -> None:
        pass

    def judge(self, ok: bool, reason: str) -> None:
        pass


async def check_target(
    reactor: Any, settings: Settings, target: Target, now: datetime.datetime
) -> list[Finding]:
    """Dial a target and do its handshakes, as for a session whose ticket names it.

    :param reactor: runs, and is Twisted's of this process.
    :param settings: free of problems.
    """
    poller = reactor.poller if isinstance(reactor, ConsoleReactor) else _attached(reactor)
    try:
        return await _check(PolledReactor(reactor, poller), poller, settings, target, now)
    finally:
        if not isinstance(reactor, ConsoleReactor):
            poller.close()


def _attached(reactor: Any) -> Poller:
    poller = Poller(reactor)
    poller.attach(reactor)
    return poller


async def _check(
    reactor: Any, poller: Poller, settings: Settings, target: Target, now: datetime.datetime
) -> list[Finding]:
    policy = DestinationPolicy(settings.targets, _own_addresses(settings))
    targets = settings.targets
    dialler = Dialler(
        reactor,
        policy,
        targets.sockets,
        targets.connect_timeout,
        proxy_protocol=targets.proxy_protocol,
    )
    securer = Securer(reactor, poller, settings.security, Trusts(settings))
    begun = reactor.seconds()
    try:
        channel = await dialler.dial(target)
        if securer.needs_nothing(target):
            return [await _plain(reactor, settings, target, channel, reactor.seconds() - begun)]
        found = await _secure(reactor, securer, target, channel, begun, now)
    except TargetError as error:
        reason = error.reason
        text = (
            f"{target}: {reason.label} (close code {reason.code}): {error}; the user sees {reason.public!r}"
        )
        return [fail("target", text, _REMEDIES.get(reason, "look at the console server's log"))]
    return found + _check_seen(securer, now)


async def _secure(
    reactor: Any,
    securer: Securer,
    target: Target,
    channel: SocketChannel,
    begun: float,
    now: datetime.datetime,
) -> list[Finding]:
    grant = Grant(target, now, now, "doctor")
    try:
        secured = await securer.secure(channel, grant, _Nobody())
    except _AskedError:
        text = (
            f"{target}: reached after {reactor.seconds() - begun:.3f} s; the user is asked for the password"
        )
        return [ok("target", text)]
    try:
        # A target that does not like our certificate may say so only now.
        await task.deferLater(reactor, _STEP, lambda: None)
        refused = secured.explain_end() if secured.tls is not None else None
    finally:
        secured.channel.abort()
    if refused is not None:
        raise TargetError(*refused)
    return [ok("target", f"{target}: {secured.security}, after {reactor.seconds() - begun:.3f} s")]


async def _plain(
    reactor: Any, settings: Settings, target: Target, channel: SocketChannel, after: float
) -> Finding:
    """A target that is relayed as it is: what does it say by itself?"""
    try:
        greeting = await _greeting(reactor, channel.sock, settings.security.silence)
    finally:
        channel.abort()
    reached = f"{target}: reached after {after:.3f} s, relayed as it is"
    if greeting is None:
        return ok("target", f"{reached}; it waits for its client to speak, as SPICE and serial lines do")
    if not greeting:
        text = f"{target}: it ended the connection at once"
        return fail("target", text, _REMEDIES[EndReason.TARGET_LOST])
    if greeting.startswith(b"RFB "):
        version = greeting.strip().decode("ascii", "replace")
        return ok("target", f"{reached}; it greets as {version}")
    return ok("target", f"{reached}; it speaks first, but not RFB")


async def _greeting(reactor: Any, sock: socket.socket, patience: float) -> bytes | None:
    """The first bytes, nothing where the connection ends, ``None`` for silence."""
    end = reactor.seconds() + patience
    while reactor.seconds() < end:
        try:
            return sock.recv(_MAX_GREETING, socket.MSG_PEEK)
        except BlockingIOError:
            await task.deferLater(reactor, _STEP, lambda: None)
        except OSError as error:
            if error.errno == errno.ECONNRESET:
                return b""
            raise TargetError(EndReason.TARGET_LOST, error.strerror or str(error)) from None
    return None


def _check_seen(securer: Securer, now: datetime.datetime) -> list[Finding]:
    found = []
    for target, certificate in securer.seen.items():
        text = f"{target}: its certificate lasts until {certificate.not_after:%Y-%m-%d %H:%M} UTC"
        if certificate.not_after - now < SOON:
            found.append(warn("target certificate", text, "renew it on the target"))
        else:
            found.append(ok("target certificate", text))
    return found


def _own_addresses(settings: Settings) -> list[OwnAddress]:
    endpoints = map(parse_endpoint, (*settings.listen.tls, *settings.listen.plain))
    return [
        OwnAddress(each.interface or "::", each.port) for each in endpoints if isinstance(each, TcpEndpoint)
    ]
