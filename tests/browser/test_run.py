"""The view of one run: what it says while it goes on, how it is cancelled, what is left of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect
from tests.browser.conftest import Watch
from tests.browser.pages import accessible, badge, fits, json_of, log_of, read_log, timeline_of
from tests.browser.processes import Server, eventually


def test_progress_and_log_are_watched_live(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    run_id = server.start_run("play", args={"part": "one"}, until="running")
    page = visit(f"#/runs/{run_id}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run 1")
    expect(badge(page.get_by_role("main"), "running").first).to_be_visible()
    expect(page).to_have_title("Run 1 · play · running — aioruns")

    cue("set_progress", 3, 12, step="extract", message="chapter three")
    bar = page.get_by_role("progressbar", name="Progress")
    expect(bar).to_have_attribute("aria-valuenow", "25")
    progress = page.get_by_role("main")
    expect(progress).to_contain_text("extract")
    expect(progress).to_contain_text("chapter three")
    expect(progress).to_contain_text(re.compile(r"3\s*(/|of)\s*12"))
    expect(timeline_of(page)).to_contain_text("extract")

    cue("log", "warning", "the first line")
    line = log_of(page).locator(".line", has_text="the first line")
    expect(line).to_contain_text(re.compile("warning", re.IGNORECASE))
    cue("log", "info", "the second line")
    expect(log_of(page)).to_contain_text("the second line")

    cue("set_progress", 12, 12, step="load")
    expect(bar).to_have_attribute("aria-valuenow", "100")
    cue("return", {"pages": [1, 2]})
    expect(badge(page.get_by_role("main"), "completed").first).to_be_visible()
    expect(page).to_have_title("Run 1 · play · completed — aioruns")
    assert json_of(page, "Result").inner_text() == '{\n  "pages": [\n    1,\n    2\n  ]\n}'
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
    expect(page.get_by_role("button", name="Retry")).to_be_enabled()


def test_an_answer_that_comes_late_does_not_set_the_progress_back(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    run_id = server.start_run("play", args={"part": "one"}, until="running")
    page = visit("#/")
    asked: list[Route] = []
    late: list[tuple[Route, APIResponse]] = []

    def answer(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.continue_()
        else:  # the run is read again when its stream has begun
            late.append((route, route.fetch()))

    page.route(re.compile(rf"/api/runs/{run_id}$"), answer)
    page.evaluate(f"location.hash = '#/runs/{run_id}'")
    expect(log_of(page)).to_be_visible()
    while not late:
        page.wait_for_timeout(10)
    cue("set_progress", 3, 12)
    bar = page.get_by_role("progressbar", name="Progress")
    expect(bar).to_have_attribute("aria-valuenow", "25")
    for route, response in late:
        with page.expect_response(lambda response: response.url.endswith(f"/api/runs/{run_id}")) as answered:
            route.fulfill(response=response)
        answered.value.finished()
    cue("log", "info", "the next line")
    expect(log_of(page)).to_contain_text("the next line")
    expect(bar).to_have_attribute("aria-valuenow", "25")


def test_who_scrolls_back_stays_there_while_the_run_goes_on(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    cue("count", 0, 500)
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'})}")
    log = log_of(page)
    expect(log.get_by_text("line 499", exact=True)).to_be_in_viewport()
    newest = page.get_by_role("button", name="Jump to newest")
    expect(newest).to_be_hidden()

    log.hover()
    page.mouse.wheel(0, -4000)
    expect(log.get_by_text("line 499", exact=True)).not_to_be_in_viewport()
    top = log.evaluate("(log) => log.scrollTop")
    box = log.bounding_box()
    assert box
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    reading = page.evaluate("([x, y]) => document.elementFromPoint(x, y).closest('.line').dataset.seq", at)
    cue("count", 500, 700)
    expect(newest).to_contain_text("200")
    assert log.evaluate("(log) => log.scrollTop") == pytest.approx(top, abs=1)
    assert page.evaluate("([x, y]) => document.elementFromPoint(x, y).closest('.line').dataset.seq", at) == reading

    newest.click()
    expect(log.get_by_text("line 699", exact=True)).to_be_in_viewport()
    expect(newest).to_be_hidden()
    cue("count", 700, 702)
    expect(log.get_by_text("line 701", exact=True)).to_be_in_viewport()


def test_a_log_is_searched_and_filtered_by_level(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    cue("count", 0, 300)
    cue("log", "error", "the disk is full")
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'})}")
    log = log_of(page)
    expect(log.get_by_text("the disk is full")).to_be_visible()
    search, section = page.get_by_label("Search the log"), page.get_by_role("region", name="Log")
    search.fill("LINE 12")
    expect(section).to_contain_text("1 of 11")
    expect(log.locator("mark").first).to_be_in_viewport()
    for _ in range(2):
        search.press("Enter")
    expect(section).to_contain_text("3 of 11")
    expect(log.get_by_text("line 121", exact=True)).to_be_in_viewport()
    cue("log", "info", "again line 123")
    expect(section).to_contain_text("3 of 12")
    search.fill("")
    expect(log.locator("mark")).to_have_count(0)

    page.get_by_label("Level").select_option("error")
    expect(log.locator(".line")).to_have_count(1)
    expect(log.locator(".line")).to_contain_text("the disk is full")
    cue("log", "critical", "and the spare one")
    expect(log.locator(".line")).to_have_count(2)


def test_a_log_is_downloaded(visit: Callable[..., Page], server: Server, tmp_path: Path) -> None:
    cue = server.stage.part("one")
    cue("count", 0, 1200)
    cue("return", None)
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'}, until='completed')}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "run-1.log"
    saved = tmp_path / "saved"
    download.value.save_as(saved)
    said = re.findall(r"^\S+Z INFO +line (\d+)$", saved.read_text(encoding="utf-8"), re.MULTILINE)
    assert said == [str(number) for number in range(1200)]


def test_a_run_is_cancelling_until_its_function_has_ended(visit: Callable[..., Page], server: Server) -> None:
    server.stage.part("one")
    leaving = server.stage.part("one-leaving")
    page = visit(f"#/runs/{server.start_run('linger', args={'part': 'one'}, until='running')}")
    cancel = page.get_by_role("button", name="Cancel")
    expect(page.get_by_role("button", name="Retry")).to_be_disabled()
    cancel.click()
    expect(badge(page.get_by_role("main"), "cancelling").first).to_have_text(re.compile("cancelling…"))
    assert server.status(1) == "cancelling"
    leaving("log", "info", "tidied up")
    leaving("return", None)
    expect(badge(page.get_by_role("main"), "cancelled").first).to_be_visible()
    expect(cancel).to_be_disabled()
    expect(timeline_of(page)).to_contain_text("cancelled")
    expect(log_of(page)).to_contain_text("tidied up")


def test_a_failure_is_seen_with_its_traceback_after_a_reload(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'}, until='running')}")
    cue("raise", "the well ran dry")
    main = page.get_by_role("main")
    expect(badge(main, "failed").first).to_be_visible()
    page.reload()
    expect(badge(main, "failed").first).to_be_visible()
    error = page.get_by_role("region", name="Error")
    expect(error).to_contain_text("RuntimeError: the well ran dry")
    trace = error.get_by_text(re.compile('File ".*plays.py", line'))
    expect(trace).to_be_hidden()
    error.get_by_text("Traceback", exact=True).click()
    expect(trace).to_be_visible()
    assert "raise RuntimeError(values[0])" in trace.inner_text()
    accessible(page)


def test_a_run_is_retried(visit: Callable[..., Page], server: Server) -> None:
    server.start_run("breaks", args={"text": "no"}, until="failed", tags=["nightly"])
    page = visit("#/runs/1")
    page.get_by_role("button", name="Retry").click()
    expect(page).to_have_url(re.compile(r"#/runs/2$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run 2")
    expect(badge(page.get_by_role("main"), "failed").first).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Run 1").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run 1")


def test_what_the_server_refuses_is_shown_with_its_reason(
    visit: Callable[..., Page], server: Server, watch: Watch
) -> None:
    watch.expect("status of 409")
    server.start_run("breaks", args={"text": "no"}, until="failed", key="project:7")
    server.stage.part("one")
    server.start_run("play", args={"part": "one"}, key="project:7")
    page = visit("#/runs/1")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("alert")).to_contain_text("project:7")
    expect(page).to_have_url(re.compile(r"#/runs/1$"))


def test_a_large_result_is_cut_until_all_of_it_is_asked_for(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    value = {"words": ["heap"] * 100_000}
    cue("return", value)
    server.start_run("play", args={"part": "one"}, until="completed")
    page = visit("#/runs/1")
    result = json_of(page, "Result")
    expect(result).to_contain_text("heap")
    assert len(result.inner_text()) < 200_000
    page.get_by_role("button", name="Show all").click()
    expect(result).to_contain_text(re.compile(r"\]\s*\}$"))
    assert json.loads(result.inner_text()) == value


def test_a_run_that_is_not_there_is_said_not_to_be_there(
    visit: Callable[..., Page], server: Server, watch: Watch
) -> None:
    watch.expect("status of 404")
    page = visit("#/runs/99", viewport={"width": 320, "height": 640})
    expect(page.get_by_role("alert")).to_contain_text("99")
    accessible(page)
    fits(page)


def test_a_hidden_tab_closes_its_stream_and_resumes_where_it_was(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    cue("count", 0, 10)
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'})}")
    expect(log_of(page)).to_contain_text("line 9")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("/api/runs/1/events")):
        show(page, "hidden")
    cue("count", 10, 20)
    seen = list(server.events(1, "log"))
    eventually(lambda: len(server.events(1, "log")) == 20)
    expect(log_of(page).get_by_text("line 9", exact=True)).to_have_count(1)
    expect(log_of(page).get_by_text("line 10", exact=True)).to_have_count(0)
    with page.expect_request(lambda request: "/api/runs/1/events" in request.url) as asked:
        show(page, "visible")
    assert int(asked.value.headers["last-event-id"]) >= max(seen[:10])
    expect(log_of(page)).to_contain_text("line 19")
    assert [seq for seq, _ in read_log(page).items() if seq in server.events(1, "log")] == list(server.events(1, "log"))


def show(page: Page, state: str) -> None:
    """Let a page believe that its tab is hidden or visible: a browser without windows has no tabs to hide."""
    page.evaluate(
        """(state) => {
          Object.defineProperty(document, 'visibilityState', {value: state, configurable: true});
          Object.defineProperty(document, 'hidden', {value: state === 'hidden', configurable: true});
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        state,
    )
