"""aioruns as an application uses it, with nothing changed: the public API and the default settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.benchmarks.work import Opened, main

from aioruns import RunHandle, RunManager, job


@job
async def work(number: int, seconds: float) -> int:
    if seconds:
        await asyncio.sleep(seconds)
    return number


@asynccontextmanager
async def manager(folder: Path) -> AsyncIterator[Opened]:
    """Open a manager."""
    async with RunManager(folder / "ours.db") as manager:

        async def start(number: int, seconds: float) -> RunHandle[int]:
            return await manager.start_run(work(number, seconds))

        yield Opened(start, "synchronous=FULL")


if __name__ == "__main__":
    main(manager)
