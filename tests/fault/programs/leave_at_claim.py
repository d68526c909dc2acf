"""``leave_at_claim.py DATABASE KIND``: leaves while a run that has waited for its turn is claimed, and has not begun.

KIND is the kind of its function: ``coroutine`` or ``thread``.
"""

from __future__ import annotations

import asyncio
import sys

from aioruns import RunManager, current_run, job


@job
async def hold() -> None:
    await asyncio.Event().wait()


@job
def hold_in_thread() -> None:
    current_run().wait_cancelled(None)
    current_run().raise_if_cancelled()


async def main(database: str, kind: str) -> None:
    manager = RunManager(database, max_running=1)
    await manager.open()
    end = asyncio.Event()
    first = await manager.start_run(end.wait())
    await manager.start_run(hold_in_thread() if kind == "thread" else hold())
    end.set()
    await first.wait()  # its place is free now, and the claim of the second on its way to the disk


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
