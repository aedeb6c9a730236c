"""SPICE HTML5 in a browser, on a page of our own."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, WebSocket

from tests.peers import PEERS

__all__ = ["SpicePage", "SpicePages"]

_PAGE = """<!doctype html><meta charset="utf-8"><title>SPICE</title>
<div id="spice-area"><div id="spice-screen"></div></div><div id="message-div"></div>
<script type="module">
    import { SpiceMainConn, sendCtrlAltDel } from "./main.js";
    import { RSAKey } from "./thirdparty/rsa.js";
    // One password in 256 is encrypted to a number with a leading zero byte, which has to be sent as well.
    const encrypt = RSAKey.prototype.doPublic;
    RSAKey.prototype.doPublic = function (message) {
        const digits = encrypt.call(this, message).toString(16);
        return { toString: () => digits.padStart(2 * ((this.n.bitLength() + 7) >> 3), "0") };
    };
    window.outcomes = [];
    window.begin = options => {
        window.connection = new SpiceMainConn({
            ...options, screen_id: "spice-screen", message_id: "message-div",
            onerror: error => outcomes.push(String(error.message ?? "WebSocket error")),
            onsuccess: () => outcomes.push("success"),
        });
    };
    window.restart = () => sendCtrlAltDel(window.connection);
</script>
"""
_CANVAS = "() => document.querySelector('#spice-screen canvas').toDataURL('image/png')"


class SpicePage:
    """A SPICE console as its user sees it.

    :ivar sockets: the WebSockets that it opened, one for each channel.
    :ivar complaints: the page's errors; of warnings there are many even when all is well.
    """

    def __init__(self, page: Page, place: str, url: str, password: str = "") -> None:
        """
        :param page: an empty tab.
        :param place: where :class:`SpicePages` serves.
        :param url: of the WebSocket, with the ticket.
        """
        self._page = page
        self.sockets: list[WebSocket] = []
        self.complaints: list[str] = []
        page.on("websocket", lambda socket: self.sockets.append(socket))
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(place)
        page.wait_for_function("() => window.begin")
        page.evaluate(f"() => begin({json.dumps({'uri': url, 'password': password})})")

    def outcome(self, timeout: float = 10) -> str:
        """How connecting went: ``success``, or what was wrong."""
        self._page.wait_for_function("() => outcomes.length", timeout=timeout * 1000)
        outcome: str = self._page.evaluate("() => outcomes[0]")
        return outcome

    def wait_for_screen(self) -> None:
        """Wait until there is a screen at all."""
        self._page.wait_for_selector("#spice-screen canvas", timeout=10000)

    def canvas(self) -> Image.Image:
        """The screen as SPICE HTML5 has drawn it."""
        url: str = self._page.evaluate(_CANVAS)
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")

    def restart(self) -> None:
        """Press Ctrl-Alt-Del, once there is a channel for it."""
        self._page.wait_for_function("() => connection.inputs?.state === 'ready'", timeout=10000)
        self._page.evaluate("() => restart()")

    def screenshot(self, path: Path) -> None:
        self._page.screenshot(path=path)

    def close(self) -> None:
        self._page.close()

    def _said(self, message: ConsoleMessage) -> None:
        if message.text.startswith("ERROR"):
            self.complaints.append(message.text)


class SpicePages:
    """Serves page and library on loopback, which browsers take for a secure place; a context manager.

    :ivar url: of the page.
    """

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.url = f"http://localhost:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> SpicePages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=PEERS["spice-html5"].find())

    def do_GET(self) -> None:
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(_PAGE.encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is given
        """Say nothing."""
