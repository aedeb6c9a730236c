"""SPICE servers of every kind, seen through the gateway in SPICE HTML5."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
from playwright.sync_api import Playwright

from tests.integration.case import eventually
from tests.peers import needs
from tests.support.browser import Browser
from tests.support.door import Door
from tests.support.pki import Authority, install
from tests.support.process import GatewayProcess, write_settings
from tests.support.qemu import Qemu, Spice
from tests.support.qemufiles import certificate_directory
from tests.support.screens import assert_shows, wait_for_rest
from tests.support.spice import SpicePage, SpicePages

pytestmark = needs("chromium", "certutil", "qemu", "qemu-spice", "spice-html5")

_PASSWORD = "spice ticket 7342"
_CHANNELS = 4
"""Main, display, inputs and cursor."""


@attrs.frozen
class Site(Door):
    browser: Browser
    pages: SpicePages
    machines: Mapping[str, Qemu]
    """``open`` asks nobody for a password, and its certificate is of a rogue authority; ``guarded`` asks, and
    its certificate is for ``localhost`` alone.  Both serve in the clear as well."""

    def show(self, ticket: str, password: str = "") -> SpicePage:
        return SpicePage(self.browser.tab(), self.pages.url, self.url(ticket), password)


@pytest.fixture(scope="module")
def site(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("spice")
    installation = install(directory)
    authority, rogue = Authority("Console CA"), Authority("Rogue CA")

    def start(name: str, issuer: Authority, password: str | None) -> Qemu:
        place = directory / name
        place.mkdir()
        identity = certificate_directory(place / "x509", issuer.certificate, issuer.issue("localhost"))
        return Qemu(place, spice=Spice(password, certificates=identity))

    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        starting = {
            "open": pool.submit(start, "open", rogue, None),
            "guarded": pool.submit(start, "guarded", authority, _PASSWORD),
        }
        browser = stack.enter_context(Browser(playwright, directory / "home", installation.pki.ca_file))
        machines = {name: stack.enter_context(future.result()) for name, future in starting.items()}
        tables = installation.settings()
        tables["security"] = {"ca": str(authority.save(directory, "consoles"))}
        tables["rules.always"] = {
            "targets": [f"127.0.0.1:{machines['guarded'].ports['spice-tls']}"],
            "mode": "auto",
            "server_names": {"127.0.0.1": "localhost"},
        }
        config = write_settings(directory / "gateway.toml", tables)
        gateway = stack.enter_context(GatewayProcess(config))
        pages = stack.enter_context(SpicePages())
        # SPICE HTML5 leaves out some of what is drawn while it connects.
        for machine in machines.values():
            wait_for_rest(machine.screen)
        yield Site(gateway.ready(), installation, browser, pages, machines)


@pytest.mark.parametrize(
    ("machine", "port", "host", "tls", "security"),
    [
        ("open", "spice", "localhost", False, None),
        ("guarded", "spice", "localhost", False, None),
        ("guarded", "spice-tls", "localhost", True, "TLS, TLSv1.3"),
        # As a rule has it, whatever the ticket says.
        ("guarded", "spice-tls", "127.0.0.1", False, "TLS, TLSv1.3"),
    ],
)
def test_seen(
    site: Site, artifacts: Path, machine: str, port: str, host: str, tls: bool, security: str | None
) -> None:
    qemu = site.machines[machine]
    ticket = site.installation.ticket(qemu.ports[port], host, tls=tls)
    console = site.show(ticket, _PASSWORD if machine == "guarded" else "")
    assert console.outcome() == "success", console.complaints
    console.wait_for_screen()
    assert_shows(console.canvas, qemu.screen)
    console.screenshot(artifacts / f"target-{machine}-{port}.png")
    # Every channel is a WebSocket of its own, with the same ticket.
    assert len(console.sockets) == _CHANNELS
    assert site.count(ticket, "session ended") == 0
    if security is not None:
        assert site.count(ticket, "target secured") == _CHANNELS
        assert site.line(ticket, "target secured")["security"] == security
    assert console.complaints == []
    console.close()


def test_keys_arrive(site: Site) -> None:
    qemu = site.machines["guarded"]
    ticket = site.installation.ticket(qemu.ports["spice-tls"], "localhost", tls=True)
    console = site.show(ticket, _PASSWORD)
    console.wait_for_screen()
    console.restart()
    qemu.wait_for("RESET")
    console.close()
    wait_for_rest(qemu.screen)


def test_wrong_password(site: Site) -> None:
    ticket = site.installation.ticket(site.machines["guarded"].ports["spice-tls"], "localhost", tls=True)
    console = site.show(ticket, "wrong")
    assert console.outcome() == "Permission denied."
    console.close()


@pytest.mark.parametrize(
    ("machine", "port", "name", "code", "reason", "detail"),
    [
        (
            "guarded",
            "spice-tls",
            "other.example.com",
            4012,
            "target-wrong-name",
            "wrong-name: .*issuer CN=Console CA, valid 20",
        ),
        (
            "open",
            "spice-tls",
            None,
            4011,
            "target-untrusted",
            "unknown-issuer: .*issuer CN=Rogue CA, valid 20",
        ),
        ("open", "spice", None, 4010, "target-tls-failed", "closed: |protocol: "),
    ],
)
def test_refused(
    site: Site, machine: str, port: str, name: str | None, code: int, reason: str, detail: str
) -> None:
    number = site.machines[machine].ports[port]
    with site.visit(number, "localhost", tls=True, server_name=name) as visit:
        visit.client.send(b"REDQ")
        ended = visit.ended()
    assert (ended.code, ended.reason) == (code, reason)
    assert re.match(detail, ended.detail), ended.detail


@contextlib.contextmanager
def gateway_with(site: Site, **tables: Mapping[str, object]) -> Iterator[Site]:
    """The same place behind another gateway, where tickets may be used as they may by default."""
    path = site.installation.directory / "other.toml"
    with GatewayProcess(
        write_settings(path, {**site.installation.settings(), "uses": {}, **tables})
    ) as gateway:
        yield attrs.evolve(site, gateway=gateway.ready())
        assert "Traceback" not in gateway.output


def test_one_ticket_is_for_the_channels_of_one_client(site: Site) -> None:
    window = 4.0
    qemu = site.machines["open"]
    with gateway_with(site, uses={"window": window}) as other:
        ticket = site.installation.ticket(qemu.ports["spice"], "localhost")
        console = other.show(ticket)
        assert console.outcome() == "success", console.complaints
        console.wait_for_screen()
        assert len(console.sockets) == _CHANNELS
        # Somebody who has seen the ticket comes while its user is there,
        time.sleep(window)
        replayed = other.show(ticket)
        assert replayed.outcome() != "success"
        other.gateway.wait_for(r"request refused .*reason=ticket-used detail='window-over'")
        replayed.close()
        # whom that does not disturb,
        console.restart()
        qemu.wait_for("RESET")
        assert other.count(ticket, "session ended") == 0
        console.close()
        other.line(ticket, "session ended")
        # and after the user has left.
        replayed = other.show(ticket)
        assert replayed.outcome() != "success"
        other.gateway.wait_for(r"request refused .*reason=ticket-used detail='group-ended'")
        replayed.close()
        assert other.gateway.output.count("session started") == _CHANNELS
    wait_for_rest(qemu.screen)


def test_input_on_one_channel_keeps_them_all(site: Site) -> None:
    idle = 3.0
    qemu = site.machines["open"]
    with gateway_with(site, sessions={"idle": idle, "warning": 1.0}) as other:
        ticket = site.installation.ticket(qemu.ports["spice"], "localhost")
        console = other.show(ticket)
        assert console.outcome() == "success", console.complaints
        for _ in range(5):
            console.restart()
            time.sleep(idle / 3)
        assert other.count(ticket, "session ended") == 0
        begun = time.monotonic()
        assert other.line(ticket, "session ended")["reason"] == "idle"
        assert time.monotonic() - begun < idle + 1
        eventually(lambda: other.gateway.output.count("reason=idle ") == _CHANNELS)
        console.close()
    wait_for_rest(qemu.screen)
