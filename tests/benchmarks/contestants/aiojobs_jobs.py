"""A control that stores nothing: jobs of an aiojobs scheduler without a limit, as its documentation opens one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import aiojobs  # pyright: ignore[reportMissingImports]
from tests.benchmarks.work import Opened, body, main


@asynccontextmanager
async def scheduler(_folder: Path) -> AsyncIterator[Opened]:
    """Open a scheduler."""
    async with aiojobs.Scheduler(limit=None) as scheduler:

        async def start(number: int, seconds: float) -> Awaitable[int]:
            job = await scheduler.spawn(body(number, seconds))
            return job.wait()

        yield Opened(start, "nothing is stored")


if __name__ == "__main__":
    main(scheduler)
