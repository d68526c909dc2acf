"""A manager in a process of its own, that does what it is told: ``remote.py DATABASE [MAX_RUNNING]``.

A command is a line on stdin, ``[call, verb, args, kwargs]``; its answer a line on stdout. Commands do not wait for each
other. At the end of stdin the manager closes.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from jobs import JOBS

from aioruns import RunError, RunManager


class Remote:
    """The verbs."""

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager

    async def start(self, job: str, *args: Any, **options: Any) -> int:
        """Start a run; return its id."""
        handle = await self._manager.start_run(self._manager.get_job(job)(*args), **options)
        return handle.id

    async def start_many(self, times: int, job: str, *args: Any, **options: Any) -> list[list[Any]]:
        """Start one call many times at once; for each, return its id, or an error's name and id."""
        starts = (self.start(job, *args, **options) for _ in range(times))
        return [
            [type(start).__name__, getattr(start, "active_run_id", None)]
            if isinstance(start, BaseException)
            else ["started", start]
            for start in await asyncio.gather(*starts, return_exceptions=True)
        ]

    async def cancel(self, run_id: int, reason: str | None = None) -> str:
        """Request that a run ends; return its status."""
        return (await self._manager.cancel_run(run_id, reason=reason)).status

    async def wait(self, run_id: int) -> str:
        """Wait until a run has ended; return its status."""
        return (await self._manager.wait_run(run_id)).status


async def main(database: str, max_running: int | None = None) -> None:
    # Not with a thread: a child that is forked while a thread reads stdin could never close it.
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with RunManager(database, jobs=JOBS, max_running=max_running, shutdown_grace=0) as manager:
        remote = Remote(manager)
        say("open")
        async with asyncio.TaskGroup() as calls:
            while line := await commands.readline():
                call, verb, args, kwargs = json.loads(line)
                calls.create_task(reply(call, getattr(remote, verb)(*args, **kwargs)))


async def reply(call: int, verb: Any) -> None:
    try:
        say({"call": call, "answer": await verb})
    except RunError as error:
        carried = {"message": str(error), "active_run_id": getattr(error, "active_run_id", None)}
        say({"call": call, "error": type(error).__name__, **carried})


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in its background ignores it
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
