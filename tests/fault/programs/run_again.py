"""``run_again.py DATABASE``: one event loop after the other in one process, each with a manager that nobody closes."""

from __future__ import annotations

import asyncio
import sys

from aioruns import RunConflict, RunManager, job


@job
async def hold() -> None:
    await asyncio.Event().wait()


async def main(database: str) -> None:
    manager = RunManager(database)
    await manager.open()
    try:
        await manager.start_run(hold(), key="again")
    except RunConflict:
        print('"conflict"', flush=True)


if __name__ == "__main__":
    for _ in range(3):
        asyncio.run(main(*sys.argv[1:]))
    print('"over"', flush=True)
    sys.stdin.read()
