"""The dashboard by keyboard, on a phone, and for those who do not see it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from tests.browser.conftest import Watch
from tests.browser.gallery import VIEWS, ready
from tests.browser.pages import accessible, badge, fits, focus, log_of, tab_to
from tests.browser.processes import Server


@pytest.fixture
def server(gallery: Server) -> Server:
    """The server with something of everything."""
    return gallery


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_no_violations_of_axe(visit: Callable[..., Page], view: str, theme: str) -> None:
    page = visit(VIEWS[view], color_scheme=theme, reduced_motion="reduce")
    ready(page, view)
    accessible(page)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_320_pixels(visit: Callable[..., Page], view: str) -> None:
    page = visit(VIEWS[view], viewport={"width": 320, "height": 640})
    ready(page, view)
    fits(page)


def test_a_phone_reads_the_log_and_cancels(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("phone")
    cue("count", 0, 200)
    run_id = server.start_run("play", args={"part": "phone"}, until="running")
    page = visit(f"#/runs/{run_id}", viewport={"width": 320, "height": 640}, has_touch=True)
    expect(log_of(page).get_by_text("line 199", exact=True)).to_be_visible()
    page.get_by_role("button", name="Cancel").tap()
    expect(badge(page.get_by_role("main"), "cancelled").first).to_be_visible()


def test_a_run_is_started_and_cancelled_with_the_keyboard_alone(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("keyboard")
    page = visit("#/")
    expect(page.get_by_role("table", name="Runs")).to_be_visible()
    page.keyboard.press("Tab")
    assert "#main" in focus(page)["html"] or "skip" in focus(page)["html"].lower()
    tab_to(page, page.get_by_role("navigation").get_by_role("link", name="Start a run"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Start a run")).to_be_focused()
    job = page.get_by_label("Job")
    expect(job).to_be_visible()
    tab_to(page, job)
    page.keyboard.type("play")
    expect(page.get_by_label("part")).to_be_visible()
    tab_to(page, page.get_by_label("part"))
    page.keyboard.type("keyboard")
    tab_to(page, page.get_by_role("button", name="Start run"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"#/runs/\d+$"))
    expect(badge(page.get_by_role("main"), "running").first).to_be_visible()
    cue("count", 0, 300)
    expect(log_of(page)).to_contain_text("line 299")

    page.keyboard.press("/")
    search = page.get_by_label("Search the log")
    expect(search).to_be_focused()
    tab_to(page, log_of(page))
    page.keyboard.press("Home")
    expect(log_of(page).get_by_text("line 0", exact=True)).to_be_in_viewport()
    page.reload()
    expect(badge(page.get_by_role("main"), "running").first).to_be_visible()
    tab_to(page, page.get_by_role("button", name="Cancel"))
    page.keyboard.press("Enter")
    expect(badge(page.get_by_role("main"), "cancelled").first).to_be_visible()
    focus_stays = page.evaluate("document.activeElement !== document.body")
    assert focus_stays, "the focus is lost when the button it was on is disabled"


def test_changes_of_the_view_are_announced_and_move_the_focus(visit: Callable[..., Page]) -> None:
    page = visit("#/")
    expect(page).to_have_title(re.compile("Runs — aioruns"))
    page.get_by_role("navigation").get_by_role("link", name="Overview").click()
    expect(page).to_have_title(re.compile("Overview — aioruns"))
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_role("navigation").get_by_role("link", name="Overview")).to_have_attribute(
        "aria-current", "page"
    )


def test_who_wants_no_motion_gets_none(new_context: Callable[..., BrowserContext], server: Server) -> None:
    page = new_context(reduced_motion="reduce").new_page()
    page.goto(server.address(VIEWS["run-live"]))
    ready(page, "run-live")
    moving = page.evaluate(
        "document.getAnimations().filter((a) => a.playState === 'running').map((a) => a.animationName)"
    )
    assert moving == []


def test_the_page_needs_no_other_address(
    new_context: Callable[..., BrowserContext], server: Server, watch: Watch
) -> None:
    """The watch sees to it for every test; here that it would notice."""
    watch.expect("Content Security Policy")
    watch.expect("Connecting to|Fetch API|Failed to fetch")
    page = new_context().new_page()
    page.goto(server.address())
    with pytest.raises(Exception, match="Failed to fetch"):
        page.evaluate("fetch('http://127.0.0.2:1/')")
