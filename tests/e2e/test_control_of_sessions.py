"""Who may be on a console, for how long, and who ends it: as users see it, on the real page in browsers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from PIL import ImageChops
from playwright.sync_api import Playwright, expect

from gateway.control.address import UnixAddress
from gateway.control.client import ControlClient
from gateway.settings import Attach
from gateway.tickets.envelope import open_envelope
from tests.integration.case import Table
from tests.peers import needs
from tests.support.browser import Browser, ConsolePage
from tests.support.democonsole import DemoConsole
from tests.support.pki import Installation, install
from tests.support.process import GatewayProcess, write_settings

pytestmark = needs("chromium", "certutil", "novnc")

_IDLE, _WARNING = 4.0, 2.0
_STAY = "Press a key or move the pointer to stay."
_MESSAGE = "Maintenance: back at <b>noon</b> \u2615"


@attrs.frozen
class Site:
    """Two users' browsers, and a console whose screen moves by itself."""

    installation: Installation
    alice: Browser
    bob: Browser
    console: DemoConsole

    @contextlib.contextmanager
    def gateway(self, **tables: Table) -> Iterator[GatewayProcess]:
        """A gateway with settings of its own; tickets may be used as they may by default."""
        merged: dict[str, Table] = {
            **self.installation.settings(),
            "pages": {"enabled": True},
            "uses": {},
            **tables,
        }
        config = write_settings(self.installation.directory / "gateway.toml", merged)
        with GatewayProcess(config) as gateway:
            yield gateway.ready()
            assert "Traceback" not in gateway.output

    def ticket(self, *, attach: Attach | None = None, subject: str | None = None) -> str:
        return self.installation.ticket(self.console.port, attach=attach, subject=subject)

    def open(self, gateway: GatewayProcess, browser: Browser, ticket: str) -> ConsolePage:
        link = f"ticket={quote(ticket, safe='')}&password={self.console.password}&title=Machine"
        return browser.open(f"https://localhost:{gateway.tls_port}/console/#{link}")


@pytest.fixture(scope="module")
def site(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("control")
    installation = install(directory)
    ca = installation.pki.ca_file
    with (
        DemoConsole() as console,
        Browser(playwright, directory / "alice", ca) as alice,
        Browser(playwright, directory / "bob", ca) as bob,
    ):
        yield Site(installation, alice, bob, console)


def warning(console: ConsolePage) -> str:
    """The countdown that is shown, empty where there is none."""
    locator = console.page.locator("#warning")
    return locator.inner_text() if locator.is_visible() else ""


def advice(console: ConsolePage) -> str:
    return console.page.inner_text("#notice-advice")


def reconnect(console: ConsolePage) -> None:
    """Try again with the same link, in vain and for another reason than before."""
    before = console.code
    console.page.click("#reconnect")
    console.page.wait_for_selector(f'body[data-state="ended"]:not([data-code="{before}"])', timeout=20000)


def until(condition: Callable[[], object], *consoles: ConsolePage, timeout: float = 10) -> float:
    """Wait, letting the pages work; returns for how many seconds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < timeout, "it never became true"
        for console in consoles:
            console.page.wait_for_timeout(20)
    return time.monotonic() - begun


def test_taken_over(site: Site, artifacts: Path) -> None:
    with site.gateway() as gateway:
        alice = site.open(gateway, site.alice, site.ticket(subject="alice")).wait_for("connected")
        ticket = site.ticket(subject="bob", attach=Attach.TAKE_OVER)
        bob = site.open(gateway, site.bob, ticket).wait_for("connected")
        alice.wait_for("ended", timeout=3)
        assert (alice.code, alice.notice) == ("4022", "Somebody else took over the console")
        alice.page.screenshot(path=artifacts / "control-taken-over.png")
        name = open_envelope(ticket, 16384).id
        gateway.wait_for(rf"session ended .*subject=alice .*reason=taken-over detail='by ticket {name}'")
        bob.page.wait_for_timeout(500)
        assert bob.page.get_attribute("body", "data-state") == "connected"
        # Alice's ticket has had its time.
        reconnect(alice)
        assert (alice.code, alice.notice) == ("403", "Ticket has been used")
        bob.close()
        alice.close()


def test_refused(site: Site) -> None:
    with site.gateway() as gateway:
        alice = site.open(gateway, site.alice, site.ticket()).wait_for("connected")
        bob = site.open(gateway, site.bob, site.ticket(attach=Attach.REFUSE)).wait_for("ended")
        assert (bob.code, bob.notice) == ("409", "Somebody else is using the console")
        assert "left" in advice(bob)
        assert alice.page.get_attribute("body", "data-state") == "connected"
        # One who was turned away has not used the ticket.
        alice.page.click("#connect")
        alice.wait_for("ended")
        gateway.wait_for("session ended ")
        bob.page.click("#reconnect")
        bob.wait_for("connected")
        bob.close()
        alice.close()


def test_shared(site: Site) -> None:
    with site.gateway(sessions={"attach": "refuse"}) as gateway:
        alice = site.open(gateway, site.alice, site.ticket()).wait_for("connected")
        bob = site.open(gateway, site.bob, site.ticket(attach=Attach.SHARE)).wait_for("connected")
        alice.page.click("#screen canvas")
        before = bob.canvas()
        alice.page.keyboard.type("shared")
        area = (16, 76, 784, 308)
        until(lambda: ImageChops.difference(before.crop(area), bob.canvas().crop(area)).getbbox(), alice, bob)
        bob.close()
        alice.close()


def test_idle(site: Site, artifacts: Path) -> None:
    """Whoever only watches a moving screen is warned and disconnected; whoever types is not."""
    with site.gateway(sessions={"idle": _IDLE, "warning": _WARNING}) as gateway:
        typist = site.open(gateway, site.alice, site.ticket(subject="typist")).wait_for("connected")
        begun = time.monotonic()
        watcher = site.open(gateway, site.bob, site.ticket(subject="watcher")).wait_for("connected")
        first = watcher.canvas()
        typed, warned_after, countdown, moved = 0, 0.0, list[str](), False
        while watcher.page.get_attribute("body", "data-state") == "connected":
            typist.page.keyboard.press("x")
            typed += 1
            assert warning(typist) == ""
            with contextlib.suppress(Exception):
                shown = warning(watcher)
                if shown and not countdown:
                    warned_after = time.monotonic() - begun
                    moved = ImageChops.difference(first, watcher.canvas()).getbbox() is not None
                    watcher.page.screenshot(path=artifacts / "control-idle.png")
                if shown and shown not in countdown:
                    countdown.append(shown)
            assert time.monotonic() - begun < 15, "nobody was disconnected"
            typist.page.wait_for_timeout(50)
        lasted = time.monotonic() - begun
        assert moved, "the screen stood still"
        assert countdown[0] == f"No input: this console closes in 2 s. {_STAY}"
        assert len(countdown) >= 2
        assert _IDLE - _WARNING - 0.2 < warned_after < _IDLE - _WARNING + 1.5
        assert _IDLE - 0.2 < lasted < _IDLE + 1.5
        assert (watcher.code, watcher.notice) == ("4020", "The console was closed because nobody used it")
        assert warning(watcher) == ""
        assert typed > 10
        assert typist.page.get_attribute("body", "data-state") == "connected"
        gateway.wait_for(r"session ended .*subject=watcher .*reason=idle ")
        assert "subject=typist duration" not in gateway.output
        # The typist stops, is warned, and moves the pointer in time.
        until(lambda: warning(typist), typist)
        spoken = typist.page.locator("#spoken")
        assert "closes in" in spoken.inner_text()
        typist.page.mouse.move(300, 300)
        typist.page.mouse.move(320, 330)
        until(lambda: not warning(typist), typist, timeout=1)
        assert spoken.inner_text() == ""
        typist.page.wait_for_timeout(1500)
        assert typist.page.get_attribute("body", "data-state") == "connected"
        assert (typist.complaints, watcher.complaints) == ([], [])
        typist.close()
        watcher.close()


def test_time_limit(site: Site) -> None:
    """Input does not help against it."""
    with site.gateway(sessions={"max_duration": 4, "warning": 2}) as gateway:
        console = site.open(gateway, site.alice, site.ticket()).wait_for("connected")
        begun = time.monotonic()
        shown = list[str]()
        while console.page.get_attribute("body", "data-state") == "connected":
            console.page.keyboard.press("x")
            if (words := warning(console)) and words not in shown:
                shown.append(words)
            assert time.monotonic() - begun < 15, "nobody was disconnected"
            console.page.wait_for_timeout(50)
        assert 3 < time.monotonic() - begun < 5.5
        assert shown[0] == "The time for this console is over in 2 s."
        assert (console.code, console.notice) == ("4021", "The time for this console is over")
        gateway.wait_for("reason=time-limit ")
        console.close()


def test_operator(site: Site, artifacts: Path) -> None:
    socket_path = site.installation.directory / "control.sock"
    with site.gateway(control={"listen": [f"unix:{socket_path}"]}) as gateway:
        alice = site.open(gateway, site.alice, site.ticket(subject="alice")).wait_for("connected")
        bob = site.open(gateway, site.bob, site.ticket(subject="bob")).wait_for("connected")
        operator = ControlClient(UnixAddress(socket_path))
        begun = time.monotonic()
        ended = operator.post("sessions/end", {"subject": "alice", "message": _MESSAGE}).value["ended"]
        alice.wait_for("ended", timeout=3)
        took = time.monotonic() - begun
        assert took < 1, f"{took:.2f} s"
        assert [session["subject"] for session in ended] == ["alice"]
        assert (alice.code, alice.notice) == ("4023", "An operator closed the console")
        # As it was written, and never as markup.
        expect(alice.page.locator("#notice-advice")).to_have_text(_MESSAGE)
        assert alice.page.locator("#notice-advice b").count() == 0
        alice.page.screenshot(path=artifacts / "control-operator.png")
        # Whom an operator puts out does not come back with the same ticket.
        reconnect(alice)
        assert (alice.code, alice.notice) == ("403", "Ticket has been used")
        assert bob.page.get_attribute("body", "data-state") == "connected"
        operator.post("sessions/end", {"all": True})
        bob.wait_for("ended", timeout=3)
        assert (bob.code, advice(bob)) == ("4023", "Ask the administrator if you still need it.")
        operator.post("admission", {"admitting": False})
        late = site.open(gateway, site.bob, site.ticket()).wait_for("ended")
        assert (late.code, late.notice) == ("503", "Gateway takes no new sessions now")
        for console in (alice, bob, late):
            console.close()


def test_replayed_ticket(site: Site) -> None:
    with site.gateway() as gateway:
        ticket = site.ticket()
        alice = site.open(gateway, site.alice, ticket).wait_for("connected")
        alice.page.click("#connect")
        alice.wait_for("ended")
        gateway.wait_for("session ended ")
        bob = site.open(gateway, site.bob, ticket).wait_for("ended")
        assert (bob.code, bob.notice) == ("403", "Ticket has been used")
        assert "new console link" in advice(bob)
        gateway.wait_for(r"request refused .*reason=ticket-used detail='group-ended'")
        assert gateway.output.count("session started") == 1
        alice.close()
        bob.close()
