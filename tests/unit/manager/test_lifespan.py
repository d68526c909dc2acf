"""Opening and closing: bounded, truthful, and finished when they say so."""

from __future__ import annotations

import asyncio
import gc
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.insides import closing_task, finalise, live_runs
from tests.support import Puppet, eventually, hold_answer, hold_call, rows, statuses, turns

from aioruns import (
    ConfigurationError,
    ManagerClosed,
    RunConflict,
    RunInterrupted,
    RunManager,
    StoreUnavailable,
    current_run,
    job,
)
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


# Opening


async def test_a_manager_is_opened_once(database: Path) -> None:
    manager = RunManager(database)
    async with manager:
        with pytest.raises(ManagerClosed, match="opened once"):
            await manager.open()
    with pytest.raises(ManagerClosed, match="opened once"):
        await manager.open()


@pytest.mark.parametrize("store", [3, None, "mysql://host/db", ""])
async def test_a_store_that_makes_no_sense_is_refused(store: Any) -> None:
    with pytest.raises(ConfigurationError):
        RunManager(store)


@pytest.mark.parametrize(
    "options",
    [
        {"shutdown_grace": -1}, {"shutdown_grace": math.nan}, {"shutdown_grace": "1"}, {"store_timeout": -1},
        {"jobs": [len]}, {"jobs": [job(name="same")(len), job(name="same")(abs)]},
    ],
    ids=repr,
)  # fmt: skip
async def test_options_that_make_no_sense_are_refused(database: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RunManager(database, **options)
    assert not database.exists()


async def test_a_manager_that_could_not_be_opened_is_closed(tmp_path: Path) -> None:
    manager = RunManager(tmp_path / "missing" / "runs.db")
    with pytest.raises(ConfigurationError, match="does not exist"):
        await manager.open()
    with pytest.raises(ManagerClosed):
        await manager.get_run(1)
    await manager.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_an_opening_that_was_cancelled_at_any_turn_leaves_nothing_open(database: Path) -> None:
    tasks, opened, turn = asyncio.all_tasks(), False, 0
    while not opened:
        manager = RunManager(database)
        opening = asyncio.create_task(manager.open())
        await turns(turn)
        opening.cancel()
        await asyncio.wait((opening,))
        opened = not opening.cancelled()
        if opened:
            await manager.aclose()
        await eventually(lambda: asyncio.all_tasks() == tasks)
        assert [path.name for path in database.parent.iterdir() if path != database] == []
        turn += 1 + turn // 8
    assert rows(database, "SELECT * FROM managers") == []


async def test_a_manager_may_be_opened_in_one_task_and_closed_in_another(database: Path) -> None:
    manager, puppet = RunManager(database, shutdown_grace=0), Puppet()
    await asyncio.create_task(manager.open())
    handle = await asyncio.create_task(manager.start_run(puppet.job(1)))
    await puppet.enters(1)
    await asyncio.create_task(manager.aclose())
    assert (await handle.wait()).status == "interrupted"


async def test_closing_what_was_never_opened_does_nothing(database: Path) -> None:
    manager = RunManager(database)
    await manager.aclose()
    assert not database.exists()
    async with manager:
        assert database.exists()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_manager_that_is_not_closed_says_so(database: Path) -> None:
    manager = RunManager(database)
    await manager.open()
    with pytest.warns(ResourceWarning, match="never closed"):
        finalise(manager)
    await manager.aclose()
    del manager
    gc.collect()


# Closing


async def test_N2_closing_drains_first(open_manager: Open, database: Path) -> None:
    manager, puppet = await open_manager(shutdown_grace=30, max_running=2), Puppet()
    handles = [await manager.start_run(puppet.job(part)) for part in range(3)]
    closing = asyncio.create_task(manager.aclose())
    for part in range(3):
        await puppet.enters(part)
        await turns(10)
        assert not closing.done()
        puppet.end(part, part)
    await closing
    assert [await handle for handle in handles] == [0, 1, 2]
    assert puppet.asked == []


async def test_N2_closing_interrupts_what_did_not_end_in_time(open_manager: Open, database: Path) -> None:
    manager, puppet = await open_manager(shutdown_grace=0.05), Puppet()
    handle = await manager.start_run(puppet.job(1), key="k")
    waiter = asyncio.create_task(manager.wait_run(handle.id))

    async def read() -> list[str]:
        return [event.data["status"] async for event in handle.events()]

    reader = asyncio.create_task(read())
    await puppet.enters(1)
    await manager.aclose()
    with pytest.raises(RunInterrupted, match="the manager was closed before the run ended"):
        await handle
    [row] = rows(database)
    assert (row["status"], row["cancel_requested_at"], row["held_key"]) == ("interrupted", None, None)
    assert puppet.asked == [1]
    assert (await waiter).status == "interrupted"
    assert (await reader)[-1] == "interrupted"


async def test_N2_closing_interrupts_pending_runs_and_never_begins_them(open_manager: Open, database: Path) -> None:
    async def work() -> None:
        raise AssertionError("never called")

    manager, puppet = await open_manager(max_running=1), Puppet()
    await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2))
    coroutine = work()
    third = await manager.start_run(coroutine)
    await puppet.enters(1)
    await manager.aclose()
    assert statuses(database) == {1: "interrupted", 2: "interrupted", 3: "interrupted"}
    for handle in (second, third):
        assert (await handle.wait()).started_at is None
    assert puppet.entered == [1]
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda puppet: puppet.end(1, "done"), "completed"),
        (lambda puppet: puppet.fail(1, asyncio.CancelledError()), "interrupted"),
        (lambda puppet: puppet.fail(1, OSError("asked to end")), "interrupted"),
    ],
    ids=["returns", "gives in", "raises"],
)
async def test_N2_a_function_that_ends_while_closing_ends_truly(
    open_manager: Open, end: Callable[[Puppet], None], status: str
) -> None:
    manager, puppet = await open_manager(), Puppet()
    handle = await manager.start_run(puppet.stubborn(1))
    await puppet.enters(1)
    closing = asyncio.create_task(manager.aclose())
    await eventually(lambda: puppet.asked)
    end(puppet)
    await closing
    assert (await handle.wait()).status == status


async def test_N2_a_run_that_fails_by_itself_while_draining_has_failed(open_manager: Open) -> None:
    manager, puppet = await open_manager(shutdown_grace=30), Puppet()
    handles = [await manager.start_run(puppet.job(part)) for part in range(2)]
    await puppet.enters(1)
    closing = asyncio.create_task(manager.aclose())
    await turns(5)
    puppet.fail(0, ValueError("by itself"))
    await handles[1].cancel()
    await closing
    assert [(await handle.wait()).status for handle in handles] == ["failed", "cancelled"]


async def test_N2_a_cancel_requested_before_closing_is_a_cancel(open_manager: Open) -> None:
    manager, puppet = await open_manager(), Puppet()
    handle = await manager.start_run(puppet.stubborn(1))
    await puppet.enters(1)
    await handle.cancel(reason="asked before")
    closing = asyncio.create_task(manager.aclose())
    await eventually(lambda: len(puppet.asked) >= 2)
    puppet.fail(1, asyncio.CancelledError())
    await closing
    run = await handle.wait()
    assert (run.status, run.cancel_reason) == ("cancelled", "asked before")


async def test_N2_grace_for_cancelling_does_not_hold_closing_up(open_manager: Open) -> None:
    @job(cancel_grace=math.inf)
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    manager = await open_manager()
    handle = await manager.start_run(waits())
    await turns(5)
    await manager.aclose()
    assert (await handle.wait()).status == "interrupted"


@pytest.mark.parametrize("kind", ["stubborn", "threaded"])
async def test_G8_a_function_that_does_not_end_keeps_its_row_and_its_key_and_closing_is_bounded(
    quick_close: None, open_manager: Open, database: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    manager, puppet = await open_manager(), Puppet()
    stuck = await manager.start_run(getattr(puppet, kind)(1), key="k")
    other = await manager.start_run(puppet.job(2))
    await puppet.enters(2)
    async with asyncio.timeout(60):
        await manager.aclose()
    assert statuses(database) == {stuck.id: "cancelling", other.id: "interrupted"}
    assert f"run {stuck.id} still executes although its manager closes" in caplog.text

    successor = await open_manager()
    with pytest.raises(RunConflict) as refusal:
        await successor.start_run(puppet.job(3), key="k")
    assert refusal.value.active_run_id == stuck.id
    events = [event async for event in _stored(successor, stuck.id)]  # pyright: ignore[reportGeneralTypeIssues]
    assert [event.data["traceback"] for event in events if event.kind == "log"] != []

    with pytest.raises(ManagerClosed):
        await stuck
    puppet.end(1, "too late")
    await eventually(lambda: not live_runs(manager))
    with pytest.raises(StoreUnavailable):
        await stuck
    last = await open_manager()
    await eventually(lambda: statuses(database)[stuck.id] == "interrupted")
    puppet.end(4, "the key is free")
    assert await (await last.start_run(puppet.job(4), key="k")) == "the key is free"


async def _stored(manager: RunManager, run_id: int) -> Any:
    for event in await manager.read_events(run_id):
        yield event


async def test_G8_closing_ends_those_who_wait_for_a_function_that_does_not_end(
    quick_close: None, open_manager: Open
) -> None:
    manager, puppet = await open_manager(), Puppet()
    handle = await manager.start_run(puppet.stubborn(1))
    await puppet.enters(1)

    async def read() -> None:
        async for _ in handle.events():
            pass

    waiting = [asyncio.create_task(each) for each in (handle.wait(), manager.wait_run(1), read())]
    await turns(5)
    await manager.aclose()
    await turns(5)
    are_done = [each.done() for each in waiting]
    puppet.end(1)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert are_done == [True, True, True]
    assert [type(answer) for answer in answers] == [ManagerClosed] * 3


async def test_G8_a_second_close_waits_for_the_first(open_manager: Open) -> None:
    manager, puppet = await open_manager(shutdown_grace=30), Puppet()
    await manager.start_run(puppet.job(1))
    first = asyncio.create_task(manager.aclose())
    await eventually(lambda: closing_task(manager) is not None)
    closing = closing_task(manager)
    second = asyncio.create_task(manager.aclose())
    await turns(10)
    assert closing_task(manager) is closing
    first.cancel()
    await turns(10)
    assert first.cancelled()
    assert not second.done(), "cancelling a call does not stop the closing"
    puppet.end(1)
    await second
    await manager.aclose()


async def test_G8_closing_waits_for_starts_that_are_under_way(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()
    closing = asyncio.create_task(manager.aclose())
    await turns(10)
    with pytest.raises(ManagerClosed):
        await manager.start_run(puppet.job(2))
    gate.open()
    handle = await start
    await closing
    assert (await handle.wait()).status == "interrupted"


async def test_G8_those_who_watch_other_managers_runs_are_told_that_this_one_closed(open_manager: Open) -> None:
    manager, other, puppet = await open_manager(), await open_manager(), Puppet()
    handle = await manager.start_run(puppet.job(1))
    elsewhere = other.get_handle(handle.id)

    async def read() -> None:
        async for _ in elsewhere.events():
            pass

    waiting = [asyncio.create_task(each) for each in (elsewhere.wait(), read())]
    await turns(20)
    await other.aclose()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ManagerClosed] * 2
    assert (await manager.get_run(handle.id)).status == "running"


@pytest.mark.parametrize("where", ["function", "child task", "detached call"])
async def test_a_run_cannot_close_its_own_manager(open_manager: Open, where: str) -> None:
    manager, other = await open_manager(), await open_manager()

    @job
    async def closes(which: int) -> None:
        await (manager, other)[which].aclose()

    def attempt() -> Any:
        if where == "child task":
            return asyncio.create_task(manager.aclose())
        return closes(0) if where == "detached call" else manager.aclose()

    @job
    async def works() -> str:
        with pytest.raises(RuntimeError, match=r"aclose\(\) was called inside a run of the same manager"):
            await attempt()
        await closes(1)
        return f"run {current_run().id} goes on"

    assert await (await manager.start_run(works())) == "run 1 goes on"
    puppet = Puppet()
    puppet.end(1, "open")
    assert await (await manager.start_run(puppet.job(1))) == "open"
    with pytest.raises(ManagerClosed):
        await other.get_run(1)


async def test_G8_an_abandoned_start_does_not_hold_closing_up(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_call(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()
    start.cancel()
    closing = asyncio.create_task(manager.aclose())
    await turns(5)
    gate.open()
    await closing
    assert [row["status"] for row in rows(database)] in (["interrupted"], ["cancelled"])
