"""What runs say is text, whatever it looks like."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from tests.browser.pages import badge, json_of, log_of, read_log
from tests.browser.processes import Server
from tests.browser.programs.plays import MARKUP

SCRIPT = "<script>alert(1)</script>"
LINK = "javascript:alert(1)"
TURNED = "\u202evil\u2066"
ANSI = "\x1b[31mred\x1b[0m \x07\x00"
HOSTILE = {
    "script": (SCRIPT, SCRIPT),
    "image": (MARKUP, MARKUP),
    "link": (LINK, LINK),
    "quotes": ("]]><!-- \"'`${alert(1)}</textarea>", "]]><!-- \"'`${alert(1)}</textarea>"),
    "ansi": (ANSI, "[31mred"),
    "bidi": (TURNED, "vil"),
    "long": ("x" * 16_000, "x" * 200),
    "many tags": ("<b>" * 5_000, "<b><b>"),
}
"""What is said, and what of it has to be read as it is."""
UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def tags_of(page: Page) -> list[str]:
    """List what nobody who writes this page would put into it."""
    return page.evaluate(
        "[...document.querySelectorAll('img, main script, iframe, b, [onerror]')].map((e) => e.outerHTML)"
    )


def assert_harmless(page: Page) -> None:
    """Check that nothing was taken for markup, a link or an order, and that nothing widens the page."""
    assert tags_of(page) == []
    for link in page.get_by_role("link").all():
        assert not (link.get_attribute("href") or "").startswith("javascript:")
    assert not UNSEEN.search(page.locator("body").inner_text())
    wide, there = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert wide <= there


@pytest.mark.parametrize("kind", HOSTILE)
def test_names_lines_and_results_are_shown_as_text(visit: Callable[..., Page], server: Server, kind: str) -> None:
    text, core = HOSTILE[kind]
    name = re.sub("[\x00-\x1f]", "", text)[:500]
    run_id = server.start_run(
        MARKUP, args={"text": text}, key=name, tags=[name, MARKUP], triggered_by=name, until="completed"
    )
    page = visit("#/")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="Run 1"))
    for shown in (MARKUP, core):
        expect(row).to_contain_text(shown)
    assert_harmless(page)

    page.goto(f"{server.url}/#/runs/{run_id}")
    expect(badge(page.get_by_role("main"), "completed").first).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_contain_text(MARKUP)
    expect(log_of(page).locator(".line").last).to_contain_text("completed")
    assert any("info" in line and core in line for line in read_log(page).values())
    expect(json_of(page, "Result")).to_contain_text(core.replace('"', '\\"'))
    expect(json_of(page, "Arguments")).to_contain_text(core.replace('"', '\\"'))
    expect(page.get_by_role("main")).to_contain_text(core)
    assert_harmless(page)


def test_an_error_and_a_reason_are_shown_as_text(visit: Callable[..., Page], server: Server) -> None:
    server.start_run("breaks", args={"text": SCRIPT + MARKUP}, until="failed")
    page = visit("#/runs/1")
    expect(page.get_by_role("region", name="Error")).to_contain_text(SCRIPT + MARKUP)
    assert tags_of(page) == []
    server.stage.part("one")
    server.start_run("play", args={"part": "one"}, until="running")
    server.ask("POST", "/runs/2/cancel", json={"reason": MARKUP})
    page.goto(f"{server.url}/#/runs/2")
    expect(page.get_by_role("main")).to_contain_text(MARKUP)
    assert tags_of(page) == []


def test_the_form_shows_names_and_refusals_as_text(visit: Callable[..., Page]) -> None:
    page = visit("#/start")
    page.get_by_label("Job").select_option(MARKUP)
    page.get_by_label("text").fill(SCRIPT)
    assert tags_of(page) == []
    page.goto(page.url.partition("#")[0] + f"#/?status={MARKUP}&job={SCRIPT}&key={LINK}")
    expect(page.get_by_role("main")).to_be_visible()
    page.get_by_role("main").get_by_label(re.compile("^Key")).fill(SCRIPT)
    assert tags_of(page) == []


def test_a_megabyte_is_shown_without_freezing(visit: Callable[..., Page], server: Server) -> None:
    cue = server.stage.part("one")
    cue("log", "info", "y" * 1_000_000)
    cue("emit", "own", {"text": "z" * 60_000})
    cue("return", "x" * 1_000_000)
    server.start_run("play", args={"part": "one"}, until="completed")
    page = visit("#/runs/1")
    expect(badge(page.get_by_role("main"), "completed").first).to_be_visible()
    log_of(page).get_by_role("button", name="Show all 16,").click()
    expect(log_of(page)).to_contain_text("characters cut")
    page.get_by_role("button", name="Show all", exact=True).click()
    assert_harmless(page)
    assert json_of(page, "Result").text_content() == '"' + "x" * 1_000_000 + '"'
