"""After any outcome nothing is kept: no map holds the id, no thread, task, file or slot stays."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.insides import LAUNCH, active_runs, idle, leftovers, locks
from tests.support import Puppet, eventually, hold_answer, turns

from aioruns import RunConflict, RunManager, current_run, job
from aioruns.stores import SQLiteStore

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("own_runs")]

Open = Callable[..., Any]


@job
async def chatty(number: int) -> int:
    ctx = current_run()
    ctx.log("info", "at work")
    ctx.set_progress(1, 2)
    return number


@job
async def fails() -> None:
    raise ValueError("no")


@job
def in_a_thread() -> None:
    current_run().log("info", "at work")


async def nothing_is_kept(manager: RunManager) -> None:
    await idle(manager)
    await eventually(lambda: not leftovers(manager) and not locks(manager))
    await eventually(lambda: active_runs() == 0, timeout=60)


async def complete(manager: RunManager) -> None:
    await (await manager.start_run(chatty(1), key="k"))


async def fail(manager: RunManager) -> None:
    await (await manager.start_run(fails(), key="k")).wait()


async def run_in_a_thread(manager: RunManager) -> None:
    await (await manager.start_run(in_a_thread(), key="k"))


async def cancel(manager: RunManager) -> None:
    handle = await manager.start_run(Puppet().job(1), key="k")
    await turns(3)
    await handle.cancel()
    await handle.wait()


async def cancel_pending(manager: RunManager) -> None:
    puppet = Puppet()
    handles = [await manager.start_run(puppet.job(part), key=f"k{part}") for part in range(4)]
    for handle in reversed(handles):
        await handle.cancel()
        await handle.wait()


async def time_out(manager: RunManager) -> None:
    await (await manager.start_run(Puppet().job(1), key="k", timeout=0.01)).wait()


async def return_what_cannot_be_stored(manager: RunManager) -> None:
    puppet = Puppet()
    puppet.end(1, object())
    await (await manager.start_run(puppet.job(1), key="k")).wait()


async def abandon(manager: RunManager) -> None:
    for turn in range(0, 40, 2):
        start = asyncio.create_task(manager.start_run(Puppet().job(turn), key="k"))
        await turns(turn)
        start.cancel()
        await asyncio.wait((start,))
        if not start.cancelled():
            await start.result().cancel()
        await idle(manager)


async def conflict(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1), key="k")
    for part in range(10):
        with pytest.raises(RunConflict):
            await manager.start_run(puppet.job(part), key="k")
        await manager.start_run(puppet.job(part), key="k", on_conflict="join")
    puppet.end(1)
    await handle


async def watch(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1))

    async def read() -> None:
        async for _ in handle.events():
            pass

    readers = [asyncio.create_task(read()) for _ in range(5)]
    await turns(20)
    readers[0].cancel()
    puppet.end(1)
    await asyncio.wait(readers)


async def spawn_badly(manager: RunManager) -> None:
    def refuse(*_: Any) -> None:
        raise MemoryError("no room for a task")

    with mock.patch.object(*LAUNCH, refuse), pytest.raises(MemoryError):
        await manager.start_run(chatty(1), key="k")


OUTCOMES = [
    complete, fail, run_in_a_thread, cancel, cancel_pending, time_out, return_what_cannot_be_stored, abandon, conflict,
    watch, spawn_badly,
]  # fmt: skip


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.__name__)
@pytest.mark.parametrize("max_running", [None, 2])
async def test_R1_nothing_is_kept_of_a_run_after_any_outcome(
    open_manager: Open, outcome: Callable[[RunManager], Any], max_running: int | None
) -> None:
    manager = await open_manager(max_running=max_running)
    await outcome(manager)
    await nothing_is_kept(manager)
    assert await (await manager.start_run(chatty(3), key="k")) == 3


async def cancel_itself(manager: RunManager) -> None:
    @job
    async def cancels_itself() -> None:
        await manager.cancel_run(current_run().id)

    await (await manager.start_run(cancels_itself())).wait()


async def end_in_time(manager: RunManager) -> None:
    await (await manager.start_run(chatty(1), timeout=1000))


@pytest.mark.parametrize(
    "outcome", [end_in_time, time_out, cancel, cancel_itself], ids=lambda outcome: outcome.__name__
)
async def test_R1_a_timer_keeps_nothing_of_a_run_that_has_ended(
    manager: RunManager, outcome: Callable[[RunManager], Any]
) -> None:
    """A cancelled timer stays in the event loop until its time comes."""
    await outcome(manager)
    await idle(manager)
    await turns(20)
    assert active_runs() == 0


async def test_R1_a_thousand_runs_leave_no_growth(open_manager: Open) -> None:
    manager = await open_manager(max_running=50)
    puppet = Puppet()

    async def one(number: int) -> None:
        handle = await manager.start_run(chatty(number), key=f"k{number}")
        assert await handle == number

    async def batch(first: int) -> int:
        await asyncio.gather(*(one(number) for number in range(first, first + 200)))
        await nothing_is_kept(manager)
        return len(gc.get_objects())

    sizes = [await batch(first) for first in range(0, 1000, 200)]
    assert sizes[-1] - sizes[1] < 200, f"objects after each 200 runs: {sizes}"
    assert puppet.entered == []


async def test_R1_a_run_that_another_manager_has_taken_is_forgotten(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager: RunManager = await open_manager(store)
    handle = await manager.start_run(puppet.job(1), key="k")
    await puppet.enters(1)
    gate = hold_answer(store, "finish_run")
    puppet.end(1)
    await gate.reached.wait()
    assert manager.current_run_id("k") == handle.id
    gate.open()
    await handle
    del handle
    await nothing_is_kept(manager)


def open_files(database: Path) -> list[str]:
    """List what this process has open of a database: its files and its locks."""
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return sorted(link for link in links if link.startswith(str(database.resolve())))


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "interrupted", "never started"])
async def test_R2_closing_leaves_no_file_thread_task_or_lock(database: Path, end: str) -> None:
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    manager, puppet = RunManager(database, shutdown_grace=0), Puppet()
    await manager.open()
    if os.path.isdir("/proc/self/fd"):
        assert open_files(database)
    if end != "never started":
        handle = await manager.start_run(puppet.job(1), key="k")
        await puppet.enters(1)
        if end == "completed":
            puppet.end(1)
        elif end == "failed":
            puppet.fail(1, ValueError())
        elif end == "cancelled":
            await handle.cancel()
        if end != "interrupted":
            await handle.wait()
    await manager.aclose()

    await turns(3)
    assert asyncio.all_tasks() == tasks
    shared = ("AnyIO worker thread", "aioruns-exit")
    await eventually(
        lambda: all(each.name in shared for each in threading.enumerate() if each not in threads),
    )
    assert sorted(path.name for path in database.parent.iterdir()) == ["runs.db"]
    if os.path.isdir("/proc/self/fd"):
        assert open_files(database) == []
