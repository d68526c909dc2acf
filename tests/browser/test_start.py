"""Starting a run from the form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from playwright.sync_api import Page, expect
from tests.browser.conftest import Watch
from tests.browser.pages import accessible, badge, json_of
from tests.browser.processes import Server
from tests.support import rows


def test_a_run_is_started_from_the_form_with_every_kind_of_argument(visit: Callable[..., Page], server: Server) -> None:
    page = visit("#/")
    page.get_by_role("navigation").get_by_role("link", name="Start a run").click()
    expect(page.get_by_role("heading", name="Start a run")).to_be_visible()
    page.get_by_label("Job").select_option("report")
    expect(page.get_by_label("ratio")).to_have_value("0.5")
    expect(page.get_by_label("draft")).to_be_checked()
    expect(page.get_by_label("paper").locator("option:checked")).to_have_text("A4")
    page.get_by_label("subject").fill("Trees <b>& graphs</b>")
    page.get_by_label("copies").fill("3")
    page.get_by_label("chapters").fill('["heaps", "tries"]')
    page.get_by_label("limits").fill('{"pages": 40}')
    page.get_by_label("ratio").fill("1.25")
    page.get_by_label("draft").uncheck()
    page.get_by_label("paper").select_option("A5")
    page.get_by_label("note").fill("by Monday")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Key", exact=True).fill("project:7")
    page.get_by_label("Tags").fill("nightly, team:3")
    page.get_by_label("Timeout").fill("90")
    page.get_by_role("button", name="Start run").click()

    expect(page).to_have_url(re.compile(r"#/runs/1$"))
    expect(page).to_have_title(re.compile("Run 1 · report · .* — aioruns"))
    expect(badge(page.get_by_role("main"), "completed").first).to_be_visible()
    wanted = {
        "subject": "Trees <b>& graphs</b>",
        "copies": 3,
        "chapters": ["heaps", "tries"],
        "limits": {"pages": 40},
        "ratio": 1.25,
        "draft": False,
        "paper": "A5",
        "note": "by Monday",
    }
    (stored,) = rows(server.store)
    assert json.loads(stored["arguments"]) == wanted
    assert json.loads(stored["result"]) == wanted
    assert (stored["key"], json.loads(stored["tags"]), stored["timeout"]) == ("project:7", ["nightly", "team:3"], 90)
    for section in ("Arguments", "Result"):
        shown = json_of(page, section).inner_text()
        assert json.loads(shown) == wanted


def test_what_is_left_out_is_left_to_the_job(visit: Callable[..., Page], server: Server) -> None:
    page = visit("#/start/report")
    page.get_by_label("subject").fill("s")
    page.get_by_label("copies").fill("1")
    page.get_by_label("chapters").fill("[]")
    page.get_by_label("limits").fill("{}")
    page.get_by_role("button", name="Start run").click()
    expect(badge(page.get_by_role("main"), "completed").first).to_be_visible()
    result = json.loads(rows(server.store)[0]["result"])
    assert (result["ratio"], result["draft"], result["paper"], result["note"]) == (0.5, True, "A4", None)


def test_what_the_server_refuses_is_said_beside_its_field(
    visit: Callable[..., Page], server: Server, watch: Watch
) -> None:
    watch.expect("status of 422")
    page = visit("#/start/report")
    page.get_by_label("subject").fill("kept")
    page.get_by_label("copies").fill("1")
    page.get_by_label("chapters").fill("[1]")
    page.get_by_label("limits").fill('{"pages": 40}')
    page.get_by_role("button", name="Start run").click()

    chapters = page.get_by_label("chapters")
    expect(chapters).to_have_attribute("aria-invalid", "true")
    expect(chapters).to_have_accessible_description(re.compile("str", re.IGNORECASE))
    expect(page.get_by_label("copies")).not_to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("subject")).to_have_value("kept")
    assert rows(server.store) == []
    accessible(page)

    chapters.fill('["one"]')
    page.get_by_role("button", name="Start run").click()
    expect(page).to_have_url(re.compile(r"#/runs/1$"))


def test_what_is_no_json_is_said_beside_its_field_and_not_sent(visit: Callable[..., Page], server: Server) -> None:
    page = visit("#/start/report")
    page.get_by_label("subject").fill("s")
    page.get_by_label("copies").fill("1")
    page.get_by_label("chapters").fill("[]")
    page.get_by_label("limits").fill("{pages: 40}")
    page.get_by_role("button", name="Start run").click()
    limits = page.get_by_label("limits")
    expect(limits).to_have_attribute("aria-invalid", "true")
    expect(limits).to_have_accessible_description(re.compile("JSON"))
    assert rows(server.store) == []


def test_a_key_that_is_held_refuses_and_names_the_holder(
    visit: Callable[..., Page], server: Server, watch: Watch
) -> None:
    watch.expect("status of 409")
    server.stage.part("first")
    server.start_run("play", args={"part": "first"}, key="project:7")
    page = visit("#/start/play")
    page.get_by_label("part").fill("second")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Key", exact=True).fill("project:7")
    page.get_by_role("button", name="Start run").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("project:7")
    expect(alert).to_contain_text("1")
    page.get_by_label("If the key is held").select_option("join")
    page.get_by_role("button", name="Start run").click()
    expect(page).to_have_url(re.compile(r"#/runs/1$"))
    assert len(rows(server.store)) == 1
