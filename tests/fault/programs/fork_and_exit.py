"""``fork_and_exit.py DATABASE GATE``: forks between two turns of its event loop; the child exits with all its clean-up.

The child's copy of the manager's lock is destroyed with everything else; the parent's must stay.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from jobs import answer

from aioruns import RunManager


async def start(database: str, gate: str) -> tuple[RunManager, int]:
    manager = RunManager(database)
    await manager.open()
    return manager, (await manager.start_run(answer(gate), key="forked")).id


async def finish(manager: RunManager, run_id: int) -> str:
    status = (await manager.wait_run(run_id)).status
    await manager.aclose()
    return status


loop = asyncio.new_event_loop()
manager, run_id = loop.run_until_complete(start(*sys.argv[1:]))
pid = os.fork()
if pid == 0:
    sys.exit()
os.waitpid(pid, 0)
print(json.dumps(run_id), flush=True)
print(json.dumps(loop.run_until_complete(finish(manager, run_id))), flush=True)
loop.close()
