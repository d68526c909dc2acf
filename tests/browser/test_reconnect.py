"""What a page shows when the server dies under it, is in another process than the run, or has two readers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect
from tests.browser.conftest import Watch
from tests.browser.pages import badge, log_of, read_log
from tests.browser.processes import Server, eventually, working

GONE = "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE"


def assert_complete(page: Page, server: Server, run_id: int, lines: int) -> None:
    """Compare the log that is shown with the log that is stored."""
    shown, stored = read_log(page), server.events(run_id, "log")
    messages = [stored[seq]["message"] for seq in stored]
    assert messages == [f"line {number}" for number in range(lines)]
    assert [seq for seq in shown if seq in stored] == list(stored)
    for seq, line in stored.items():
        assert line["message"] in shown[seq]


def test_G6_no_line_is_lost_or_doubled_when_the_server_is_killed_and_started_again(
    visit: Callable[..., Page], server: Server, watch: Watch
) -> None:
    watch.expect(GONE)
    cue = server.stage.part("one")
    cue("count", 0, 100)
    page = visit(f"#/runs/{server.start_run('play', args={'part': 'one'})}")
    expect(log_of(page)).to_contain_text("line 99")
    cue("count", 100, 700)
    eventually(lambda: len(server.events(1, "log")) == 700)
    server.kill()
    expect(page.locator(".connection")).to_have_text("Disconnected, retrying…")
    server.start()
    expect(badge(page.get_by_role("main"), "interrupted").first).to_be_visible()
    expect(page.locator(".connection")).to_be_hidden()
    assert_complete(page, server, 1, 700)


def test_G6_a_run_of_another_process_is_followed_across_restarts_of_the_server(
    visit: Callable[..., Page], server: Server, watch: Watch, tmp_path: Path
) -> None:
    watch.expect(GONE)
    cue = server.stage.part("one")
    with working(tmp_path, "one") as run_id:
        page = visit(f"#/runs/{run_id}")
        for number in range(0, 300, 100):
            cue("count", number, number + 50)
            expect(log_of(page)).to_contain_text(f"line {number + 49}")
            server.kill(signal.SIGTERM if number else signal.SIGKILL)
            expect(page.locator(".connection")).to_be_visible()
            cue("count", number + 50, number + 100)
            eventually(lambda number=number: len(server.events(run_id, "log")) == number + 100)
            server.start()
            expect(log_of(page)).to_contain_text(f"line {number + 99}")
            expect(page.locator(".connection")).to_be_hidden()
        cue("return", "done")
        expect(badge(page.get_by_role("main"), "completed").first).to_be_visible()
        assert_complete(page, server, run_id, 300)


def test_a_run_that_ends_while_the_server_is_away_is_seen_to_have_ended(
    visit: Callable[..., Page], server: Server, watch: Watch, tmp_path: Path
) -> None:
    watch.expect(GONE)
    cue = server.stage.part("one")
    with working(tmp_path, "one") as run_id:
        page = visit(f"#/runs/{run_id}")
        expect(badge(page.get_by_role("main"), "running").first).to_be_visible()
        server.kill()
        expect(page.locator(".connection")).to_be_visible()
        cue("return", "done")
        eventually(lambda: server.status(run_id) == "completed")
        server.start()
        expect(badge(page.get_by_role("main"), "completed").first).to_be_visible()
        expect(page.locator(".connection")).to_be_hidden()


def test_the_list_goes_on_when_the_server_is_back(visit: Callable[..., Page], server: Server, watch: Watch) -> None:
    watch.expect(GONE)
    server.start_run("breaks", args={"text": "no"}, until="failed")
    page = visit("#/")
    runs = page.get_by_role("table", name="Runs")
    expect(badge(runs, "failed")).to_have_count(1)
    server.kill()
    expect(page.locator(".connection")).to_have_text("Disconnected, retrying…")
    expect(badge(runs, "failed")).to_have_count(1)
    server.start()
    server.start_run("breaks", args={"text": "no"}, until="failed")
    expect(badge(runs, "failed")).to_have_count(2)
    expect(page.locator(".connection")).to_be_hidden()


def test_a_run_that_is_opened_while_the_server_is_away_is_shown_when_it_is_back(
    visit: Callable[..., Page], server: Server, watch: Watch
) -> None:
    watch.expect(GONE)
    server.start_run("breaks", args={"text": "no"}, until="failed")
    page = visit("#/")
    link = page.get_by_role("link", name="Run 1")
    expect(link).to_be_visible()
    server.kill()
    link.click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.locator(".connection")).to_be_visible()
    server.start()
    expect(badge(page.get_by_role("main"), "failed").first).to_be_visible()
    expect(page.locator(".connection")).to_be_hidden()


def test_what_one_tab_cancels_the_other_sees_cancelled(
    new_context: Callable[..., BrowserContext], server: Server
) -> None:
    server.stage.part("one")
    leaving = server.stage.part("one-leaving")
    run_id = server.start_run("linger", args={"part": "one"}, until="running")
    context = new_context()
    first, second, listed = context.new_page(), context.new_page(), context.new_page()
    for page in (first, second):
        page.goto(server.address(f"#/runs/{run_id}"))
        expect(badge(page.get_by_role("main"), "running").first).to_be_visible()
    listed.goto(server.address("#/"))
    expect(badge(listed.get_by_role("table", name="Runs"), "running")).to_be_visible()
    first.get_by_role("button", name="Cancel").click()
    expect(badge(second.get_by_role("main"), "cancelling").first).to_be_visible()
    leaving("return", None)
    for page in (first, second, listed):
        expect(badge(page.get_by_role("main"), "cancelled").first).to_be_visible()
