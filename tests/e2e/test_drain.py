"""Restarts as users and operators see them: count-downs on pages, and sessions that outlive a process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from PIL import ImageChops
from playwright.sync_api import Playwright, expect

from gateway.control.address import UnixAddress
from gateway.control.client import ControlClient
from tests.integration.case import Table
from tests.peers import PEERS, needs
from tests.support.browser import Browser, ConsolePage
from tests.support.dashboard import DashboardPage, StandIn, make_session
from tests.support.democonsole import DemoConsole
from tests.support.pki import Installation, install
from tests.support.process import GatewayProcess, write_settings

pytestmark = needs("chromium", "certutil", "novnc")

_MESSAGE = "Maintenance: back at <b>noon</b>"


@attrs.frozen
class Place:
    """Two users' browsers, and a console whose screen moves by itself."""

    installation: Installation
    alice: Browser
    bob: Browser
    console: DemoConsole

    @property
    def socket(self) -> Path:
        return self.installation.directory / "control.sock"

    @property
    def operator(self) -> ControlClient:
        return ControlClient(UnixAddress(self.socket))

    @contextlib.contextmanager
    def gateway(self, **tables: Table) -> Iterator[GatewayProcess]:
        merged: dict[str, Table] = {
            **self.installation.settings(),
            "pages": {"enabled": True},
            "control": {"listen": [f"unix:{self.socket}"]},
            **tables,
        }
        config = write_settings(self.installation.directory / "gateway.toml", merged)
        with GatewayProcess(config) as gateway:
            yield gateway.ready()
            assert "Traceback" not in gateway.output

    def open(self, gateway: GatewayProcess, browser: Browser) -> ConsolePage:
        ticket = self.installation.ticket(self.console.port)
        link = f"ticket={quote(ticket, safe='')}&password={self.console.password}&title=Machine"
        return browser.open(f"https://localhost:{gateway.tls_port}/console/#{link}")


@pytest.fixture(scope="module")
def place(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("drain")
    installation = install(directory)
    ca = installation.pki.ca_file
    with (
        DemoConsole() as console,
        Browser(playwright, directory / "alice", ca) as alice,
        Browser(playwright, directory / "bob", ca) as bob,
    ):
        yield Place(installation, alice, bob, console)


def _shown(console: ConsolePage) -> str:
    locator = console.page.locator("#warning")
    return locator.inner_text() if locator.is_visible() else ""


def test_count_down(place: Place, artifacts: Path) -> None:
    with place.gateway() as gateway:
        alice = place.open(gateway, place.alice).wait_for("connected")
        place.operator.post("drain", {"seconds": 100})
        expect(alice.page.locator("#warning")).to_have_text(
            re.compile(r"The gateway restarts: this console closes in 1 min (40|39|38) s, and can be opened")
        )
        # Somebody who comes now is told at once.
        bob = place.open(gateway, place.bob).wait_for("ended")
        assert (bob.code, bob.notice) == ("503", "Gateway is about to restart, try again in a moment")
        # The operator thinks better of it.
        place.operator.delete("drain")
        expect(alice.page.locator("#warning")).to_be_hidden()
        assert alice.page.locator("#spoken").inner_text() == ""
        bob.page.click("#reconnect")
        bob.wait_for("connected")

        begun = time.monotonic()
        place.operator.post("drain", {"seconds": 4, "message": _MESSAGE})
        seen: list[str] = []
        while alice.page.get_attribute("body", "data-state") == "connected":
            with contextlib.suppress(Exception):
                if (words := _shown(alice)) and words not in seen:
                    seen.append(words)
                    if len(seen) == 2:
                        alice.page.screenshot(path=artifacts / "drain-count-down.png")
            assert time.monotonic() - begun < 15, "nobody was disconnected"
            alice.page.wait_for_timeout(50)
        assert 3.8 < time.monotonic() - begun < 7
        # As it was written, and never as markup.
        assert seen[0] == f"{_MESSAGE}. This console closes in 4 s."
        assert len(seen) >= 3
        bob.wait_for("ended")
        for console in (alice, bob):
            assert (console.code, console.notice) == ("1012", "The gateway restarts")
            expect(console.page.locator("#notice-advice")).to_have_text(_MESSAGE)
            assert _shown(console) == ""
        assert alice.complaints == []
        alice.page.screenshot(path=artifacts / "drain-over.png")
        assert gateway.output.count("reason=restart") == 2
        alice.close()
        bob.close()


def test_a_console_outlives_its_process(place: Place) -> None:
    with place.gateway(drain={"cap": 20}) as gateway:
        alice = place.open(gateway, place.alice).wait_for("connected")
        gateway.signal(signal.SIGUSR2)
        match = gateway.wait_for(r"hand-over: process (\d+) accepts connections")
        try:
            expect(alice.page.locator("#warning")).to_contain_text("The gateway restarts")
            # Screen and keyboard go on in the old process, while the new one has pages and consoles.
            before = alice.canvas()
            alice.page.click("#screen canvas")
            alice.page.keyboard.type("still here")
            area = (16, 76, 784, 308)
            end = time.monotonic() + 10
            while not ImageChops.difference(before.crop(area), alice.canvas().crop(area)).getbbox():
                assert time.monotonic() < end, "nothing is shown"
                alice.page.wait_for_timeout(50)
            bob = place.open(gateway, place.bob).wait_for("connected")
            assert _shown(bob) == ""
            sessions = place.operator.get("sessions").value["sessions"]
            former = ControlClient(UnixAddress(Path(f"{place.socket}.{gateway.pid}")))
            assert len(sessions) == len(former.get("sessions").value["sessions"]) == 1
            alice.wait_for("ended", timeout=30)
            assert alice.code == "1012"
            gateway.wait_for("has no session left and ends", 20)
            assert bob.page.get_attribute("body", "data-state") == "connected"
            alice.close()
            bob.close()
        finally:
            os.kill(int(match[1]), signal.SIGTERM)


def test_the_dashboard(playwright: Playwright) -> None:
    sessions = [make_session(number) for number in range(3)]
    browser = playwright.chromium.launch(executable_path=PEERS["chromium"].find(), args=["--disable-gpu"])
    with StandIn(sessions) as api, contextlib.closing(browser):
        board = DashboardPage(browser.new_page(), api.url)
        board.live()
        banner = board.page.locator("#draining")
        expect(banner).to_be_hidden()
        progress = {"draining": True, "sessions": 3, "left_seconds": 250.0, "message": ""}
        api.status["drain"] = progress
        api.happen("admin-action", actor="uid:0", action="drain", sessions=[], detail="")
        expect(banner).to_contain_text("3 sessions left, with 4 min 10 s to go.")
        api.status["drain"] = {**progress, "sessions": 0, "left_seconds": 0.0}
        expect(banner).to_contain_text("No session is left", timeout=15000)
        del api.status["drain"]
        api.happen("admin-action", actor="uid:0", action="drain-cancelled", sessions=[], detail="")
        expect(banner).to_be_hidden()
        assert board.complaints == []
