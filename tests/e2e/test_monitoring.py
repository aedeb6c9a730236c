"""A real Prometheus on a real gateway, with our dashboard and alerts; and the probes of balancers."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import math
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.integration.case import GatewayTestCase, InstallationTestCase, Table, eventually
from tests.peers import needs
from tests.support.client import WebSocketClient
from tests.support.http import Answer, read_answer, read_rest, upgrade
from tests.support.pki import Authority
from tests.support.process import ROOT, GatewayProcess
from tests.support.targets import TargetServer, closed_port, echo, stall

DASHBOARD = ROOT / "etc" / "grafana" / "console-gateway.json"
RULES = ROOT / "etc" / "prometheus" / "console-gateway.rules.yml"
RULES_TEST = ROOT / "etc" / "prometheus" / "console-gateway.test.yml"
LISTEN = {"listen": ["tcp:0:interface=127.0.0.1"]}

_SERVED = r"metrics are served on 127\.0\.0\.1:(\d+)"


def metrics_port(gateway: GatewayProcess) -> int:
    return int(gateway.wait_for(_SERVED)[1])


def fetch(port: int, path: str, *, method: str = "GET", tls: ssl.SSLContext | None = None) -> Answer:
    """One request on a connection of its own."""
    with contextlib.ExitStack() as stack:
        sock: socket.socket = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        if tls is not None:
            sock = stack.enter_context(tls.wrap_socket(sock, server_hostname="localhost"))
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if method == "HEAD":
            data = b""
            while not data.endswith(b"\r\n\r\n"):
                piece = sock.recv(65536)
                assert piece
                data += piece
            return Answer(int(data.split(b" ", 2)[1]), data, b"")
        return read_answer(sock)[0]


class Prometheus:
    """A Prometheus server that scrapes gateways every second."""

    def __init__(self, directory: Path, ports: Sequence[int]) -> None:
        """:param ports: where metrics are, on loopback."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        directory.mkdir()
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {
                    "job_name": "console-gateway",
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}],
                }
            ],
        }
        # What is JSON is YAML.
        (directory / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
        program = shutil.which("prometheus")
        assert program
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self._log = directory / "log"

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ready(self) -> Prometheus:
        def answers() -> bool:
            assert self._process.poll() is None, self._log.read_text()
            with contextlib.suppress(OSError):
                return fetch(self._port, "/-/ready").status == 200
            return False

        eventually(answers, 30)
        return self

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an API call."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
            answer = json.load(connection.getresponse())
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> dict[str, float]:
        """Values of an instant query, by their labels as JSON."""
        result = self.api("query", query=expression)["result"]
        return {json.dumps(each["metric"], sort_keys=True): float(each["value"][1]) for each in result}

    def value(self, expression: str) -> float | None:
        """The one value of a query, if there is one."""
        values = list(self.query(expression).values())
        assert len(values) <= 1, values
        return values[0] if values else None


def dashboard_queries() -> list[tuple[str, str]]:
    """Title and expression of every query, as Grafana sends it when everything is selected."""
    found = []
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m")
            expression = expression.replace("$job", ".*").replace("$instance", ".*")
            found.append((panel["title"], expression))
    return found


def alert_expressions(text: str) -> list[str]:
    """The expressions in a file of rules, each in one line."""
    found = re.findall(r"^ +expr: (?:>-\n((?: {10,}.*\n)+)|(.*)\n)", text, re.MULTILINE)
    return [" ".join((folded or plain).split()) for folded, plain in found]


def tls_echo(authority: Authority, directory: Path) -> Callable[[socket.socket, threading.Event], None]:
    """The behaviour of a console server that speaks TLS from the first byte."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=400)
    certificate, key = authority.issue("localhost", end=end).save(directory, "secure")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def behave(sock: socket.socket, stop: threading.Event) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            echo(wrapped, stop)

    return behave


@needs("prometheus")
class PrometheusTests(InstallationTestCase):
    """Some sessions, and what Prometheus makes of them."""

    gateway: ClassVar[GatewayProcess]
    prometheus: ClassVar[Prometheus]
    closed: ClassVar[int]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = cls.installation.directory
        authority = Authority("Console CA")
        case = cls()
        settings = case.settings_file(
            metrics=LISTEN, security={"ca": str(authority.save(directory, "consoles")), "silence": 0.2}
        )
        cls.gateway = GatewayProcess(settings)
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.ready()
        cls.closed = closed_port()
        cls.prometheus = Prometheus(directory / "prometheus", [metrics_port(cls.gateway), cls.closed])
        cls.addClassCleanup(cls.prometheus.close)
        cls.prometheus.ready()
        # A rate needs to have seen the count before.
        eventually(lambda: cls.prometheus.value("count_over_time(console_gateway_ready[1m]) >= 2"), 30)
        cls._work(authority)
        ended = "sum(console_gateway_sessions_ended_total)"
        eventually(lambda: cls.prometheus.value(f"{ended} == 4 and sum(console_gateway_sessions) == 2"), 30)

    @classmethod
    def _work(cls, authority: Authority) -> None:
        """Two sessions that stay, four that ended in different ways, and two refusals."""
        target = TargetServer(echo)
        cls.addClassCleanup(target.close)
        secure = TargetServer(tls_echo(authority, cls.installation.directory))
        cls.addClassCleanup(secure.close)
        for number in range(3):
            client = cls._open(target.port)
            client.send(b"x" * 1000)
            assert client.recv(timeout=5) == b"x" * 1000
            if number:
                cls.addClassCleanup(client.close)
            else:
                client.close()
        for port, options in (
            (secure.port, {"host": "localhost", "tls": True}),
            (closed_port(), {}),
            (closed_port(), {}),
        ):
            client = cls._open(port, **options)
            if options:
                client.send(b"hello")
                assert client.recv(timeout=5) == b"hello"
                client.close()
            else:
                with pytest.raises(Exception, match="refused"):
                    client.recv(timeout=5)
        for ticket in ("R29vZA" * 60, cls.installation.ticket(1, begin=-500)):
            with socket.create_connection(("127.0.0.1", cls.gateway.plain_port), 5) as sock:
                sock.sendall(upgrade("/" + ticket))
                assert read_answer(sock)[0].status in (401, 403)

    @classmethod
    def _open(cls, port: int, **options: Any) -> WebSocketClient:
        sock = socket.create_connection(("127.0.0.1", cls.gateway.plain_port), 10)
        uri = f"ws://127.0.0.1:{cls.gateway.plain_port}/{cls.installation.ticket(port, **options)}"
        return WebSocketClient(sock, uri, subprotocols=["binary"])

    def test_counts(self) -> None:
        for expression, expected in (
            ('console_gateway_sessions_ended_total{reason="client-closed"}', 2),
            ('console_gateway_sessions_ended_total{reason="target-refused"}', 2),
            ("sum(console_gateway_sessions_started_total)", 6),
            ('console_gateway_requests_refused_total{reason="ticket-refused"}', 1),
            ('console_gateway_requests_refused_total{reason="ticket-expired"}', 1),
            ('console_gateway_relayed_bytes_total{direction="to_target"}', 3005),
            ('console_gateway_relayed_bytes_total{direction="to_client"}', 3005),
            ('console_gateway_relayed_messages_total{direction="to_target"}', 4),
            ("console_gateway_handshake_duration_seconds_count", 6),
            ("console_gateway_dial_duration_seconds_count", 4),
            ("sum(console_gateway_session_duration_seconds_count)", 4),
            ("console_gateway_ledger_size", 6),
            ("sum(console_gateway_target_certificates)", 1),
            ("console_gateway_ready", 1),
            ("count(up)", 2),
        ):
            self.settles(expression, expected)

    def settles(self, expression: str, expected: float) -> None:
        """The value becomes as expected: what the ledger answered stands for a second."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: self.prometheus.value(expression) == expected)
        self.assertEqual(self.prometheus.value(expression), expected, expression)

    def test_dashboard(self) -> None:
        """Each query is understood and, with sessions of every kind behind us, has an answer."""
        queries = dashboard_queries()
        self.assertGreater(len(queries), 30)
        for title, expression in queries:
            values = self.prometheus.query(expression).values()
            numbers = [value for value in values if not math.isnan(value)]
            self.assertTrue(numbers, f"{title}: {expression}")

    def test_dashboard_variables(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
                assert match
                selector = match[1].replace("$job", ".*")
                values = self.prometheus.api(f"label/{match[2]}/values", **{"match[]": selector})
                self.assertEqual(len(values), 1)

    def test_alerts(self) -> None:
        """Prometheus evaluates them, whatever they are about is measured, and none fires without a reason."""
        (group,) = self.prometheus.api("rules")["groups"]
        eventually(
            lambda: all(rule["health"] == "ok" for rule in self.prometheus.api("rules")["groups"][0]["rules"])
        )
        expressions = alert_expressions(RULES.read_text(encoding="utf-8"))
        self.assertEqual(len(group["rules"]), len(expressions))
        for expression in expressions:
            selectors = re.findall(
                r"\b(?:console_gateway|process)_\w+(?:\{[^}]*\})?|\bup\{[^}]*\}", expression
            )
            self.assertTrue(selectors, expression)
            for selector in selectors:
                self.assertTrue(self.prometheus.query(selector), selector)
        alerts = self.prometheus.api("alerts")["alerts"]
        firing = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
        # The certificate of a test installation is for a week.
        self.assertEqual(firing, {"ConsoleGatewayCertificateExpires"})

    def test_down(self) -> None:
        """A gateway that does not answer is noticed."""
        down = 'ALERTS{alertname="ConsoleGatewayDown"}'
        eventually(lambda: self.prometheus.query(down), 15)
        (labels,) = self.prometheus.query(down)
        self.assertIn(str(self.closed), labels)

    def test_own_tools(self) -> None:
        """promtool has nothing to say about the metrics of a gateway that works."""
        answer = fetch(metrics_port(self.gateway), "/metrics")
        self.assertEqual(self._promtool("check", "metrics", data=answer.body), b"")

    def test_rules(self) -> None:
        self.assertIn(b"SUCCESS", self._promtool("check", "rules", str(RULES)))
        self.assertIn(b"SUCCESS", self._promtool("test", "rules", str(RULES_TEST)))

    def _promtool(self, *arguments: str, data: bytes = b"") -> bytes:
        done = subprocess.run(
            ["promtool", *arguments], input=data, capture_output=True, timeout=60, check=False
        )
        self.assertEqual(done.returncode, 0, done)
        self.assertNotIn(b"lint", done.stderr)
        return done.stdout


class ProbeTests(GatewayTestCase):
    """What balancers and scanners do to a gateway that works."""

    changes: ClassVar[Mapping[str, Table]] = {
        "metrics": LISTEN,
        "front": {"head_timeout": 0.3, "handshake_timeout": 0.3},
    }

    def test_answers(self) -> None:
        tls = self.installation.client_context()
        for port, context in (
            (self.gateway.tls_port, tls),
            (self.gateway.plain_port, None),
            (metrics_port(self.gateway), None),
        ):
            for path in ("/healthz", "/readyz"):
                answer = fetch(port, path, tls=context)
                self.assertEqual((answer.status, answer.body), (200, b"ok\n"))
                self.assertEqual(fetch(port, path, method="HEAD", tls=context).status, 200)
        self.assertEqual(fetch(self.gateway.plain_port, "/metrics").status, 404)

    def test_silence(self) -> None:
        """Nothing that a probe does is worth a line in the log."""
        before = self.gateway.output
        tls, plain, metrics = self.gateway.tls_port, self.gateway.plain_port, metrics_port(self.gateway)
        context = self.installation.client_context()
        hello = client_hello()
        for port in (tls, plain, metrics):
            for sent in (b"", hello[:1], hello[: len(hello) // 2], b"GET /healthz HTTP/1.1\r\nHo"):
                for end in (close, reset_connection, half_close):
                    self.connect(port, sent, end)
        # Cut in the middle of the handshake, when the server has answered.
        for end in (close, reset_connection, half_close):
            sock = self.connect(tls, hello)
            self.assertTrue(sock.recv(1))
            end(sock)
        # A complete handshake, and not a byte of a request.
        for end in (close, reset_connection):
            with socket.create_connection(("127.0.0.1", tls), 5) as sock:
                wrapped = context.wrap_socket(sock, server_hostname="localhost")
                end(wrapped)
        # Patient ones, which are closed when their time is over.
        for port, sent in ((tls, b""), (tls, hello), (plain, b"")):
            read_rest(self.connect(port, sent))
        for port, path in (
            (plain, "/healthz"),
            (plain, "/readyz"),
            (metrics, "/metrics"),
            (metrics, "/none"),
        ):
            for method in ("GET", "HEAD"):
                fetch(port, path, method=method)
        fetch(tls, "/readyz", tls=context)
        time.sleep(0.3)
        self.assertEqual(self.gateway.output, before)

    def connect(
        self, port: int, sent: bytes, end: Callable[[socket.socket], None] | None = None
    ) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port), 5)
        self.addCleanup(sock.close)
        # The gateway may be the first to go.
        with contextlib.suppress(OSError):
            sock.sendall(sent)
            if end is not None:
                end(sock)
        return sock


def close(sock: socket.socket) -> None:
    sock.close()


def reset_connection(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def client_hello() -> bytes:
    """The first flight of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class ShutdownTests(InstallationTestCase):
    def test_not_ready(self) -> None:
        """While sessions are given time to end, the process lives and takes no more of them."""
        gateway = GatewayProcess(self.settings_file(metrics=LISTEN))
        self.addCleanup(gateway.stop)
        port = metrics_port(gateway.ready())
        with (
            TargetServer(stall) as target,
            socket.create_connection(("127.0.0.1", gateway.plain_port), 5) as sock,
        ):
            sock.sendall(upgrade("/" + self.installation.ticket(target.port)))
            self.assertEqual(read_answer(sock)[0].status, 101)
            eventually(lambda: target.accepted)
            self.assertEqual(fetch(port, "/readyz").status, 200)
            gateway.signal()
            eventually(lambda: fetch(port, "/readyz").status == 503)
            answer = fetch(port, "/readyz")
            self.assertEqual((answer.status, answer.body), (503, b"shutting down\n"))
            self.assertEqual(fetch(port, "/healthz").status, 200)
            self.assertIn(b"\nconsole_gateway_ready 0.0", fetch(port, "/metrics").body)
            self.assertEqual(gateway.wait(), 0)
