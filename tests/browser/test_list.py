"""The list of runs, the overview, and what both share."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser.gallery import ready
from tests.browser.pages import accessible, badge
from tests.browser.processes import Server


def table(page: Page) -> Locator:
    return page.get_by_role("table", name="Runs")


def links(page: Page) -> Locator:
    """Give the links to runs, newest first."""
    return table(page).get_by_role("link", name=re.compile(r"^Run \d+$"))


def test_the_list_follows_what_happens(visit: Callable[..., Page], server: Server) -> None:
    server.stage.part("before")
    server.start_run("play", args={"part": "before"}, until="running")
    page = visit("#/")
    expect(links(page)).to_have_text(["Run 1"])
    cue = server.stage.part("one")
    server.start_run("play", args={"part": "one"}, key="project:7", tags=["nightly"], until="running")
    expect(links(page)).to_have_text(["Run 2", "Run 1"])
    row = table(page).get_by_role("row").filter(has=page.get_by_role("link", name="Run 2"))
    expect(badge(row, "running")).to_be_visible()
    for text in ("play", "project:7", "nightly"):
        expect(row).to_contain_text(text)
    cue("set_progress", 1, 4)
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    expect(row).to_contain_text("1 / 4")
    cue("raise", "no")
    expect(badge(row, "failed")).to_be_visible()
    row.get_by_role("link", name="Run 2").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run 2")


def test_an_empty_store_says_what_to_do(visit: Callable[..., Page]) -> None:
    page = visit("#/")
    expect(page.get_by_text("No runs yet")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="Start a run").first.click()
    expect(page.get_by_role("heading", name="Start a run")).to_be_visible()


def test_the_list_is_filtered_and_the_address_keeps_the_filter(visit: Callable[..., Page], server: Server) -> None:
    server.start_run("breaks", args={"text": "a"}, until="failed", key="project:1", tags=["nightly"])
    server.start_run("breaks", args={"text": "b"}, until="failed", key="project:2", tags=["nightly", "team:3"])
    server.start_run("report", args=REPORT, until="completed", key="project:1", tags=["team:3"])
    page = visit("#/")
    expect(links(page)).to_have_text(["Run 3", "Run 2", "Run 1"])

    def filtered(label: str, value: str, runs: list[str]) -> None:
        control = page.get_by_role("main").get_by_label(re.compile(f"^{label}"))
        if control.evaluate("(element) => element.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
            control.press("Enter")
        expect(links(page)).to_have_text(runs)

    filtered("Status", "failed", ["Run 2", "Run 1"])
    expect(page).to_have_url(re.compile(r"#/\?(.*&)?status=failed"))
    filtered("Key", "project:1", ["Run 1"])
    page.reload()
    expect(links(page)).to_have_text(["Run 1"])
    filtered("Status", "", ["Run 3", "Run 1"])
    filtered("Key", "", ["Run 3", "Run 2", "Run 1"])
    filtered("Tag", "team:3", ["Run 3", "Run 2"])
    filtered("Job", "breaks", ["Run 2"])
    links(page).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Run 2")
    page.go_back()
    expect(links(page)).to_have_text(["Run 2"])
    filtered("Tag", "no such tag", [])
    page.get_by_role("button", name="Clear").click()
    expect(links(page)).to_have_text(["Run 3", "Run 2", "Run 1"])


def test_the_list_is_paged(visit: Callable[..., Page], server: Server) -> None:
    for _ in range(60):
        server.start_run("report", args=REPORT)
    page = visit("#/")
    expect(links(page)).to_have_count(50)
    expect(links(page).first).to_have_text("Run 60")
    page.get_by_role("button", name="Older").click()
    expect(links(page)).to_have_text([f"Run {number}" for number in range(10, 0, -1)])
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    page.get_by_role("button", name="Newest").click()
    expect(links(page).first).to_have_text("Run 60")


def test_the_overview_counts_runs(visit: Callable[..., Page], server: Server) -> None:
    for text in "ab":
        server.start_run("breaks", args={"text": text}, until="failed")
    server.start_run("report", args=REPORT, until="completed")
    page = visit("#/")
    page.get_by_role("navigation").get_by_role("link", name="Overview").click()
    main = page.get_by_role("main")
    ready(page, "overview")
    for summary in main.locator("details > summary").all():
        summary.click()
    by_status, by_job = main.get_by_role("table").all()
    expect(by_status).to_contain_text("failed")
    expect(by_job.get_by_role("row").filter(has_text="breaks")).to_contain_text("2")
    expect(by_job.get_by_role("row").filter(has_text="report")).to_contain_text("1")
    accessible(page)
    with page.expect_response(re.compile(r"/api/overview\?hours=168$")):
        main.get_by_role("combobox").select_option("168")


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_follows_the_system_until_one_is_chosen(visit: Callable[..., Page], system: str) -> None:
    page = visit("#/", color_scheme=system)
    button = page.get_by_role("button", name="Theme")
    expect(button).to_be_visible()

    def lightness() -> str:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        red, green, blue = map(int, re.findall(r"\d+", background)[:3])
        return "light" if red + green + blue > 3 * 128 else "dark"

    assert lightness() == system
    seen: list[str] = []
    for _ in range(3):
        button.click()
        seen.append(lightness())
        page.reload()
        expect(button).to_be_visible()
        assert lightness() == seen[-1]
    assert seen == ["light", "dark", system]


REPORT = {"subject": "s", "copies": 1, "chapters": [], "limits": {}}
