"""Who takes part, and what each needs: the one place where peers and their versions are named.

Every module in this folder is one contestant, a program that imports the standard library, its peer and
``tests.benchmarks.work`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
"""The top of the repository."""

ENVIRONMENTS: Final = {
    "aioruns": ("--editable", str(ROOT)),
    # For scenarios. Playwright drives the browser that the machine has, and brings none.
    "web": ("--editable", f"{ROOT}[web]", "playwright>=1.50"),
    "uvloop": ("--editable", str(ROOT), "uvloop==0.23.0"),
    "dbos": ("dbos==3.4.0",),
    "huey": ("huey==3.5.4",),
    # sniffio: it imports what its dependencies no longer bring.
    "apscheduler": ("apscheduler==4.0.0a6", "sqlalchemy[asyncio]==2.1.9", "aiosqlite==0.22.1", "sniffio==1.3.1"),
    "aiojobs": ("aiojobs==1.4.0",),
}
"""What is installed in the environments that the harness makes."""


@dataclass(frozen=True)
class Contestant:
    """One who does the work.

    Attributes:
        name: For tables and the command line.
        module: The program, in this folder.
        environment: Where it is executed.
        what: A sentence for the page.
        durable: Whether a run is stored at all.
        uvloop: Whether the event loop is uvloop's.
        open_loop: Whether it also has to bear arrivals that do not wait.
    """

    name: str
    module: str
    environment: str
    what: str
    durable: bool = True
    uvloop: bool = False
    open_loop: bool = False


_OURS: Final = "A `RunManager` with its default settings: row, arguments, result and status events of every run."
_LIMIT: Final = (
    "The bare loop: group-committed `INSERT`, then `UPDATE`, of rows of the same size through aiosqlite's public API,"
    " into the library's tables, with its indexes and without its triggers; no events, no library."
)

CONTESTANTS: Final = (
    Contestant("ours", "ours", "aioruns", _OURS, open_loop=True),
    Contestant("limit", "limit", "aioruns", _LIMIT, open_loop=True),
    Contestant("limit-events", "limit_events", "aioruns", "The same, and the two status events of every run."),
    Contestant(
        "naive",
        "naive",
        "aioruns",
        "One awaited statement at a time through one connection of aiosqlite, each its own transaction.",
        open_loop=True,
    ),
    Contestant("ours-uvloop", "ours", "uvloop", "`ours`, on uvloop.", uvloop=True),
    Contestant("limit-uvloop", "limit", "uvloop", "`limit`, on uvloop.", uvloop=True),
    Contestant(
        "dbos", "dbos_workflows", "dbos", "DBOS on SQLite: an asynchronous workflow, started and awaited by its handle."
    ),
    Contestant(
        "huey",
        "huey_tasks",
        "huey",
        "huey with `SqliteHuey`: tasks enqueued from threads of an asyncio application; a consumer with one worker"
        " thread in the same process, which polls every millisecond. Its signal tells the waiter, who then reads the"
        " result; huey's own waiting would poll ten times a second.",
    ),
    Contestant(
        "apscheduler",
        "apscheduler_jobs",
        "apscheduler",
        "APScheduler 4, a pre-release: jobs of an `AsyncScheduler` with its SQLAlchemy data store on aiosqlite.",
    ),
    Contestant("aiojobs", "aiojobs_jobs", "aiojobs", "A control: jobs of an aiojobs `Scheduler`.", durable=False),
    Contestant("taskgroup", "taskgroup", "aioruns", "A control: tasks of an `asyncio.TaskGroup`.", durable=False),
)
