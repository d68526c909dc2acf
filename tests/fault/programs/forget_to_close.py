"""``forget_to_close.py DATABASE HOW``: starts a run of every kind, and leaves ``main`` without closing the manager.

HOW is ``return``, ``raise``, ``exit`` (with 7) or ``wait`` (for Ctrl-C), under ``asyncio.run``; or ``stop`` or
``close`` for an event loop that is merely stopped, or closed as well, and never torn down.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from aioruns import RunManager, current_run, job


@job
async def sleep() -> None:
    await asyncio.Event().wait()


@job
async def tidy_up() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.1)
        print('"tidied up"', flush=True)


@job
def listen_in_thread() -> None:
    current_run().wait_cancelled(None)
    current_run().raise_if_cancelled()


async def bare() -> None:
    await asyncio.Event().wait()


async def main(database: str, how: str) -> None:
    manager = RunManager(database, max_running=8)
    await manager.open()
    # Eight execute; two wait.
    tidying = (tidy_up() for _ in range(5))
    calls = [sleep(), *tidying, listen_in_thread(), bare(), sleep(), bare()]
    handles = [await manager.start_run(call, key=f"key {number}") for number, call in enumerate(calls)]
    print(json.dumps([handle.id for handle in handles]), flush=True)
    if how == "raise":
        raise ValueError("main failed")
    if how == "exit":
        sys.exit(7)
    if how == "wait":
        await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs tests in its background ignores it
    if sys.argv[2] in ("stop", "close"):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main(*sys.argv[1:]))
        if sys.argv[2] == "close":
            loop.close()
    else:
        asyncio.run(main(*sys.argv[1:]))
