"""The service object, started and stopped by hand."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

import gateway.service
from gateway.net import BindError
from gateway.reasons import EndReason
from gateway.service import GatewayService, make_service
from gateway.sessions import Selector
from gateway.settings import (
    ListenSettings,
    PageSettings,
    RelaySettings,
    Settings,
    SettingsError,
    TargetSettings,
    TicketSettings,
    TlsSettings,
)
from gateway.web import PageError
from tests.support.http import read_answer, upgrade
from tests.support.pki import install
from tests.support.reactor import HandReactor
from tests.support.targets import closed_port


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.installation = install(directory)
        self.reactor = HandReactor()
        self.settings = Settings(
            listen=ListenSettings(tls=(), plain=("tcp:0:interface=127.0.0.1",)),
            tickets=TicketSettings(certificate=self.installation.engine_file),
            relay=RelaySettings(close_timeout=1.0),
        )
        self.path = f"/tmp/console-gateway-test-{os.getpid()}-service.sock"

    def make(self, **changes: Any) -> GatewayService:
        return make_service(attrs.evolve(self.settings, **changes), reactor=self.reactor)

    def connect(self, service: GatewayService) -> socket.socket:
        client = socket.create_connection(service.listeners[0].sock.getsockname(), 5)
        self.addCleanup(client.close)
        return client

    def turn(self) -> None:
        for _ in range(5):
            self.reactor.serve()
            self.reactor.advance(0)

    def begin_session(self, service: GatewayService) -> socket.socket:
        """A session whose target is forbidden, so that it ends as soon as the client agrees."""
        client = self.connect(service)
        client.sendall(upgrade("/" + self.installation.ticket(5900)))
        self.turn()
        answer, frames = read_answer(client)
        self.assertEqual(answer.status, 101)
        assert EndReason.TARGET_FORBIDDEN.code is not None
        self.assertIn(EndReason.TARGET_FORBIDDEN.code.to_bytes(2, "big"), frames)
        return client

    def test_an_application_ends_sessions(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as console:
            port = console.getsockname()[1]
            service = self.make(targets=TargetSettings(networks=("127.0.0.1/32",), ports=(str(port),)))
            self.assertEqual(service.session_infos(), [])
            service.startService()
            client = self.connect(service)
            client.sendall(upgrade("/" + self.installation.ticket(port)))
            self.turn()
            self.assertEqual(read_answer(client)[0].status, 101)
            (info,) = service.session_infos()
            self.assertEqual(service.session_infos(Selector(session="another")), [])
            self.assertEqual(service.end_sessions(Selector(session="another")), [])
            ended = service.end_sessions(Selector(session=info.id), "Back to work.")
            self.assertEqual([each.id for each in ended], [info.id])
            self.turn()
            client.settimeout(5)
            code = EndReason.OPERATOR.code
            assert code is not None
            self.assertIn(code.to_bytes(2, "big") + b"Back to work.", client.recv(1000))
            self.reactor.advance(self.settings.relay.close_timeout)
            self.turn()
            self.assertEqual(service.session_infos(), [])
            self.successResultOf(service.stopService())
        self.assertEqual(service.end_sessions(Selector()), [])

    def test_start_again(self) -> None:
        service = self.make()
        for _ in range(3):
            service.startService()
            client = self.begin_session(service)
            self.assertEqual(len(service.registry.sessions), 1)
            client.close()
            self.turn()
            self.assertEqual(len(service.registry.sessions), 0)
            self.successResultOf(service.stopService())
            self.assertEqual(self.reactor.readers | self.reactor.writers, set())
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.assertEqual(service.listeners, [])

    def test_stop_waits_for_sessions_but_not_for_ever(self) -> None:
        service = self.make()
        service.startService()
        client = self.begin_session(service)
        stopped = [service.stopService(), service.stopService()]
        for one in stopped:
            self.assertNoResult(one)
        self.reactor.pump([0.5] * 6)
        for one in stopped:
            self.successResultOf(one)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(client.recv(1000), b"")

    def test_stop_without_a_start(self) -> None:
        service = self.make(listen=ListenSettings(tls=(), plain=(f"unix:{self.path}",)))
        self.successResultOf(service.stopService())
        service.bind()
        sock = service.listeners[0].sock
        self.assertTrue(os.path.exists(self.path))
        self.successResultOf(service.stopService())
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual(sock.fileno(), -1)

    def test_all_or_none_is_bound(self) -> None:
        port = closed_port()
        with socket.create_server(("127.0.0.1", port)):
            service = self.make(
                listen=ListenSettings(
                    tls=(), plain=(f"unix:{self.path}", "tcp:0:interface=127.0.0.1", f"tcp:{port}")
                )
            )
            before = set(os.listdir("/proc/self/fd"))
            self.assertRaises(BindError, service.bind)
            self.assertEqual(service.listeners, [])
            self.assertFalse(os.path.exists(self.path))
            self.assertEqual(set(os.listdir("/proc/self/fd")), before)
        service.bind()
        self.assertEqual(len(service.listeners), 3)
        service.bind()
        self.assertEqual(len(service.listeners), 3)
        self.successResultOf(service.stopService())

    def test_missing_files(self) -> None:
        error = self.assertRaises(SettingsError, self.make, tickets=TicketSettings())
        self.assertIn("tickets.certificate", str(error))
        nothing = Path("/nonexistent/x.pem")
        error = self.assertRaises(
            SettingsError,
            self.make,
            listen=ListenSettings(),
            tls=TlsSettings(certificate=nothing),
            tickets=TicketSettings(certificate=nothing),
        )
        self.assertEqual(
            [problem.key for problem in error.problems], ["tls.certificate", "tickets.certificate"]
        )

    def test_page_that_is_not_whole(self) -> None:
        """It is said before anything runs, not when the reactor does."""
        self.patch(gateway.service, "console_resource", _incomplete)
        error = self.assertRaises(SettingsError, self.make, pages=PageSettings(enabled=True))
        self.assertIn("pages.enabled", str(error))

    def test_keys_instead_of_a_file(self) -> None:
        service = make_service(
            attrs.evolve(self.settings, tickets=TicketSettings()),
            reactor=self.reactor,
            ticket_keys=[self.installation.pki.engine_key.public_key()],
        )
        service.startService()
        self.begin_session(service).close()
        self.turn()
        ended = service.stopService()
        self.assertIsInstance(ended, Deferred)
        self.successResultOf(ended)


def _incomplete() -> None:
    raise PageError("cannot read console.html: No such file or directory")
