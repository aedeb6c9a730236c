"""A gateway behind real proxies: who its clients are, and what targets are told."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import ClassVar

from tests.integration.case import GatewayTestCase, Table, changed_settings
from tests.peers import PEERS, needs
from tests.support.client import WebSocketClient
from tests.support.http import upgrade
from tests.support.process import GatewayProcess
from tests.support.proxies import RealProxy, binary_header, text_header
from tests.support.targets import TargetServer, closed_port, echo

CLIENT = "127.0.0.9"
STRANGER = "127.0.0.13"
INVENTED = "203.0.113.1"

_DEFAULTS = """
defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
"""


class ProxyTestCase(GatewayTestCase):
    """Proxies connect from 127.0.0.1, which is trusted, and clients from other loopback addresses."""

    def proxy(self, name: str, configuration: str, port: int) -> RealProxy:
        program = PEERS[name].find()
        assert program is not None
        return self.enterContext(RealProxy(program, configuration, port))

    def target(self, behaviour: object = echo) -> TargetServer:
        server = TargetServer(behaviour)  # type: ignore[arg-type]
        self.addCleanup(server.close)
        return server

    def connect(self, port: int, source: str = CLIENT) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
        self.addCleanup(sock.close)
        return sock

    def secure(self, sock: socket.socket) -> ssl.SSLSocket:
        context = self.installation.client_context()
        wrapped: ssl.SSLSocket = context.wrap_socket(sock, server_hostname="localhost")
        self.addCleanup(wrapped.close)
        return wrapped

    def check_session(
        self, sock: socket.socket, client: str, *, target: TargetServer | None = None, host: str = "127.0.0.1"
    ) -> None:
        """A session works, and the log says whose it is."""
        target = target or self.target()
        ticket = self.installation.ticket(target.port, host)
        with WebSocketClient(sock, f"ws://gateway.example.com/{ticket}") as session:
            for data in (b"hello", bytes(range(256)) * 1000):
                session.send(data)
                received = b""
                while len(received) < len(data):
                    received += session.recv()
                self.assertEqual(data, received)
        self.gateway.wait_for(rf"session started id=\S+ client={client} target=\S+:{target.port} ")
        self.gateway.wait_for(rf"session ended id=\S+ client={client} target=\S+:{target.port} ")


@needs("haproxy")
class HaproxyTests(ProxyTestCase):
    """The PROXY protocol, with TLS from the client to the gateway behind it."""

    changes: ClassVar[Mapping[str, Table]] = {
        "listen": {"plain": ["tcp:0:interface=127.0.0.1", "tcp:0:interface=[::1]"]},
        "proxies": {
            "networks": ["127.0.0.1/32"],
            # Not the second plain one.
            "listeners": ["tcp:0:interface=127.0.0.1"],
        },
        "targets": {
            "networks": ["127.0.0.0/8", "::1"],
            "ports": ["1-65535"],
            "proxy_protocol": ["localhost"],
        },
        "front": {"handshake_timeout": 1.0},
    }

    def haproxy(self, options: str, *, tls: bool = True) -> RealProxy:
        port = closed_port()
        gateway = self.gateway.tls_port if tls else self.gateway.plain_port
        configuration = f"""{_DEFAULTS}
listen consoles
    mode tcp
    bind 127.0.0.1:{port}
    unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
    server gateway 127.0.0.1:{gateway} {options}
"""
        return self.proxy("haproxy", configuration, port)

    def test_version_1(self) -> None:
        proxy = self.haproxy("send-proxy")
        self.check_session(self.secure(self.connect(proxy.port)), CLIENT)

    def test_version_2(self) -> None:
        proxy = self.haproxy("send-proxy-v2")
        self.check_session(self.secure(self.connect(proxy.port)), CLIENT)

    def test_version_2_with_everything(self) -> None:
        proxy = self.haproxy("send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl")
        for source in (CLIENT, "127.0.0.10"):
            self.check_session(self.secure(self.connect(proxy.port, source)), source)

    def test_plain(self) -> None:
        for options in ("send-proxy", "send-proxy-v2 proxy-v2-options crc32c"):
            self.check_session(self.connect(self.haproxy(options, tls=False).port), CLIENT)

    def test_health_checks(self) -> None:
        before = self.gateway.output.count("connection closed")
        proxy = self.haproxy("send-proxy-v2 check inter 100")
        lazy = self.haproxy("send-proxy check inter 100")
        for each in (proxy, lazy):
            self.check_session(self.secure(self.connect(each.port)), CLIENT)
        self.assertEqual(before, self.gateway.output.count("connection closed"))

    def test_a_proxy_that_says_nothing(self) -> None:
        proxy = self.haproxy("")
        with self.assertRaises(OSError):
            self.secure(self.connect(proxy.port))
        self.gateway.wait_for(
            r"client=127\.0\.0\.1 reason=bad-proxy-header: no good PROXY header \(there is none\)"
        )

    def test_strangers(self) -> None:
        for header in (
            text_header((INVENTED, 1), (INVENTED, 2)),
            binary_header((INVENTED, 1), (INVENTED, 2)),
            b"",
        ):
            sock = self.connect(self.gateway.tls_port, STRANGER)
            with contextlib.suppress(OSError):
                sock.sendall(header)
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(b"", sock.recv(100))
        line = rf"client={STRANGER} reason=untrusted-proxy: not in proxies\.networks"
        self.gateway.wait_for(line)
        self.assertEqual(1, self.gateway.output.count(f"client={STRANGER} "))
        self.assertNotIn(INVENTED, self.gateway.output)

    def test_a_trusted_one_that_stalls(self) -> None:
        sock = self.connect(self.gateway.tls_port, "127.0.0.1")
        sock.sendall(b"PROXY TCP4 ")
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(b"", sock.recv(100))
        self.gateway.wait_for(r"reason=proxy-header-timeout")

    def test_other_listeners(self) -> None:
        with socket.create_connection(("::1", self.gateway.ports("plain")[1]), 10) as sock:
            self.check_session(sock, "::1")
        with socket.create_connection(("::1", self.gateway.ports("plain")[1]), 10) as sock:
            sock.sendall(text_header((INVENTED, 1), (INVENTED, 2)) + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b" 400 ", sock.recv(4096))

    def test_what_a_target_is_told(self) -> None:
        headers: list[bytes] = []

        def told(sock: socket.socket, stop: threading.Event) -> None:
            headers.append(sock.recv(28, socket.MSG_WAITALL))
            echo(sock, stop)

        proxy = self.haproxy("send-proxy-v2")
        sock = self.connect(proxy.port)
        source = sock.getsockname()
        self.check_session(self.secure(sock), CLIENT, target=self.target(told), host="localhost")
        self.assertEqual([binary_header(source, ("127.0.0.1", proxy.port))], headers)

    def test_a_target_behind_a_proxy_of_its_own(self) -> None:
        lines: list[bytes] = []

        def told(sock: socket.socket, stop: threading.Event) -> None:
            line = b""
            while not line.endswith(b"\n"):
                line += sock.recv(1)
            lines.append(line)
            echo(sock, stop)

        console, port = self.target(told), closed_port()
        far = self.proxy(
            "haproxy",
            f"""{_DEFAULTS}
listen console
    mode tcp
    bind 127.0.0.1:{port} accept-proxy
    server console 127.0.0.1:{console.port} send-proxy
""",
            port,
        )
        near = self.haproxy("send-proxy")
        sock = self.connect(near.port)
        source = sock.getsockname()
        ticket = self.installation.ticket(far.port, "localhost")
        with WebSocketClient(self.secure(sock), f"ws://gateway.example.com/{ticket}") as session:
            session.send(b"hello")
            self.assertEqual(b"hello", session.recv())
        self.assertIn(text_header(source, ("127.0.0.1", near.port)), lines)


@needs("haproxy")
class XForwardedForTests(ProxyTestCase):
    changes: ClassVar[Mapping[str, Table]] = {
        "proxies": {"networks": ["127.0.0.1"], "forwarded": "x-forwarded-for"},
        "limits": {"sessions_per_client": 2},
    }

    def test_a_proxy(self) -> None:
        port = closed_port()
        configuration = f"""{_DEFAULTS}
listen consoles
    mode http
    bind 127.0.0.1:{port}
    option forwardfor
    server gateway 127.0.0.1:{self.gateway.plain_port}
"""
        proxy = self.proxy("haproxy", configuration, port)
        for source in (CLIENT, "127.0.0.10"):
            self.check_session(self.connect(proxy.port, source), source)
        # What the client says itself is passed on, too, in a field before that of the proxy.
        sock = self.connect(proxy.port)
        bad = "/" + "QmFk" * 80
        sock.sendall(upgrade(bad, [("X-Forwarded-For", INVENTED)]))
        self.assertIn(b" 401 ", sock.recv(4096))
        self.gateway.wait_for(rf"request refused client={CLIENT} ")
        self.assertNotIn(INVENTED, self.gateway.output)

    def test_without_a_proxy(self) -> None:
        target = self.target()
        ticket = self.installation.ticket(target.port)
        sock = self.connect(self.gateway.plain_port, STRANGER)
        sock.sendall(upgrade(f"/{ticket}", [("X-Forwarded-For", INVENTED)]))
        self.assertIn(b" 101 ", sock.recv(4096))
        self.gateway.wait_for(rf"session started id=\S+ client={STRANGER} target=\S+:{target.port} ")


@needs("haproxy")
class ForwardedTests(ProxyTestCase):
    changes: ClassVar[Mapping[str, Table]] = {
        "proxies": {"networks": ["127.0.0.1"], "forwarded": "forwarded"},
    }

    def test_a_proxy(self) -> None:
        port = closed_port()
        configuration = f"""{_DEFAULTS}
listen consoles
    mode http
    bind 127.0.0.1:{port}
    http-request add-header Forwarded for={INVENTED}
    http-request add-header Forwarded "for=\\"%[src]:%[src_port]\\";proto=http"
    server gateway 127.0.0.1:{self.gateway.plain_port}
"""
        proxy = self.proxy("haproxy", configuration, port)
        self.check_session(self.connect(proxy.port), CLIENT)


@needs("nginx")
class NginxTests(ProxyTestCase):
    """On a Unix socket, which is the installation's."""

    path: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        super(GatewayTestCase, cls).setUpClass()
        cls.path = str(cls.installation.directory / "front.sock")
        changes: dict[str, Table] = {
            "listen": {"tls": [], "plain": [f"unix:{cls.path}:mode=660"]},
            "proxies": {"unix": True, "forwarded": "x-forwarded-for"},
        }
        cls.gateway = GatewayProcess(changed_settings(cls.installation, "settings.toml", changes))
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.ready()

    def test_a_session(self) -> None:
        port = closed_port()
        # Its workers would be somebody else, who may not connect to the socket.
        configuration = f"""
{"user root;" if os.geteuid() == 0 else ""}
pid {{directory}}/pid;
daemon off;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {{directory}}/body;
    proxy_temp_path {{directory}}/proxy;
    fastcgi_temp_path {{directory}}/fastcgi;
    uwsgi_temp_path {{directory}}/uwsgi;
    scgi_temp_path {{directory}}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://unix:{self.path}:;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""
        proxy = self.proxy("nginx", configuration, port)
        self.check_session(self.connect(proxy.port), CLIENT)
