"""``hostile.py DATABASE WHAT…``: for each WHAT, a run that does that to its process, under the key ``hostile``.

The program says ``begun``; if the run ends while there is somebody to hear of it, its status and error, and what the
next run under the key returns; and ``closed`` at its end. What takes seconds elsewhere takes fractions of them here.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.bounds import set_bounds

from aioruns import RunManager, current_run, job


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


# Swallowing


async def swallow_for_ever() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            say("swallowed")


async def swallow_at_every_turn() -> None:
    while True:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            say("swallowed")


def sleep_for_ever_in_thread() -> None:
    while True:
        time.sleep(0.01)


def compute_for_ever_in_thread() -> None:
    while True:
        pass


ENDLESS = ("swallow_for_ever", "swallow_at_every_turn", "sleep_for_ever_in_thread", "compute_for_ever_in_thread")


# Ending the process


async def exit_at_once() -> None:
    os._exit(5)


def exit_at_once_from_thread() -> None:
    os._exit(5)


async def terminate_itself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(3600)


async def interrupt_itself() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(3600)


async def sys_exit() -> None:
    sys.exit(5)


def sys_exit_in_thread() -> None:
    sys.exit(5)


async def sys_exit_in_task() -> None:
    async def leave() -> None:
        sys.exit(5)

    await asyncio.create_task(leave())


async def sys_exit_in_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 5)
    await asyncio.sleep(3600)


# Damaging the event loop


async def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(3600)


async def cancel_every_task() -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(3600)


async def cancel_every_other_task_at_every_turn() -> None:
    for _ in range(100):
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)


async def block() -> str:
    time.sleep(float(os.environ["BLOCK"]))
    return "went on"


# Using everything up


async def open_files_until_there_are_no_more() -> str:
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    kept: list[int] = []
    while True:
        try:
            kept.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            current_run().log("info", "no descriptor is left")
            await current_run().flush()
            globals()["kept"] = kept
            return "ended"


async def change_the_folder() -> str:
    os.chdir("/")
    return "ended"


async def answer() -> int:
    return 42


def prepared(function: Callable[[], Any], begun: threading.Event) -> Any:
    """Make a job that does nothing before its start has been told."""
    if not inspect.iscoroutinefunction(function):

        def play_in_thread() -> Any:
            begun.wait()
            return function()

        return job(name="hostile")(play_in_thread)

    async def play() -> Any:
        while not begun.is_set():
            await asyncio.sleep(0.001)
        return await function()

    return job(name="hostile")(play)


async def main(database: str, *whats: str) -> None:
    async with RunManager(database, shutdown_grace=0) as manager:
        for what in whats:
            begun = threading.Event()
            handle = await manager.start_run(prepared(globals()[what], begun)(), key="hostile")
            say("begun")
            begun.set()
            if what in ENDLESS:
                await asyncio.to_thread(sys.stdin.read)
                break
            run = await handle.wait()
            say([run.status, run.error])
            say(await (await manager.start_run(answer(), key="hostile")))
    say("closed")


if __name__ == "__main__":
    set_bounds(
        close=0.3, teardown=0.3, writer_teardown=0.5, report_after=0.1, blocked_after=0.2, block_watch_period=0.05
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in its background ignores it
    asyncio.run(main(*sys.argv[1:]))
