"""A stand-in for KubeVirt's consoles: ``python -m tests.support.kubevirt --help``.

The WebSocket server of an independent library, behind TLS, in a process of its
own.  It checks path and bearer token as the Kubernetes API does, and then
behaves in one of the ways of :data:`BEHAVIOURS`.  On standard output it says
where it listens and how each connection ended.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import http
import random
import re
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import attrs
import click
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gateway.demo.pki import make_pki
from tests.support.process import ROOT, GatewayProcess

__all__ = ["BEHAVIOURS", "PATH", "SCRAPS", "TOKEN", "KubeVirt", "blast_pattern"]

PATH = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/testvm/vnc"
TOKEN = "eyJhbGciOiJub25lIn0.a-token_of~the/tests+."
SCRAPS = [b"RFB 003.008\n", b"", b"\x00" * 125, b"x", b"\xff" * 126, b"end"]
"""Messages that share one TLS record."""

_BEARER = "base64url.bearer.authorization.k8s.io."
_PLAIN = Subprotocol("plain.kubevirt.io")
_MEBI = 1 << 20
_LISTENS = r"listens on \S*:(\d+)$"


@functools.cache
def blast_pattern() -> bytes:
    """A mebibyte of noise, which the behaviour ``blast`` repeats."""
    return random.Random(4).randbytes(_MEBI)


class KubeVirt:
    """The stand-in as a process; a context manager that stops it."""

    def __init__(self, certificate: Path, key: Path, behaviour: str = "echo", *options: str) -> None:
        """
        :param certificate: what it shows, and the way up to a root (PEM).
        :param key: the certificate's key (PEM).
        :param behaviour: a name in :data:`BEHAVIOURS`.
        :param options: more of the command line.
        """
        identity = ["--certificate", str(certificate), "--key", str(key)]
        command = [sys.executable, "-m", "tests.support.kubevirt", *identity, *options, behaviour]
        self._process = GatewayProcess(ROOT, command=command)
        self.port = int(self._process.wait_for(_LISTENS)[1])

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self._process.output

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until ``pattern`` is in :attr:`output`."""
        return self._process.wait_for(pattern)

    def close(self) -> None:
        self._process.stop()

    def __enter__(self) -> KubeVirt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@attrs.frozen
class _Options:
    path: str
    token: str
    mebibytes: int
    code: int
    reason: str
    console: str


async def _echo(connection: ServerConnection, options: _Options) -> None:
    """Send back every message as it came."""
    async for message in connection:
        await connection.send(message)


async def _blast(connection: ServerConnection, options: _Options) -> None:
    """Send a lot of noise in messages of many sizes, partly in fragments, and echo what comes after it."""
    chance = random.Random(5)
    for _ in range(options.mebibytes):
        place = 0
        while place < _MEBI:
            size = chance.choice((1, 125, 126, 4096, 65535, 65536, 300_000))
            piece = blast_pattern()[place : place + size]
            place += size
            cut = chance.randrange(len(piece) + 1)
            await connection.send([piece[:cut], piece[cut:]] if chance.random() < 0.3 else piece)
    await _echo(connection, options)


async def _records(connection: ServerConnection, options: _Options) -> None:
    """Send several small messages in one TLS record, with a ping between them, and echo."""
    frames = [Frame(Opcode.BINARY, scrap) for scrap in SCRAPS]
    frames.insert(3, Frame(Opcode.PING, b"between"))
    connection.transport.write(b"".join(frame.serialize(mask=False) for frame in frames))
    await _echo(connection, options)


async def _ping(connection: ServerConnection, options: _Options) -> None:
    """Ping, send ``pong`` when the answer is here, and echo."""
    await (await connection.ping(b"are you there"))
    await connection.send(b"pong")
    await _echo(connection, options)


async def _close(connection: ServerConnection, options: _Options) -> None:
    """Send ``bye`` and close with a code and a reason."""
    await connection.send(b"bye")
    await connection.close(options.code, options.reason)


async def _drop(connection: ServerConnection, options: _Options) -> None:
    """Send ``bye`` and end the connection without a close frame, as KubeVirt does when a machine stops."""
    await connection.send(b"bye")
    connection.transport.close()


async def _relay(connection: ServerConnection, options: _Options) -> None:
    """Be the way to a console server on TCP."""
    host, _, port = options.console.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))

    async def to_client() -> None:
        while data := await reader.read(65536):
            await connection.send(data)
        await connection.close()

    sending = asyncio.ensure_future(to_client())
    try:
        async for message in connection:
            assert isinstance(message, bytes)
            writer.write(message)
            await writer.drain()
    finally:
        sending.cancel()
        writer.close()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, ConnectionClosed):
            await sending


BEHAVIOURS: dict[str, Callable[[ServerConnection, _Options], Awaitable[None]]] = {
    "echo": _echo,
    "blast": _blast,
    "records": _records,
    "ping": _ping,
    "close": _close,
    "drop": _drop,
    "relay": _relay,
}
"""What can be done with a connection."""


def _check(options: _Options, connection: ServerConnection, request: Request) -> Response | None:
    """Turn away who asks for another path or has not the token."""
    if request.path != options.path:
        return connection.respond(http.HTTPStatus.NOT_FOUND, "no such console\n")
    offers = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
    bearers = [offer.strip()[len(_BEARER) :] for offer in offers if offer.strip().startswith(_BEARER)]
    expected = base64.urlsafe_b64encode(options.token.encode()).rstrip(b"=").decode()
    if bearers != [expected]:
        return connection.respond(http.HTTPStatus.UNAUTHORIZED, "Unauthorized\n")
    return None


async def _run(options: _Options, behaviour: str, address: tuple[str, int], context: ssl.SSLContext) -> None:
    async def handle(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            await BEHAVIOURS[behaviour](connection, options)
        await connection.wait_closed()
        click.echo(f"ended code={connection.close_code}")

    server: Server = await serve(
        handle,
        *address,
        ssl=context,
        process_request=lambda connection, request: _check(options, connection, request),
        subprotocols=[_PLAIN],
        max_size=None,
        ping_interval=None,
        server_header=None,
    )
    host, port = server.sockets[0].getsockname()[:2]
    click.echo(f"listens on {host}:{port}")
    await server.serve_forever()


@click.command()
@click.argument("behaviour", type=click.Choice(list(BEHAVIOURS)))
@click.option("--certificate", type=click.Path(), help="Server certificate (PEM); without it one is made.")
@click.option("--key", type=click.Path(), help="Its key (PEM).")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, help="Port to listen on; any that is free when not given.")
@click.option("--path", default=PATH, show_default=True, help="The only path that is served.")
@click.option("--token", default=TOKEN, show_default=True, help="The only bearer token that is accepted.")
@click.option("--mebibytes", default=8, show_default=True, help="How much to blast.")
@click.option("--code", default=1000, show_default=True, help="Close code to close with.")
@click.option("--reason", default="", help="Close reason to close with.")
@click.option("--console", default="127.0.0.1:5900", show_default=True, help="HOST:PORT to relay to.")
def main(
    behaviour: str, certificate: str | None, key: str | None, host: str, port: int, **rest: object
) -> None:
    """Serve consoles as KubeVirt does, over TLS, until stopped."""
    if certificate is None or key is None:
        pki = make_pki(Path(tempfile.mkdtemp()), ["localhost", "127.0.0.1", "::1"])
        certificate, key = str(pki.certificate_file), str(pki.key_file)
        click.echo(f"trust {pki.ca_file}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(_Options(**rest), behaviour, (host, port), context))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
