"""The dashboard below a path of another application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect
from tests.browser.conftest import Watch
from tests.browser.pages import badge, log_of
from tests.browser.processes import TOKEN, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An application with the dashboard below a path."""
    with Server(tmp_path, program="mounted", below="/tools/runs") as server:
        server.start()
        yield server


def test_everything_is_found_below_the_path_and_nothing_is_asked_of_the_rest(
    new_context: Callable[..., BrowserContext], server: Server, watch: Watch
) -> None:
    watch.expect("status of 401")
    context = new_context()
    page = context.new_page()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/tools/runs/")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("navigation").get_by_role("link", name="Start a run").click()
    expect(page.get_by_role("heading", name="Start a run")).to_be_visible()
    page.get_by_label("Job").select_option("play")
    page.get_by_label("part").fill("one")
    cue = server.stage.part("one")
    page.get_by_role("button", name="Start run").click()
    cue("log", "info", "a line")
    expect(log_of(page)).to_contain_text("a line")
    page.get_by_role("button", name="Cancel").click()
    expect(badge(page.get_by_role("main"), "cancelled").first).to_be_visible()
    with page.expect_download():
        page.get_by_role("link", name="Download").click()
    page.get_by_role("navigation").get_by_role("link", name="Overview").click()
    expect(page.get_by_role("img", name=re.compile("^Stacked bars"))).to_be_visible()
    (cookie,) = context.cookies()
    assert cookie.get("path") in {"/tools/runs", "/tools/runs/"}
    assert [url for url in asked if not url.startswith((f"{server.url}/tools/runs/", "data:"))] == []
