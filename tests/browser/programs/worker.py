"""Another process that works on the same store: it executes one part, and serves nothing."""

from __future__ import annotations

import asyncio
import sys

from tests.browser.programs.plays import JOBS, play

from aioruns import RunManager


async def main(part: str) -> None:
    """Start the run, print its id, and await its end."""
    async with RunManager("runs.db", jobs=JOBS) as manager:
        handle = await manager.start_run(play(part), triggered_by="worker")
        print(handle.id, flush=True)
        await handle.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
