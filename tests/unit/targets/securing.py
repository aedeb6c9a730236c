"""A gateway that secures connections to scripted consoles, with a browser that a test plays by hand."""

from __future__ import annotations

import functools
import socket
from pathlib import Path
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet import defer
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from gateway.net import Channel, SocketChannel
from gateway.reasons import EndReason
from gateway.settings import RuleSettings, SecuritySettings, Settings, TargetSecurity
from gateway.targets import Secured, Securer, TargetError, Trusts
from gateway.tickets import Grant, Target
from tests.support.pki import Authority, Leaf
from tests.unit.net.samples import DAY, NOW
from tests.unit.relay.wires import Browser, RelayCase
from tests.unit.targets.consoles import Console, Script
from tests.unit.targets.tls import NAME, server_side

HANDSHAKE_TIMEOUT = 10.0
ANSWER_TIMEOUT = 120.0
SILENCE = 1.5


@functools.cache
def authority() -> Authority:
    return Authority()


@functools.cache
def leaf() -> Leaf:
    return authority().issue(NAME)


@functools.cache
def context(version: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    """Of a console server as it should be."""
    return server_side(leaf(), version)


def grant(host: str = NAME, port: int = 5900, *, password: str | None = None, **target: Any) -> Grant:
    return Grant(Target(host, port, **target), NOW, NOW + DAY, id="t1", password=password)


PATH = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"
AT_ONCE = grant(security=TargetSecurity.TLS)
INSIDE_RFB = grant(tls=True)
KUBEVIRT = grant(path=PATH, token="c2VjcmV0")


class HandFace:
    """The browser, answered for by a test."""

    def __init__(self, answer: bytes | None = None) -> None:
        """:param answer: given at once to every challenge; otherwise the test gives it."""
        self.begun = False
        self.said: defer.Deferred[bytes] | None = None
        """Waits for what the browser says unasked."""
        self.challenges: list[bytes] = []
        self.answer: defer.Deferred[bytes] = defer.Deferred()
        self.admitted = 0
        self.admittance: defer.Deferred[None] = defer.succeed(None)
        self.judged: list[tuple[bool, str]] = []
        if answer is not None:
            self.answer.callback(answer)

    def begin(self) -> None:
        self.begun = True

    def spoke(self) -> defer.Deferred[bytes]:
        assert self.begun
        self.said = defer.Deferred()
        return self.said

    async def ask(self, challenge: bytes) -> bytes:
        self.challenges.append(challenge)
        return await self.answer

    async def admit(self) -> None:
        self.admitted += 1
        await self.admittance

    def judge(self, ok: bool, reason: str) -> None:
        if self.challenges:
            self.judged.append((ok, reason))


@attrs.define
class Attempt:
    """One connection being secured."""

    case: SecuringCase
    channel: SocketChannel
    console: Console
    face: HandFace
    result: defer.Deferred[Secured]
    outcome: list[Any] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.result.addBoth(self.outcome.append)

    def succeed(self) -> Secured:
        self.case.pump(lambda: self.outcome)
        (secured,) = self.outcome
        assert isinstance(secured, Secured), secured
        return secured

    def fail(self, reason: EndReason, *words: str) -> str:
        """It has failed for this reason or does so now, these words are in the log, and nothing is left."""
        self.case.pump(lambda: self.outcome)
        error = self.outcome[0].value
        assert isinstance(error, TargetError), self.outcome[0].getTraceback()
        self.case.assertIs(error.reason, reason, error)
        for word in words:
            self.case.assertIn(word, str(error))
        self.case.assertTrue(str(error).isprintable())
        self.assert_freed()
        return str(error)

    def assert_freed(self) -> None:
        self.case.assertEqual(-1, self.channel.fileno())
        self.case.assertEqual(0, len(self.case.poller))
        self.case.assertEqual([], self.case.timers())


class WatchedBrowser(Browser):
    """A browser that keeps all that ever came to it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.wire = bytearray()

    def took(self, data: bytes) -> None:
        self.wire += data
        super().took(data)


class LogCase(RelayCase):
    """Everything that is logged meanwhile, at every level."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def turn(self) -> bool:
        moved = super().turn()
        self.clock.advance(0)
        return moved

    def watched_wire(self, *, small: bool = False, tcp: bool = False) -> tuple[SocketChannel, WatchedBrowser]:
        near, far = self.wire(small=small, tcp=tcp)
        browser = WatchedBrowser(far)
        self.ends.append(browser)
        return SocketChannel(near), browser

    def log_text(self) -> str:
        """All lines, and all that observers of other kinds could make of them."""
        parts = []
        for event in self.events:
            parts += [formatEvent(event), repr(event)]
            if "log_failure" in event:
                parts.append(event["log_failure"].getTraceback(detail="verbose"))
        return "\n".join(parts)


class SecuringCase(LogCase):
    """Securing connections, without a session around it."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ca = authority().save(self.directory, "ca")
        self.make()

    def make(self, rules: dict[str, RuleSettings] | None = None, **security: Any) -> None:
        """Use these settings; the test's authority is the trusted one by default."""
        own = SecuritySettings(**{"ca": self.ca, **security})
        trusts = Trusts(Settings(security=own, rules=rules or {}))
        self.securer = Securer(self.clock, self.poller, own, trusts)

    def attempt(
        self,
        script: Script,
        *,
        to: Grant | None = None,
        face: HandFace | None = None,
        server: SSL.Context | None = None,
        tcp: bool = False,
        small: bool = False,
        **console: Any,
    ) -> Attempt:
        """Connect to a console and begin."""
        near, far = self.wire(tcp=tcp, small=small)
        channel = SocketChannel(near)
        played = Console(far, script, server or context(), **console)
        self.ends.append(played)
        face = face or HandFace()
        secured = defer.Deferred.fromCoroutine(self.securer.secure(channel, to or grant(tls=True), face))
        return Attempt(self, channel, played, face, secured)

    def assert_talks(self, secured: Secured) -> None:
        """The channel leads to the console behind its handshakes, which says back what it hears."""
        view = memoryview(bytearray(65536))
        heard = b""
        self.assertEqual(7, secured.channel.send(b"console"))

        def heard_all() -> bool:
            nonlocal heard
            count = secured.channel.recv_into(view)
            assert count != 0
            heard += bytes(view[: max(0, count)])
            return len(heard) >= 7

        self.pump(heard_all)
        self.assertEqual(b"console", heard)
        self.drop(secured.channel)

    def drop(self, channel: Channel) -> None:
        """A session would go on; here it is over, with nothing left over by the handshakes."""
        self.assertEqual(0, len(self.poller))
        self.assertEqual([], self.timers())
        channel.abort()
