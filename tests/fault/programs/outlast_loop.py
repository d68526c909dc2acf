"""``outlast_loop.py DATABASE GATE HOW``: the thread of a ``def`` job outlasts the event loop; the manager is garbage.

HOW is ``closed``, if ``main`` closed its manager, or ``torn``. The program lives on until the end of stdin.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

from aioruns import RunManager, job


@job
def sleep_in_thread(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.01)


async def main(database: str, gate: str, how: str) -> int:
    manager = RunManager(database, shutdown_grace=0)
    await manager.open()
    handle = await manager.start_run(sleep_in_thread(gate), key="outlasting")
    if how == "closed":
        await manager.aclose()
    return handle.id


if __name__ == "__main__":
    run_id = asyncio.run(main(*sys.argv[1:]))
    gc.collect()
    print(json.dumps(run_id), flush=True)
    sys.stdin.read()
