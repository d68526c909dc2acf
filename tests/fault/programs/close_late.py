"""``close_late.py DATABASE HOW``: ``main`` returns while another task closes the manager, or is about to.

HOW is ``closing``: a task has called ``aclose``, which waits for a run to tidy up; ``closed``: the same, and the runs
are over; or ``owned``: a task is in ``async with manager``, and ends only because the event loop is torn down. Then a
second event loop works as ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys

from aioruns import ManagerClosed, RunManager, job


@job
async def tidy_up() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.3)


@job
async def write_log() -> None:
    logging.getLogger("program").error("written")


async def own(manager: RunManager, opened: asyncio.Event) -> None:
    async with manager:
        await manager.start_run(tidy_up(), key="running")
        await manager.start_run(tidy_up(), key="pending")
        opened.set()
        await asyncio.Event().wait()


async def leave(database: str, how: str) -> asyncio.Task[None]:
    manager = RunManager(database, max_running=1, shutdown_grace=0)
    opened = asyncio.Event()
    task = asyncio.create_task(own(manager, opened))
    await opened.wait()
    if how == "owned":
        return task
    closing = asyncio.create_task(manager.aclose())
    with contextlib.suppress(ManagerClosed):
        while how == "closed" or manager.current_run_id("pending"):
            await asyncio.sleep(0)
            manager.current_run_id()
    return closing


async def work(database: str) -> list[str]:
    async with RunManager(database) as manager:
        handle = await manager.start_run(write_log())
        return [event.data["message"] async for event in handle.events() if event.kind == "log"]


if __name__ == "__main__":
    asyncio.run(leave(*sys.argv[1:]))
    print(json.dumps(asyncio.run(work(sys.argv[1]))), flush=True)
    sys.stdin.read()
