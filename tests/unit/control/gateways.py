"""A control API in front of sessions that are only a list, with real sockets and a reactor by hand."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import attrs
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource

from gateway.control.api import Controlled
from gateway.control.health import Health
from gateway.control.lag import LoopLag
from gateway.control.readings import Readings
from gateway.control.server import ControlServer
from gateway.control.tally import Tally
from gateway.control.tokens import new_token, token_line
from gateway.drain import Drain
from gateway.reload import ReloadReport
from gateway.sessions.events import Events
from gateway.sessions.info import Selector, SessionInfo, SessionState
from gateway.settings import (
    Attach,
    ControlSettings,
    LimitSettings,
    ListenSettings,
    Role,
    Settings,
    TicketSettings,
)
from gateway.successor import HandOverError
from gateway.tickets import Kind, MemoryLedger
from tests.support.admission import make_registry
from tests.support.http import Answer, read_answer
from tests.support.reactor import HandReactor
from tests.unit.control.scene import FakeAbuse, FakeAudit

NOW = 1_900_000_000.0


def session(number: int, **changes: Any) -> SessionInfo:
    """A session with values of its own."""
    info = SessionInfo(
        id=f"{number:012x}",
        ticket=f"ticket-{number}",
        subject=None,
        client="192.0.2.1",
        target=f"host{number}.example.com:5900",
        kind=Kind.VNC,
        attach=Attach.SHARE,
        state=SessionState.ACTIVE,
        security=None,
        started=NOW + number,
        duration=12.3456,
        idle=1.0,
        to_target=10 * number,
        to_client=1000 * number,
        messages_to_target=number,
        messages_to_client=number,
    )
    return attrs.evolve(info, **changes)


@attrs.define
class Admitting:
    """What the registry is asked."""

    admitting: bool = True

    def stop_admitting(self) -> None:
        self.admitting = False

    def resume_admitting(self) -> None:
        self.admitting = True


class ListedSessions:
    """Sessions as a list."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.registry = Admitting()
        self.live: list[SessionInfo] = []
        self.messages: list[str] = []

    def infos(self, selector: Selector = Selector()) -> list[SessionInfo]:  # noqa: B008 - it is frozen
        return [info for info in self.live if selector.matches(info)]

    def info(self, session_id: str) -> SessionInfo | None:
        return next((info for info in self.live if info.id == session_id), None)

    def end_selected(self, selector: Selector, message: str = "") -> list[SessionInfo]:
        ended = self.infos(selector)
        self.live = [info for info in self.live if info not in ended]
        self.messages.append(message)
        return ended


class Steered:
    """A service of which only the drain is there."""

    def __init__(self, reactor: HandReactor, events: Events) -> None:
        registry = make_registry(reactor)
        self.drain = Drain(reactor, registry, events, Settings)
        self.report = ReloadReport()
        self.handed_over: list[tuple[float | None, str]] = []
        self.problem: str | None = None

    async def reload_file(self) -> ReloadReport:
        return self.report

    async def hand_over(self, seconds: float | None, message: str) -> int:
        self.handed_over.append((seconds, message))
        if self.problem is not None:
            raise HandOverError(self.problem)
        return 4711


class ControlTestCase(SynchronousTestCase):
    """A control server on a Unix socket and a loopback port, with a token for each role."""

    extra: ClassVar[Mapping[str, IResource]] = {}
    dashboard: ClassVar[IResource | None] = None

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="console-gateway-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.reactor = HandReactor()
        self.reading, self.operating = new_token(), new_token()
        tokens = self.directory / "tokens"
        tokens.write_text(
            f"# who\n{token_line('eve', Role.READ, self.reading)}\n"
            f"{token_line('ops', Role.OPERATE, self.operating)}\n"
        )
        self.socket = self.directory / "control.sock"
        self.settings = Settings(
            listen=ListenSettings(tls=(), plain=("tcp:0",)),
            tickets=TicketSettings(certificate=Path("/engine.pem")),
            control=self.control(tokens),
        )
        self.events = Events(lambda: NOW, kept=50)
        self.sessions = ListedSessions(self.events)
        self.steered = Steered(self.reactor, self.events)
        self.tally = Tally(self.events)
        self.targets: list[tuple[str, float]] = []
        self.server = ControlServer(self.settings, {})
        self.server.bind()
        self.addCleanup(self.server.stop)
        self.server.start(self.reactor, self.controlled(), extra=self.extra, dashboard=self.dashboard)

    def control(self, tokens: Path) -> ControlSettings:
        return ControlSettings(
            listen=(f"unix:{self.socket}:mode=600", "tcp:0:interface=127.0.0.1"),
            tokens=tokens,
            hosts=("Control.example.com",),
        )

    def controlled(self) -> Controlled:
        ledger = MemoryLedger(now=lambda: NOW)
        readings = Readings(
            sessions=lambda: self.sessions.live,
            limits=LimitSettings,
            handshakes=lambda: 3,
            admitting=lambda: self.sessions.registry.admitting,
            stopping=lambda: False,
            drain=lambda: self.steered.drain.progress,
            listeners=lambda: ["[::]:6100 (plain)"],
            ledger_size=ledger.size,
            ledger_limit=lambda: 100,
            certificate_expires=lambda: NOW + 86400,
            targets_expire=lambda: [when for _, when in self.targets],
            audit=FakeAudit(),
            abuse=FakeAbuse(),
        )
        lag = LoopLag(self.reactor)
        return Controlled(
            settings=lambda: self.settings,
            sessions=self.sessions,
            steered=self.steered,
            readings=readings,
            health=Health(readings, lag, self.reactor, lambda: NOW),
            lag=lag,
            tally=self.tally,
            targets=lambda: self.targets,
            started=NOW,
        )

    # -- clients ---------------------------------------------------------------------

    @property
    def port(self) -> int:
        (port,) = [
            listener.sock.getsockname()[1]
            for listener in self.server.listeners
            if listener.sock.family == socket.AF_INET and not listener.tls
        ]
        return int(port)

    def connect(self, *, unix: bool = True) -> socket.socket:
        if unix:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(self.socket))
        else:
            client = socket.create_connection(("127.0.0.1", self.port), 5)
        client.settimeout(5)
        self.addCleanup(client.close)
        self.serve()
        return client

    def serve(self) -> None:
        for _ in range(4):
            self.reactor.serve()
            self.reactor.advance(0)

    def send(self, client: socket.socket, data: bytes) -> None:
        for start in range(0, len(data), 8192):
            client.sendall(data[start : start + 8192])
            self.reactor.serve()
        self.serve()

    def received(self, client: socket.socket) -> bytes:
        """What has come so far."""
        client.setblocking(False)
        data = b""
        try:
            while True:
                self.serve()
                piece = client.recv(1 << 20)
                if not piece:
                    break
                data += piece
        except (BlockingIOError, ssl.SSLWantReadError, ConnectionError):
            pass
        client.settimeout(5)
        return data

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: Any = None,
        token: str | None = None,
        fields: Mapping[str, str | None] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """The answer to one request: with a token over TCP, without over the Unix socket.

        :param fields: change the usual header fields; ``None`` leaves one out.
        """
        with self.connect(unix=token is None) as client:
            self.send(client, request(path, method=method, body=body, token=token, fields=fields, raw=raw))
            answer = received_answer(self.received(client), method)
        self.serve()
        return answer

    def json(self, path: str, **more: Any) -> Any:
        """What is answered, which must be in order."""
        answer = self.ask(path, **more)
        self.assertEqual((answer.status, answer.header("Content-Type")), (200, "application/json"), answer)
        return json.loads(answer.body)

    def fault(self, answer: Answer) -> tuple[int, str]:
        """Status and code of an error, whose form is checked."""
        self.assertEqual(answer.header("Content-Type"), "application/json")
        self.assertEqual(answer.header("Cache-Control"), "no-store")
        self.assertIsNone(answer.header("Server"))
        error = json.loads(answer.body)["error"]
        self.assertLessEqual(error.keys(), {"code", "message", "remedy", "problems"})
        self.assertTrue(error["message"])
        return answer.status, error["code"]

    def logged(self) -> list[Any]:
        """A list that fills with what is logged from now on."""
        events: list[Any] = []
        observer = cast("ILogObserver", events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return events

    def assert_empty(self) -> None:
        """No connection is left, and nothing waits."""
        self.reactor.advance(60)
        readers = [reader for reader in self.reactor.readers if type(reader).__name__ != "Acceptor"]
        self.assertEqual((readers, self.reactor.writers), ([], set()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])


def request(
    path: str,
    *,
    method: str = "GET",
    body: Any = None,
    token: str | None = None,
    fields: Mapping[str, str | None] | None = None,
    raw: bytes | None = None,
) -> bytes:
    """A request as it is sent."""
    data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    usual: dict[str, str | None] = {"Host": "localhost"}
    if body is not None or raw is not None:
        usual |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    if token is not None:
        usual["Authorization"] = f"Bearer {token}"
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**usual, **(fields or {})}.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


def received_answer(data: bytes, method: str = "GET") -> Answer:
    """The one answer in *data*."""
    head, separator, body = data.partition(b"\r\n\r\n")
    assert separator, data
    answer = Answer(int(head.split(b" ", 2)[1]), head, body)
    if method != "HEAD" and answer.header("Content-Length") is not None:
        assert int(answer.header("Content-Length") or "0") == len(body), data
    return answer


def events_in(data: bytes) -> Iterable[tuple[str | None, str | None, Any]]:
    """Id, name and data of every event in a body with chunks."""
    text = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        text += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    for block in text.decode().split("\n\n"):
        items = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if items:
            yield items.get("id"), items.get("event"), json.loads(items["data"])


__all__ = [
    "NOW",
    "ControlTestCase",
    "ListedSessions",
    "events_in",
    "read_answer",
    "received_answer",
    "request",
    "session",
]
