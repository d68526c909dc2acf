"""A control that stores nothing: tasks of an asyncio.TaskGroup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.benchmarks.work import Opened, body, main


@asynccontextmanager
async def task_group(_folder: Path) -> AsyncIterator[Opened]:
    """Open a group of tasks."""
    async with asyncio.TaskGroup() as group:

        async def start(number: int, seconds: float) -> asyncio.Task[int]:
            return group.create_task(body(number, seconds))

        yield Opened(start, "nothing is stored")


if __name__ == "__main__":
    main(task_group)
