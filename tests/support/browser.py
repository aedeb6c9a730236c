"""Chromium that trusts a test CA, driven by Playwright."""

from __future__ import annotations

import base64
import io
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright

from tests.peers import PEERS

__all__ = ["Browser", "ConsolePage"]

_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_CANVAS = "() => document.querySelector('#screen canvas').toDataURL('image/png')"


class Browser:
    """One headless Chromium with a home of its own, in which ``ca`` is trusted and nothing else is new."""

    def __init__(self, playwright: Playwright, home: Path, ca: Path) -> None:
        database = home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        certutil = PEERS["certutil"].find()
        chromium = PEERS["chromium"].find()
        assert certutil is not None
        assert chromium is not None
        common = [certutil, "-d", f"sql:{database}"]
        subprocess.run([*common, "-N", "--empty-password"], check=True, capture_output=True)
        subprocess.run(
            [*common, "-A", "-t", "C,,", "-n", "test-ca", "-i", str(ca)], check=True, capture_output=True
        )
        self._context: BrowserContext = playwright.chromium.launch_persistent_context(
            str(home / "profile"),
            executable_path=chromium,
            headless=True,
            args=list(_QUIET),
            env={**os.environ, "HOME": str(home)},
            viewport={"width": 1000, "height": 760},
        )

    def open(self, url: str) -> ConsolePage:
        """Open a console page in a new tab."""
        return ConsolePage(self.tab(), url)

    def tab(self) -> Page:
        """An empty tab."""
        return self._context.new_page()

    def close(self) -> None:
        self._context.close()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ConsolePage:
    """The gateway's console page, as a user sees it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        """What the browser's console said that is an error."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url)

    def wait_for(self, state: str, timeout: float = 20) -> ConsolePage:
        """Wait until the page is in a state: connecting, connected, ended."""
        self.page.wait_for_selector(f'body[data-state="{state}"]', timeout=timeout * 1000)
        return self

    @property
    def code(self) -> str:
        """The close code or status of the end."""
        return self.page.get_attribute("body", "data-code") or ""

    @property
    def notice(self) -> str:
        """What the page says about the end."""
        return self.page.inner_text("#notice-title")

    def canvas(self) -> Image.Image:
        """The remote screen as noVNC draws it."""
        url: str = self.page.evaluate(_CANVAS)
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")

    def answer(self, password: str) -> None:
        """Type a password into the page's prompt, once it is there."""
        self.page.wait_for_selector("#ask[open]", timeout=20000)
        self.page.keyboard.type(password)
        self.page.keyboard.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys while the remote screen has the keyboard."""
        for key in keys:
            self.page.keyboard.press(key)

    def close(self) -> None:
        self.page.close()

    def _said(self, message: ConsoleMessage) -> Any:
        if message.type == "error":
            self.complaints.append(message.text)
