"""The dashboard with a long history: its first paint, and how smoothly a log of 100,000 lines is scrolled."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from tests.benchmarks.scenarios._history import make_history
from tests.benchmarks.scenarios._support import MILLI, Report, main
from tests.benchmarks.scenarios._web import serving

from aioruns import RunManager, current_run, job
from aioruns.web import create_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ENVIRONMENT: Final = "web"
ROUNDS: Final = 1
RUNS: Final = 100_000
TOKEN: Final = "benchmark"
VISITS: Final = 5
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

NOTE_ROWS: Final = """
window.rowsShown = new Promise((shown) => {
  new MutationObserver((_, observer) => {
    if (!document.querySelector('main table a[href^="#/runs/"]')) return;
    requestAnimationFrame(() => shown(performance.now()));
    observer.disconnect();
  }).observe(document, {childList: true, subtree: true});
});
"""
"""Notes when the first run of the list is on the page."""

PAINTS: Final = """
async () => [performance.getEntriesByName('first-contentful-paint')[0].startTime, await window.rowsShown]
"""

SCROLL: Final = """
async ([log, steps]) => {
  const frame = () => new Promise(requestAnimationFrame);
  log.scrollTop = 0;
  await frame();
  const frames = [];
  let before = await frame();
  for (let step = 1; step <= steps; step += 1) {
    log.scrollTop = step % 2 ? (step / steps) * log.scrollHeight : log.scrollTop + log.clientHeight;
    const now = await frame();
    frames.push(now - before);
    before = now;
  }
  return frames;
}
"""
"""Scrolls through all of a log, by leaps and by pages in turn, one each frame; gives what each frame took."""


@job
async def recite(lines: int) -> None:
    """Fill a log."""
    context = current_run()
    for number in range(lines):
        context.log("info", f"line {number} of the log", of=lines)
        if number % 5_000 == 0:
            await context.flush()


@job
async def burst(go: str, lines: int) -> None:
    """Fill a log as soon as a file is there, which is when somebody looks."""
    while not Path(go).exists():
        await asyncio.sleep(0.01)
    await recite.function(lines)


async def fill(path: Path, lines: int) -> int:
    """Make a run with a long log; return its id."""
    async with RunManager(path) as manager:
        handle = await manager.start_run(recite(lines))
        await handle
        return handle.id


def application(folder: Path) -> FastAPI:
    """Make the application with the dashboard."""
    return create_app(RunManager(folder / "runs.db", jobs=[burst]), token=TOKEN)


def chromium() -> str | None:
    """Find a browser and what drives it; where there is none, say so."""
    if importlib.util.find_spec("playwright") is None:
        print("not measured: Playwright is not installed")
        return None
    if (path := shutil.which("chromium")) is None:
        print("not measured: there is no chromium on the PATH")
    return path


@contextmanager
def browsing(path: str) -> Generator[Browser]:
    """Start a browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def visits(browser: Browser, address: str, look: Callable[[Page], Any], count: int) -> list[Any]:
    """Look at a page in fresh contexts, which have cached nothing."""
    found: list[Any] = []
    for _ in range(count):
        with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
            page = context.new_page()
            page.add_init_script(NOTE_ROWS)
            page.goto(address)
            found.append(look(page))
    return found


def paints(page: Page) -> tuple[float, float]:
    """Return after how many milliseconds something was painted, and the newest runs were."""
    page.get_by_role("link", name="Run ").first.wait_for()
    return page.evaluate(PAINTS)


def scrolling(page: Page, lines: int) -> tuple[float, list[float]]:
    """Return the milliseconds until the newest line of a log was shown, and those of frames while it is scrolled."""
    log = page.get_by_role("log", name="Log")
    log.get_by_text(f"line {lines - 1} of the log").wait_for(timeout=60_000)
    shown = page.evaluate("performance.now()")
    return shown, page.evaluate(SCROLL, [log.element_handle(), 400])


def watching(page: Page, go: Path, lines: int) -> float:
    """Return the seconds from the first line of a burst to the moment at which its last one is shown."""
    base = page.url.partition("#")[0]
    started = page.request.post(f"{base}api/runs", data={"job": "burst", "args": {"go": str(go), "lines": lines}})
    page.goto(f"{base}#/runs/{started.json()['id']}")
    log = page.get_by_role("log", name="Log")
    log.get_by_text("running").wait_for()
    go.touch()
    began = time.perf_counter()
    log.get_by_text(f"line {lines - 1} of the log").wait_for(timeout=60_000)
    return time.perf_counter() - began


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure a browser without a window on the same machine; at quick effort with a tenth of the runs and lines."""
    if (path := chromium()) is None:
        return
    runs = lines = RUNS if full else RUNS // 10
    make_history(folder / "runs.db", runs)
    run_id = asyncio.run(fill(folder / "runs.db", lines))
    with serving(application, folder) as port, browsing(path) as browser:
        address = f"http://127.0.0.1:{port}/?token={TOKEN}"
        found = visits(browser, f"{address}#/", paints, VISITS)
        ((shown, frames),) = visits(browser, f"{address}#/runs/{run_id}", lambda page: scrolling(page, lines), 1)
        (live,) = visits(browser, f"{address}#/", lambda page: watching(page, folder / "go", lines), 1)
    first, rows = (median(column) for column in zip(*found, strict=True))
    report.figures[f"newest runs shown, {runs:,} runs (ms)"] = rows
    report.figures[f"newest line shown, {lines:,} lines (ms)"] = shown
    report.figures[f"live burst of {lines:,} lines, until the newest is shown (s)"] = live
    report.figures["frame while scrolling, p50 (ms)"] = median(frames)
    report.at_most(f"first paint of the dashboard, {runs:,} runs", first / MILLI, 1, "s")
    report.at_most(f"longest frame while {lines:,} lines are scrolled", max(frames), 100, "ms")


if __name__ == "__main__":
    main(measure, "web_dashboard")
