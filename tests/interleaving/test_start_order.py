"""What others see and do between the commit of a row and its registration."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.insides import LAUNCH, REGISTER, idle, is_execution, is_starting, tear_start
from tests.support import Puppet, eventually, hold_answer, hold_call, rows, statuses, turns

from aioruns import RunAlreadyFinished, RunCancelled, RunConflict, RunManager
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


async def until_visible(database: Path) -> int:
    """Look at the file itself until it shows an active run."""
    while not (found := rows(database, "SELECT id FROM runs WHERE finished_at IS NULL")):
        await asyncio.sleep(0)
    return found[0]["id"]


# S1: once another task can read the row, cancel reaches that run and the current id is that run.


async def test_S1_a_cancel_at_the_first_sight_of_the_row_reaches_the_run(manager: RunManager, database: Path) -> None:
    puppet = Puppet()
    for part in range(20):
        start = asyncio.create_task(manager.start_run(puppet.job(part), key="k"))
        run_id = await until_visible(database)
        run = await manager.cancel_run(run_id, reason="seen")
        assert (run.id, run.status, run.cancel_reason) == (run_id, "cancelling", "seen")
        handle = await start
        assert handle.id == run_id
        with pytest.raises(RunCancelled):
            await handle


async def test_S1_whoever_has_read_the_row_finds_it_current(manager: RunManager, database: Path) -> None:
    puppet = Puppet()
    for part in range(20):
        start = asyncio.create_task(manager.start_run(puppet.job(part), key="k"))
        run_id = await until_visible(database)
        await manager.get_run(run_id)
        assert manager.current_run_id("k") == manager.current_run_id() == run_id
        await manager.cancel_run(run_id)
        await (await start).wait()


@pytest.mark.parametrize(
    "look",
    [
        lambda manager: manager.get_run(1),
        lambda manager: manager.get_active_run("k"),
        lambda manager: manager.get_current_or_latest_run("k"),
        lambda manager: manager.list_runs(),
        lambda manager: manager.cancel_run(1),
    ],
    ids=["get_run", "get_active_run", "get_current_or_latest_run", "list_runs", "cancel_run"],
)
async def test_S1_no_verb_returns_a_row_that_is_not_registered(
    open_manager: Open, database: Path, look: Callable[[RunManager], Any]
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()
    assert statuses(database) == {1: "running"}

    looking = asyncio.create_task(look(manager))
    current_on_return: list[int | None] = []
    looking.add_done_callback(lambda _: current_on_return.append(manager.current_run_id("k")))
    await manager.read_events(1)  # goes the same way to the database, and does not wait
    await turns(20)
    assert not looking.done()

    gate.open()
    await looking
    await start
    assert current_on_return == [1]


async def test_S1_a_run_cancelled_before_it_is_registered_is_asked_to_end_or_never_begins(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()
    cancel = asyncio.create_task(manager.cancel_run(1, reason="early"))
    await eventually(lambda: statuses(database) == {1: "cancelling"})
    gate.open()

    assert (await cancel).status == "cancelling"
    run = await (await start).wait()
    assert (run.status, run.cancel_reason, run.error) == ("cancelled", "early", None)
    assert puppet.entered == puppet.asked


async def test_S1_a_run_cancelled_while_pending_before_it_is_registered_ends_at_once(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, max_running=1)
    hold_call(store, "wait_changed")  # nobody finds it by looking around
    await manager.start_run(puppet.job(1))
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(2), key="k"))
    await gate.reached.wait()
    cancel = asyncio.create_task(manager.cancel_run(2))
    await eventually(lambda: statuses(database)[2] == "cancelled")
    await manager.read_events(1)
    await turns(20)
    gate.open()

    assert (await cancel).status == "cancelled"
    handle = await start
    assert (await handle.wait(timeout=60)).started_at is None
    assert manager.current_run_id("k") is None


async def test_S1_another_manager_that_sees_the_row_reaches_the_run(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager, other = await open_manager(store), await open_manager()
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()
    assert (await other.cancel_run(1, reason="from elsewhere")).status == "cancelling"
    gate.open()
    run = await (await start).wait()
    assert (run.status, run.cancel_reason) == ("cancelled", "from elsewhere")


@pytest.mark.parametrize("max_running", [None, 1], ids=["running", "pending"])
async def test_S1_a_cancel_from_elsewhere_that_is_seen_before_the_run_is_registered_is_not_forgotten(
    open_manager: Open, database: Path, max_running: int | None
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager, other = await open_manager(store, max_running=max_running), await open_manager()
    await manager.start_run(puppet.job(1))
    before = await eventually(lambda: store._watch._seen)
    inserts = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(2), key="k"))
    await inserts.reached.wait()
    await other.cancel_run(2, reason="from elsewhere")
    await eventually(lambda: store._watch._seen != before)
    await turns(20)
    await manager.read_events(1)  # behind whatever the watch reads now
    await turns(20)
    inserts.open()
    run = await (await start).wait(timeout=60)
    assert (run.status, run.cancel_reason) == ("cancelled", "from elsewhere")


@pytest.mark.parametrize("on_conflict", ["reject", "join"])
async def test_S1_whoever_meets_a_run_that_is_being_started_meets_it_registered(
    open_manager: Open, database: Path, on_conflict: str
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_answer(store, "insert_run", only_first=True)
    found: list[int | None] = []
    first = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()
    second = asyncio.create_task(manager.start_run(puppet.job(2), key="k", on_conflict=on_conflict))
    second.add_done_callback(lambda _: found.append(manager.current_run_id("k")))
    await turns(5)
    await manager.start_run(puppet.job(3))  # goes the same way to the database, behind it
    await turns(20)
    gate.open()
    handle = await first
    if on_conflict == "reject":
        with pytest.raises(RunConflict):
            await second
    else:
        puppet.end(1, {"the": "object"})
        assert await (await second) is await handle
    assert found == [handle.id]


# S2: if spawning fails, nothing stays active, the original exception propagates, and the next start succeeds.


class NoRoom(Exception):
    """Why a run could not be spawned."""


def fail_for_runs(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make tasks for everything but runs."""
    if is_execution(coroutine):
        coroutine.close()
        raise NoRoom("no room for a task")
    return asyncio.Task(coroutine, loop=loop, **options)


@pytest.fixture(params=["task factory", "executor", "registry"])
def break_spawning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[], None]]:
    """Let spawning fail from now on, until what is returned is called."""

    def fail(*_: Any) -> None:
        raise NoRoom("no room for a task")

    def begin() -> Callable[[], None]:
        if request.param == "task factory":
            loop = asyncio.get_running_loop()
            loop.set_task_factory(fail_for_runs)
            return lambda: loop.set_task_factory(None)
        monkeypatch.setattr(*{"executor": LAUNCH, "registry": REGISTER}[request.param], fail)
        return monkeypatch.undo

    return begin


async def test_S2_a_run_that_cannot_be_spawned_is_failed_and_its_key_is_free(
    manager: RunManager, database: Path, break_spawning: Callable[[], Callable[[], None]]
) -> None:
    puppet = Puppet()
    mend = break_spawning()
    with pytest.raises(NoRoom, match="no room for a task"):
        await manager.start_run(puppet.job(1), key="k")
    assert manager.current_run_id("k") is None
    mend()

    [row] = rows(database)
    assert row["status"] == "failed"
    assert row["finished_at"] >= row["created_at"]
    assert row["error"] == "NoRoom: no room for a task"
    assert "NoRoom" in row["traceback"]

    puppet.end(2, "next")
    assert await (await manager.start_run(puppet.job(2), key="k")) == "next"
    assert puppet.entered == [2]


async def test_S2_subscribers_and_waiters_of_a_run_that_cannot_be_spawned_end(
    open_manager: Open, database: Path, break_spawning: Callable[[], Callable[[], None]]
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()

    async def read() -> list[Any]:
        return [event.data["status"] async for event in manager.stream_events(1)]

    subscriber = asyncio.create_task(read())
    waiter = asyncio.create_task(manager.wait_run(1))
    await turns(20)
    mend = break_spawning()
    gate.open()
    with pytest.raises(NoRoom):
        await start
    mend()
    assert await subscriber == ["running", "failed"]
    assert (await waiter).status == "failed"


async def test_S2_the_cancelled_starter_of_a_run_that_cannot_be_spawned_leaves_it_failed(
    open_manager: Open, database: Path, break_spawning: Callable[[], Callable[[], None]]
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
    await gate.reached.wait()
    start.cancel()
    mend = break_spawning()
    gate.open()
    await idle(manager)
    await eventually(lambda: statuses(database) == {1: "failed"})
    mend()
    assert start.cancelled()
    with pytest.raises(RunAlreadyFinished):
        await manager.cancel_run(1)


async def test_S2_a_bare_coroutine_that_cannot_be_spawned_is_closed(
    manager: RunManager, break_spawning: Callable[[], Callable[[], None]]
) -> None:
    async def work() -> None:
        raise AssertionError("never called")

    mend = break_spawning()
    coroutine = work()
    with pytest.raises(NoRoom):
        await manager.start_run(coroutine)
    mend()
    assert coroutine.cr_frame is None


async def test_S2_spawning_that_fails_leaves_no_coroutine_of_ours_open(manager: RunManager) -> None:
    left: list[Any] = []

    def fail(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        if is_execution(coroutine):
            left.append(coroutine)
            raise NoRoom("no room for a task")
        return asyncio.Task(coroutine, loop=loop, **options)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(fail)
    with pytest.raises(NoRoom):
        await manager.start_run(Puppet().job(1))
    loop.set_task_factory(None)
    states = [inspect.getcoroutinestate(coroutine) for coroutine in left]
    for coroutine in left:
        coroutine.close()
    assert states == [inspect.CORO_CLOSED]


async def test_S2_a_waiting_run_that_cannot_be_spawned_is_failed_and_harms_no_other(
    open_manager: Open, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()
    first = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    second, third = await manager.start_run(puppet.job(2), key="k"), await manager.start_run(puppet.job(3))

    def fail(*_: Any) -> None:
        monkeypatch.undo()
        raise NoRoom("no room for a task")

    monkeypatch.setattr(*LAUNCH, fail)
    puppet.end(1, "first")
    assert (await first.wait(timeout=60)).status == "completed"
    run = await second.wait(timeout=60)
    assert (run.status, run.error, run.started_at) == ("failed", "NoRoom: no room for a task", None)
    puppet.end(3, "third")
    async with asyncio.timeout(60):
        assert await third == "third"
    assert manager.current_run_id() is None


async def test_C9_a_run_that_is_cancelled_between_two_tries_of_its_insert_is_not_inserted_again(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, max_running=1)
    other = await open_manager()
    first = await manager.start_run(puppet.job(1))
    gate = hold_answer(store, "insert_run", only_first=True)
    start = asyncio.create_task(manager.start_run(puppet.job(2), key="k"))
    await gate.reached.wait()
    assert (await other.cancel_run(2)).status == "cancelled"
    tear_start(manager)  # the answer is lost, and the insert is tried again
    second = await start
    await eventually(lambda: not is_starting(manager))

    with pytest.raises(RunCancelled):
        await second
    assert statuses(database) == {1: "running", 2: "cancelled"}
    puppet.end(1)
    await first
    puppet.end(3, "next")
    assert await (await manager.start_run(puppet.job(3), key="k")) == "next"
    assert puppet.entered == [1, 3]
