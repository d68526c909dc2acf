"""The dashboard of ``aioruns demo``: its address, what is seen there while the run goes on, and how long it stays."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from tests.e2e.commands import TIMEOUT, Command, Start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and terminals")

STAYS = "The dashboard stays open until you press Ctrl-C"


class Address(NamedTuple):
    """What the demo prints."""

    url: str
    token: str

    @classmethod
    def of(cls, demo: Command) -> Address:
        line = demo.wait_for("watch it at")
        match = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=([\w-]{43})#/runs/1$", line)
        assert match, line
        return cls(match[1], match[2])


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60, trust_env=False) as client:
        yield client


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Read the events of a stream."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_the_run_is_seen_live_and_ctrl_c_cancels_it_before_the_eyes_of_who_looks(
    start: Start, client: httpx.Client, many_documents: Path
) -> None:
    for number in range(3000):  # it must not end before the test is done
        (many_documents / f"more-{number}.md").write_text("A hash table is a table of keys that is searched by hash.\n")
    demo = start("demo", many_documents)
    address = Address.of(demo)
    assert client.get(address.url).status_code == 401
    page = client.get(f"{address.url}/", params={"token": address.token})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    with client.stream("GET", f"{address.url}/api/runs/1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        seen = events(stream.iter_lines())
        assert next(seen)["data"] == {"status": "running"}
        demo.signal(signal.SIGINT)
        told = list(seen)
    statuses = [event["data"]["status"] for event in told if event["kind"] == "status"]
    assert statuses == ["cancelling", "cancelled"]
    assert (told[-1]["run"]["status"], told[-1]["run"]["cancel_reason"]) == ("cancelled", "Ctrl-C")
    code, output, errors = demo.end()
    assert (code, errors) == (1, "")
    assert "run 1 cancelled after " in output
    assert STAYS not in output, "nobody sits before a pipe"


def test_on_a_terminal_the_dashboard_stays_open_until_ctrl_c(
    start: Start, client: httpx.Client, documents: Path
) -> None:
    demo = start("demo", documents, terminal=True, NO_COLOR="1")
    address = Address.of(demo)
    demo.wait_for(STAYS)
    run = client.get(f"{address.url}/api/runs/1", headers={"Authorization": f"Bearer {address.token}"}).json()
    assert (run["status"], run["result"]["terms"]) == ("completed", 2)
    demo.press_ctrl_c()
    code, output, errors = demo.end()
    assert (code, errors) == (0, "")
    assert "Traceback" not in output


@pytest.fixture
def browser(tmp_path: Path) -> Path:
    """Stands for the user's browser; writes down what it is to open."""
    program = tmp_path / "browser"
    program.write_text('#!/bin/sh\necho "$1" > opened.tmp && mv opened.tmp opened\n')
    program.chmod(0o755)
    return program


def test_a_browser_is_opened_where_somebody_looks(start: Start, tmp_path: Path, documents: Path, browser: Path) -> None:
    demo = start("demo", documents, terminal=True, BROWSER=f"{browser} %s", NO_COLOR="1")
    address = Address.of(demo)
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "opened").exists():
        assert time.monotonic() < deadline, "no browser was opened"
        time.sleep(0.01)
    demo.wait_for(STAYS)
    demo.press_ctrl_c()
    assert demo.end()[0] == 0
    assert (tmp_path / "opened").read_text().strip() == f"{address.url}/?token={address.token}#/runs/1"


@pytest.mark.parametrize(
    ("options", "terminal", "environment"),
    [(["--no-browser"], True, {}), ([], False, {}), ([], True, {"CI": "true"})],
    ids=["told not to", "no terminal", "a build"],
)
def test_no_browser_is_opened_where_none_is_wanted(
    start: Start,
    tmp_path: Path,
    documents: Path,
    browser: Path,
    options: list[str],
    terminal: bool,
    environment: dict[str, str],
) -> None:
    demo = start("demo", documents, *options, terminal=terminal, BROWSER=f"{browser} %s", NO_COLOR="1", **environment)
    Address.of(demo)
    if terminal and not environment:
        demo.wait_for(STAYS)
        demo.press_ctrl_c()
    assert demo.end()[0] == 0
    assert not (tmp_path / "opened").exists()


def test_without_the_web_extra_the_run_goes_on_without_a_dashboard(
    start: Start, tmp_path: Path, documents: Path
) -> None:
    (tmp_path / "hidden" / "fastapi").mkdir(parents=True)
    (tmp_path / "hidden" / "fastapi" / "__init__.py").write_text("raise ImportError('fastapi is not installed')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path / "hidden"), os.environ.get("PYTHONPATH")]))
    demo = start("demo", documents, terminal=True, PYTHONPATH=path, NO_COLOR="1")
    code, output, errors = demo.end()
    assert (code, errors) == (0, "")
    assert "there is no dashboard: pip install 'aioruns[web]' to see the run in a browser" in output
    assert "run 1 completed after " in output
    assert "http" not in output
