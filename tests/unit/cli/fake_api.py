"""A stand-in for the control API: it answers what a test tells it to, and notes what it was asked."""

from __future__ import annotations

import json
import shutil
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import attrs
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from gateway.cli import main

__all__ = ["ApiCase", "FakeApi", "Reply", "Request", "event", "session"]

STARTED = 1893456000.0


def session(**changes: object) -> dict[str, object]:
    """A session as the API tells of it."""
    return {
        "id": "4f1f0c5be2aa",
        "ticket": "4bed56bba902e848",
        "subject": "alice@example.com",
        "client": "192.0.2.7",
        "target": "hypervisor1.example.com:5900",
        "kind": "vnc",
        "attach": "share",
        "state": "active",
        "security": None,
        "started": STARTED,
        "duration": 192.5,
        "idle": 12.25,
        "to_target": 2048,
        "to_client": 5 * 1048576,
        "messages_to_target": 17,
        "messages_to_client": 400,
    } | changes


def event(number: int, name: str, **fields: object) -> bytes:
    """An event on the wire."""
    data = {"number": number, "time": STARTED + number, "type": name} | fields
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()


@attrs.frozen
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Reply:
    content: bytes
    status: int = 200
    kind: str = "application/json"
    length: int | None = None
    """Said in place of the true one; -1 for none."""

    @classmethod
    def of(cls, value: object, status: int = 200) -> Reply:
        return cls(json.dumps(value).encode(), status)


Answerer = Callable[[Request], Reply]


class _Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
        api: FakeApi = self.server.api
        api.requests.append(request)
        reply = api.answer(request)
        self.close_connection = True
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        if reply.length != -1:
            self.send_header("Content-Length", str(reply.length or len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 20


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 20


class FakeApi:
    """Listens at a Unix socket, or on loopback TCP.

    :ivar requests: what it was asked, in order.
    :ivar replies: answers by method and path without query; a callable makes one, a list is used up.
    """

    def __init__(self, path: Path | None = None, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.replies: dict[str, Reply | Answerer | list[Reply]] = {}
        server: Any = (
            _TcpServer(("127.0.0.1", 0), _Handler) if path is None else _UnixServer(str(path), _Handler)
        )
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None
        server.api = self
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    def answer(self, request: Request) -> Reply:
        name = f"{request.method} {request.path.partition('?')[0].removeprefix('/api/v1/')}"
        reply = self.replies.get(name)
        if isinstance(reply, list):
            reply = reply.pop(0) if len(reply) > 1 else reply[0]
        if callable(reply):
            reply = reply(request)
        if reply is None:
            error = {"code": "not-found", "message": "There is nothing here", "remedy": "See the API."}
            return Reply.of({"error": error}, 404)
        return reply

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class ApiCase(SynchronousTestCase):
    """A stand-in at a Unix socket, and commands that ask it."""

    def setUp(self) -> None:
        # Not the test's own directory: the path of a socket has to be short.
        self.folder = Path(tempfile.mkdtemp(prefix="console-gateway-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.socket = self.folder / "control.sock"
        self.api = FakeApi(self.socket)
        self.addCleanup(self.api.close)

    def run_cli(self, *arguments: str, stdin: str | None = None, **environ: str) -> Result:
        where = {"CONSOLE_GATEWAY_CONTROL": str(self.socket), "TZ": "UTC", "COLUMNS": "80"}
        result = CliRunner().invoke(main, arguments, input=stdin, env={**where, **environ})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    def good(self, *arguments: str, stdin: str | None = None, **environ: str) -> str:
        """What a command prints that has to succeed."""
        result = self.run_cli(*arguments, stdin=stdin, **environ)
        assert result.exit_code == 0, result.output
        text: str = result.stdout
        return text

    def bad(self, *arguments: str, status: int = 1, stdin: str | None = None, **environ: str) -> str:
        """What a command says that has to fail, and prints nothing."""
        result = self.run_cli(*arguments, stdin=stdin, **environ)
        assert result.exit_code == status, result.output
        assert result.stdout == ""
        text: str = result.stderr
        return text
