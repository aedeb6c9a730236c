"""Ten thousand upgrades, no two of them alike: nothing that a stranger makes up stays in memory."""

from __future__ import annotations

import contextlib
import datetime
import json
import random
import re
import signal
import socket
import ssl
import sys
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Final

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.tickets import Target, encode_ticket
from tests.integration.case import InstallationTestCase, Table, changed_settings, eventually
from tests.integration.control import UnixConnection
from tests.support.http import read_answer, read_rest, upgrade
from tests.support.logfile import LoggedGateway
from tests.support.pki import Installation

pytestmark = pytest.mark.alone

WARM_UP: Final = (2_000, 2_000)
"""Requests before: while nobody is let in, and while they are.

Refusals are remembered, up to a number, and so are the latest events.
"""
REQUESTS: Final = 10_000
AT_ONCE: Final = 16
BLOCKS: Final = 2_500
"""Pieces of memory that Python may have allocated more after the requests than before.

Less than half of that is chance.  What is kept of each ticket or session, even if only a host or an address,
is 3,500 more.
"""
GROWTH: Final = 3.0
"""MiB of anonymous memory that may be more: chance, and the cache of the ledger's file."""

PROGRAM: Final = """
import gc, os, signal, sys
from gateway.cli import main

def count(*_):
    gc.collect()
    os.write(1, b"blocks %d\\n" % sys.getallocatedblocks())

signal.signal(signal.SIGRTMIN, count)
main(prog_name="console-gateway")
"""
"""The gateway's command, which also counts its memory when it is told to."""

_MIB: Final = 1024 * 1024
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@attrs.frozen
class Knock:
    """What one client sends, and from where."""

    address: str
    pieces: tuple[bytes, ...]
    tls: bool
    leaves: bool
    """It does not wait for an answer."""


class Strangers:
    """Makes up clients: their addresses, headers, tickets and what the tickets say."""

    def __init__(self, installation: Installation, seed: int) -> None:
        self._chance = random.Random(seed)
        self._installation = installation
        self._stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._used: list[str] = []
        # Words are pieces of it, because making each of single letters takes long.
        self._text = "".join(self._chance.choices(_LETTERS, k=1_000_000))

    def knock(self, again: float) -> Knock:
        """:param again: the share of tickets that were shown before; with 0, none will be shown again."""
        chance = self._chance
        fields: dict[str, str | None] = {
            "Host": self._name(),
            "User-Agent": self._word(200),
            "X-Forwarded-For": self._address(),
            f"X-{self._word(20)}": self._word(100),
        }
        if chance.random() < 0.8:
            fields["Origin"] = f"https://{self._name()}:{chance.randrange(1, 65536)}"
        if chance.random() < 0.3:
            fields["Sec-WebSocket-Protocol"] = f"binary, {self._word(40)}"
        request = upgrade("/" + self._path(again), fields)
        pieces: tuple[bytes, ...] = (request,)
        match chance.randrange(20):
            case 0 if len(request) < 16000:
                # A page on the same connection first, as reverse proxies do it.
                page = f"GET /{self._word(300)} HTTP/1.1\r\nHost: {self._name()}\r\n\r\n"
                pieces = (page.encode("ascii"), request)
            case 1:
                pieces = (request[: chance.randrange(1, len(request))],)
        leaves = len(pieces[-1]) < len(request) or chance.random() < 0.05
        return Knock(self._address(), pieces, chance.random() < 0.03, leaves)

    def _path(self, again: float) -> str:
        chance = self._chance
        sort = chance.randrange(20)
        if sort < 13:
            if self._used and chance.random() < again:
                # What was used as often as it may be is dropped from the list.
                return self._used.pop(chance.randrange(len(self._used)))
            ticket = self._ticket()
            if again:
                self._used += [ticket] * chance.choice((0, 1, 3))
            return ticket
        if sort == 13:
            return self._ticket(key=self._stranger)
        if sort == 14:
            return self._ticket(begin=-9000)
        if sort == 15:
            return self._ticket(begin=9000)
        if sort == 16:
            good = self._ticket()
            place = chance.randrange(len(good))
            return good[:place] + chance.choice(_LETTERS) + good[place + 1 :]
        if sort == 17:
            return "/".join(self._word(50) for _ in range(chance.randint(1, 8)))
        return self._word(chance.choice((200, 2000, 20000)))

    def _ticket(self, *, key: rsa.RSAPrivateKey | None = None, begin: int = -5) -> str:
        """A ticket for a console where nobody can go."""
        chance = self._chance
        # Names that are not allowed, an address that is not, a port that is not, and nobody listening.
        host, port = chance.choice(
            (
                *[(self._name(), 1)] * 4,
                (f"192.0.2.{chance.randrange(256)}", 1),
                (self._address(), chance.randrange(2, 65536)),
                (self._address(), 1),
            )
        )
        subject = f"{self._word(chance.randint(1, 200))} {self._word(20)}" if chance.random() < 0.7 else None
        pki = self._installation.pki
        return encode_ticket(
            key or pki.engine_key,
            Target(host, port, tls=chance.random() < 0.3),
            certificate=pki.engine_certificate if chance.random() < 0.2 else None,
            valid_from=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=begin),
            lifetime=datetime.timedelta(seconds=600),
            subject=subject,
        )

    def _word(self, length: int) -> str:
        start = self._chance.randrange(len(self._text) - length)
        return self._text[start : start + length]

    def _name(self) -> str:
        labels = (self._word(self._chance.randint(40, 60)) for _ in range(4))
        return ".".join((*labels, "example"))

    def _address(self) -> str:
        number = self._chance.randrange(2, 1 << 24) & 0xFFFFFE
        return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@attrs.frozen
class Reading:
    """What a gateway holds."""

    blocks: int
    """Pieces of memory of Python."""
    memory: float
    """Anonymous memory, in MiB."""
    series: frozenset[str]
    """Names and labels of the metrics."""


class FlatMemoryTests(InstallationTestCase):
    """A gateway with everything that keeps an eye on requests: audit, metrics, control API, ledger, log."""

    gateway: ClassVar[LoggedGateway]
    ports: ClassVar[tuple[int, int]]
    metrics_port: ClassVar[int]
    context: ClassVar[ssl.SSLContext]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = cls.installation.directory
        changes: dict[str, Table] = {
            "targets": {"networks": ["127.0.0.0/8"], "names": ["*.elsewhere.example"], "ports": ["1"]},
            "uses": {"vnc": None, "spice": None, "serial": None, "file": "uses.sqlite"},
            "relay": {"close_timeout": None},
            "control": {"listen": [f"unix:{directory}/control.sock"]},
            "metrics": {"listen": ["tcp:0:interface=127.0.0.1"]},
            "audit": {"file": "audit.jsonl"},
            "log": {"file": "gateway.log"},
        }
        settings = changed_settings(cls.installation, "settings.toml", changes)
        command = [sys.executable, "-c", PROGRAM, "run", "--config", str(settings)]
        cls.gateway = LoggedGateway(settings, directory / "gateway.log", command=command)
        cls.addClassCleanup(cls.gateway.stop)
        cls.gateway.ready()
        cls.ports = (cls.gateway.plain_port, cls.gateway.tls_port)
        cls.metrics_port = int(cls.gateway.wait_for(r"metrics are served on \S+:(\d+) ")[1])
        cls.context = cls.installation.client_context()

    def test_ten_thousand_upgrades(self) -> None:
        strangers = Strangers(self.installation, seed=20)
        self.call("admission", {"admitting": False})
        answers = self.send(strangers, WARM_UP[0], again=0)
        self.call("admission", {"admitting": True})
        answers += self.send(strangers, WARM_UP[1])
        before = self.reading()
        answers += self.send(strangers, REQUESTS)
        after = self.reading()

        self.assertLess(after.blocks - before.blocks, BLOCKS)
        self.assertLess(after.memory - before.memory, GROWTH)
        self.assertEqual(after.series - before.series, set())

        # It was what it was meant to be.
        self.assertEqual(answers.total(), sum(WARM_UP) + REQUESTS)
        for status in (101, 401, 403, 404, 503):
            self.assertGreater(answers[status], REQUESTS // 100, answers)
        self.assertGreater(answers[101], REQUESTS // 3, answers)
        self.assertLessEqual(set(answers), {0, 101, 401, 403, 404, 503}, answers)
        records = Counter(
            json.loads(line)["event"] for line in self.file("audit.jsonl").read_bytes().splitlines()
        )
        self.assertEqual(records["session-opened"], records["session-ended"])
        self.assertGreaterEqual(records["session-opened"], answers[101])
        self.assertGreater(records["request-refused"], REQUESTS // 5)
        self.assertRegex(self.gateway.output, r"\A(blocks \d+\n){2}\Z")
        self.assertNotIn("Traceback", self.gateway.log.read_text())

    def file(self, name: str) -> Path:
        return self.installation.directory / name

    # -- the gateway, from outside ------------------------------------------------------

    def reading(self) -> Reading:
        """What it holds when everybody has left."""

        def at_rest() -> bool:
            values = self.metrics()
            sessions = sum(
                value for name, value in values.items() if name.startswith("console_gateway_sessions{")
            )
            return not sessions and not values["console_gateway_handshakes"]

        eventually(at_rest, 20)
        # Everybody who looks at it, as often as before.
        for path in ("status", "sessions", "history?limit=1000", "health"):
            self.call(path)
        series = frozenset(self.metrics())
        return Reading(self.blocks(), self.memory(), series)

    def call(self, path: str, body: object = None) -> None:
        """Have the control API do something."""
        connection = UnixConnection(self.file("control.sock"))
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        connection.request(method, f"/api/v1/{path}", data, {"Content-Type": "application/json"})
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def blocks(self) -> int:
        before = len(self.gateway.output)
        self.gateway.signal(signal.SIGRTMIN)
        eventually(lambda: self.gateway.output.endswith("\n") and len(self.gateway.output) > before)
        return int(self.gateway.output.split()[-1])

    def memory(self) -> float:
        rollup = Path(f"/proc/{self.gateway.pid}/smaps_rollup").read_text(encoding="ascii")
        size = re.search(r"(?m)^Pss_Anon:\s+(\d+) kB$", rollup)
        assert size is not None, rollup
        return int(size[1]) * 1024 / _MIB

    # -- the strangers ------------------------------------------------------------------

    def send(self, strangers: Strangers, count: int, again: float = 0.45) -> Counter[int]:
        """So many requests, some at a time; how they were answered, by status (0: not at all)."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return Counter(pool.map(self.do, (strangers.knock(again) for _ in range(count))))

    def do(self, knock: Knock) -> int:
        """Be one of them; the status that the upgrade was answered with, or 0."""
        port = self.ports[knock.tls]
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20, (knock.address, 0)))
            if knock.tls:
                sock = stack.enter_context(self.context.wrap_socket(sock, server_hostname="localhost"))
            with contextlib.suppress(ConnectionError):
                rest = b""
                for piece in knock.pieces[:-1]:
                    sock.sendall(piece)
                    rest = read_answer(sock, rest)[1]
                sock.sendall(knock.pieces[-1])
                if knock.leaves:
                    return 0
                answer, rest = read_answer(sock, rest)
                if answer.status == 101:
                    self.see_off(sock, rest)
                return answer.status
        return 0

    def see_off(self, sock: socket.socket, data: bytes) -> None:
        """Be told that there is no such console for us, and say goodbye."""
        while len(data) < 4:
            data += sock.recv(1000)
        self.assertEqual(data[0], 0x88, data)
        sock.sendall(b"\x88\x82\0\0\0\0" + data[2:4])
        read_rest(sock)
