"""``outlast.py DATABASE KIND GATE``: closes its manager while a function goes on, and lives on until the end of stdin.

KIND is ``thread``: a ``def`` job that does not listen until there is a file; or ``coroutine``: a job that swallows
every cancellation until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path

from aioruns import RunManager, job


@job
def sleep_in_thread(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


@job
async def swallow(gate: str) -> None:
    while not Path(gate).exists():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)


async def main(database: str, kind: str, gate: str) -> None:
    async with RunManager(database, shutdown_grace=0) as manager:
        call = sleep_in_thread(gate) if kind == "thread" else swallow(gate)
        handle = await manager.start_run(call, key="outlasting")
        print(json.dumps(handle.id), flush=True)
        began = time.monotonic()
    print(json.dumps(time.monotonic() - began), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
