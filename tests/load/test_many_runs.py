"""Ten thousand runs at once: all begin, all end, all are interrupted; each costs little, and none leaves anything."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.insides import active_runs, idle
from tests.load.measure import MIB, resident
from tests.support import eventually, statuses

from aioruns import Run, RunHandle, RunManager, job
from aioruns.stores import SQLiteStore

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("own_runs"), pytest.mark.proof, pytest.mark.timeout(600)]

Open = Callable[..., Any]

MEMORY_OF_A_RUN = 64 * 1024
"""Bytes; about 12 KiB on CPython 3.11."""


class Crowd:
    """A job whose runs all wait for one event."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.entered = 0
        self.job = job(name="crowd")(self._wait)

    async def _wait(self, number: int) -> int:
        self.entered += 1
        await self.gate.wait()
        return number

    async def start(self, manager: RunManager, count: int) -> list[RunHandle[int]]:
        return await asyncio.gather(*(manager.start_run(self.job(number)) for number in range(count)))


@pytest.fixture
def crowd_size(scale: Callable[..., int], tally: Callable[..., None]) -> int:
    count = scale(quick=1_000, full=10_000, soak=50_000)
    tally("runs at once", count)
    return count


class CountingStore(SQLiteStore):
    """Counts the rows that are read one by one."""

    reads = 0

    async def get_run(self, run_id: int) -> Run | None:
        self.reads += 1
        return await super().get_run(run_id)


async def test_G10_many_runs_at_once_begin_and_end_and_leave_nothing(
    open_manager: Open, database: Path, crowd_size: int
) -> None:
    store = CountingStore(database)
    manager = await open_manager(store)
    tasks = asyncio.all_tasks()
    crowd, before = Crowd(), resident()
    handles = await crowd.start(manager, crowd_size)
    await eventually(lambda: crowd.entered == crowd_size)
    assert resident() - before < crowd_size * MEMORY_OF_A_RUN + 16 * MIB
    assert Counter(statuses(database).values()) == {"running": crowd_size}

    crowd.gate.set()
    assert await asyncio.gather(*handles) == list(range(crowd_size))
    assert Counter(statuses(database).values()) == {"completed": crowd_size}
    del handles
    await idle(manager)
    await eventually(lambda: asyncio.all_tasks() == tasks)
    await eventually(lambda: active_runs() == 0)
    assert store.reads < 100


async def test_G8_closing_with_many_runs_is_bounded_and_leaves_all_interrupted(database: Path, crowd_size: int) -> None:
    crowd = Crowd()
    async with RunManager(database, shutdown_grace=0) as manager:
        await crowd.start(manager, crowd_size)
        began = time.process_time()
    # docs/how-to/operations.md promises 12 seconds; processor time, so that nothing else on the machine counts.
    assert time.process_time() - began < 20
    assert Counter(statuses(database).values()) == {"interrupted": crowd_size}
    assert [path.name for path in database.parent.iterdir()] == ["runs.db"]
    await eventually(lambda: active_runs() == 0)


async def test_G11_closing_with_many_runs_lets_the_event_loop_turn(open_manager: Open, crowd_size: int) -> None:
    manager, crowd = await open_manager(), Crowd()
    await crowd.start(manager, 3 * crowd_size)
    await eventually(lambda: crowd.entered == 3 * crowd_size)
    closing = asyncio.create_task(manager.aclose())
    stretches = [0.0]
    gc.collect()
    gc.disable()  # its pauses are not ours
    before = began = time.thread_time()  # processor time: whoever else is on this machine does not count
    while not closing.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        stretches.append(now - before)
        before = now
    gc.enable()
    assert max(stretches) < 0.2 * (before - began)


async def test_G10_a_sleeping_run_is_few_objects(open_manager: Open, crowd_size: int) -> None:
    """Each counts for the cycle collector, which looks at all of them again and again."""
    manager, crowd = await open_manager(), Crowd()
    await crowd.start(manager, 100)  # whatever is made once
    await eventually(lambda: crowd.entered == 100)
    gc.collect()
    before = len(gc.get_objects())
    await crowd.start(manager, crowd_size)
    await eventually(lambda: crowd.entered == 100 + crowd_size)
    gc.collect()
    assert (len(gc.get_objects()) - before) / crowd_size < 28


async def test_G10_a_job_that_starts_runs_in_a_loop_is_limited_by_max_running(
    open_manager: Open, database: Path, crowd_size: int
) -> None:
    """Who waits for capacity is a row and a few kilobytes, and the starts go on as fast as the disk takes them."""
    manager = await open_manager(max_running=3)
    crowd, before, count = Crowd(), resident(), crowd_size // 4

    @job
    async def spawn() -> None:
        for number in range(count):
            await manager.start_run(crowd.job(number))

    await (await manager.start_run(spawn()))
    await eventually(lambda: crowd.entered == 3)
    assert Counter(statuses(database).values()) == {"completed": 1, "running": 3, "pending": count - 3}
    assert resident() - before < count * MEMORY_OF_A_RUN + 16 * MIB

    await manager.aclose()
    assert crowd.entered == 3
    assert Counter(statuses(database).values()) == {"completed": 1, "interrupted": count}
    await eventually(lambda: active_runs() == 0)


async def test_a_run_that_waits_for_a_run_that_waits_for_its_slot_waits_until_it_is_cancelled(
    open_manager: Open, database: Path
) -> None:
    """The classic deadlock of a limit: defined, and undone by a cancel of either."""
    manager = await open_manager(max_running=1)
    crowd = Crowd()
    inner: list[RunHandle[int]] = []

    @job
    async def outer() -> int:
        inner.append(await manager.start_run(crowd.job(7)))
        return await inner[0]

    handle = await manager.start_run(outer())
    await eventually(lambda: inner)
    assert statuses(database) == {handle.id: "running", inner[0].id: "pending"}
    await handle.cancel()
    assert (await handle.wait()).status == "cancelled"
    crowd.gate.set()
    assert await inner[0] == 7
