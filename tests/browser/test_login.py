"""Who has not got the token sees the form that asks for it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect
from tests.browser.conftest import Watch
from tests.browser.pages import accessible, fits
from tests.browser.processes import TOKEN, Server


def test_the_token_is_asked_for_and_kept_where_no_script_reads_it(
    new_context: Callable[..., BrowserContext], server: Server, watch: Watch
) -> None:
    watch.expect("status of 401")
    context = new_context()
    page = context.new_page()
    page.goto(server.url)
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    assert TOKEN not in page.content()

    field.fill("not the token")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    assert context.cookies() == []

    page.get_by_label("Token").fill(TOKEN)
    page.get_by_label("Token").press("Enter")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    assert TOKEN not in page.url
    assert "token" not in page.evaluate("location.href")
    (cookie,) = context.cookies()
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("path")) == (True, "Strict", "/")
    assert page.evaluate("document.cookie") == ""
    assert TOKEN not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")

    other = context.new_page()
    other.goto(server.url)
    expect(other.get_by_role("heading", name="Runs")).to_be_visible()


def test_the_printed_address_logs_in_and_hides_its_token(
    new_context: Callable[..., BrowserContext], server: Server
) -> None:
    page = new_context().new_page()
    page.goto(server.address("#/overview"))
    expect(page).to_have_url(f"{server.url}/#/overview")
    page.go_back()
    assert TOKEN not in page.url


def test_the_form_fits_a_phone_and_is_accessible(
    new_context: Callable[..., BrowserContext], server: Server, watch: Watch
) -> None:
    watch.expect("status of 401")
    for theme in ("light", "dark"):
        page = new_context(color_scheme=theme, viewport={"width": 320, "height": 640}).new_page()
        page.goto(server.url)
        accessible(page)
        fits(page)


def test_a_session_that_has_ended_is_said_to_have_ended(
    new_context: Callable[..., BrowserContext], server: Server, watch: Watch
) -> None:
    watch.expect("status of 401")
    server.stage.part("one")
    server.start_run("play", args={"part": "one"})  # for which the list is read each second
    context = new_context()
    page = context.new_page()
    page.goto(server.address())
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    context.clear_cookies()
    expect(page.get_by_role("alert")).to_be_visible()
