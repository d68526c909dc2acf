"""``fork.py DATABASE WHERE HOW…``: for each HOW, a run that forks; the child does that, the parent tells how it ended.

WHERE is ``task`` or ``thread``. For ``use``, the child says what each verb raised. The parent says the child's exit
code, what the next run under the key returns, and ``closed`` at its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from aioruns import RunManager, current_run, job


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


class Forker:
    """The manager and the job that forks; both are copied into the child with everything else."""

    def __init__(self, database: str) -> None:
        self.manager = RunManager(database, shutdown_grace=0)
        self.job = job(name="fork")(self.fork)
        self.threaded = job(name="fork in a thread")(self.fork_in_thread)

    async def fork(self, how: str) -> int:
        await asyncio.sleep(0)  # so that nobody else has anything to do in this turn of the event loop
        pid = os.fork()
        if pid == 0:
            if how == "use":
                await self.use()
                os._exit(0)
            return self.leave(how)
        return await asyncio.to_thread(wait, pid)

    def fork_in_thread(self, how: str) -> int:
        pid = os.fork()
        return self.leave(how) if pid == 0 else wait(pid)

    def leave(self, how: str) -> int:
        if how == "log":
            current_run().log("info", "from the child")
        if how == "os._exit":
            os._exit(3)
        if how == "sys.exit":
            sys.exit(3)
        if how == "raise":
            raise ValueError("the child fails")
        return -1

    async def use(self) -> None:
        """Call every verb in the child."""
        manager, run_id = self.manager, current_run().id
        handle = manager.get_handle(run_id)
        verbs: dict[str, Any] = {
            "start_run": lambda: manager.start_run(answer()),
            "cancel_run": lambda: manager.cancel_run(run_id),
            "get_run": lambda: manager.get_run(run_id),
            "list_runs": manager.list_runs,
            "wait": handle.wait,
            "cancel": handle.cancel,
            "aclose": manager.aclose,
        }
        for name, verb in verbs.items():
            try:
                await verb()
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
                say([name, type(error).__name__])
            else:
                say([name, "nothing"])


def wait(pid: int) -> int:
    """Wait for a child's end; for one that does not end, -1000."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    return -1000


async def answer() -> int:
    return 42


async def main(database: str, where: str, *hows: str) -> None:
    forker = Forker(database)
    async with forker.manager as manager:
        for how in hows:
            call = forker.job(how) if where == "task" else forker.threaded(how)
            handle = await manager.start_run(call, key="fork")
            say(f"the child exited with {await handle}")
            say(await (await manager.start_run(answer(), key="fork")))
    say("closed")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
