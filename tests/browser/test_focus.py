"""The keyboard keeps its place when the control that has the focus is disabled, hidden, removed or made anew."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from tests.browser.conftest import Watch
from tests.browser.pages import badge, log_of, timeline_of
from tests.browser.processes import Server


def drawn(page: Page) -> None:
    """Wait until the browser has drawn a frame: only then it takes the focus from what is disabled or hidden."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_a_button_that_is_disabled_keeps_the_focus_and_does_nothing(visit: Callable[..., Page], server: Server) -> None:
    server.stage.part("one")
    leaving = server.stage.part("one-leaving")
    page = visit(f"#/runs/{server.start_run('linger', args={'part': 'one'}, until='running')}")
    cancel, retry = (page.get_by_role("button", name=name) for name in ("Cancel", "Retry"))
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.url) if request.method == "POST" else None)
    cancel.press("Enter")
    expect(cancel).to_be_disabled()
    drawn(page)
    expect(cancel).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+Tab")
    expect(retry).to_be_focused()
    page.keyboard.press("Enter")
    leaving("return", None)
    expect(badge(page.get_by_role("main"), "cancelled").first).to_be_visible()
    expect(retry).to_be_enabled()
    drawn(page)
    expect(retry).to_be_focused()
    assert len(calls) == 1, "a disabled button did something"


def test_a_page_of_the_list_is_read_on_from_its_top(visit: Callable[..., Page], server: Server) -> None:
    for _ in range(51):
        server.start_run("breaks", args={"text": "no"})
    page = visit("#/")
    older, newest = (page.get_by_role("button", name=name) for name in ("Older", "Newest"))
    expect(older).to_be_enabled()
    for button in (older, newest):
        button.press("Enter")
        expect(button).to_be_disabled()
        drawn(page)
        expect(page.get_by_role("heading", level=1)).to_be_focused()
    newest.press("Enter")
    drawn(page)
    expect(newest).to_be_focused()


def test_a_row_that_leaves_the_list_hands_the_focus_on(visit: Callable[..., Page], server: Server) -> None:
    cues = [server.stage.part(name) for name in ("one", "two")]
    for name in ("one", "two"):
        server.start_run("play", args={"part": name}, until="running")
    page = visit("#/?status=active")
    page.get_by_role("link", name="Run 2").focus()
    cues[1]("return", None)
    expect(page.get_by_role("link", name="Run 2")).to_have_count(0)
    expect(page.get_by_role("link", name="Run 1")).to_be_focused()
    cues[0]("return", None)
    clear = page.get_by_role("button", name="Clear the filters")
    expect(clear).to_be_visible()
    drawn(page)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    clear.focus()
    server.stage.part("three")
    server.start_run("play", args={"part": "three"}, until="running")
    expect(page.get_by_role("link", name="Run 3")).to_be_visible()
    drawn(page)
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_facts_that_are_told_anew_leave_the_focus_where_it_was(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'}, until='running')}")
    copy = page.get_by_role("button", name="Copy arguments")
    copy.focus()
    before = copy.element_handle()
    cue("return", None)
    expect(page.get_by_role("button", name="Copy result")).to_be_visible()
    assert before
    assert not before.evaluate("(element) => element.isConnected"), "nothing was tested"
    expect(copy).to_be_focused()


def test_what_is_copied_by_hand_does_not_keep_the_focus(
    new_context: Callable[..., BrowserContext], server: Server
) -> None:
    page = new_context().new_page()
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    server.stage.part("one")
    page.goto(server.address(f"#/runs/{server.start_run('play', args={'part': 'one'})}"))
    copy = page.get_by_role("button", name="Copy arguments")
    copy.press("Enter")
    expect(copy.locator(".icon-check")).to_be_visible()
    expect(copy).to_be_focused()


def test_figures_that_are_drawn_anew_leave_the_focus_where_it_was(
    new_context: Callable[..., BrowserContext], server: Server
) -> None:
    server.start_run("breaks", args={"text": "no"}, until="failed")
    page = new_context().new_page()
    page.clock.install()
    page.goto(server.address("#/overview"))
    table = page.get_by_role("region", name="Duration per job", exact=True).locator("summary")
    table.focus()
    before = table.element_handle()
    server.start_run("breaks", args={"text": "no"}, until="failed")
    with page.expect_response(re.compile(r"/api/overview")):
        page.clock.fast_forward(60_000)
    expect(page.get_by_role("list", name="Runs in the period")).to_contain_text("2")
    assert before
    assert not before.evaluate("(element) => element.isConnected"), "nothing was tested"
    expect(table).to_be_focused()


def test_a_line_that_is_scrolled_away_hands_the_focus_to_the_log(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    cue("log", "info", "long " * 1000)
    cue("count", 0, 500)
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'})}")
    log = log_of(page)
    expect(log).to_contain_text("line 499")
    log.press("Home")
    more = log.get_by_role("button", name="Show all")
    more.focus()
    log.evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
    expect(more).to_have_count(0)
    expect(log).to_be_focused()


def test_jumping_to_the_newest_line_leads_into_the_log(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    cue("count", 0, 500)
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'})}")
    log, jump = log_of(page), page.get_by_role("button", name="Jump to newest")
    expect(log).to_contain_text("line 499")
    log.press("Home")
    jump.focus()
    # Heights of lines are estimated until they are drawn, so the end may move once or twice.
    scroll = """async (log) => {
      while (document.querySelector(".log-jump:not([hidden])")) {
        log.scrollTop = log.scrollHeight;
        await new Promise(requestAnimationFrame);
      }
    }"""
    log.evaluate(scroll)
    expect(jump).to_be_hidden()
    drawn(page)
    expect(log).to_be_focused()


def test_all_entries_of_a_long_timeline_are_read_on_where_they_are(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    for number in range(150):
        cue("set_progress", number, step=f"step {number}")
        cue("flush")
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'})}")
    more = timeline_of(page).get_by_role("button", name="more entries")
    expect(timeline_of(page)).to_contain_text("step 149")
    more.press("Enter")
    expect(more).to_have_count(0)
    expect(timeline_of(page).get_by_role("list")).to_be_focused()


@pytest.mark.parametrize("view", ["#/runs/99", "#/?status=running", "#/overview", "#/start"])
def test_what_could_not_be_loaded_does_not_take_the_focus(visit: Callable[..., Page], watch: Watch, view: str) -> None:
    """The view has the focus on its title when the answer comes; and there it is again behind "Try again"."""
    page = visit("#/")
    expect(page.get_by_text("No runs yet")).to_be_visible()
    watch.expect("status of 4")
    body = '{"type": "urn:aioruns:forbidden", "title": "Forbidden", "status": 403, "detail": "Not for you."}'
    page.route(
        re.compile("/api/"),
        lambda route: route.fulfill(status=403, content_type="application/problem+json", body=body),
    )
    page.evaluate("(view) => { location.hash = view; }", view)
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    with page.expect_response(re.compile("/api/")) as answer:
        again.press("Enter")
    answer.value.finished()
    drawn(page)
    assert page.evaluate("document.activeElement !== document.body")
