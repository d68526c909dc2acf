"""``kill_me.py DATABASE LEDGER``: starts runs under one key as fast as it can, until it is killed.

Every line of the ledger is on the disk before the program goes on, so that it can be held against the database later:
``acknowledged RUN PID`` by the starter; ``begun``, ``working`` and ``ended`` by the run's function.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys

from aioruns import RunAlreadyFinished, RunConflict, RunManager, current_run, job


def note(ledger: str, what: str, run_id: int) -> None:
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{what} {run_id} {os.getpid()}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@job
async def work(ledger: str) -> None:
    ctx = current_run()
    note(ledger, "begun", ctx.id)
    try:
        for turn in range(random.randrange(5)):
            ctx.set_progress(turn, 5)
            ctx.log("info", f"turn {turn}")
            await asyncio.sleep(0)
            note(ledger, "working", ctx.id)
    finally:
        note(ledger, "ended", ctx.id)


async def main(database: str, ledger: str) -> None:
    async with RunManager(database, jobs=[work]) as manager:
        print("1", flush=True)
        while True:
            try:
                handle = await manager.start_run(work(ledger), key="one at a time")
            except RunConflict as conflict:
                await manager.wait_run(conflict.active_run_id)
                continue
            note(ledger, "acknowledged", handle.id)
            if random.random() < 0.2:
                with contextlib.suppress(RunAlreadyFinished):
                    await handle.cancel()
            await handle.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
