"""A browser, and pages that are watched: whatever a page complains of, or asks of another host, fails the test."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright
from tests.browser.gallery import fill
from tests.browser.processes import PATIENCE, ROOT, Server

FLAGS: Final = (
    "--no-sandbox",  # which does not work for root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots",
        type=Path,
        nargs="?",
        const=ROOT / "docs" / "screenshots",
        help="write the pictures of the documentation into a folder (docs/screenshots)",
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window. One for each module: the loop of Playwright ends with it."""
    chromium = shutil.which("chromium")
    assert chromium, "there is no chromium: python tests/browser/install_chromium.py"
    expect.set_options(timeout=PATIENCE * 1000 / 2)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=FLAGS)


class Watch:
    """Notes what pages must not do: errors and warnings on the console, exceptions, requests to other hosts."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        self._expected: list[str] = []

    def expect(self, pattern: str) -> None:
        """Let complaints pass that match a regular expression; one has to come."""
        self._expected.append(pattern)

    def follow(self, context: BrowserContext, url: str) -> None:
        """Watch all pages of a context, which have to stay with the server at an address."""
        host = urlsplit(url).netloc

        def listen(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                self._seen.append(f"{message.type}: {message.text}")

        def look(request: Request) -> None:
            if urlsplit(request.url).scheme not in {"data", "blob"} and urlsplit(request.url).netloc != host:
                self._seen.append(f"request to {request.url}")

        context.on("console", listen)
        context.on("weberror", lambda error: self._seen.append(f"exception: {error.error}"))
        context.on("request", look)

    def judge(self) -> None:
        """Fail if there was something that nobody expected, or if something expected did not come."""
        unexpected = [each for each in self._seen if not any(re.search(one, each) for one in self._expected)]
        assert not unexpected
        missing = [one for one in self._expected if not any(re.search(one, each) for each in self._seen)]
        assert not missing


@pytest.fixture
def watch() -> Iterator[Watch]:
    """What watches the pages of the test; it judges when the pages are closed."""
    watch = Watch()
    yield watch
    watch.judge()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, on an empty store."""
    with Server(tmp_path) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests of a module, on a store with something of everything: see ``gallery.py``."""
    with Server(tmp_path_factory.mktemp("gallery")) as server:
        fill(server)
        yield server


@pytest.fixture
def new_context(browser: Browser, server: Server, watch: Watch) -> Iterator[Callable[..., BrowserContext]]:
    """Make browser contexts, each with cookies and storage of its own, that are watched and closed behind the test."""
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        made.append(context := browser.new_context(locale="en-GB", timezone_id="UTC", **options))
        watch.follow(context, server.url)
        return context

    yield make
    for context in made:
        context.close()


@pytest.fixture
def visit(new_context: Callable[..., BrowserContext], server: Server) -> Callable[..., Page]:
    """Open a view of the server in a context of its own: ``visit("#/runs/1", color_scheme="dark")``."""

    def open_view(view: str = "#/", **options: Any) -> Page:
        page = new_context(**options).new_page()
        page.goto(server.address(view))
        return page

    return open_view
