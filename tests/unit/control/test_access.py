from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from twisted.web.resource import Resource

from gateway.control.tokens import new_token
from gateway.settings import ControlSettings, Role
from tests.support.http import Answer
from tests.support.pki import CLIENT, SERVER, Authority, Leaf, distinguished
from tests.unit.control.gateways import ControlTestCase, received_answer, request

STATUS = "/api/v1/status"
ADMISSION = "/api/v1/admission"
STOP: dict[str, Any] = {"method": "POST", "body": {"admitting": False}}


class Text(Resource):
    isLeaf = True

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def render(self, request: Any) -> bytes:
        return self.text.encode()


class TokenTests(ControlTestCase):
    def test_roles(self) -> None:
        self.assertEqual(self.json(STATUS, token=self.reading)["actor"], "token:eve")
        self.assertEqual(self.json(STATUS, token=self.operating)["role"], "operate")
        self.assertEqual(self.fault(self.ask(ADMISSION, token=self.reading, **STOP)), (403, "role"))
        ended = self.ask("/api/v1/sessions/end", method="POST", body={"all": True}, token=self.reading)
        self.assertEqual(self.fault(ended), (403, "role"))
        self.assertTrue(self.sessions.registry.admitting)
        self.assertEqual(list(self.events.recent), [])
        self.json(ADMISSION, token=self.operating, **STOP)
        self.assertFalse(self.sessions.registry.admitting)

    def test_unauthorized(self) -> None:
        logged = self.logged()
        wrong = new_token()
        for authorization in (
            None,
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {wrong}",
            f"Bearer  {self.operating}x",
            f"Basic {self.operating}",
            self.operating,
            f"Bearer {self.operating}, Bearer {self.operating}",
            f"Bearer {self.operating.upper()}",
            "Bearer \xff",
            "Bearer " + "x" * 10000,
        ):
            for path in (STATUS, "/api/v1/nothing", "/nothing", ADMISSION):
                answer = self.ask(path, token="", fields={"Authorization": authorization})
                self.assertEqual(self.fault(answer), (401, "unauthorized"), authorization)
                self.assertEqual(answer.header("WWW-Authenticate"), 'Bearer realm="console-gateway"')
        self.assertEqual(len(logged), 12 * 4)
        self.assertNotIn(wrong, str(logged))
        self.assertNotIn(self.operating, str(logged))

    def test_scheme_in_any_case(self) -> None:
        self.ask(STATUS, token="", fields={"Authorization": f"bEARER {self.reading}"})

    def test_two_fields(self) -> None:
        with self.connect(unix=False) as client:
            twice = f"Authorization: Bearer {self.reading}\r\n" * 2
            self.send(client, f"GET {STATUS} HTTP/1.1\r\nHost: localhost\r\n{twice}\r\n".encode())
            self.assertEqual(self.fault(received_answer(self.received(client))), (401, "unauthorized"))


class UnixTests(ControlTestCase):
    def test_credentials_of_the_peer(self) -> None:
        status = self.json(STATUS)
        self.assertEqual((status["actor"], status["role"]), (f"uid:{os.getuid()}", "operate"))
        self.assertEqual(self.socket.stat().st_mode & 0o777, 0o600)

    def test_what_is_shown_must_hold(self) -> None:
        fields = {"Authorization": f"Bearer {new_token()}"}
        self.assertEqual(self.fault(self.ask(STATUS, fields=fields)), (401, "unauthorized"))
        status = self.json(STATUS, fields={"Authorization": f"Bearer {self.reading}"})
        self.assertEqual((status["actor"], status["role"]), ("token:eve", "read"))


class ReadOnlyUnixTests(ControlTestCase):
    def control(self, tokens: Path) -> ControlSettings:
        return ControlSettings(listen=(f"unix:{self.socket}",), unix_role=Role.READ)

    def test_role(self) -> None:
        self.assertEqual(self.json(STATUS)["role"], "read")
        self.assertEqual(self.fault(self.ask(ADMISSION, **STOP)), (403, "role"))
        self.assertEqual(self.socket.stat().st_mode & 0o777, 0o660)


class SourceTests(ControlTestCase):
    """Pages of others, and names that were rebound."""

    def status(self, **fields: str | None) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        answer = self.ask(STATUS, token=self.reading, fields=named)
        return (200, "") if answer.status == 200 else self.fault(answer)

    def test_hosts(self) -> None:
        for host in (
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1",
            "127.3.2.1:1",
            "[::1]:80",
            "control.example.com",
            "Control.Example.com:443",
        ):
            self.assertEqual(self.status(Host=host), (200, ""), host)
        for host in (
            "evil.example.com",
            "control.example.com.evil.net",
            "xcontrol.example.com",
            "192.0.2.1",
            "127.0.0.1.nip.io",
            "localhost.evil.net",
        ):
            self.assertEqual(self.status(Host=host), (403, "host"), host)
        for malformed in (None, "", ":80", "a b", "localhost:x", "localhost:123456", "u@localhost", "[::1",
                          "localhost,localhost", "x" * 300):  # fmt: skip
            self.assertEqual(self.status(Host=malformed), (400, "bad-request"), malformed)
        with self.connect() as client:
            self.send(client, f"GET {STATUS} HTTP/1.1\r\nHost: localhost\r\nHost: x\r\n\r\n".encode())
            self.assertEqual(self.fault(received_answer(self.received(client))), (400, "bad-request"))

    def test_origins(self) -> None:
        for host, origin in (
            ("localhost:8080", "http://localhost:8080"),
            ("localhost", "http://localhost"),
            ("localhost:80", "http://localhost"),
            ("localhost", "http://localhost:80"),
            ("localhost", "https://localhost"),
            ("control.example.com", "https://control.example.com"),
            ("control.example.com:443", "https://control.example.com"),
            ("[::1]:8080", "http://[::1]:8080"),
        ):
            self.assertEqual(self.status(Host=host, Origin=origin), (200, ""), origin)
        for origin in (
            "http://evil.example.com",
            "https://localhost:80",
            "http://localhost:81",
            "http://localhost.evil.net",
            "http://localhost@evil.net",
            "http://127.0.0.1",
            "http://localhost/",
            "file://localhost",
            "null",
            "",
            "x" * 1000,
        ):
            self.assertEqual(self.status(Host="localhost", Origin=origin), (403, "origin"), origin)

    def test_a_page_cannot_end_sessions(self) -> None:
        """What a form or a simple fetch of a foreign page sends to a host where no credentials are needed."""
        attempts: tuple[dict[str, str | None], ...] = (
            {"Origin": "https://evil.example.com"},
            {"Content-Type": "text/plain"},
            {"Host": "rebound.example.com"},
        )
        for fields in attempts:
            answer = self.ask(ADMISSION, fields=fields, **STOP)
            self.assertIn(answer.status, (403, 415))
        self.assertTrue(self.sessions.registry.admitting)


class ExtraTests(ControlTestCase):
    """What is beside the API."""

    extra: ClassVar = {"metrics": Text("metrics"), "healthz": Text("ok"), "readyz": Text("ready")}
    dashboard = Text("page")

    def test_probes_are_open(self) -> None:
        for name in ("healthz", "readyz"):
            for fields in ({}, {"Host": "192.0.2.1:8080"}, {"Host": None}):
                answer = self.ask(f"/{name}", token="", fields={"Authorization": None, **fields})
                self.assertEqual(answer.status, 200)

    def test_metrics_need_credentials(self) -> None:
        answer = self.ask("/metrics", token="", fields={"Authorization": None})
        self.assertEqual(self.fault(answer), (401, "unauthorized"))
        self.assertEqual(self.ask("/metrics", token=self.reading).body, b"metrics")
        self.assertEqual(self.ask("/metrics").body, b"metrics")
        self.assertEqual(self.fault(self.ask("/metrics", fields={"Host": "evil.net"})), (403, "host"))

    def test_page_is_open(self) -> None:
        for path in ("/", "/dashboard/app.js"):
            answer = self.ask(path, token="", fields={"Authorization": None})
            self.assertEqual(answer.body, b"page")
            self.assertEqual(self.fault(self.ask(path, fields={"Host": "evil.net"})), (403, "host"))

    def test_others(self) -> None:
        self.assertEqual(self.fault(self.ask("/other")), (404, "not-found"))


class TlsTests(ControlTestCase):
    pki: ClassVar[Path]
    authority: ClassVar[Authority]
    server_authority: ClassVar[Authority]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.pki = Path(tempfile.mkdtemp(prefix="console-gateway-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.pki)
        cls.server_authority, cls.authority = Authority("Servers"), Authority("Operators")
        cls.server_authority.issue("localhost").save(cls.pki, "server")
        cls.server_authority.save(cls.pki, "servers")
        cls.authority.save(cls.pki, "operators")

    def control(self, tokens: Path) -> ControlSettings:
        return ControlSettings(
            listen=(f"unix:{self.socket}:mode=600",),
            tls=("tcp:0:interface=127.0.0.1",),
            tokens=tokens,
            certificate=self.pki / "server.pem",
            key=self.pki / "server.key",
            client_ca=self.pki / "operators.pem",
            clients={"ops": "operate", "watch": "read"},
        )

    def over_tls(self, data: bytes, leaf: Leaf | None = None) -> Answer:
        context = ssl.create_default_context(cafile=str(self.pki / "servers.pem"))
        if leaf is not None:
            context.load_cert_chain(*leaf.save(self.pki, "client"))
        port = next(each.sock.getsockname()[1] for each in self.server.listeners if each.tls)
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            client = context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False)
            client.setblocking(False)
            self.patiently(client.do_handshake)
            client.sendall(data)
            self.serve()
            received = b""
            # The head is one piece, and the body is another.
            while len(received.partition(b"\r\n\r\n")[2]) < 10:
                received += self.patiently(lambda: client.recv(65536))
            client.close()
        self.serve()
        return received_answer(received)

    def patiently(self, step: Callable[[], Any]) -> Any:
        for _ in range(100):
            self.reactor.serve()
            try:
                result = step()
            except (ssl.SSLWantReadError, BlockingIOError):
                continue
            if result == b"":
                raise ConnectionError("ended")
            return result
        raise AssertionError("nothing came")

    def who(self, leaf: Leaf | None, **more: Any) -> Any:
        answer = self.over_tls(request(STATUS, **more), leaf)
        if answer.status != 200:
            return self.fault(answer)
        status = json.loads(answer.body)
        return status["actor"], status["role"]

    def client(self, name: str, **more: Any) -> Leaf:
        return self.authority.issue(name, sans=(), purposes=CLIENT, **more)

    def test_certificates(self) -> None:
        self.assertEqual(self.who(self.client("ops")), ("certificate:ops", "operate"))
        self.assertEqual(self.who(self.client("watch")), ("certificate:watch", "read"))
        self.assertEqual(self.who(self.client("other")), (401, "unauthorized"))
        self.assertEqual(self.who(None), (401, "unauthorized"))

    def test_tokens_beside_certificates(self) -> None:
        self.assertEqual(self.who(None, token=self.reading), ("token:eve", "read"))
        self.assertEqual(self.who(self.client("ops"), token=self.reading), ("token:eve", "read"))
        self.assertEqual(self.who(self.client("ops"), token=new_token()), (401, "unauthorized"))

    def test_origin(self) -> None:
        for origin, status in (("https://localhost", 200), ("http://localhost", 403)):
            answer = self.over_tls(request(STATUS, token=self.reading, fields={"Origin": origin}))
            self.assertEqual(answer.status, status)

    def test_role_of_a_certificate(self) -> None:
        data = request(ADMISSION, method="POST", body={"admitting": False})
        self.assertEqual(self.fault(self.over_tls(data, self.client("watch"))), (403, "role"))
        self.assertEqual(self.over_tls(data, self.client("ops")).status, 200)
        self.assertEqual(getattr(self.events.recent[-1].what, "actor", None), "certificate:ops")

    def test_common_name_must_be_one(self) -> None:
        two = distinguished("ops", ORGANIZATION_NAME="x")
        self.assertEqual(self.who(self.client("ops", subject=two)), ("certificate:ops", "operate"))
        both = type(two)([*distinguished("other"), *distinguished("ops")])
        self.assertEqual(self.who(self.client("ops", subject=both)), (401, "unauthorized"))

    def test_certificates_that_are_no_good(self) -> None:
        end = self.authority.issue("ops").certificate.not_valid_before_utc
        for leaf in (
            Authority("Operators").issue("ops", purposes=CLIENT),
            self.server_authority.issue("ops", purposes=CLIENT),
            self.client("ops", begin=end.replace(year=end.year - 1), end=end),
            self.authority.issue("ops", purposes=SERVER),
            Authority.self_signed("ops"),
        ):
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                self.who(leaf)
            self.serve()
        self.assert_empty()
