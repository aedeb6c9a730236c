"""The dashboard of a real gateway in a browser: what operators see and do, and what users see of it."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from playwright.sync_api import Playwright, expect

from gateway.control.tokens import new_token, token_line
from gateway.settings import Role
from gateway.tickets import Target, encode_ticket
from tests.peers import needs
from tests.support.browser import Browser, ConsolePage
from tests.support.dashboard import DashboardPage
from tests.support.democonsole import DemoConsole
from tests.support.pki import Installation, install
from tests.support.process import GatewayProcess, write_settings

pytestmark = needs("chromium", "certutil", "novnc")

_HOSTILE = "<img src=x onerror=document.title='broken'>\"'&lt;{{7*7}}"
_NOTE_END = """() => new MutationObserver(() => {
    if (document.body.dataset.state === 'ended') { window.endedAt ??= Date.now(); }
}).observe(document.body, { attributes: true })"""
_NOTE_CONFIRMATION = """() => document.querySelector('#end-form').addEventListener(
    'submit', () => { window.confirmedAt = Date.now(); }, { capture: true })"""


@attrs.frozen
class Site:
    gateway: GatewayProcess
    installation: Installation
    browser: Browser
    console: DemoConsole
    tokens: Mapping[Role, str]

    @property
    def url(self) -> str:
        port = self.gateway.wait_for(r"control API is served on \S+:(\d+) \(plain\)")[1]
        return f"http://127.0.0.1:{port}/"

    def ticket(self, subject: str) -> str:
        pki = self.installation.pki
        return encode_ticket(
            pki.engine_key,
            Target("127.0.0.1", self.console.port),
            certificate=pki.engine_certificate,
            valid_from=datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5),
            lifetime=datetime.timedelta(seconds=120),
            subject=subject,
        )

    def open(self, subject: str) -> ConsolePage:
        """A user's console page."""
        ticket = quote(self.ticket(subject), safe="")
        link = f"ticket={ticket}&password={self.console.password}&title=Machine"
        return self.browser.open(f"https://localhost:{self.gateway.tls_port}/console/#{link}")

    @contextlib.contextmanager
    def users(self, *subjects: str) -> Iterator[list[ConsolePage]]:
        """Users on the console, who leave at the end."""
        pages = [self.open(subject) for subject in subjects]
        try:
            yield [page.wait_for("connected") for page in pages]
        finally:
            for page in pages:
                page.close()

    @contextlib.contextmanager
    def dashboard(self, role: Role = Role.OPERATE) -> Iterator[DashboardPage]:
        """The dashboard, signed in; no error may come of it."""
        page = DashboardPage(self.browser.tab(), self.url)
        page.sign_in(self.tokens[role]).live()
        yield page
        assert page.complaints == []
        page.close()


@pytest.fixture(scope="module")
def site(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("dashboard")
    installation = install(directory)
    tokens = {role: new_token() for role in Role}
    lines = [token_line(f"{role.value}er", role, token) + "\n" for role, token in tokens.items()]
    (directory / "tokens").touch(mode=0o600)
    (directory / "tokens").write_text("".join(lines), "ascii")
    tables: dict[str, Mapping[str, object]] = {
        **installation.settings(),
        "pages": {"enabled": True},
        "control": {"listen": ["tcp:0:interface=127.0.0.1"], "tokens": str(directory / "tokens")},
    }
    config = write_settings(directory / "gateway.toml", tables)
    with (
        DemoConsole() as console,
        GatewayProcess(config) as gateway,
        Browser(playwright, directory / "home", installation.pki.ca_file) as browser,
    ):
        yield Site(gateway.ready(), installation, browser, console, tokens)
        written = gateway.output
    assert "Traceback" not in written
    for token in tokens.values():
        assert token not in written, "a token is in the log"


def test_end_is_seen_in_novnc_within_a_second(site: Site, artifacts: Path) -> None:
    message = "Reboot at noon \u2013 bis sp\u00e4ter <b>\u2615</b>"
    with site.users("alice@example.com") as (user,), site.dashboard() as board:
        board.wait_for_count("1 session")
        assert board.subjects() == ["alice@example.com"]
        user.page.evaluate(_NOTE_END)
        board.page.evaluate(_NOTE_CONFIRMATION)
        board.end_first(message)
        user.wait_for("ended")
        assert user.code == "4023"
        assert message in user.page.inner_text("#notice")
        taken = user.page.evaluate("window.endedAt") - board.page.evaluate("window.confirmedAt")
        assert taken < 1000, f"{taken} ms"
        board.wait_for_count("0 sessions")
        expect(board.page.locator("#toast")).to_have_text("1 session ended")
        first = board.page.locator("#history-body tr").first
        expect(first).to_contain_text("operator")
        expect(first).to_contain_text("alice@example.com")
        expect(board.page.locator("#ended-counts")).to_contain_text("operator")
        user.page.screenshot(path=artifacts / "dashboard-end-seen-by-user.png")


def test_traffic_is_seen(site: Site) -> None:
    with site.users("alice@example.com"), site.dashboard() as board:
        # The console's screen moves all the time, and the user types nothing.
        board.page.wait_for_function(
            "() => /^[1-9].*B\\/s$/.test(document.querySelector('#sessions-body td.down')?.textContent)"
        )
        assert board.page.inner_text("#throughput-down") != "0 B/s"
        row = board.page.locator("#sessions-body tr")
        expect(row.locator("td.kind")).to_have_text("vnc")
        expect(row.locator(".state")).to_have_text("active")
        expect(row.locator("td.console")).to_have_text(f"127.0.0.1:{site.console.port}")
        expect(row.locator("td.client")).to_have_text("127.0.0.1")
        expect(board.page.locator("#certificate-value")).to_contain_text("day")
        expect(board.page.locator("#sessions-value")).to_have_text("1")


def test_search_and_end_what_is_found(site: Site) -> None:
    people = ("alice@example.com", "bob@example.com", "alice@example.com", "carol@example.com")
    with site.users(*people) as (alice, bob, alice_again, carol), site.dashboard() as board:
        board.wait_for_count("4 sessions")
        board.page.fill("#search", "subject=alice@example.com")
        board.wait_for_count("2 of 4 sessions")
        board.page.click("#end-shown")
        expect(board.page.locator("#end-title")).to_have_text("End 2 sessions?")
        board.confirm_end("Alice, please call us")
        for page in (alice, alice_again):
            assert page.wait_for("ended").code == "4023"
            assert "Alice, please call us" in page.page.inner_text("#notice")
        board.wait_for_count("0 of 2 sessions")
        board.page.click("#search-clear")
        board.wait_for_count("2 sessions")
        board.page.check("#sessions-body tr:last-child input")
        board.page.click("#end-selected")
        expect(board.page.locator("#end-words")).to_contain_text("carol@example.com")
        board.confirm_end()
        assert carol.wait_for("ended").code == "4023"
        board.wait_for_count("1 session")
        assert bob.page.get_attribute("body", "data-state") == "connected"


def test_admission(site: Site) -> None:
    with site.users("alice@example.com") as (before,), site.dashboard() as board, site.dashboard() as other:
        board.page.click("#admission-button")
        board.page.fill("#admission-reason", "Maintenance")
        board.page.click("#admission-submit")
        for page in (board.page, other.page):
            expect(page.locator("#stopped")).to_be_visible()
            expect(page.locator("#admission-button")).to_be_hidden()
            expect(page.locator("#health-value")).to_have_text("Not ready")
        refused = site.open("bob@example.com").wait_for("ended")
        assert refused.code == "503"
        refused.close()
        assert before.page.get_attribute("body", "data-state") == "connected"
        expect(board.page.locator("#refused-counts")).to_contain_text("not-admitting")
        board.page.click("#tab-admin-action")
        expect(board.page.locator("#history-body tr").first).to_contain_text("Maintenance")
        board.page.click("#resume")
        board.page.click("#admission-submit")
        expect(other.page.locator("#stopped")).to_be_hidden()
        with site.users("bob@example.com"):
            board.wait_for_count("2 sessions")


def test_who_may_only_read(site: Site, artifacts: Path) -> None:
    with site.users("alice@example.com") as (user,), site.dashboard(Role.READ) as board:
        board.wait_for_count("1 session")
        expect(board.page.locator("#read-only")).to_be_visible()
        expect(board.page.locator("#actor")).to_have_text("token:reader")
        for name in ("#admission-button", "#end-selected", "#end-shown", "#select-all", "[data-action=end]"):
            expect(board.page.locator(name)).to_be_hidden()
        board.page.click("#sessions-body .link")
        expect(board.page.locator("#details-facts")).to_contain_text("127.0.0.1")
        expect(board.page.locator("#details-end")).to_be_hidden()
        board.page.keyboard.press("Escape")
        board.page.screenshot(path=artifacts / "dashboard-read-only.png")
        # Whoever brings the buttons back by force is told no by the gateway.
        board.page.evaluate("document.body.dataset.role = 'operate'")
        board.end_first()
        expect(board.page.locator("#end-problem")).to_contain_text("may not do this")
        assert user.page.get_attribute("body", "data-state") == "connected"
        assert [text for text in board.complaints if "403" not in text] == []
        board.complaints.clear()


def test_sign_in_and_out(site: Site) -> None:
    with site.users("alice@example.com"):
        board = DashboardPage(site.browser.tab(), site.url)
        page = board.page
        problem = page.locator("#sign-in-problem")
        page.wait_for_selector('body[data-view="sign-in"]')
        expect(problem).to_be_hidden()
        for wrong, words in (
            (new_token(), "does not accept"),
            ("caf\u00e9", "not a token"),
            ("a b", "not a token"),
        ):
            board.sign_in(wrong)
            expect(problem).to_contain_text(words)
        token = site.tokens[Role.OPERATE]
        board.sign_in(token).live()
        board.wait_for_count("1 session")
        page.reload()
        board.live()
        kept = page.evaluate("[{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]")
        assert kept == [{}, {"console-gateway-token": token}, "", site.url]
        assert not [address for address in board.requested if token in address]
        page.click("#sign-out")
        page.wait_for_selector('body[data-view="sign-in"]')
        assert page.evaluate("sessionStorage.length") == 0
        assert "alice@example.com" not in page.content()
        assert str(site.console.port) not in page.content()
        page.reload()
        page.wait_for_selector('body[data-view="sign-in"]')
        assert board.complaints == []
        page.close()


def test_hostile_subject_is_text(site: Site) -> None:
    with site.users(_HOSTILE) as (user,), site.dashboard() as board:
        board.wait_for_count("1 session")
        assert board.subjects() == [_HOSTILE]
        board.page.click("#sessions-body .link")
        expect(board.page.locator("#details-title")).to_have_text(_HOSTILE)
        board.page.click("#details-filters button")
        board.wait_for_count("1 session")
        board.page.click("#end-shown")
        expect(board.page.locator("#end-words")).to_contain_text("onerror")
        board.confirm_end(_HOSTILE)
        assert _HOSTILE in user.wait_for("ended").page.inner_text("#notice")
        board.wait_for_count("0 sessions")
        expect(board.page.locator("#history-body tr").first).to_contain_text(_HOSTILE)
        assert board.page.locator("main img").count() == 0
        assert board.page.title() == "Console Gateway"


def test_foreign_names_get_nothing(site: Site) -> None:
    page = site.browser.tab()
    answer = page.goto(site.url.replace("127.0.0.1", "rebound.localhost"))
    assert answer is not None
    assert answer.status == 403
    assert page.locator("script").count() == 0
    page.close()
