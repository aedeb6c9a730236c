"""Many targets that fall silent in the middle of a handshake, beside sessions that must not notice."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final

import attrs
import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from gateway.reasons import EndReason
from tests.integration.case import GatewayTestCase, Table
from tests.support.stalling import KINDS, Consoles

pytestmark = pytest.mark.alone

STALLED: Final = 200
SESSIONS: Final = 1000
HANDSHAKE_TIMEOUT: Final = 3.0
SILENCE: Final = 2.0
SLACK: Final = 10.0
"""What a busy machine may take longer."""
NOTICED: Final = 10.0
"""Seconds without an echo that no busy machine explains. One kind of targets waited for, one after the other,
would take forty times ``HANDSHAKE_TIMEOUT``."""

_PATIENCE: Final = 20.0
_AT_ONCE: Final = 50
"""Connections that are being opened."""
_PAUSE: Final = 1.5
"""Between two messages of a session, on average."""
_FILES: Final = 8192
_MARGIN: Final = 8
"""A handshake may be so many bytes shorter than another of its kind: signatures vary."""
_PATTERN: Final = random.Random(4).randbytes(65521)
_PATH: Final = "/apis/subresources.kubevirt.io/v1/namespaces/a/virtualmachineinstances/b/vnc"


class Browser(asyncio.Protocol):
    """A WebSocket client.

    :ivar received: payload of all messages.
    """

    def __init__(self, uri: str) -> None:
        self._protocol = ClientProtocol(parse_uri(uri), max_size=None)
        self._changed = asyncio.Event()
        self._over = False
        self.response: Response | None = None
        self.received = bytearray()

    @classmethod
    async def open(cls, port: int, ticket: str) -> Browser:
        """Connect and do the opening handshake."""
        loop = asyncio.get_running_loop()
        _, self = await loop.create_connection(
            lambda: cls(f"ws://localhost:{port}/{ticket}"), "127.0.0.1", port
        )
        await self.until(lambda: self.response is not None)
        assert self._protocol.handshake_exc is None, self.response
        return self

    @property
    def close(self) -> tuple[int, str] | None:
        """Code and reason of the close frame received."""
        close = self._protocol.close_rcvd
        return (close.code, close.reason) if close is not None else None

    @property
    def over(self) -> bool:
        """The connection has ended."""
        return self._over

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds, or until it never can."""
        async with asyncio.timeout(_PATIENCE):
            while not condition() and not self._over:
                self._changed.clear()
                await self._changed.wait()

    def send(self, data: bytes) -> None:
        self._protocol.send_binary(data)
        self._flush()

    async def leave(self) -> None:
        """Do the close handshake."""
        if not self._over:
            self._protocol.send_close(1000)
            self._flush()
            await self.until(lambda: self._over)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.response = event
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                self.received += event.data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._changed.set()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()


@attrs.frozen
class End:
    """How a session ended, and how long that took."""

    seconds: float
    close: tuple[int, str] | None


class Typist:
    """A session whose every byte is compared with what was sent.

    :ivar slowest: seconds of the longest wait for an echo.
    """

    def __init__(self, browser: Browser, seed: int) -> None:
        self.browser = browser
        self._chance = random.Random(seed)
        self.echoed = 0
        self.slowest = 0.0

    async def type(self) -> None:
        """Send a piece of the pattern, and wait for all of it."""
        begin = self._chance.randrange(len(_PATTERN))
        data = _PATTERN[begin : begin + self._chance.choice((1, 30, 500, 4000))]
        browser = self.browser
        began = time.monotonic()
        browser.send(data)
        await browser.until(lambda: len(browser.received) >= len(data))
        self.slowest = max(self.slowest, time.monotonic() - began)
        assert browser.received == data, (len(browser.received), len(data), browser.close)
        browser.received.clear()
        self.echoed += len(data)

    async def type_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.type()
            await asyncio.sleep(self._chance.uniform(0, 2 * _PAUSE))


class StalledTargetTests(GatewayTestCase):
    changes: ClassVar[Mapping[str, Table]] = {
        "limits": {"sessions_per_client": 5000, "users_per_console": 5000},
        "security": {"ca": "ca.pem", "handshake_timeout": HANDSHAKE_TIMEOUT, "silence": SILENCE},
    }

    @classmethod
    def setUpClass(cls) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _FILES:
            # The gateway inherits it.
            wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            cls.addClassCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        super().setUpClass()

    def test_nobody_notices(self) -> None:
        # In a thread of its own: where browser tests came before, this one has a loop that Playwright left.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self.act()).result()

    async def act(self) -> None:
        pki = self.installation.pki
        async with Consoles(pki.certificate_file, pki.key_file) as self.consoles:
            sizes = {kind: await self.rehearse(kind) for kind in KINDS}
            quiet = await self.settled()
            typists = await self.open_sessions()
            busy = self.gateway.descriptors()
            self.assertGreaterEqual(busy, quiet + 2 * SESSIONS)
            stop = asyncio.Event()
            typing = [asyncio.ensure_future(typist.type_until(stop)) for typist in typists]
            ends = await self.stall(sizes)
            await self.until(lambda: self.gateway.descriptors() == busy)
            stop.set()
            await asyncio.gather(*typing)
            self.judge(ends)
            # All of them are still there.
            await asyncio.gather(*(typist.type() for typist in typists))
            slowest = max(typist.slowest for typist in typists)
            self.assertLess(slowest, NOTICED, "somebody had to wait for a stalled target")
            await asyncio.gather(*(typist.browser.leave() for typist in typists))
            await self.until(lambda: self.gateway.descriptors() == quiet)

    async def rehearse(self, kind: str) -> int:
        """Have a handshake succeed; returns how many bytes of the server it takes."""
        browser = await self.begin(kind)
        # An RFB client that takes security type None; to the others it is three messages for the console.
        for data in (b"RFB 003.008\n", b"\1", b"\1"):
            browser.send(data)
        await self.until(lambda: self.consoles.finished[kind] == 1)
        size = self.consoles.carried[kind]
        await browser.leave()
        self.assertGreater(size, 500)
        return size

    async def open_sessions(self) -> list[Typist]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> Typist:
            async with gate:
                typist = Typist(await self.begin("echo"), number)
                await typist.type()
                return typist

        return await asyncio.gather(*map(one, range(SESSIONS)))

    async def stall(self, sizes: Mapping[str, int]) -> list[End]:
        """Open sessions whose targets fall silent, and wait for their ends."""
        each = STALLED // len(KINDS)
        for kind, size in sizes.items():
            self.consoles.limits[kind] = [(size - _MARGIN) * number // (each - 1) for number in range(each)]
        ends = await asyncio.gather(*(self.see_end(kind) for kind in KINDS for _ in range(each)))
        self.assertEqual({kind: [] for kind in KINDS}, self.consoles.limits)
        return ends

    async def see_end(self, kind: str) -> End:
        browser = await self.begin(kind)
        began = time.monotonic()
        await browser.until(lambda: browser.over)
        return End(time.monotonic() - began, browser.close)

    def judge(self, ends: list[End]) -> None:
        self.assertEqual(STALLED, len(ends))
        reason = EndReason.TARGET_HANDSHAKE_TIMEOUT
        self.assertEqual({(reason.code, reason.public)}, {end.close for end in ends})
        times = sorted(end.seconds for end in ends)
        self.assertGreater(times[0], HANDSHAKE_TIMEOUT - 0.5)
        self.assertLess(times[-1], SILENCE + HANDSHAKE_TIMEOUT + SLACK)
        # The rehearsals are all that was ever finished.
        self.assertEqual(dict.fromkeys(KINDS, 1), self.consoles.finished)

    async def begin(self, kind: str) -> Browser:
        path, token = (_PATH, "token") if kind == "websocket" else (None, None)
        ticket = self.installation.ticket(
            self.consoles.ports[kind], tls=kind != "echo", path=path, token=token
        )
        return await Browser.open(self.gateway.plain_port, ticket)

    async def settled(self) -> int:
        """The gateway's descriptors when nothing is left of what was."""
        count = -1
        while count != self.gateway.descriptors():
            count = self.gateway.descriptors()
            await asyncio.sleep(0.2)
        return count

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)
