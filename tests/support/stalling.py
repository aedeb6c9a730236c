"""Console servers in asyncio that do their handshakes well, behind pipes that can run dry at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from gateway.targets.upgrade import CONSOLE_SUBPROTOCOL

__all__ = ["KINDS", "Consoles", "Echo"]

KINDS: Final = ("tls-1.2", "tls-1.3", "vencrypt", "websocket")
"""TLS from the first byte, VeNCrypt with X509None, and WebSocket over TLS."""

_VERSION: Final = b"RFB 003.008\n"
_CHUNK: Final = 65536

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Echo(asyncio.Protocol):
    """Sends back whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class Consoles:
    """All servers, each behind a pipe; an asynchronous context manager.

    :ivar ports: where the pipe of each kind begins; ``echo`` is a server without any handshake.
    :ivar limits: by kind, how many bytes the next connections get before their pipe runs dry; it never does
        where none is left.
    :ivar carried: by kind, bytes that the last pipe carried to its client.
    :ivar finished: by kind, handshakes behind which the client said something.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._stack = contextlib.AsyncExitStack()
        self.ports: dict[str, int] = {}
        self.limits: dict[str, list[int]] = {kind: [] for kind in KINDS}
        self.carried = dict.fromkeys(KINDS, 0)
        self.finished = dict.fromkeys(KINDS, 0)

    async def __aenter__(self) -> Consoles:
        versions = {"tls-1.2": ssl.TLSVersion.TLSv1_2, "tls-1.3": ssl.TLSVersion.TLSv1_3}
        for kind, version in versions.items():
            await self._begin(kind, await self._serve(self._tls(kind), self._context(version)))
        await self._begin("vencrypt", await self._serve(self._vencrypt))
        websocket = await self._stack.enter_async_context(
            serve(
                self._websocket,
                "127.0.0.1",
                0,
                ssl=self._context(ssl.TLSVersion.TLSv1_3),
                subprotocols=[Subprotocol(CONSOLE_SUBPROTOCOL)],
                compression=None,
                ping_interval=None,
                open_timeout=None,
            )
        )
        await self._begin("websocket", next(iter(websocket.sockets)).getsockname()[1])
        echo = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1000)
        self._stack.callback(echo.close)
        self.ports["echo"] = echo.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- what the servers do -------------------------------------------------------------

    def _tls(self, kind: str) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._listen(kind, reader)

        return handle

    async def _vencrypt(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What is said, and how many bytes are the answer.
        said = (_VERSION, 12), (b"\1\x13", 1), (b"\0\2", 2), (b"\0\1" + (260).to_bytes(4, "big"), 4)
        for data, answer in said:
            writer.write(data)
            await reader.readexactly(answer)
        writer.write(b"\1")
        await writer.start_tls(self._context(ssl.TLSVersion.TLSv1_3), ssl_handshake_timeout=60)
        writer.write(b"\0\0\0\0")
        await self._listen("vencrypt", reader)

    async def _websocket(self, connection: ServerConnection) -> None:
        await connection.recv()
        self.finished["websocket"] += 1
        await connection.wait_closed()

    async def _listen(self, kind: str, reader: asyncio.StreamReader) -> None:
        """Behind the handshake, say nothing more."""
        if await reader.read(1):
            self.finished[kind] += 1
            while await reader.read(_CHUNK):
                pass

    # -- helpers -------------------------------------------------------------------------

    def _context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(*self._files)
        # Nothing is sent behind the handshake, so that all of it is needed.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        return context

    async def _serve(self, handle: Handler, context: ssl.SSLContext | None = None) -> int:
        async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError):
                await handle(reader, writer)
            writer.close()

        options = {"ssl_handshake_timeout": 60} if context else {}
        server = await asyncio.start_server(quietly, "127.0.0.1", 0, ssl=context, **options)
        self._stack.callback(server.close)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _begin(self, kind: str, port: int) -> None:
        """Put a pipe in front of a server."""

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            left = self.limits[kind].pop() if self.limits[kind] else None
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            self.carried[kind] = 0
            back = asyncio.ensure_future(self._carry_back(kind, inner_reader, writer, left))
            with contextlib.suppress(OSError):
                while data := await reader.read(_CHUNK):
                    inner_writer.write(data)
            back.cancel()
            inner_writer.close()
            writer.close()

        server = await asyncio.start_server(carry, "127.0.0.1", 0, backlog=1000)
        self._stack.callback(server.close)
        self.ports[kind] = server.sockets[0].getsockname()[1]

    async def _carry_back(
        self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                self.carried[kind] += len(data)
                writer.write(data)
