"""The jobs of ``remote.py``; what they do shows in their events and in files, for tests to wait for."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

from aioruns import current_run, job

LIFE = 60
"""Seconds after which a child ends by itself, should its test have lost it."""


async def exists(path: str) -> None:
    """Wait until a test has created a file."""
    while not Path(path).exists():
        await asyncio.sleep(0.01)


@job
async def hold() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


@job(cancel_grace=3600)
async def hold_on() -> None:
    """Wait, and take an hour to be cancelled: such a run is ``cancelling``."""
    await asyncio.Event().wait()


@job
async def tidy_up(gate: str, ended: str) -> None:
    """Wait until cancelled; then take as long to end as the test says, and leave a file at the very end."""
    try:
        await asyncio.Event().wait()
    finally:
        await exists(gate)
        Path(ended).touch()


@job
async def answer(gate: str) -> dict[str, int]:
    """Wait for a file, then return."""
    await exists(gate)
    return {"answer": 42}


@job
async def block(began: str, gate: str) -> str:
    """Block the event loop until there is a file."""
    Path(began).touch()
    while not Path(gate).exists():
        time.sleep(0.01)
    return "went on"


@job
async def count(upto: int, gate: str) -> None:
    """Say each number: the first half at once, the rest one by one after a file is there."""
    ctx = current_run()
    for number in range(upto):
        ctx.emit("number", {"number": number})
        if number == upto // 2:
            await ctx.flush()
            await exists(gate)
        elif number > upto // 2:
            await asyncio.sleep(0)


@job
async def leave_child(how: str) -> None:
    """Make a child process that lives on, say its pid, wait until cancelled."""
    if how == "fork":
        pid = os.fork()
        if pid == 0:
            time.sleep(LIFE)  # in the child there is no event loop any more
            os._exit(0)
    elif how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(LIFE,))
        process.start()
        pid = process.pid
    else:
        # Without close_fds, only what is marked close-on-exec is closed in the child.
        command = [sys.executable, "-c", f"import time; time.sleep({LIFE})"]
        pid = subprocess.Popen(command, close_fds=how == "close_fds").pid
    current_run().emit("child", {"pid": pid})
    await asyncio.Event().wait()


@job
async def outlive_child(how: str) -> None:
    """Make a child process that ends at once, say so when it has, wait until cancelled."""
    if how == "fork":
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    else:
        process = multiprocessing.get_context("fork").Process(target=os.getpid)
        process.start()
        process.join()
        pid = process.pid
    current_run().emit("child", {"pid": pid})
    await asyncio.Event().wait()


JOBS = (hold, hold_on, tidy_up, answer, block, count, leave_child, outlive_child)
