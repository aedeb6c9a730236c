"""What a new user does first: start the demo, open the address it prints, and work on the console."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ImageChops
from playwright.sync_api import Playwright, expect

from tests.peers import needs
from tests.support.browser import Browser
from tests.support.process import GatewayProcess


@pytest.fixture(params=["screen", "qemu"])
def demo(request: pytest.FixtureRequest) -> Iterator[GatewayProcess]:
    option = ["--qemu"] if request.param == "qemu" else []
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0", *option]
    with GatewayProcess(Path(), command=command) as process:
        yield process


def _open(demo: GatewayProcess, playwright: Playwright, home: Path) -> tuple[Browser, str]:
    url = demo.wait_for(r"^  Open +(\S+)$")[1]
    ca = demo.wait_for(r"-i (\S+ca\.pem)$")[1]
    demo.ready()
    return Browser(playwright, home, Path(ca)), url


@needs("chromium", "certutil", "novnc", "qemu")
def test_typing_is_seen(
    demo: GatewayProcess,
    playwright: Playwright,
    tmp_path: Path,
    artifacts: Path,
    request: pytest.FixtureRequest,
) -> None:
    browser, url = _open(demo, playwright, tmp_path)
    name = request.node.callspec.id
    with browser:
        console = browser.open(url).wait_for("connected")
        page = console.page
        assert "#" not in page.url, "the fragment stays in the address bar"
        page.wait_for_timeout(1500)
        before = console.canvas()
        page.click("#screen canvas")
        page.keyboard.type("Hello, world 42!")
        page.wait_for_timeout(500)
        page.screenshot(path=artifacts / f"demo-{name}.png")
        if name == "screen":
            # What was typed is drawn, and nothing but what was typed comes back over the clipboard.
            area = (16, 76, 784, 308)
            assert ImageChops.difference(before.crop(area), console.canvas().crop(area)).getbbox()
            console.press("Control+c")
            page.click("#clipboard-button")
            expect(page.locator("#clipboard-text")).to_have_value("Hello, world 42!", timeout=5000)
            page.fill("#clipboard-text", "pasted text")
            page.click("#clipboard-send")
            page.click("#ctrl-alt-del")
            page.wait_for_timeout(500)
            page.screenshot(path=artifacts / "demo-screen-used.png")
        page.click("#connect")
        console.wait_for("ended")
        assert console.code == "disconnected"
        page.click("#reconnect")
        console.wait_for("connected")
        demo.signal()
        console.wait_for("ended")
        assert console.code == "1001"
        assert console.complaints == []
    assert demo.wait() == 0


@needs("chromium", "certutil", "novnc")
def test_nothing_is_left_behind(playwright: Playwright, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "demo", "--port", "0"]
    with GatewayProcess(Path(), command=command) as process:
        ca = Path(process.wait_for(r"-i (\S+ca\.pem)$")[1])
        process.ready()
        assert ca.exists()
        assert ca.parent.stat().st_mode & 0o077 == 0
    assert not ca.parent.exists()
