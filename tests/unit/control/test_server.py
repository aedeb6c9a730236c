from __future__ import annotations

import socket
from pathlib import Path

from gateway.control.server import ControlServer, check_control_files, control_endpoints
from gateway.net import BindError
from gateway.settings import (
    ControlSettings,
    Settings,
    SettingsError,
    SystemdEndpoint,
    TcpEndpoint,
    UnixEndpoint,
)
from tests.support.pki import CLIENT, Authority
from tests.unit.control.gateways import ControlTestCase


class EndpointTests(ControlTestCase):
    def endpoints(self, environ: dict[str, str], **control: tuple[str, ...]) -> list[object]:
        settings = Settings(control=ControlSettings(**control))  # type: ignore[arg-type]
        return [(each.endpoint, each.tls) for each in control_endpoints(settings, environ)]

    def test_default(self) -> None:
        run = {"RUNTIME_DIRECTORY": "/run/console-gateway"}
        default = (UnixEndpoint("/run/console-gateway/control.sock", 0o660), False)
        self.assertEqual(self.endpoints({}), [])
        self.assertEqual(self.endpoints({"RUNTIME_DIRECTORY": ""}), [])
        self.assertEqual(self.endpoints(run), [default])
        self.assertEqual(self.endpoints({"RUNTIME_DIRECTORY": "/run/console-gateway:/run/x"}), [default])
        both = [default, (TcpEndpoint(1), True)]
        self.assertEqual(self.endpoints(run, tls=("tcp:1",)), both)
        self.assertEqual(
            self.endpoints(run, listen=("systemd:control",)), [(SystemdEndpoint("control"), False)]
        )

    def test_directory_that_cannot_hold_a_socket(self) -> None:
        for directory in ("relative", "/" + "x" * 200):
            with self.assertRaisesRegex(SettingsError, "control.listen: has a default"):
                ControlServer(Settings(), {"RUNTIME_DIRECTORY": directory})

    def test_default_socket(self) -> None:
        server = ControlServer(Settings(), {"RUNTIME_DIRECTORY": str(self.directory / "sub")})
        self.assertRaises(BindError, server.bind)
        (self.directory / "sub").mkdir()
        server.bind()
        path = self.directory / "sub" / "control.sock"
        self.assertEqual(path.stat().st_mode & 0o777, 0o660)
        server.stop()
        self.assertFalse(path.exists())


class BindTests(ControlTestCase):
    def test_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            first = self.directory / "first.sock"
            port = taken.getsockname()[1]
            listen = (f"unix:{first}", f"tcp:{port}:interface=127.0.0.1")
            server = ControlServer(Settings(control=ControlSettings(listen=listen)), {})
            with self.assertRaisesRegex(BindError, "in use"):
                server.bind()
        self.assertEqual(server.listeners, [])
        self.assertFalse(first.exists())

    def test_reachable_without_tls(self) -> None:
        """Whatever the settings say or do not say, such as an inherited socket."""
        settings = Settings(control=ControlSettings(listen=("tcp:0:interface=0.0.0.0",)))
        server = ControlServer(settings, {})
        with self.assertRaisesRegex(BindError, "loopback address or a Unix socket"):
            server.bind()
        self.assertEqual(server.listeners, [])

    def test_again(self) -> None:
        for _ in range(2):
            self.json("/api/v1/status")
            self.server.stop()
            self.server.stop()
            self.assertEqual(self.reactor.readers, set())
            self.assertFalse(self.socket.exists())
            self.server.bind()
            self.server.bind()
            self.server.start(self.reactor, self.controlled())

    def test_too_many_connections(self) -> None:
        clients = [self.connect() for _ in range(257)]
        self.assertEqual(clients[-1].recv(100), b"")
        # Those who come another way are not kept out.
        self.json("/api/v1/status", token=self.reading)
        clients[0].close()
        self.serve()
        self.json("/api/v1/status")


class FileTests(ControlTestCase):
    def problems(self, **control: object) -> list[str]:
        settings = Settings(control=ControlSettings(**control))  # type: ignore[arg-type]
        return [str(problem) for problem in check_control_files(settings)]

    def test_all_problems_at_once(self) -> None:
        missing = Path("/nonexistent/x")
        problems = self.problems(tokens=missing, tls=("tcp:0",), certificate=missing, client_ca=missing)
        self.assertEqual(len(problems), 2)
        self.assertIn("control.tokens: the file does not exist", problems[0])
        self.assertIn("control.certificate: the file does not exist", problems[1])
        self.assertEqual(self.problems(), [])

    def test_authority(self) -> None:
        authority = Authority()
        certificate, key = authority.issue("localhost").save(self.directory, "server")
        given = {"tls": ("tcp:0",), "certificate": certificate, "key": key}
        (problem,) = self.problems(**given, client_ca=key)
        self.assertIn("control.client_ca: holds no readable PEM certificate", problem)
        (problem,) = self.problems(**given, client_ca=self.directory / "none")
        self.assertIn("control.client_ca: the file does not exist", problem)
        self.assertEqual(self.problems(**given, client_ca=authority.save(self.directory, "ca")), [])
        other, _ = authority.issue("x", purposes=CLIENT).save(self.directory, "other")
        (problem,) = self.problems(**{**given, "certificate": other})
        self.assertIn("control.key: this key does not belong to the first certificate", problem)

    def test_certificate_of_the_front(self) -> None:
        (problem,) = self.problems(tls=("tcp:0",))
        self.assertIn("tls.certificate: is not set", problem)
