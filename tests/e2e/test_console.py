"""An operator's gateway, run by twistd in front of a real QEMU, seen through noVNC over verified wss."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from playwright.sync_api import Playwright

from tests.peers import needs
from tests.support.browser import Browser, ConsolePage
from tests.support.pki import Installation, install
from tests.support.process import GatewayProcess, write_settings
from tests.support.qemu import Qemu
from tests.support.screens import assert_shows, wait_for_rest
from tests.support.targets import closed_port

pytestmark = needs("chromium", "certutil", "novnc", "qemu")

_PASSWORD = "quiet-42"


@attrs.frozen
class Site:
    gateway: GatewayProcess
    installation: Installation
    browser: Browser
    qemu: Qemu

    def open(self, ticket: str, password: str = _PASSWORD) -> ConsolePage:
        link = f"ticket={quote(ticket, safe='')}&password={quote(password)}&title=Machine"
        return self.browser.open(f"https://localhost:{self.gateway.tls_port}/console/#{link}")


@pytest.fixture(scope="module")
def site(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("console")
    installation = install(directory)
    tables = installation.settings()
    tables["pages"] = {"enabled": True}
    tables["targets"] = {"networks": ["127.0.0.1/32"], "ports": ["1024-65535"]}
    config = write_settings(directory / "gateway.toml", tables)
    twistd = [str(Path(sys.executable).parent / "twistd"), "--nodaemon", "--pidfile=", "console-gateway"]
    with (
        Qemu(directory, _PASSWORD) as qemu,
        GatewayProcess(config, command=[*twistd, "--config", str(config)]) as gateway,
        Browser(playwright, directory / "home", installation.pki.ca_file) as browser,
    ):
        yield Site(gateway.ready(), installation, browser, qemu)


def test_firmware_screen_is_seen(site: Site, artifacts: Path) -> None:
    console = site.open(site.installation.ticket(site.qemu.port)).wait_for("connected")
    wait_for_rest(site.qemu.screen)
    assert_shows(console.canvas, site.qemu.screen)
    console.page.screenshot(path=artifacts / "qemu-firmware.png")
    assert console.complaints == []
    console.close()
    site.gateway.wait_for(r"session ended .* reason=client-(closed|gone)")


def test_wrong_password(site: Site) -> None:
    console = site.open(site.installation.ticket(site.qemu.port), password="wrong").wait_for("ended")
    assert console.code == "password"
    assert console.notice == "The console did not accept the password"
    console.close()


def test_bad_ticket(site: Site) -> None:
    ticket = site.installation.ticket(site.qemu.port)
    fields = json.loads(base64.b64decode(ticket))
    fields["data"] = fields["data"].replace("127.0.0.1", "127.0.0.2")
    forged = base64.b64encode(json.dumps(fields).encode()).decode()
    console = site.open(forged).wait_for("ended")
    assert (console.code, console.notice) == ("401", "Ticket not accepted")
    site.gateway.wait_for(r"request refused .* reason=ticket-refused .*signature")
    console.close()


def test_expired_ticket(site: Site) -> None:
    ticket = site.installation.ticket(site.qemu.port, begin=-600, lifetime=120)
    console = site.open(ticket).wait_for("ended")
    assert (console.code, console.notice) == ("403", "Ticket has expired")
    console.close()


def test_forbidden_target(site: Site) -> None:
    console = site.open(site.installation.ticket(5900, host="10.1.2.3")).wait_for("ended")
    assert (console.code, console.notice) == ("4004", "The gateway may not connect to this console")
    site.gateway.wait_for(r"session ended .* reason=target-forbidden")
    console.close()


def test_dead_target(site: Site) -> None:
    console = site.open(site.installation.ticket(closed_port())).wait_for("ended")
    assert (console.code, console.notice) == ("4001", "The console refused the connection")
    console.close()


def test_machine_goes_away(site: Site, tmp_path: Path) -> None:
    with Qemu(tmp_path, _PASSWORD) as machine:
        console = site.open(site.installation.ticket(machine.port)).wait_for("connected")
    console.wait_for("ended")
    # An orderly exit is 1000; when QEMU's socket was reset by what it had not read, 4006.
    assert console.code in {"1000", "4006"}
    console.close()
