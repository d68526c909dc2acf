"""Makes a file with a long history: rows exactly as the library stores them, faster than it would store them.

A thousand runs are executed by the library in a file of their own. Their rows are then copied, in SQL, into the file
that is wanted, as often as it takes, with rising ids and times; all but the status events, which triggers make there,
are left to the triggers. Before them stand a few runs with values that nothing else has: the oldest of all, so that
whoever looks for them from the newest on has the longest way.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from aioruns import JobCall, RunManager, current_run, job

RARE: Final = 60
"""Runs at the beginning that have the rare values."""
BLOCK: Final = 1_000
"""Runs that are copied."""
KEYS: Final = 100
"""Keys of these runs."""
LOGGED: Final = 8
"""Events of a run, beside its two status events."""
SPAN: Final = 10_000
"""Seconds between the times of a block and of the next."""
TIMES: Final = ("at", "created_at", "started_at", "finished_at")


def _read_documents(number: int) -> dict[str, Any]:
    for line in range(LOGGED):
        current_run().log("info", f"document {line} of project {number} has been read", document=line)
    return {"project": number, "documents": LOGGED}


@job
async def build(number: int) -> dict[str, Any]:
    return _read_documents(number)


@job
async def publish(number: int) -> dict[str, Any]:
    return _read_documents(number)


@job
async def migrate(number: int) -> None:
    _read_documents(number)
    raise ValueError(f"project {number} cannot be migrated")


async def _execute_templates(path: Path) -> None:
    """Execute the runs that are copied: first the rare ones, then a block."""
    async with RunManager(path) as manager:

        async def execute(call: JobCall[Any], **options: Any) -> None:
            with suppress(Exception):
                await (await manager.start_run(call, **options))

        for number in range(RARE):
            await execute(migrate(number), key="project:rare", tags=["rare", "nightly"], triggered_by="operator")
        for hundred in range(0, BLOCK, KEYS):  # together, since their keys differ
            await asyncio.gather(
                *(
                    execute(
                        (build if number % 3 else publish)(number),
                        key=f"project:{number % KEYS}",
                        tags=["nightly", f"team:{number % 7}"],
                        triggered_by=f"user:{number % 20}",
                    )
                    for number in range(hundred, hundred + KEYS)
                )
            )


async def _create(path: Path) -> None:
    async with RunManager(path):
        pass


def _copying(connection: sqlite3.Connection, table: str, run_id: str) -> str:
    columns: list[str] = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    shifts: dict[str, str] = {run_id: f"{run_id} + :ids", **{name: f"{name} + :time" for name in TIMES}}
    values = ", ".join(shifts.get(name, name) for name in columns)
    return (
        f"INSERT INTO main.{table} ({', '.join(columns)}) SELECT {values} FROM templates.{table}"
        f" WHERE {run_id} BETWEEN :first AND :last ORDER BY {run_id}"
    )


def _copy(connection: sqlite3.Connection, runs: int) -> None:
    statements = [_copying(connection, "runs", "id"), _copying(connection, "events", "run_id")]
    blocks = runs // BLOCK
    for block in range(-1, blocks):
        rows = {"first": 1, "last": RARE} if block < 0 else {"first": RARE + 1, "last": RARE + BLOCK}
        shift = {"ids": max(0, block) * BLOCK, "time": (block - blocks) * SPAN * 1_000_000}
        for statement in statements:
            connection.execute(statement, rows | shift)


def make_history(path: Path, runs: int) -> None:
    """Make a database with finished runs, a multiple of a thousand and the rare ones, with ten events each.

    The newest ended ``SPAN`` seconds ago, each thousand before them that much earlier.
    """
    asyncio.run(_create(path))
    if not runs:
        return
    templates = path.with_name("templates.db")
    asyncio.run(_execute_templates(templates))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            connection.execute(f"PRAGMA {setting}")
        making_events = connection.execute(
            "SELECT name, sql FROM sqlite_master"
            " WHERE type = 'trigger' AND (tbl_name = 'events' OR sql LIKE '%INSERT INTO events%')"
        ).fetchall()
        connection.execute("ATTACH ? AS templates", (str(templates),))
        connection.execute("BEGIN")
        for name, _ in making_events:
            connection.execute(f"DROP TRIGGER {name}")
        _copy(connection, runs)
        for _, sql in making_events:
            connection.execute(sql)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    templates.unlink()
