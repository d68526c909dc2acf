"""``busy.py DATABASE``: runs of every kind that come, go and stay, until somebody presses Ctrl-C, however often."""

from __future__ import annotations

import asyncio
import signal
import sys

from aioruns import RunManager, current_run, job


@job
async def tidy_up() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.02)


@job
async def come_and_go() -> None:
    await asyncio.sleep(0.001)
    current_run().log("info", "gone")


@job
def listen_in_thread() -> None:
    current_run().wait_cancelled()


async def main(database: str) -> None:
    async with RunManager(database, shutdown_grace=0) as manager:
        for _ in range(5):
            await manager.start_run(tidy_up())
        await manager.start_run(listen_in_thread())
        print('"begun"', flush=True)
        while True:
            await asyncio.gather(*(manager.start_run(come_and_go()) for _ in range(5)))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in its background ignores it
    asyncio.run(main(*sys.argv[1:]))
