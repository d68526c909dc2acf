"""The naive way: one connection of aiosqlite, one awaited statement at a time, each its own transaction."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.benchmarks.contestants.limit import INSERT, MANAGER, UPDATE, connect, microseconds, settings
from tests.benchmarks.work import Opened, body, main


@asynccontextmanager
async def statements(folder: Path) -> AsyncIterator[Opened]:
    """Open a connection, through which every run awaits its INSERT and its UPDATE."""
    connection = await connect(folder / "naive.db")
    ids = itertools.count(1)

    async def finish(run: int, number: int, seconds: float) -> int:
        result = await body(number, seconds)
        await connection.execute(UPDATE, (json.dumps(result), microseconds(), run))
        return result

    async def start(number: int, seconds: float) -> Awaitable[int]:
        run, now = next(ids), microseconds()
        arguments = json.dumps({"number": number, "seconds": seconds})
        await connection.execute(INSERT, (run, MANAGER, run, arguments, now, now))
        return asyncio.create_task(finish(run, number, seconds))

    try:
        yield Opened(start, await settings(connection))
    finally:
        await connection.close()


if __name__ == "__main__":
    main(statements)
