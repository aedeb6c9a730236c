"""Slow clients by the hundred and floods of tickets, beside sessions that must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import resource
import socket
import ssl
import statistics
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Final

import attrs
import pytest

from tests.integration.case import InstallationTestCase, Table, changed_settings
from tests.integration.test_stalled_targets import Browser
from tests.support.http import upgrade
from tests.support.process import GatewayProcess
from tests.support.stalling import Echo

pytestmark = pytest.mark.alone

SESSIONS: Final = 1000
ATTACKERS: Final = 500
LIMIT: Final = 4.0
"""Seconds for a TLS handshake and for a request head, as the settings of these tests say."""
IDLE: Final = 3.0
"""Seconds for another request on a kept connection,"""
DRAIN: Final = 4.0
"""and for taking what was written when it is closed."""
SLACK: Final = 10.0
"""What a busy machine may take longer: the attackers are Python's, too."""
SPREAD: Final = 2.0
"""Seconds within which all attackers begin."""
WINDOW: Final = 6.0
"""Seconds for which latencies are taken."""
MEDIAN_FLOOR: Final = 0.05
"""Seconds by which a median may differ without meaning anything: the machine has other things to do,"""
TAIL_FLOOR: Final = 1.0
"""and the slowest of a hundred are slow for many reasons."""
GROWTH: Final = 64.0
"""MiB of anonymous memory that 500 attackers may take,"""
LEFT: Final = 24.0
"""and that may be left of them, in pieces that Python does not give back."""
STRANGERS: Final = 3000
REMEMBERED: Final = 1000

PROGRAM: Final = f"""
import gateway.net.http_site, gateway.net.stream
from gateway.cli import main
gateway.net.http_site._IDLE = {IDLE}
gateway.net.stream._DRAIN = {DRAIN}
main(prog_name="console-gateway")
"""
"""The gateway's command, with limits that are not settings cut short."""

_PATIENCE: Final = 30.0
_AT_ONCE: Final = 50
_PAUSE: Final = 2.0
"""Between two messages of a session, on average."""
_TRICKLE: Final = 1.0
"""Seconds between two bytes of an attacker."""
_FILES: Final = 8192
_MESSAGE: Final = bytes(range(32))
_HEAD: Final = b"GET / HTTP/1.1\r\nHost: gateway.example.com\r\nX-Padding: "
_PAGE: Final = b"GET /console/console.js HTTP/1.1\r\nHost: gateway.example.com\r\n\r\n"
_PAGES: Final = 20
"""Requests at once."""


class AttackedTestCase(InstallationTestCase):
    """A gateway to which this host's first address is a friend, and every other one a stranger."""

    changes: ClassVar[dict[str, Table]] = {}
    gateway: ClassVar[GatewayProcess]
    metrics_port: ClassVar[int]

    @classmethod
    def setUpClass(cls) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _FILES:
            # The gateway inherits it.
            wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            cls.addClassCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        super().setUpClass()
        changes: dict[str, Table] = {
            "limits": {"sessions_per_client": 5000, "users_per_console": 5000},
            "front": {"head_timeout": LIMIT, "handshake_timeout": LIMIT},
            "pages": {"enabled": True},
            "metrics": {"listen": ["tcp:0:interface=127.0.0.1"]},
            **cls.changes,
        }
        settings = changed_settings(cls.installation, "settings.toml", changes)
        command = [sys.executable, "-c", PROGRAM, "run", "--config", str(settings)]
        cls.gateway = GatewayProcess(settings, command=command)
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.ready()
        cls.metrics_port = int(cls.gateway.wait_for(r"metrics are served on \S+:(\d+) ")[1])

    def act_in_a_thread(self, act: Callable[[], Awaitable[None]]) -> None:
        # Where browser tests came before, this one has a loop that Playwright left.
        async def run() -> None:
            await act()

        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, run()).result()

    def metric(self, name: str) -> float:
        """A sample, by its name with labels."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def memory(self) -> float:
        """Anonymous memory of the gateway, in MiB."""
        status = Path(f"/proc/{self.gateway.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1024


@attrs.define
class Latencies:
    """Seconds that echoes took."""

    taken: list[float] = attrs.Factory(list)

    @property
    def median(self) -> float:
        return statistics.median(self.taken)

    @property
    def tail(self) -> float:
        """What one of a hundred takes longer than."""
        return statistics.quantiles(self.taken, n=100)[-1]


@attrs.frozen
class Cut:
    """How an attacking connection ended."""

    kind: str
    seconds: float
    """From its beginning."""
    answer: bytes
    """The beginning of what was received."""


class SlowClientTests(AttackedTestCase):
    changes: ClassVar[dict[str, Table]] = {"abuse": {"exempt": ["127.0.0.1/32"]}}

    def test_nobody_notices(self) -> None:
        self.act_in_a_thread(self.act)

    async def act(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1000)
        async with server:
            port = server.sockets[0].getsockname()[1]
            browsers = await self.open_sessions(port)
            self.stop = asyncio.Event()
            self.latencies = Latencies()
            typing = [asyncio.ensure_future(self.type(each, seed)) for seed, each in enumerate(browsers)]
            quiet, before = await self.listen(WINDOW), self.memory()
            cuts, attacked, most = await self.attack()
            after, left = await self.listen(WINDOW), self.memory()
            self.stop.set()
            await asyncio.gather(*typing)
            self.judge_cuts(cuts)
            self.judge_latencies(quiet, attacked, after)
            self.assertLess(most - before, GROWTH)
            self.assertLess(left - before, LEFT)
            self.assertFalse(any(browser.over for browser in browsers))
            self.assertEqual(SESSIONS, await self.live_sessions())
            await asyncio.gather(*(browser.leave() for browser in browsers))
        self.assertNotIn("Traceback", self.gateway.output)

    # -- sessions ------------------------------------------------------------------------

    async def open_sessions(self, port: int) -> list[Browser]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one() -> Browser:
            async with gate:
                return await Browser.open(self.gateway.plain_port, self.installation.ticket(port))

        return await asyncio.gather(*(one() for _ in range(SESSIONS)))

    async def type(self, browser: Browser, seed: int) -> None:
        """Send messages, and take the time until they are back."""
        chance = random.Random(seed)
        while not self.stop.is_set():
            await asyncio.sleep(chance.uniform(0, 2 * _PAUSE))
            began = time.perf_counter()
            browser.send(_MESSAGE)
            await browser.until(lambda: len(browser.received) >= len(_MESSAGE))
            self.latencies.taken.append(time.perf_counter() - began)
            self.assertEqual(browser.received, _MESSAGE)
            browser.received.clear()

    async def listen(self, seconds: float) -> Latencies:
        """Take latencies for a while."""
        self.latencies = Latencies()
        await asyncio.sleep(seconds)
        return self.latencies

    async def live_sessions(self) -> float:
        metric = "console_gateway_sessions"
        found = [
            await asyncio.to_thread(self.metric, f'{metric}{{kind="{kind}",state="active"}}')
            for kind in ("vnc", "spice", "serial", "unknown")
        ]
        return sum(found)

    # -- attackers -----------------------------------------------------------------------

    async def attack(self) -> tuple[list[Cut], Latencies, float]:
        """Attack until all are cut; returns how they ended, latencies meanwhile and most memory taken."""
        self.latencies = latencies = Latencies()
        self.cut, self.hello = asyncio.Event(), _client_hello()
        began, quiet, most = time.monotonic(), self.gateway.descriptors(), 0.0
        kinds = (self.slow_head, self.slow_tls, self.half_open, self.slow_reader)
        attackers = []
        for number in range(ATTACKERS):
            source = f"127.1.{number // 250}.{number % 250 + 1}"
            attackers.append(asyncio.ensure_future(kinds[number % len(kinds)](source)))
            await asyncio.sleep(SPREAD / ATTACKERS)
        # Looked at from outside, so that the gateway has nothing to do for it.
        while self.gateway.descriptors() > quiet:
            most = max(most, self.memory())
            self.assertLess(time.monotonic() - began, SPREAD + 2 * LIMIT + IDLE + DRAIN + SLACK)
            await asyncio.sleep(0.5)
        self.assertEqual(0, await asyncio.to_thread(self.metric, "console_gateway_handshakes"))
        self.cut.set()
        cuts = await asyncio.gather(*attackers)
        return [each for some in cuts for each in some], latencies, most

    async def slow_head(self, source: str) -> list[Cut]:
        """A request head that never ends, byte after byte."""
        cuts = []
        for _ in range(2):
            connection = await _Attack.begin(source, self.gateway.plain_port)
            await connection.write(_HEAD)
            cuts.append(await connection.trickle("head", b"x" * 100))
        return cuts

    async def slow_tls(self, source: str) -> list[Cut]:
        """A TLS handshake that does not come to its end."""
        hello, cuts = self.hello, []
        for _ in range(2):
            connection = await _Attack.begin(source, self.gateway.tls_port)
            await connection.write(hello[: len(hello) // 2])
            cuts.append(await connection.trickle("tls", hello[len(hello) // 2 :][:60]))
        return cuts

    async def half_open(self, source: str) -> list[Cut]:
        """A connection on which nothing is said."""
        cuts = []
        for port in (self.gateway.plain_port, self.gateway.tls_port):
            connection = await _Attack.begin(source, port)
            cuts.append(await connection.trickle("silent", b""))
        return cuts

    async def slow_reader(self, source: str) -> list[Cut]:
        """Pages, of which hardly a byte is read."""
        connection = await _Attack.begin(source, self.gateway.plain_port, narrow=True)
        await connection.write(_PAGE * _PAGES)
        answer = await connection.sip(self.cut)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "[: len(answer)]), answer)
        return []

    # -- what is expected -----------------------------------------------------------------

    def judge_cuts(self, cuts: Sequence[Cut]) -> None:
        kinds = {"head": b"HTTP/1.1 408 ", "tls": b"", "silent": b""}
        counts = dict.fromkeys(kinds, 0)
        for cut in cuts:
            counts[cut.kind] += 1
            self.assertGreater(cut.seconds, LIMIT - 0.5, cut)
            self.assertLess(cut.seconds, LIMIT + SLACK, cut)
            self.assertEqual(cut.answer[:13], kinds[cut.kind], cut)
        self.assertEqual(counts, dict.fromkeys(kinds, 2 * ATTACKERS // 4))

    def judge_latencies(self, quiet: Latencies, attacked: Latencies, after: Latencies) -> None:
        for each in (quiet, attacked, after):
            self.assertGreater(len(each.taken), SESSIONS)
        figures = [(each.median, each.tail) for each in (quiet, attacked, after)]
        # Others use the machine, too, and come and go: the worse of two quiet times is what to compare with.
        self.assertLess(attacked.median, 2 * max(quiet.median, after.median) + MEDIAN_FLOOR, figures)
        self.assertLess(attacked.tail, 2 * max(quiet.tail, after.tail) + TAIL_FLOOR, figures)


class _Attack:
    """A connection of an attacker."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()

    @classmethod
    async def begin(cls, source: str, port: int, *, narrow: bool = False) -> _Attack:
        """Connect from an address.

        :param narrow: have as little room as possible for what comes.
        """
        sock = socket.socket()
        sock.setblocking(False)
        if narrow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.bind((source, 0))
        self = cls(sock)
        await self._loop.sock_connect(sock, ("127.0.0.1", port))
        return self

    async def write(self, data: bytes) -> None:
        """Send at once."""
        async with asyncio.timeout(_PATIENCE):
            await self._loop.sock_sendall(self._sock, data)

    async def trickle(self, kind: str, data: bytes) -> Cut:
        """Send a byte now and then, until the connection is cut."""
        answer = b""
        async with asyncio.timeout(_PATIENCE):
            sending = asyncio.ensure_future(self._send_slowly(data))
            with contextlib.suppress(ConnectionError):
                while piece := await self._loop.sock_recv(self._sock, 1000):
                    answer += piece
        return self._over(kind, answer, sending)

    async def sip(self, until: asyncio.Event) -> bytes:
        """Read a few bytes now and then; the end cannot be seen behind what is not read."""
        answer = b""
        with contextlib.suppress(ConnectionError):
            while not until.is_set() and (piece := await self._loop.sock_recv(self._sock, 16)):
                answer += piece
                await asyncio.sleep(_TRICKLE)
        self._sock.close()
        return answer

    async def _send_slowly(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for byte in data:
                await self._loop.sock_sendall(self._sock, bytes([byte]))
                await asyncio.sleep(_TRICKLE)

    def _over(self, kind: str, answer: bytes, sending: asyncio.Future[None] | None = None) -> Cut:
        if sending is not None:
            sending.cancel()
        self._sock.close()
        return Cut(kind, time.monotonic() - self._began, answer[:100])


def _client_hello() -> bytes:
    """How a TLS client begins."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class FloodTests(AttackedTestCase):
    changes: ClassVar[dict[str, Table]] = {
        "abuse": {
            "exempt": [],
            "addresses": REMEMBERED,
            "failed_tickets": 3,
            "failed_tickets_rate": 0.001,
            "handshakes": 20,
            "handshakes_rate": 0.001,
        }
    }

    def ask(self, source: str, data: bytes) -> bytes:
        """The beginning of an answer; nothing when the connection is closed without one."""
        with socket.socket() as sock:
            sock.settimeout(10)
            sock.bind((source, 0))
            answer = b""
            with contextlib.suppress(ConnectionError):
                sock.connect(("127.0.0.1", self.gateway.plain_port))
                sock.sendall(data)
                while b"\r\n\r\n" not in answer and (piece := sock.recv(4096)):
                    answer += piece
            return answer

    def test_one_address(self) -> None:
        good = upgrade("/" + self.installation.ticket(1))
        bad = upgrade("/" + "QmFk" * 80)
        here, there = "127.7.0.1", "127.7.0.2"
        for _ in range(3):
            self.assertIn(b"HTTP/1.1 401 ", self.ask(here, bad))
        for request in (good, bad, upgrade("/" + "QmFk" * 90)):
            answer = self.ask(here, request)
            self.assertIn(b"HTTP/1.1 429 ", answer)
            self.assertIsNotNone(re.search(rb"\r\nRetry-After: (9[0-9]{2}|1000)\r\n", answer), answer)
        self.assertIn(b"HTTP/1.1 101 ", self.ask(there, good))
        self.assertEqual(self.metric('console_gateway_requests_refused_total{reason="too-many-failures"}'), 3)

    def test_garbage_of_one_address(self) -> None:
        here, there = "127.8.0.1", "127.8.0.2"
        name = 'console_gateway_connections_closed_total{reason="client-rate"}'
        before = self.metric(name)
        page = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(30):
            self.assertIn(b"HTTP/1.1 200 ", self.ask(here, page))
        answers = [self.ask(here, b"\x16\x03\x01 garbage\r\n\r\n") for _ in range(40)]
        self.assertEqual([answer[:13] for answer in answers], [b"HTTP/1.1 400 "] * 20 + [b""] * 20)
        self.assertEqual(self.ask(here, page), b"")
        self.assertIn(b"HTTP/1.1 200 ", self.ask(there, page))
        self.assertEqual(self.metric(name) - before, 21)
        lines = re.findall(rf"connection closed client={re.escape(here)} .*", self.gateway.output)
        self.assertEqual(len(lines), 1)
        self.assertIn("abuse.handshakes", lines[0])

    def test_many_addresses(self) -> None:
        """A flood of bad tickets takes bounded memory, and locks out nobody."""
        good = upgrade("/" + self.installation.ticket(1))
        bad = upgrade("/" + "QmFk" * 80)

        def flood(network: int) -> None:
            sources = [f"127.{network}.{number // 250}.{number % 250 + 1}" for number in range(STRANGERS)]
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda source: self.ask(source, bad)[:13], sources))
            self.assertEqual(set(answers), {b"HTTP/1.1 401 "})

        flood(20)
        before = self.memory()
        flood(21)
        self.assertLess(self.memory() - before, 8)
        for use in ("failed-tickets", "handshakes"):
            count = self.metric(f'console_gateway_watched_addresses{{for="{use}"}}')
            self.assertTrue(REMEMBERED // 2 < count <= REMEMBERED, count)
        self.assertIn(b"HTTP/1.1 101 ", self.ask("127.22.0.1", good))
        self.assertIn(b"HTTP/1.1 101 ", self.ask("127.20.0.1", good))
