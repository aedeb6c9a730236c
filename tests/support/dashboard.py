"""A stand-in for the control API that says whatever a test wants, and what a test sees of the dashboard.

The stand-in keeps to the API's contract.  It is for what the gateway itself cannot be brought to say:
thousands of sessions, hostile texts, an API that goes away and comes back.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request

from gateway.web import DASHBOARD_POLICY
from gateway.web.assets import STATIC

__all__ = ["DashboardPage", "StandIn", "make_session"]

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


def make_session(number: int, **changes: Any) -> dict[str, Any]:
    """A session as the API shows it."""
    return {
        "id": f"s{number:06x}",
        "ticket": f"t-{number:08x}",
        "subject": f"user{number % 97:02d}@example.com",
        "client": f"192.0.2.{number % 250 + 1}",
        "target": f"vm{number:04d}.example.com:5900",
        "kind": ("vnc", "spice", "serial")[number % 3],
        "attach": "share",
        "state": "active",
        "security": None,
        "started": time.time() - number,
        "duration": float(number),
        "idle": float(number % 600),
        "to_target": 100 * number,
        "to_client": 10000 * number,
        "messages_to_target": number,
        "messages_to_client": 10 * number,
        **changes,
    }


class StandIn:
    """The API on a port of loopback.

    :ivar sessions: what there is, by id; tests change it as they like.
    :ivar status: parts of ``GET /api/v1/status`` that differ from the usual.
    :ivar ends: bodies of the calls that ended sessions.
    """

    def __init__(
        self, sessions: Iterable[Mapping[str, Any]] = (), *, tokens: Mapping[str, str] | None = None
    ):
        """:param tokens: roles by token; ``None`` lets everybody operate."""
        self.sessions = {session["id"]: dict(session) for session in sessions}
        self.tokens = tokens
        self.status: dict[str, Any] = {}
        self.checks: list[dict[str, Any]] = [{"name": "clock", "ok": True, "detail": "in step"}]
        self.ends: list[dict[str, Any]] = []
        self.admissions: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._streams: set[queue.Queue[dict[str, Any] | None]] = set()
        self._started = time.time()
        self._admitting = True
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def grow(self, seconds: float = 2.0, *, down: int = 0) -> None:
        """Let time pass for every session, in which ``down`` bytes per second went to its client."""
        for session in self.sessions.values():
            session["duration"] += seconds
            session["to_client"] += round(down * seconds)

    def happen(self, kind: str, **what: Any) -> dict[str, Any]:
        """Publish an event."""
        event = {"number": next(self._numbers), "time": time.time(), "type": kind, **what}
        self._events.append(event)
        for stream in list(self._streams):
            stream.put(event)
        return event

    def open(self, session: Mapping[str, Any]) -> None:
        """A session begins."""
        self.sessions[session["id"]] = dict(session)
        self.happen("session-opened", session=session, handshake=0.01)

    def drop_streams(self) -> None:
        """End every event stream."""
        for stream in list(self._streams):
            stream.put(None)

    def restart(self) -> None:
        """Be another process, which knows nothing of what happened."""
        self._events.clear()
        self._numbers = itertools.count(1)
        self._started = time.time()
        self.drop_streams()

    def end(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /sessions/end``."""
        self.ends.append(body)
        fields = {
            "session": "id",
            "ticket": "ticket",
            "subject": "subject",
            "client": "client",
            "console": "target",
        }
        wanted = {fields[name]: value for name, value in body.items() if name in fields}
        ended = [
            session
            for session in self.sessions.values()
            if all(session[name] == value for name, value in wanted.items())
        ]
        for session in ended:
            del self.sessions[session["id"]]
            what = {"reason": "operator", "code": 4023, "detail": body.get("message", "")}
            self.happen("session-ended", session=session, **what)
        return {"ended": ended}

    def admit(self, body: dict[str, Any]) -> dict[str, Any]:
        """``POST /admission``."""
        self.admissions.append(body)
        self._admitting = body["admitting"]
        action = "resume-admitting" if self._admitting else "stop-admitting"
        self.happen(
            "admin-action", actor="token:test", action=action, sessions=[], detail=body.get("reason", "")
        )
        return {"admitting": self._admitting}

    def answer(self, path: str, query: Mapping[str, str], role: str) -> dict[str, Any] | None:
        """A ``GET`` below ``/api/v1/``."""
        if path == "sessions":
            start = int(query.get("offset", 0))
            found = list(self.sessions.values())
            return {"total": len(found), "sessions": found[start : start + int(query.get("limit", 1000))]}
        if path == "history":
            events = [event for event in self._events if query.get("type") in (None, event["type"])]
            return {"events": events[::-1][: int(query.get("limit", 100))]}
        if path == "health":
            good = all(check["ok"] for check in self.checks)
            return {"healthy": good, "ready": good and self._admitting, "checks": self.checks}
        if path == "status":
            return {**self._usual_status(role), **self.status}
        return None

    def _usual_status(self, role: str) -> dict[str, Any]:
        sessions = list(self.sessions.values())
        ended = [event["reason"] for event in self._events if event["type"] == "session-ended"]
        refused = [event["reason"] for event in self._events if event["type"] == "request-refused"]
        return {
            "version": "0.1.0",
            "started": self._started,
            "uptime": time.time() - self._started,
            "admitting": self._admitting,
            "drain": {
                "draining": False,
                "sessions": len(sessions),
                "left_seconds": None,
                "message": "",
            },
            "sessions": {
                "total": len(sessions),
                "limit": 10000,
                "by_kind": {
                    kind: sum(s["kind"] == kind for s in sessions) for kind in ("vnc", "spice", "serial")
                },
                "by_state": {"connecting": 0, "active": len(sessions), "ending": 0},
            },
            "handshakes": {"open": 3, "limit": 200},
            "ledger": {"size": len(sessions), "limit": 100000},
            "listeners": ["127.0.0.1:6100 (TLS)"],
            "certificate_expires": time.time() + 40.5 * 86400,
            "targets": [],
            "ended": {reason: ended.count(reason) for reason in ended},
            "refused": {reason: refused.count(reason) for reason in refused},
            "event_loop_lag": 0.0004,
            "masker": True,
            "role": role,
            "actor": "token:test",
        }

    def stream(self, after: str) -> queue.Queue[dict[str, Any] | None]:
        """A queue of the events from now on, or after one that is known."""
        stream: queue.Queue[dict[str, Any] | None] = queue.Queue()
        for event in self._events if after else ():
            if event["number"] > int(after):
                stream.put(event)
        self._streams.add(stream)
        return stream

    def forget(self, stream: queue.Queue[dict[str, Any] | None]) -> None:
        self._streams.discard(stream)

    def close(self) -> None:
        self.drop_streams()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], stand_in: StandIn) -> None:
        super().__init__(address, _Handler)
        self.stand_in = stand_in


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if not parts.path.startswith("/api/v1/"):
            self._page(parts.path)
            return
        role = self._role()
        if role is None:
            return
        path = parts.path.removeprefix("/api/v1/")
        if path == "events":
            self._stream()
            return
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        answer = self.server.stand_in.answer(path, query, role)
        self._json(200, answer) if answer is not None else self._error(
            404, "not-found", "There is no such thing"
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        role = self._role()
        if role is None:
            return
        assert self.headers["Content-Type"] == "application/json"
        if role != "operate":
            self._error(403, "role", "These credentials may not do this")
        elif self.path == "/api/v1/sessions/end":
            self._json(200, self.server.stand_in.end(body))
        else:
            self._json(200, self.server.stand_in.admit(body))

    def _role(self) -> str | None:
        self.server.stand_in.paths.append(self.path)
        tokens = self.server.stand_in.tokens
        if tokens is None:
            return "operate"
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if token not in tokens:
            self._error(401, "unauthorized", "Valid credentials are needed")
        return tokens.get(token)

    def _page(self, path: str) -> None:
        name = "dashboard/index.html" if path == "/" else path.removeprefix("/")
        file = STATIC / ("icon.svg" if name == "dashboard/icon.svg" else name)
        if file.suffix[1:] not in _TYPES or not file.is_file():
            self._send(404, "text/plain", b"Not found\n")
        else:
            self._send(200, _TYPES[file.suffix[1:]], file.read_bytes())

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        stream = self.server.stand_in.stream(self.headers["Last-Event-ID"] or "")
        try:
            self.wfile.write(b": hello\n\n")
            while (event := stream.get()) is not None:
                text = f"id: {event['number']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
                self.wfile.write(text.encode())
        except OSError:
            pass
        finally:
            self.server.stand_in.forget(stream)
            self.close_connection = True

    def _error(self, status: int, code: str, message: str) -> None:
        self._json(status, {"error": {"code": code, "message": message}})

    def _json(self, status: int, content: Any) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", DASHBOARD_POLICY)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class DashboardPage:
    """The dashboard, as an operator sees it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        """What the browser said that is an error: exceptions, violations of the policy, failed requests."""
        self.requested: list[str] = []
        """Addresses of all requests."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)
        page.goto(url)

    def sign_in(self, token: str) -> DashboardPage:
        """Type a token, once the page asks for one."""
        self.page.wait_for_selector('body[data-view="sign-in"]')
        self.page.fill("#token", token)
        self.page.keyboard.press("Enter")
        return self

    def live(self) -> DashboardPage:
        """Wait until it shows what is true now."""
        self.page.wait_for_selector('body[data-view="main"][data-link="live"]', timeout=15000)
        return self

    def count(self) -> str:
        """How many sessions it says it shows."""
        return self.page.inner_text("#shown-count")

    def wait_for_count(self, text: str) -> None:
        self.page.wait_for_function(
            "text => document.querySelector('#shown-count').textContent === text", arg=text, timeout=15000
        )

    def subjects(self) -> list[str]:
        """Subjects of the rows that exist, from the top."""
        return self.page.locator("#sessions-body th button").all_text_contents()

    def end_first(self, message: str = "") -> None:
        """Press the first row's button, and confirm."""
        self.page.click("#sessions-body tr:first-child [data-action=end]")
        self.confirm_end(message)

    def confirm_end(self, message: str = "", number: str = "") -> None:
        """Answer the question that is open."""
        self.page.wait_for_selector("#end[open]")
        self.page.fill("#end-message", message)
        if number:
            self.page.fill("#end-number", number)
        self.page.click("#end-submit")

    def close(self) -> None:
        self.page.close()

    def _said(self, message: ConsoleMessage) -> None:
        # A browser logs every status of 400 and above; that of asking without a token is expected.
        if message.type in ("error", "warning") and "status of 401" not in message.text:
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        self.requested.append(request.url)
