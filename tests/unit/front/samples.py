"""A front with nothing real behind it: tickets by name, sessions that are only noted."""

from __future__ import annotations

import datetime
import socket
from typing import Any, cast

import attrs
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from gateway.front import Front, Gate, Watch
from gateway.net import Channel, ProxyHeader
from gateway.reasons import Refusal
from gateway.sessions import Admission, Events, Happening, Place, Uses
from gateway.settings import AbuseSettings, FrontSettings, LimitSettings, ProxySettings, Use, UseSettings
from gateway.tickets import Grant, Ledger, MemoryLedger, Target, TicketFault, TicketRefused
from tests.support.admission import make_registry
from tests.support.http import Answer
from tests.support.reactor import HandReactor

GOOD = "R29vZA" * 60
BAD = "QmFk" * 80
EPOCH = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
GRANT = Grant(Target("192.0.2.9", 5900), EPOCH, EPOCH, "ticket-id")


@attrs.define
class Started:
    """A session that was begun."""

    admission: Admission
    channel: Channel
    unsent: bytes
    early: bytes
    accepted: float
    notices: bool
    on_behalf_of: ProxyHeader

    @property
    def grant(self) -> Grant:
        return self.admission.grant

    @property
    def place(self) -> Place:
        return self.admission.place


class FrontTestCase(SynchronousTestCase):
    """A front whose clients are real sockets and whose reactor is the test."""

    front_settings = FrontSettings(head_size=4096)
    abuse = AbuseSettings()
    """Tests come from loopback, which is exempt."""
    proxies = ProxySettings()
    limits = LimitSettings(handshakes=8, sessions=3, sessions_per_client=2)

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.registry = make_registry(self.reactor, self.limits)
        self.watch = Watch(self.reactor, self.abuse, self.limits)
        self.ledger: Ledger = MemoryLedger(now=EPOCH.timestamp)
        self.happenings: list[Happening] = []
        self.started: list[Started] = []
        self.front = self.make()
        self.front.begin()

    def make(self) -> Front:
        return Front(
            self.reactor,
            self.front_settings,
            self.gate(self.front_settings),
            self.start,
            max_handshakes=self.limits.handshakes,
            context=None,
            watch=self.watch,
            proxies=self.proxies,
        )

    def gate(self, settings: FrontSettings, uses: UseSettings | None = None, **more: Any) -> Gate:
        """By default, a ticket may be used without end."""
        events = Events()
        events.subscribe(lambda event: self.happenings.append(event.what))
        asked = Uses(self.ledger, uses or UseSettings(vnc=Use.UNLIMITED))
        return Gate(self.reactor, settings, self.decode, self.registry, asked, events, self.watch, **more)

    def decode(self, path: str) -> Any:
        """What ``TicketDecoder.decode`` does."""
        if path != GOOD:
            raise TicketRefused(TicketFault.SIGNATURE_MISMATCH, "0123456789abcdef")
        return GRANT

    def start(
        self,
        admission: Admission,
        channel: Channel,
        *,
        unsent: bytes,
        early: bytes,
        accepted: float,
        notices: bool,
        on_behalf_of: ProxyHeader,
    ) -> object:
        self.addCleanup(channel.close)
        self.started.append(Started(admission, channel, unsent, early, accepted, notices, on_behalf_of))
        return None

    def connect(self, source: str = "127.0.0.1", *, announced: bool = False) -> socket.socket:
        """An accepted client, from another loopback address where that matters.

        :param announced: whether its first words are those of a proxy.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), source_address=(source, 0))
            served, address = listener.accept()
        for sock in (client, served):
            self.addCleanup(sock.close)
        client.settimeout(5)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.front.accept(served, address, tls=False, announced=announced)
        return client

    def serve(self) -> None:
        for _ in range(4):
            self.reactor.serve()
            self.reactor.advance(0)

    def send(self, client: socket.socket, data: bytes, *, piece: int = 1 << 20) -> None:
        for start in range(0, len(data), piece):
            client.sendall(data[start : start + piece])
            self.reactor.serve()
        self.serve()

    def received(self, client: socket.socket) -> bytes:
        """What has come so far."""
        client.setblocking(False)
        data = b""
        try:
            while piece := client.recv(1 << 20):
                data += piece
        except (BlockingIOError, ConnectionError):
            pass
        client.settimeout(5)
        return data

    def ask(self, data: bytes, *, piece: int = 1 << 20) -> bytes:
        """The bytes answered to a new client that sent ``data``; the client then leaves."""
        client = self.connect()
        self.send(client, data, piece=piece)
        answer = self.received(client)
        client.close()
        self.serve()
        return answer

    def answer(self, data: bytes) -> Answer:
        """The one answer that ``data`` gets, after which the connection must be closed."""
        client = self.connect()
        self.send(client, data)
        text = b""
        while piece := client.recv(1 << 20):
            text += piece
        client.close()
        self.serve()
        self.reactor.advance(2)
        self.assert_empty()
        head, _, body = text.partition(b"\r\n\r\n")
        answer = Answer(int(head.split(b" ", 2)[1]), head, body)
        self.assertIsNone(answer.header("Server"))
        self.assertEqual(int(answer.header("Content-Length") or "-1"), len(body))
        return answer

    def refused(self, data: bytes, refusal: Refusal) -> Answer:
        answer = self.answer(data)
        self.assertEqual((answer.status, answer.body.decode()), (refusal.status, refusal.public + "\n"))
        self.assertEqual(self.started, [])
        return answer

    def assert_empty(self) -> None:
        """Nobody is left at the door, and nothing waits."""
        self.assertEqual(self.front._streams, set())
        self.assertEqual(self.reactor.readers | self.reactor.writers, set())
        # The clock of twisted.web's log runs as long as the site does.
        waiting = [call for call in self.reactor.getDelayedCalls() if "_updateLogDateTime" not in repr(call)]
        self.assertEqual(waiting, [])

    def events(self) -> list[Any]:
        """A list that fills with what is logged from now on."""
        events: list[Any] = []
        observer = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return events

    def places(self) -> int:
        """How many places are taken."""
        return self.registry.taken
