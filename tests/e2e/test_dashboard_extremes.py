"""The dashboard before an API that says extreme things, goes away and comes back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect

from tests.peers import PEERS, needs
from tests.support.dashboard import DashboardPage, StandIn, make_session

pytestmark = needs("chromium")

_HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"><b>\u202e\u0000&amp;'`${7*7}"
_MANY = 5000
_DRAWING = """async () => {
    const frame = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
    const timed = async act => {
        await frame();
        const began = performance.now();
        act();
        await frame();
        return performance.now() - began;
    };
    const search = document.querySelector('#search');
    const type = text => { search.value = text; search.dispatchEvent(new Event('input')); };
    const scroller = document.querySelector('#sessions-scroller');
    const times = {
        search: await timed(() => type('user42')),
        all: await timed(() => type('')),
        sort: await timed(() => document.querySelector('[data-key=duration]').click()),
        scroll: await timed(() => { scroller.scrollTop = 90000; }),
        select: await timed(() => document.querySelector('#select-all').click()),
        unselect: await timed(() => document.querySelector('#select-all').click()),
    };
    scroller.scrollTop = 0;
    return times;
}"""


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = playwright.chromium.launch(
        executable_path=PEERS["chromium"].find(), args=["--disable-gpu", "--no-first-run"]
    )
    yield running
    running.close()


@contextlib.contextmanager
def shown(browser: Browser, api: StandIn, *, width: int = 1300, height: int = 900) -> Iterator[DashboardPage]:
    """The dashboard of a stand-in; no error may come of it."""
    context = browser.new_context(viewport={"width": width, "height": height})
    page = DashboardPage(context.new_page(), api.url)
    yield page
    assert page.complaints == []
    context.close()


def test_five_thousand_sessions(browser: Browser) -> None:
    sessions = [make_session(number) for number in range(_MANY)]
    with StandIn(sessions) as api, shown(browser, api) as board:
        board.live().wait_for_count("5,000 sessions")
        assert board.page.locator("#sessions-body tr").count() < 100
        expect(board.page.locator("#sessions-table")).to_have_attribute("aria-rowcount", "5001")
        times = board.page.evaluate(_DRAWING)
        # Generous, for busy machines: on an idle one each takes a few frames at the most.
        assert max(times.values()) < 1000, times
        # The keyboard reaches the end, and the last rows are what sorting says.
        board.page.click("#sessions-table [data-key=ticket]")
        board.page.focus("#sessions-scroller")
        board.page.keyboard.press("End")
        expect(board.page.locator("#sessions-body tr").last).to_have_attribute("aria-rowindex", "5001")
        expect(board.page.locator("#sessions-body tr").last).to_contain_text("t-00001387")
        assert board.page.locator("#sessions-body tr").count() < 100
        # All of them are ended by one call, and only by somebody who means it.
        board.page.click("#end-shown")
        expect(board.page.locator("#end-submit")).to_be_disabled()
        board.confirm_end("Bye", number="5000")
        board.wait_for_count("0 sessions")
        assert api.ends == [{"all": True, "message": "Bye"}]


def test_rates_between_two_readings(browser: Browser) -> None:
    with StandIn([make_session(1)]) as api, shown(browser, api) as board:
        board.live()
        expect(board.page.locator("td.down")).to_have_text("\u2013")
        api.grow(2.0, down=1_500_000)
        expect(board.page.locator("td.down")).to_have_text("1.5 MB/s")
        expect(board.page.locator("td.up")).to_have_text("0 B/s")
        expect(board.page.locator("#throughput-down")).to_have_text("1.5 MB/s")


def test_events_are_shown_at_once(browser: Browser) -> None:
    with StandIn([make_session(1)]) as api, shown(browser, api) as board:
        board.live().wait_for_count("1 session")
        board.page.evaluate("() => Object.defineProperty(document, 'hidden', { get: () => true })")
        board.page.wait_for_timeout(2500)  # No reading is under way any more, and none follows.
        asked = len(api.paths)
        api.open(make_session(2, subject="late@example.com", state="connecting"))
        board.wait_for_count("2 sessions")
        warned = api.sessions["s000002"]
        api.happen("session-joined", session={**warned, "state": "active"}, dialling=0.1)
        expect(board.page.locator(".state").first).to_have_text("active")
        api.happen("session-warned", session={**warned, "duration": 3.0}, reason="idle", left=60.0)
        expect(board.page.locator(".state").first).to_contain_text("ends in")
        api.end({"session": "s000002"})
        board.wait_for_count("1 session")
        expect(board.page.locator("#history-body tr").first).to_contain_text("late@example.com")
        assert len(api.paths) == asked


def test_hostile_texts_are_texts(browser: Browser) -> None:
    session = make_session(
        1, id="s1", subject=_HOSTILE, target=_HOSTILE, client=_HOSTILE, ticket=_HOSTILE, security=_HOSTILE
    )
    with StandIn([session]) as api:
        api.checks = [{"name": _HOSTILE, "ok": False, "detail": _HOSTILE}]
        api.status = {
            "version": _HOSTILE,
            "actor": _HOSTILE,
            "listeners": [_HOSTILE],
            "ended": {_HOSTILE: 2},
            "refused": {_HOSTILE: 3},
            "targets": [{"target": _HOSTILE, "expires": time.time()}],
        }
        api.happen("session-ended", session=session, reason=_HOSTILE, code=1, detail=_HOSTILE * 50)
        api.happen(
            "request-refused",
            client=_HOSTILE,
            ticket=None,
            subject=_HOSTILE,
            target=None,
            reason=_HOSTILE,
            status=403,
            detail=_HOSTILE,
        )
        api.happen("admin-action", actor=_HOSTILE, action=_HOSTILE, sessions=[_HOSTILE], detail=_HOSTILE)
        with shown(browser, api) as board:
            page = board.live().page
            board.wait_for_count("1 session")
            # The null character cannot be in a document; everything else is there as it came.
            visible = _HOSTILE.replace("\u0000", "")
            assert [text.replace("\u0000", "").replace("\ufffd", "") for text in board.subjects()] == [
                visible
            ]
            for tab in ("session-ended", "request-refused", "admin-action"):
                page.click(f"#tab-{tab}")
                expect(page.locator("#history-body")).to_contain_text("onerror")
            page.click("#ended-counts button")
            expect(page.locator("#reason-name")).to_contain_text("onerror")
            page.click("#sessions-body .link")
            expect(page.locator("#details-facts")).to_contain_text("onerror")
            page.click("#details-end")
            expect(page.locator("#end-words")).to_contain_text("onerror")
            page.keyboard.press("Escape")
            assert page.locator("main img, main b, main script, dialog img").count() == 0
            assert page.title() == "Console Gateway"


def test_api_goes_away_and_comes_back(browser: Browser) -> None:
    with StandIn([make_session(1)]) as api, shown(browser, api) as board:
        board.live()
        api.happen("session-ended", session=make_session(7), reason="idle", code=4020, detail="")
        expect(board.page.locator("#history-body tr")).to_have_count(1)
        api.drop_streams()
        board.page.wait_for_selector('body[data-link="waiting"]')
        expect(board.page.locator("#link")).to_have_text("Reconnecting")
        api.happen("session-ended", session=make_session(8), reason="idle", code=4020, detail="")
        board.live()
        expect(board.page.locator("#history-body tr")).to_have_count(2)
        # Another process counts its events from 1.
        api.restart()
        api.open(make_session(3, subject="new@example.com"))
        board.live()
        expect(board.page.locator("#history-body tr")).to_have_count(0)
        api.end({"session": "s000003"})
        expect(board.page.locator("#history-body tr")).to_have_count(1)


def test_ending_what_the_api_cannot_select(browser: Browser) -> None:
    sessions = [make_session(number) for number in range(40)]
    with StandIn(sessions) as api, shown(browser, api) as board:
        board.live().wait_for_count("40 sessions")
        board.page.fill("#search", "kind=spice state:act")
        board.wait_for_count("13 of 40 sessions")
        board.page.click("#end-shown")
        board.page.wait_for_selector("#end[open]")
        for wrong in ("12", "", "all"):
            board.page.fill("#end-number", wrong)
            expect(board.page.locator("#end-submit")).to_be_disabled()
        board.confirm_end("Bye", number="13")
        board.wait_for_count("0 of 27 sessions")
        assert len(api.ends) == 13
        assert {body["message"] for body in api.ends} == {"Bye"}
        assert {session["kind"] for session in api.sessions.values()} == {"vnc", "serial"}


def test_what_is_found_no_more_is_not_selected(browser: Browser) -> None:
    with StandIn([make_session(number) for number in range(6)]) as api, shown(browser, api) as board:
        board.live().wait_for_count("6 sessions")
        board.page.check("#select-all")
        expect(board.page.locator("#end-selected")).to_have_text("End 6 selected")
        board.page.fill("#search", "vm0003")
        expect(board.page.locator("#end-selected")).to_have_text("End 1 selected")
        board.page.fill("#search", "")
        board.wait_for_count("6 sessions")
        board.page.click("#end-selected")
        expect(board.page.locator("#end-words")).to_contain_text("vm0003")
        board.confirm_end()
        board.wait_for_count("5 sessions")
        assert api.ends == [{"session": "s000003"}]


def test_message_is_counted_in_bytes(browser: Browser) -> None:
    with StandIn([make_session(1)]) as api, shown(browser, api) as board:
        board.live()
        board.page.click("[data-action=end]")
        expect(board.page.locator("#end-cancel")).to_be_focused()
        board.page.fill("#end-message", "\u00e9" * 60)
        expect(board.page.locator("#end-count")).to_have_text("120 of 120 bytes")
        expect(board.page.locator("#end-submit")).to_be_enabled()
        board.page.fill("#end-message", "\u00e9" * 61)
        expect(board.page.locator("#end-problem")).to_contain_text("too long by 2 bytes")
        expect(board.page.locator("#end-submit")).to_be_disabled()
        board.page.keyboard.press("Enter")
        board.page.keyboard.press("Escape")
        expect(board.page.locator("#end")).to_be_hidden()
        expect(board.page.locator("[data-action=end]")).to_be_focused()
        assert api.ends == []


def test_keyboard_alone(browser: Browser) -> None:
    with StandIn([make_session(number) for number in range(3)]) as api, shown(browser, api) as board:
        page = board.live().page
        board.wait_for_count("3 sessions")
        page.focus("#search")
        page.keyboard.type("vm0001")
        board.wait_for_count("1 of 3 sessions")
        page.focus("[data-key=subject]")
        page.keyboard.press("Enter")
        expect(page.locator("th.subject[aria-sort]")).to_have_attribute("aria-sort", "descending")
        page.focus("#sessions-body .link")
        page.keyboard.press("Enter")
        expect(page.locator("#details")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#end-title")).to_have_text("End this session?")
        page.keyboard.press("Shift+Tab")
        page.keyboard.type("Bye")
        page.keyboard.press("Enter")
        board.wait_for_count("0 of 2 sessions")
        assert api.ends == [{"session": "s000001", "message": "Bye"}]
        page.focus("#tab-session-ended")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#tab-request-refused")).to_be_focused()
        expect(page.locator("#history-panel")).to_have_attribute("aria-labelledby", "tab-request-refused")


def test_focus_stays_with_its_session(browser: Browser) -> None:
    """Rows move and go while somebody is about to press a button, which never becomes that of another."""
    with StandIn([make_session(number) for number in range(5, 9)]) as api, shown(browser, api) as board:
        board.live().wait_for_count("4 sessions")
        button = board.page.locator("[data-id=s000006] [data-action=end]")
        button.focus()
        api.open(make_session(1, subject="aaa@example.com"))
        board.wait_for_count("5 sessions")
        expect(button).to_be_focused()
        board.page.evaluate("document.querySelector('[data-key=console]').click()")
        expect(button).to_be_focused()
        api.end({"session": "s000006"})
        board.wait_for_count("4 sessions")
        expect(board.page.locator("#sessions-scroller")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390, 800])
def test_narrow_screens(browser: Browser, width: int, artifacts: Path) -> None:
    sessions = [make_session(number) for number in range(30)]
    with StandIn(sessions) as api, shown(browser, api, width=width) as board:
        board.live().wait_for_count("30 sessions")
        assert board.page.evaluate("document.documentElement.scrollWidth") <= width
        expect(board.page.locator("[data-action=end]").first).to_be_in_viewport(ratio=0)
        board.page.screenshot(path=artifacts / f"dashboard-{width}.png", full_page=True)


def test_token_that_is_revoked(browser: Browser) -> None:
    with StandIn([make_session(1)], tokens={"cgt_one": "operate"}) as api, shown(browser, api) as board:
        board.sign_in("cgt_one").live().wait_for_count("1 session")
        board.page.click("[data-action=end]")
        api.tokens = {}
        board.page.wait_for_selector('body[data-view="sign-in"]')
        expect(board.page.locator("#sign-in-problem")).to_contain_text("does not accept")
        expect(board.page.locator("#end")).to_be_hidden()
        assert "vm0001" not in board.page.content()
        assert board.page.evaluate("sessionStorage.length") == 0
