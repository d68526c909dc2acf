"""``start_late.py DATABASE``: tasks that are cancelled because ``main`` has returned start runs as they end."""

from __future__ import annotations

import asyncio
import json
import sys

from aioruns import ManagerClosed, RunManager, job


@job
async def hold() -> None:
    await asyncio.Event().wait()


async def bare() -> None:
    await asyncio.Event().wait()


async def start_late(manager: RunManager, turns: int) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(turns):
            await asyncio.sleep(0)
        for call in (hold(), bare()):
            try:
                await manager.start_run(call)
            except ManagerClosed:
                print(json.dumps("refused"), flush=True)


async def main(database: str) -> list[asyncio.Task[None]]:
    manager = RunManager(database)
    await manager.open()
    await manager.start_run(hold())
    tasks = [asyncio.create_task(start_late(manager, turns)) for turns in range(5)]
    await asyncio.sleep(0)
    return tasks


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
