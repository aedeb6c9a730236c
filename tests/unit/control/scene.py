"""A gateway of which only the readings are there, and ways to ask its resources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from twisted.internet import defer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

from gateway.control.health import Health
from gateway.control.lag import LoopLag
from gateway.control.metrics import Metrics
from gateway.control.readings import Readings
from gateway.drain import Progress
from gateway.sessions.events import Events
from gateway.sessions.info import SessionInfo, SessionState
from gateway.settings import Attach, LimitSettings
from gateway.tickets import Kind
from tests.support.http import Answer

__all__ = ["NOW", "FakeAbuse", "FakeAudit", "Scene", "ask", "session"]

NOW = 1_900_000_000.0


def session(number: int | str, **changes: Any) -> SessionInfo:
    """An active VNC session."""
    info = SessionInfo(
        id=f"id-{number}",
        ticket=f"ticket-{number}",
        subject=None,
        client="192.0.2.1",
        target="198.51.100.1:5900",
        kind=Kind.VNC,
        attach=Attach.SHARE,
        state=SessionState.ACTIVE,
        security=None,
        started=NOW,
        duration=0.0,
        idle=0.0,
        to_target=0,
        to_client=0,
        messages_to_target=0,
        messages_to_client=0,
    )
    return attrs.evolve(info, **changes)


@attrs.define
class FakeAbuse:
    """What ``Watch`` shows of itself."""

    closed: dict[str, int] = attrs.Factory(lambda: {"full": 0, "client-rate": 0})
    remembered: dict[str, int] = attrs.Factory(lambda: {"failed-tickets": 0, "handshakes": 0})


@attrs.define
class FakeAudit:
    """What is read of an audit."""

    available: bool = True
    failures: int = 0
    waiting: int = 0
    lost: int = 0
    is_required: bool = False


class Scene:
    """Readings that a test changes, and what is made of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.now = NOW
        self.events = Events(lambda: self.now)
        self.live: list[SessionInfo] = []
        self.limits = LimitSettings(sessions=10, handshakes=20)
        self.handshakes = 3
        self.admitting = True
        self.stopping = False
        self.drain = Progress(False, 0, None)
        self.listeners = ["127.0.0.1:6100 (TLS)"]
        self.ledger: int | Exception | defer.Deferred[int] = 7
        self.asked = 0
        self.expires: float | None = NOW + 90 * 86400
        self.certificate = "tls.certificate"
        self.targets: list[float] = []
        self.audit = FakeAudit()
        self.abuse = FakeAbuse()
        self.readings = Readings(
            sessions=lambda: self.live,
            limits=lambda: self.limits,
            handshakes=lambda: self.handshakes,
            admitting=lambda: self.admitting,
            stopping=lambda: self.stopping,
            drain=lambda: self.drain,
            listeners=lambda: self.listeners,
            ledger_size=self._ledger_size,
            ledger_limit=lambda: 1000,
            certificate_expires=lambda: self.expires,
            certificate_setting=lambda: self.certificate,
            targets_expire=lambda: self.targets,
            audit=self.audit,
            abuse=self.abuse,
        )
        self.lag = LoopLag(self.clock)
        self.health = Health(self.readings, self.lag, self.clock, lambda: self.now)
        self.metrics = Metrics(self.events, self.readings, self.health, self.lag, lambda: self.now)

    async def _ledger_size(self) -> int:
        self.asked += 1
        if isinstance(self.ledger, Exception):
            raise self.ledger
        return self.ledger if isinstance(self.ledger, int) else await self.ledger

    def scrape(self) -> dict[str, float]:
        """Every sample of ``/metrics``, by its name with labels."""
        return {_text(sample): sample.value for sample in self.samples()}

    def samples(self) -> Iterator[Sample]:
        """Every sample of ``/metrics``."""
        answer = ask(self.metrics.resource)
        assert answer is not None
        assert answer.status == 200
        for family in text_string_to_metric_families(answer.body.decode()):
            yield from family.samples

    def pass_time(self, seconds: float) -> None:
        """By both clocks."""
        self.now += seconds
        self.clock.advance(seconds)


def _text(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else sample.name


class Conversation:
    """One request to a resource, over an in-memory connection."""

    def __init__(
        self, resource: IResource, fields: dict[str, str] | None = None, method: str = "GET"
    ) -> None:
        root = Resource()
        root.putChild(b"x", resource)
        site = Site(root, reactor=Clock())
        site.noisy = False
        site.log = lambda request: None  # type: ignore[method-assign]
        self.protocol = site.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        lines = [f"{method} /x HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
        self.protocol.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1"))

    @property
    def answer(self) -> Answer | None:
        """What came back, if it is there."""
        head, end, body = self.transport.value().partition(b"\r\n\r\n")
        if not end:
            return None
        match = re.match(rb"HTTP/1\.1 (\d+) ", head)
        assert match
        return Answer(int(match[1]), head, body)


def ask(resource: IResource, fields: dict[str, str] | None = None, method: str = "GET") -> Answer | None:
    """The answer to a request, if it is there at once."""
    return Conversation(resource, fields, method).answer
