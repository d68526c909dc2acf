"""A run's own task cancelled at any turn, and by anybody: the end is stored and told all the same."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.insides import idle, is_execution
from tests.support import Puppet, hold_answer, hold_call, rows, statuses, turns

from aioruns import RunFailed, RunManager, job
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


def task_of(manager: RunManager, run_id: int) -> asyncio.Task[None]:
    """Find the task that executes a run, as `asyncio.all_tasks` would find it."""
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == f"aioruns-run-{run_id}"]
    return task


async def read_all(manager: RunManager, run_id: int) -> list[str]:
    return [event.data["status"] async for event in manager.stream_events(run_id) if event.kind == "status"]


async def test_N1_a_task_cancelled_at_any_turn_of_its_finalisation_stores_the_end_and_tells_everybody(
    manager: RunManager, database: Path
) -> None:
    may_return, has_returned = asyncio.Event(), asyncio.Event()

    @job
    async def returns(number: int) -> int:
        await may_return.wait()
        has_returned.set()
        return number

    for turn in itertools.count():
        may_return.clear()
        has_returned.clear()
        handle = await manager.start_run(returns(turn), key="k")
        task = task_of(manager, handle.id)
        waiter = asyncio.create_task(manager.wait_run(handle.id))
        subscriber = asyncio.create_task(read_all(manager, handle.id))
        await turns(3)
        may_return.set()
        await has_returned.wait()
        await turns(turn)
        over = task.done()
        task.cancel()

        assert await handle == turn
        assert (await waiter).status == "completed"
        assert await subscriber == ["running", "completed"]
        assert manager.current_run_id("k") is None
        if over:
            break
    assert turn > 3  # pyright: ignore[reportPossiblyUnboundVariable]
    assert set(statuses(database).values()) == {"completed"}


async def test_N1_a_task_cancelled_at_every_turn_of_its_finalisation_stores_the_end(manager: RunManager) -> None:
    """As a cancel scope of anyio does it that was never left."""
    puppet, loop = Puppet(), asyncio.get_running_loop()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    task = task_of(manager, handle.id)
    puppet.end(1, "done")
    await turns(5)
    deadline = loop.time() + 60
    while not task.done() and loop.time() < deadline:
        task.cancel()
        await asyncio.sleep(0)
    was_done = task.done()
    assert await handle == "done"
    assert was_done


async def test_N1_a_function_that_cancels_its_own_task_and_returns_is_completed(manager: RunManager) -> None:
    @job
    async def cancels_itself() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "all the same"

    assert await (await manager.start_run(cancels_itself())) == "all the same"


async def test_N1_a_task_cancelled_while_the_store_works_on_its_end_stores_it_once(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    gate = hold_answer(store, "finish_run")
    puppet.end(1, "done")
    await gate.reached.wait()
    task = task_of(manager, 1)
    for _ in range(5):
        task.cancel()
        await turns(3)
    assert not task.done()
    gate.open()
    assert await handle == "done"
    assert await read_all(manager, 1) == ["running", "completed"]
    await asyncio.wait((task,))
    assert task.cancelled()


async def test_N1_a_task_cancelled_while_it_claims_its_run_claims_it_once_and_goes_on(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, max_running=1)
    await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2))
    gate = hold_answer(store, "claim_run")
    puppet.end(1)
    await gate.reached.wait()
    task_of(manager, 2).cancel()
    await turns(5)
    gate.open()
    puppet.end(2, "done")
    assert await second == "done"
    assert await read_all(manager, 2) == ["pending", "running", "completed"]


async def test_N3_a_task_cancelled_before_its_first_step_is_not_lost(manager: RunManager, database: Path) -> None:
    """Such a task never reaches any clean-up of its own."""
    puppet = Puppet()
    loop = asyncio.get_running_loop()

    def cancel_runs(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **options)
        if is_execution(coroutine):
            task.cancel()
        return task

    loop.set_task_factory(cancel_runs)
    handle = await manager.start_run(puppet.job(1), key="k")
    loop.set_task_factory(None)
    run = await handle.wait(timeout=60)
    assert (run.status, puppet.entered) == ("failed", [])
    assert run.error == "CancelledError: the task was cancelled, and not through cancel_run"
    assert manager.current_run_id("k") is None


async def test_N3_a_cancelled_error_without_a_request_is_a_failure(manager: RunManager) -> None:
    puppet = Puppet()

    @job
    async def cancels_what_it_awaits() -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        await turns(1)
        task.cancel()
        await task

    @job
    async def raises_it() -> None:
        raise asyncio.CancelledError("mine")

    outsider = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    task_of(manager, outsider.id).cancel()
    for handle in (outsider, await manager.start_run(cancels_what_it_awaits()), await manager.start_run(raises_it())):
        with pytest.raises(RunFailed) as failure:
            await handle
        run = failure.value.run
        assert run.status == "failed"
        assert run.error == "CancelledError: the task was cancelled, and not through cancel_run"
        assert run.cancel_requested_at is None


async def test_N5_a_thread_whose_task_is_cancelled_by_somebody_is_not_taken_for_ended(
    manager: RunManager, database: Path
) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.threaded(1), key="k")
    await puppet.enters(1)
    for _ in range(3):
        task_of(manager, 1).cancel()
        await turns(10)
    assert statuses(database) == {1: "running"}
    assert manager.current_run_id("k") == 1
    puppet.end(1, "the truth")
    assert await handle == "the truth"


async def test_N4_runs_outlive_garbage_collection_when_nobody_holds_a_handle(
    manager: RunManager, database: Path
) -> None:
    puppet = Puppet()
    for part in range(5):
        await manager.start_run(puppet.job(part))
    await puppet.enters(4)
    for _ in range(3):
        gc.collect()
        await turns(3)
    for part in range(5):
        puppet.end(part)
    await idle(manager)
    assert set(statuses(database).values()) == {"completed"}


async def test_N4_a_section_outlives_garbage_collection_when_its_caller_has_gone(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k", idempotency_key="i"))
    await gate.reached.wait()
    start.cancel()
    await asyncio.wait((start,))
    del start
    gc.collect()
    gate.open()
    await puppet.enters(1)
    assert manager.current_run_id("k") == 1


async def test_N1_a_waiter_that_is_cancelled_takes_nothing_along(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    waiting = [asyncio.ensure_future(each) for each in (handle.wait(), manager.wait_run(1), read_all(manager, 1))]
    awaiting = asyncio.create_task(_result(handle))
    gate = hold_call(store, "finish_run")
    puppet.end(1, "kept")
    await gate.reached.wait()
    for each in (*waiting, awaiting):
        each.cancel()
    await turns(3)
    gate.open()
    assert await handle == "kept"
    [row] = rows(database)
    assert row["status"] == "completed"


async def _result(handle: Any) -> Any:
    return await handle
