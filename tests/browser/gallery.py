"""A store with something of everything in it, and the views that show it: for axe, for phones, for pictures."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from playwright.sync_api import Page, expect
from tests.browser.pages import badge, log_of
from tests.browser.processes import Server, eventually

__all__ = ["VIEWS", "fill", "ready"]

HOUR: Final = 3600
DURATIONS: Final = (0.04, 0.7, 4, 38, 95, 260, 1_320)
"""In seconds, from one class of the overview to the next."""
ARRIVALS: Final = (1, 0, 2, 1, 1, 0, 2, 3, 4, 3, 2, 3, 5, 4, 3, 2, 3, 4, 2, 1, 2, 1, 3)
"""Runs in each hour of a day."""


@dataclass(frozen=True)
class Past:
    """A run that has ended.

    Attributes:
        ago: Seconds since its start.
        took: Seconds from its start to its end.
        end: The last cue: ``return`` or ``raise``, and what.
    """

    ago: float
    took: float
    job: str
    end: tuple[str, Any]
    key: str | None
    tags: tuple[str, ...]


def _past() -> Iterator[Past]:
    """Make up the runs of a day: three jobs, most of which go well."""
    times = [hour + part / count for hour, count in enumerate(ARRIVALS) for part in range(count)]
    for number, hours in enumerate(times):
        failed = number % 9 == 4 or number in {20, 21}
        yield Past(
            ago=(len(ARRIVALS) + 0.4 - hours) * HOUR,
            took=DURATIONS[(number * 5 + number % 3) % len(DURATIONS)],
            job=("import_orders", "build_glossary", "nightly_backup")[number % 3],
            end=("raise", "the connection to orders.example was closed") if failed else ("return", {"documents": 12}),
            key=f"project:{number % 5}" if number % 2 else None,
            tags=(("nightly",), ("team:3", "manual"), ())[number % 3],
        )


PAST: Final = list(_past())
LIVE: Final = len(PAST) + 1
PACE: Final = 1_400_000
"""Microseconds between the events of the run that is under way."""
VIEWS: Final = {
    "list": "#/",
    "run-live": f"#/runs/{LIVE}",
    "run-failed": f"#/runs/{next(number for number, each in enumerate(PAST, 1) if each.end[0] == 'raise')}",
    "run-completed": "#/runs/2",
    "run-cancelling": f"#/runs/{LIVE + 1}",
    "start": "#/start/report",
    "overview": "#/overview",
}


def fill(server: Server) -> None:
    """Fill the store of a server, which is not started yet, and leave it started."""
    server.start()
    for number, past in enumerate(PAST, 1):
        _play(server, f"part-{number}", past)
    server.kill()
    _set_back(server)
    server.start()
    _start_live(server)


def _play(server: Server, part: str, past: Past) -> None:
    cue = server.stage.part(part)
    for document in range(1, 13):
        cue("log", "info", f"document {document} of 12 has been read")
    cue("log", "warning", "two entries have no date, and are taken for old")
    cue("set_progress", 12, 12, step="read")
    cue(*past.end)
    status = "failed" if past.end[0] == "raise" else "completed"
    server.start_run(past.job, args={"part": part}, key=past.key, tags=list(past.tags), until=status)


def _start_live(server: Server) -> None:
    cue = server.stage.part("live")
    cue("set_progress", 42, 42, step="collect")
    cue("flush")
    for document in range(1, 19):
        level = {9: "warning", 12: "error", 15: "debug"}.get(document, "info")
        trouble = {"warning": ": no title, its first line is taken", "error": ": unreadable, left out"}.get(level, "")
        cue("log", level, f"document {document} of 42{trouble}", pages=document % 7 + 3)
        cue("set_progress", document, 42, step="define", message="heap, binary")
        cue("flush")
    server.start_run("build_glossary", args={"part": "live"}, key="project:7", tags=["manual"], until="running")
    eventually(lambda: len(server.events(LIVE, "progress")) == 19)
    with closing(sqlite3.connect(server.store)) as connection:
        shift = "? * (seq - (SELECT max(seq) FROM events WHERE run_id = ?))"
        connection.execute(f"UPDATE events SET at = at + {shift} WHERE run_id = ?", (PACE, LIVE, LIVE))
        began = "(SELECT min(at) FROM events WHERE run_id = runs.id)"
        connection.execute(f"UPDATE runs SET created_at = {began}, started_at = {began} WHERE id = ?", (LIVE,))
        connection.commit()
    server.stage.part("leaves")
    server.stage.part("leaves-leaving")
    lingering = server.start_run("linger", args={"part": "leaves"}, until="running")
    server.ask("POST", f"/runs/{lingering}/cancel", json={"reason": "a newer version is under way"})


def _set_back(server: Server) -> None:
    """Let what has just happened have happened in the course of a day; the triggers of the store would forbid that."""
    now = time.time()
    with closing(sqlite3.connect(server.store)) as connection:
        ((guard,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'runs_terminal'").fetchall()
        connection.execute("DROP TRIGGER runs_terminal")
        for number, past in enumerate(PAST, 1):
            began = int((now - past.ago) * 1e6)
            ended = began + int(past.took * 1e6)
            connection.execute(
                "UPDATE runs SET created_at = ?, started_at = ?, finished_at = ? WHERE id = ?",
                (began, began, ended, number),
            )
            connection.execute(
                "UPDATE events SET at = ? + (? - ?) * (seq - 1) / (SELECT max(seq) - 1 FROM events WHERE run_id = ?)"
                " WHERE run_id = ?",
                (began, ended, began, number, number),
            )
        connection.execute(guard)
        connection.commit()


def ready(page: Page, view: str) -> None:
    """Wait until a view shows all that it is going to show."""
    main = page.get_by_role("main")
    match view:
        case "list":
            expect(main.get_by_role("link", name=re.compile(r"^Run \d+$"))).to_have_count(50)
        case "overview":
            expect(main.get_by_role("img", name=re.compile("^Stacked bars"))).to_be_visible()
            expect(main.get_by_role("region", name=re.compile("^Histograms"))).to_be_visible()
        case "start":
            expect(page.get_by_label("subject")).to_be_visible()
        case "run-live":
            expect(log_of(page)).to_contain_text("document 18 of 42")
            expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("aria-valuenow", "42")
        case _:
            status = view.removeprefix("run-")
            expect(badge(main, status).first).to_be_visible()
            expect(log_of(page)).to_contain_text(status)
