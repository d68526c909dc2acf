"""``close_the_loop.py DATABASE``: Ctrl-C leaves ``main`` where it is, and the event loop is closed under a manager."""

from __future__ import annotations

import asyncio
import signal
import sys

from aioruns import RunManager, job


@job
async def hold() -> None:
    await asyncio.Event().wait()


async def main(database: str) -> None:
    async with RunManager(database) as manager:
        await manager.start_run(hold(), key="hostile")
        print('"begun"', flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in its background ignores it
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main(sys.argv[1]))
    except KeyboardInterrupt:
        loop.close()
