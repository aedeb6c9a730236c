"""Checks of ports, and of a gateway that runs: each both ways."""

from __future__ import annotations

import json
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from gateway import __version__
from gateway.doctor.finding import Finding, Level
from gateway.doctor.running import check_control, check_ports, control_socket
from gateway.settings import (
    CertificateSettings,
    ControlSettings,
    ListenSettings,
    ProxySettings,
    Settings,
    TlsSettings,
)
from tests.support.pki import Authority
from tests.support.targets import TargetServer, closed_port, closing, stall
from tests.unit.net.samples import DAY, NOW


class RunningTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Short, because the path of a socket has to be.
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.path = self.directory / "control.sock"
        self.leaf = Authority("CA").issue("localhost", "127.0.0.1", end=NOW + 90 * DAY)
        self.files = self.leaf.save(self.directory, "tls")
        self.certificates: dict[str, CertificateSettings] = {}
        self.proxies = ProxySettings()

    def settings(self, *, tls: Iterable[str] = (), plain: Iterable[str] = (), **control: Any) -> Settings:
        return attrs.evolve(
            Settings(),
            listen=ListenSettings(tls=tuple(tls), plain=tuple(plain)),
            tls=TlsSettings(certificate=self.files[0], key=self.files[1]),
            certificates=self.certificates,
            proxies=self.proxies,
            control=ControlSettings(**{"listen": (f"unix:{self.path}:mode=660",), **control}),
        )

    def assert_found(self, findings: Iterable[Finding], name: str, level: Level, *parts: str) -> None:
        found = [finding for finding in findings if finding.name == name]
        self.assertEqual([each.level for each in found], [level], found)
        for part in parts:
            self.assertIn(part, f"{found[0].detail} {found[0].remedy}")


class ControlTests(RunningTestCase):
    def serve(self, status: Mapping[str, Any], health: Mapping[str, Any]) -> None:
        """A control API that says this."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        self.addCleanup(listener.close)
        answers = {b"status": status, b"health": health}

        def run() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                with sock:
                    head = sock.recv(65536)
                    if head:
                        body = json.dumps(answers[head.split()[1].rpartition(b"/")[2]]).encode()
                        sock.sendall(
                            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                        )

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 5)
        # A listener that is closed does not wake who waits in it.
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)

    def status(self, **changes: Any) -> dict[str, Any]:
        return {
            "version": __version__,
            "sessions": {"total": 3},
            "admitting": True,
            "certificate_expires": self.leaf.certificate.not_valid_after_utc.timestamp(),
            **changes,
        }

    def health(self, *bad: str, ready: bool = True) -> dict[str, Any]:
        checks = [{"name": name, "ok": False, "detail": f"{name} is ill"} for name in bad]
        checks.append({"name": "x", "ok": True, "detail": ""})
        return {"healthy": not bad, "ready": ready, "checks": checks}

    def check(self, status: Mapping[str, Any], health: Mapping[str, Any]) -> tuple[Finding, ...]:
        self.path.unlink(missing_ok=True)
        self.serve(status, health)
        running = check_control(self.settings(tls=["tcp:1"]))
        self.assertEqual(running.pid, os.getpid())
        return running.findings

    def test_which_socket(self) -> None:
        self.assertEqual(control_socket(self.settings()), self.path)
        default = control_socket(Settings())
        self.assertEqual(str(default), "/run/console-gateway/control.sock")
        self.assertIsNone(control_socket(self.settings(listen=("tcp:1:interface=127.0.0.1",))))

    def test_all_well(self) -> None:
        found = self.check(self.status(), self.health())
        self.assertEqual({each.level for each in found}, {Level.OK}, found)
        self.assertEqual([each.name for each in found], ["gateway", "renewal", "health"])
        self.assert_found(found, "gateway", Level.OK, __version__, "3 session")

    def test_another_version(self) -> None:
        found = self.check(self.status(version="0.0.1"), self.health())
        self.assert_found(found, "gateway", Level.WARN, "0.0.1", __version__, "restart")

    def test_not_admitting(self) -> None:
        found = self.check(self.status(admitting=False), self.health("admission", ready=False))
        self.assert_found(found, "admission", Level.WARN, "admission resume")
        self.assert_found(found, "health", Level.OK)
        found = self.check(self.status(admitting=False), self.health("admission", "event loop", ready=False))
        self.assert_found(found, "health", Level.WARN, "event loop is ill")

    def test_an_old_certificate(self) -> None:
        found = self.check(self.status(certificate_expires=NOW.timestamp()), self.health())
        self.assert_found(found, "renewal", Level.WARN, "tls.certificate", "reload")

    def test_the_first_of_several_certificates(self) -> None:
        soon = self.leaf.certificate.not_valid_after_utc - DAY
        other = Authority("CA").issue("a.example.com", end=soon).save(self.directory, "other")
        self.certificates = {"dmz": CertificateSettings(*other)}
        found = self.check(self.status(), self.health())
        self.assert_found(found, "renewal", Level.WARN, "the one in certificates.dmz.certificate", "reload")
        found = self.check(self.status(certificate_expires=soon.timestamp()), self.health())
        self.assert_found(found, "renewal", Level.OK, "certificates.dmz.certificate")

    def test_no_certificate(self) -> None:
        found = self.check(self.status(certificate_expires=None), self.health())
        self.assertNotIn("renewal", [each.name for each in found])

    def test_ill(self) -> None:
        found = self.check(self.status(), self.health("ledger\n\x1b[2J"))
        self.assert_found(found, "health", Level.WARN, r"ledger\n", "log")
        found = self.check(self.status(), self.health("ledger", ready=False))
        self.assert_found(found, "health", Level.FAIL, "ledger is ill")

    def test_nothing_there(self) -> None:
        running = check_control(self.settings())
        self.assertIsNone(running.pid)
        self.assert_found(running.findings, "gateway", Level.OK, "no gateway to ask")
        running = check_control(self.settings(listen=("tcp:1:interface=127.0.0.1",)))
        self.assert_found(running.findings, "gateway", Level.OK, "no Unix socket")

    def test_left_behind(self) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.path))
        running = check_control(self.settings())
        self.assert_found(running.findings, "gateway", Level.WARN, "refused", "start the gateway")

    def test_something_else(self) -> None:
        server = TargetServer(closing, path=str(self.path))
        self.addCleanup(server.close)
        running = check_control(self.settings())
        self.assert_found(running.findings, "gateway", Level.FAIL, "does not answer")

    def test_odd_answers(self) -> None:
        for status, health in (
            ({}, {}),
            ({"sessions": 5, "certificate_expires": "x"}, {"checks": [1, "x", {"name": {}}]}),
            ({"version": "1" * 10000, "certificate_expires": 1e300}, {"checks": 5}),
        ):
            found = self.check(status, health)
            self.assertEqual([each.name for each in found], ["gateway", "health"])
            for each in found:
                self.assertLess(len(each.detail), 400)


class PortTests(RunningTestCase):
    def listener(self) -> int:
        server = TargetServer(stall)
        self.addCleanup(server.close)
        return server.port

    def tls_server(
        self, files: tuple[Path, Path], others: Mapping[str | None, tuple[Path, Path]] | None = None
    ) -> int:
        """:param others: by the name that is asked for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)

        def choose(connection: ssl.SSLObject, name: str | None, _: object) -> None:
            if name in (others or {}):
                chosen = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                chosen.load_cert_chain(*(others or {})[name])
                connection.context = chosen

        context.sni_callback = choose

        def shake(sock: socket.socket, stop: threading.Event) -> None:
            context.wrap_socket(sock, server_side=True).recv(1)

        server = TargetServer(shake)
        self.addCleanup(server.close)
        return server.port

    def check(self, *, runs: bool = False, **listen: Any) -> list[Finding]:
        control = listen.pop("listen", ())
        return list(check_ports(self.settings(listen=control, **listen), runs=runs))

    def test_free(self) -> None:
        port = closed_port()
        for text in (
            f"tcp:{port}",
            f"tcp:{port}:interface=127.0.0.1",
            f"tcp:{port}:interface=[::1]",
            "tcp:0",
        ):
            self.assert_found(self.check(tls=[text]), "ports", Level.OK, text, "is free")

    def test_free_although_it_runs(self) -> None:
        text = f"tcp:{closed_port()}:interface=127.0.0.1"
        self.assert_found(self.check(plain=[text], runs=True), "ports", Level.WARN, "restart")

    def test_taken(self) -> None:
        port = self.listener()
        for text in (f"tcp:{port}", f"tcp:{port}:interface=127.0.0.1"):
            self.assert_found(
                self.check(plain=[text]), "ports", Level.WARN, "taken", f"ss -ltnp 'sport = {port}'"
            )
            self.assert_found(self.check(plain=[text], runs=True), "ports", Level.OK, "running gateway")

    def test_tls_with_our_certificate(self) -> None:
        text = f"tcp:{self.tls_server(self.files)}:interface=127.0.0.1"
        self.assert_found(self.check(tls=[text]), "ports", Level.OK, "served with the certificate")

    def test_tls_with_another(self) -> None:
        other = Authority("CA").issue("localhost").save(self.directory, "other")
        text = f"tcp:{self.tls_server(other)}:interface=127.0.0.1"
        self.assert_found(
            self.check(tls=[text], runs=True), "ports", Level.WARN, "another certificate", "reload"
        )

    def test_tls_with_several(self) -> None:
        """Each is asked for by its name; what answers is a server of the standard library."""
        other = Authority("CA").issue("*.example.com").save(self.directory, "other")
        self.certificates = {"dmz": CertificateSettings(*other)}
        text = f"tcp:{self.tls_server(self.files, {'x.example.com': other})}:interface=127.0.0.1"
        self.assert_found(self.check(tls=[text]), "ports", Level.OK, "served with the certificate")
        text = f"tcp:{self.tls_server(self.files)}:interface=127.0.0.1"
        self.assert_found(self.check(tls=[text]), "ports", Level.WARN, "certificates.dmz.certificate")

    def test_a_listener_for_proxies(self) -> None:
        """It says nothing to others, so that it is not asked."""
        server = TargetServer(closing)
        self.addCleanup(server.close)
        text = f"tcp:{server.port}:interface=127.0.0.1"
        self.proxies = ProxySettings(("192.0.2.1",), listeners=(text,))
        self.assert_found(self.check(tls=[text], runs=True), "ports", Level.OK, "running gateway")
        self.assertEqual(0, server.accepted)

    def test_no_tls(self) -> None:
        server = TargetServer(closing)
        self.addCleanup(server.close)
        text = f"tcp:{server.port}:interface=127.0.0.1"
        self.assert_found(self.check(tls=[text]), "ports", Level.FAIL, "does not speak TLS")

    def test_not_ours(self) -> None:
        found = self.check(plain=["tcp:5900:interface=192.0.2.77"])
        self.assert_found(found, "ports", Level.FAIL, "address that this host has")

    def test_systemd(self) -> None:
        self.assert_found(self.check(tls=["systemd:0"]), "ports", Level.OK, "systemd")

    def test_unix(self) -> None:
        path = self.directory / "ws.sock"
        text = f"unix:{path}:mode=660"
        self.assert_found(self.check(plain=[text]), "ports", Level.OK, "is free")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        self.assert_found(self.check(plain=[text]), "ports", Level.OK, "left behind")
        path.unlink()
        server = TargetServer(stall, path=str(path))
        self.addCleanup(server.close)
        self.assert_found(self.check(plain=[text]), "ports", Level.WARN, f"ss -lxp src {path}")
        self.assert_found(self.check(plain=[text], runs=True), "ports", Level.OK, "answers")

    def test_unix_without_directory(self) -> None:
        text = f"unix:{self.directory}/missing/ws.sock"
        self.assert_found(self.check(listen=[text]), "ports", Level.FAIL, "directory", "RuntimeDirectory=")

    def test_nothing_stays_bound(self) -> None:
        text = f"tcp:{closed_port()}"
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            self.assert_found(self.check(tls=[text]), "ports", Level.OK, "is free")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
