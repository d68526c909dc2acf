"""The limit: group commit through aiosqlite's public API, with rows of the library's size, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiosqlite
from tests.benchmarks.work import Opened, body, main, synchronous

from aioruns import RunManager

INSERT: Final = """
    INSERT INTO runs (id, job, status, shared, manager_id, token, attempt, tags, arguments, created_at, started_at)
    VALUES (?, 'work', 'running', 0, ?, ?, 1, '[]', ?, ?, ?)
"""
UPDATE: Final = "UPDATE runs SET status = 'completed', result = ?, finished_at = ? WHERE id = ?"
APPEND: Final = "INSERT INTO events (run_id, seq, at, kind, attempt, data) VALUES (?, ?, ?, 'status', 1, ?)"
MANAGER: Final = "a" * 32


def microseconds() -> int:
    """Return the time as the library stores it."""
    return time.time_ns() // 1000


async def connect(path: Path) -> aiosqlite.Connection:
    """Open a new database that is as durable as the library's, and has its tables and indexes, but no trigger."""
    async with RunManager(path):
        pass
    connection = await aiosqlite.connect(path, isolation_level=None, cached_statements=256)
    await connection.execute_fetchall("PRAGMA journal_mode=WAL")
    await connection.execute_fetchall("PRAGMA synchronous=FULL")
    for (name,) in await connection.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        await connection.execute(f"DROP TRIGGER {name}")
    return connection


async def settings(connection: aiosqlite.Connection) -> str:
    """Read back how durable a connection is."""
    ((level,),) = await connection.execute_fetchall("PRAGMA synchronous")
    return synchronous(level)


class GroupCommit:
    """Commits everything that waits in one transaction, and takes what came meanwhile: no timers."""

    def __init__(self, connection: aiosqlite.Connection, *, events: bool) -> None:
        self._connection = connection
        self._events = events
        self._inserts: list[tuple[Any, ...]] = []
        self._updates: list[tuple[Any, ...]] = []
        self._committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake = asyncio.Event()
        self._ids = itertools.count(1)

    def insert(self, number: int, seconds: float) -> tuple[int, asyncio.Future[None]]:
        """Put a run in line; the future ends when it is committed."""
        run, now = next(self._ids), microseconds()
        arguments = json.dumps({"number": number, "seconds": seconds})
        self._inserts.append((run, MANAGER, run, arguments, now, now))
        self._wake.set()
        return run, self._committed

    def update(self, run: int, result: int) -> asyncio.Future[None]:
        """Put the end of a run in line; the future ends when it is committed."""
        self._updates.append((json.dumps(result), microseconds(), run))
        self._wake.set()
        return self._committed

    async def write(self) -> None:
        """Commit, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            inserts, self._inserts = self._inserts, []
            updates, self._updates = self._updates, []
            committed, self._committed = self._committed, asyncio.get_running_loop().create_future()
            await self._commit(inserts, updates)
            committed.set_result(None)

    async def _commit(self, inserts: list[tuple[Any, ...]], updates: list[tuple[Any, ...]]) -> None:
        statements = {INSERT: inserts, UPDATE: updates}
        if self._events:
            statements[APPEND] = [(row[0], 1, row[-1], '{"status":"running"}') for row in inserts]
            statements[APPEND] += [(row[-1], 2, row[1], '{"status":"completed"}') for row in updates]
        elif len(inserts) + len(updates) == 1:  # one statement is a transaction of its own
            await self._connection.execute(*((INSERT, inserts[0]) if inserts else (UPDATE, updates[0])))
            return
        await self._connection.execute("BEGIN IMMEDIATE")
        for statement, rows in statements.items():
            if rows:
                await self._connection.executemany(statement, rows)
        await self._connection.execute("COMMIT")


@asynccontextmanager
async def bare_loop(folder: Path, *, events: bool = False) -> AsyncIterator[Opened]:
    """Open the bare loop, with the two status events of each run or without."""
    connection = await connect(folder / "limit.db")
    group = GroupCommit(connection, events=events)
    writing = asyncio.create_task(group.write())

    async def finish(run: int, number: int, seconds: float) -> int:
        result = await body(number, seconds)
        await group.update(run, result)
        return result

    async def start(number: int, seconds: float) -> Awaitable[int]:
        run, committed = group.insert(number, seconds)
        await committed
        return asyncio.create_task(finish(run, number, seconds))

    try:
        yield Opened(start, await settings(connection))
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        await connection.close()


if __name__ == "__main__":
    main(bare_loop)
