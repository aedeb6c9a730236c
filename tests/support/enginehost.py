"""An engine, as far as a gateway's setup has to do with one: its PKI and what it serves over HTTP and HTTPS.

``/ovirt-engine/services/pki-resource`` gives the CA's and the engine's
certificates, ``/ovirt-engine/api/options/WebSocketProxy`` tells whoever logs
in what the engine believes about the gateway.  What may go wrong with either
is switched on by the attributes of :class:`EngineHost`.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.enginepki import ENROL, PKI, install_engine_pki, load_certificate, load_rsa_key
from tests.support.hosts import Host

__all__ = ["API_PASSWORD", "API_USER", "EngineHost"]

API_USER: Final = "admin@internal"
API_PASSWORD: Final = "api-Secret-8245"
_RESOURCES = {"ca-certificate": "ca.pem", "engine-certificate": "certs/engine.cer"}


class EngineHost:
    """A host with an engine's PKI and its web server; a context manager that stops the server.

    :ivar bodies: what is served instead of a resource, by its name.
    :ivar empty: how many of the next answers have no body.
    :ivar status: of the answers to requests for resources.
    :ivar delay: seconds before an answer.
    :ivar requests: what was asked for: ``http`` or ``https``, and the path with its query.
    :ivar option: the value of the engine's option ``WebSocketProxy``.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.pki = host.root / PKI
        self.bodies: dict[str, bytes] = {}
        self.empty = 0
        self.status = 200
        self.delay = 0.0
        self.requests: list[tuple[str, str]] = []
        self.option = "Off"
        self._servers: list[_Server] = []
        if not self.pki.exists():
            install_engine_pki(host.root, host.name)
        self.listen()

    @property
    def ca_file(self) -> Path:
        return self.pki / "ca.pem"

    @property
    def ca_fingerprint(self) -> str:
        """SHA-256 of the CA's certificate, ``AB:CD:...``."""
        return _fingerprint(load_certificate(self.ca_file))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the engine's certificate, ``AB:CD:...``."""
        return _fingerprint(self.certificate)

    @property
    def certificate(self) -> x509.Certificate:
        return load_certificate(self.pki / "certs/engine.cer")

    @property
    def key(self) -> rsa.RSAPrivateKey:
        """The key that signs tickets."""
        return load_rsa_key(self.pki / "keys/engine.key.nopass")

    @property
    def addresses(self) -> dict[str, tuple[str, int | None]]:
        """Where a process that is in no namespace finds the engine."""
        if self.host.holder is not None:
            return {}
        places = {f"{self.host.name}:{443 if one.secure else 80}": one.server_port for one in self._servers}
        return {
            self.host.name: (self.host.address, None),
            **{name: (self.host.address, port) for name, port in places.items()},
        }

    def sign(self, request: bytes, fqdn: str, *options: str) -> bytes:
        """What the engine's administrator does with a request: the command that setup shows, there.

        :param options: of the command, further ones or the same again, which then count.
        """
        name = f"websocket-proxy-{fqdn}"
        (self.pki / f"requests/{name}.req").write_bytes(request)
        arguments = [
            f"--name={name}",
            f"--subject=/C=US/O=Example Inc./CN={fqdn}",
            f"--san=DNS:{fqdn}",
            *options,
        ]
        return self.run(*arguments, name=name)

    def run(self, *arguments: str, name: str) -> bytes:
        """Run the engine's command, and return the certificate of this name.

        :raises AssertionError: it failed.
        """
        apart = self.host.holder is not None
        command = self.host.command(f"/{ENROL}" if apart else str(self.host.root / ENROL), *arguments)
        environ = None if apart else {**os.environ, "ENGINE_PKI": str(self.pki)}
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return (self.pki / f"certs/{name}.cer").read_bytes()

    def listen(self, identity: tuple[Path, Path] | None = None) -> None:
        """Serve, again after :meth:`close`.

        :param identity: files with a certificate and a key of somebody else who pretends to be the engine.
        """
        own = (self.pki / "certs/apache.cer", self.pki / "keys/apache.key.nopass")
        with self.host.network():
            for secure in (True, False):
                port = 0 if self.host.holder is None else 443 if secure else 80
                address = (self.host.address, port)
                self._servers.append(_Server(self, address, identity or own if secure else None))

    def close(self) -> None:
        """Stop serving; from then on nothing listens."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    def reset(self) -> None:
        """No faults any more, nothing asked yet."""
        self.bodies.clear()
        self.empty, self.status, self.delay, self.option = 0, 200, 0.0, "Off"
        self.requests.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, path: str, authorization: str | None) -> tuple[int, str, bytes]:
        """Status, content type and body for a request."""
        time.sleep(self.delay)
        address = urlsplit(path)
        if address.path == "/ovirt-engine/services/pki-resource":
            return self._resource(parse_qs(address.query))
        if address.path == "/ovirt-engine/api/options/WebSocketProxy":
            return self._option(authorization)
        return 404, "text/html", b"<html>Not Found</html>"

    def _resource(self, query: dict[str, list[str]]) -> tuple[int, str, bytes]:
        (name,) = query.get("resource", [""])
        if name not in _RESOURCES:
            return 400, "text/plain", b"Missing resource parameter"
        if self.status != 200:
            return self.status, "text/html", b"<html>The server is in trouble</html>"
        if self.empty > 0:
            self.empty -= 1
            return 200, "application/x-x509-cert", b""
        body = self.bodies.get(name)
        if body is None:
            body = load_certificate(self.pki / _RESOURCES[name]).public_bytes(Encoding.PEM)
        kind = "application/x-x509-ca-cert" if name == "ca-certificate" else "application/x-x509-cert"
        return 200, kind, body

    def _option(self, authorization: str | None) -> tuple[int, str, bytes]:
        wanted = "Basic " + base64.b64encode(f"{API_USER}:{API_PASSWORD}".encode()).decode()
        if authorization != wanted:
            return 401, "text/html", b"<html>Who are you?</html>"
        value = {"value": self.option, "version": "general"}
        option = {
            "name": "WebSocketProxy",
            "id": "WebSocketProxy",
            "values": {"system_option_value": [value]},
        }
        return 200, "application/json", json.dumps(option).encode()


class _Server(http.server.ThreadingHTTPServer):
    """HTTP or HTTPS at one address."""

    daemon_threads = True

    def __init__(
        self, engine: EngineHost, address: tuple[str, int], identity: tuple[Path, Path] | None
    ) -> None:
        """:param identity: files with a certificate and its key, for HTTPS."""
        self.engine = engine
        self.secure = identity is not None
        super().__init__(address, _Handler)
        self._context: ssl.SSLContext | None = None
        if identity is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*identity)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def finish_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """In a thread of its own: shake hands, then serve."""
        request.settimeout(10)
        # Clients that do not trust the certificate, or have had enough, just go.
        with contextlib.suppress(OSError):
            if self._context is not None:
                request = self._context.wrap_socket(request, server_side=True)
            with request:
                super().finish_request(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        engine = self.server.engine
        engine.requests.append(("https" if self.server.secure else "http", self.path))
        status, kind, body = engine.answer(self.path, self.headers["Authorization"])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Tests look at ``requests`` instead."""


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()
