"""huey with SqliteHuey: an asyncio application that enqueues tasks, and a consumer with one thread in its process.

A waiter is told by huey's signal that its task is complete, and then reads the result: polling for it, as `Result.get`
does, would take a tenth of a second for each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from huey import SqliteHuey  # pyright: ignore[reportMissingImports]
from huey.consumer import Consumer  # pyright: ignore[reportMissingImports]
from huey.signals import SIGNAL_COMPLETE  # pyright: ignore[reportMissingImports]
from tests.benchmarks.work import Opened, main, synchronous


def blocking_body(number: int, seconds: float) -> int:
    """Do what every contestant's runs do, in the consumer's thread."""
    if seconds:
        time.sleep(seconds)
    return number


@asynccontextmanager
async def queue(folder: Path) -> AsyncIterator[Opened]:
    """Open a queue, and start its consumer."""
    loop = asyncio.get_running_loop()
    queue: Any = SqliteHuey(filename=str(folder / "huey.db"))
    complete: dict[str, asyncio.Future[None]] = {}

    work: Any = queue.task()(blocking_body)

    @queue.signal(SIGNAL_COMPLETE)
    def tell(_signal: str, task: Any) -> None:
        loop.call_soon_threadsafe(complete.pop(task.id).set_result, None)

    async def result(task: str, told: asyncio.Future[None]) -> int:
        await told
        return await asyncio.to_thread(queue.result, task, preserve=True)

    async def start(number: int, seconds: float) -> Awaitable[int]:
        task = work.s(number, seconds)
        told = complete[task.id] = loop.create_future()
        await asyncio.to_thread(queue.enqueue, task)
        return result(task.id, told)

    # An idle consumer polls too; here every millisecond instead of ten times a second or less.
    consumer = Consumer(queue, initial_delay=0.001, max_delay=0.001)
    consumer.start()
    ((level,),) = queue.storage.sql("PRAGMA synchronous", results=True)
    try:
        yield Opened(start, synchronous(level))
    finally:
        consumer.stop(graceful=True)


if __name__ == "__main__":
    main(queue)
