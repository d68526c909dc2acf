"""``leave_at_once.py DATABASE WHEN``: starts many runs, and leaves while they are being stored and begun.

WHEN is ``returned``: when all starts have; ``registered``: by ``sys.exit``, as soon as there is a run and before its
task can make a step; or after a number of turns of the event loop.
"""

from __future__ import annotations

import asyncio
import sys

from aioruns import RunManager, job


@job
async def hold() -> None:
    await asyncio.Event().wait()


async def bare() -> None:
    await asyncio.Event().wait()


async def main(database: str, when: str) -> None:
    manager = RunManager(database, max_running=60)
    await manager.open()
    starts = [asyncio.create_task(manager.start_run(call())) for _ in range(50) for call in (hold, bare)]
    if when == "returned":
        await asyncio.gather(*starts)
    elif when == "registered":
        while manager.current_run_id() is None:
            await asyncio.sleep(0)
        sys.exit()
    else:
        for _ in range(int(when)):
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
