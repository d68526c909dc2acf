"""A store that does not answer: nobody waits for it for ever, and nothing that it does later is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import Puppet, eventually, hold_answer, hold_call, idle, rows, statuses, turns

from aioruns import RunConflict, RunManager, StoreUnavailable, _engine, _execution, _patience
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_patience, "SHORTEST", 0.2)
    monkeypatch.setattr(_engine, "CLOSE_BOUND", 0.2)


async def test_F3_a_start_that_is_never_answered_ends_as_unavailable_and_leaves_nothing_active(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, store_timeout=0)
    gate = hold_answer(store, "insert_run", only_first=True)
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await manager.start_run(puppet.job(1), key="k")
    assert gate.reached.is_set()

    await eventually(lambda: statuses(database) == {1: "failed"})
    puppet.end(2, "next")
    assert await (await manager.start_run(puppet.job(2), key="k")) == "next"


async def test_G5_an_end_whose_storing_is_never_answered_is_stored_by_the_next_try(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_call(store, "finish_run")
    handle = await manager.start_run(puppet.job(1))
    puppet.end(1, "done")
    await gate.reached.wait()
    gate.open()  # for later calls: the one that waits here is given up
    assert await handle == "done"


async def test_G5_waiters_are_told_when_no_try_is_answered(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, store_timeout=0)
    gate = hold_call(store, "finish_run")
    handle = await manager.start_run(puppet.job(1))
    puppet.end(1, "done")
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await handle.wait()
    gate.open()
    await idle(manager)
    assert await handle == "done"
    assert statuses(database) == {1: "completed"}


async def test_G8_closing_is_bounded_while_an_insert_is_never_answered(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, store_timeout=60)
    gate = hold_answer(store, "insert_run")
    start = asyncio.create_task(manager.start_run(puppet.job(1)))
    await gate.reached.wait()
    async with asyncio.timeout(20):
        await manager.aclose()

    gate.open()  # too late: the function must not begin
    with pytest.raises(Exception, match="closed"):
        await start
    assert puppet.entered == []
    async with RunManager(database):
        assert set(statuses(database).values()) == {"interrupted"}


async def test_G8_closing_is_bounded_while_the_store_does_not_close(open_manager: Open, database: Path) -> None:
    store = SQLiteStore(database)
    manager = await open_manager(store)
    gate = hold_call(store, "aclose")
    async with asyncio.timeout(20):
        await manager.aclose()
    gate.open()
    await store.aclose()


async def test_F3_while_a_spawn_that_failed_cannot_be_stored_other_starts_get_their_answer(
    open_manager: Open, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, store_timeout=60)

    def fail(*_: Any) -> None:
        raise MemoryError("no room for a task")

    gate = hold_call(store, "finish_run")
    with monkeypatch.context() as patch:
        patch.setattr(_execution.Executor, "launch", fail)
        broken = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
        await gate.reached.wait()
    async with asyncio.timeout(10):
        with pytest.raises(RunConflict):
            await manager.start_run(puppet.job(2), key="k")
    await turns(5)
    assert not broken.done()

    gate.open()
    with pytest.raises(MemoryError, match="no room for a task"):
        await broken
    await idle(manager)
    [row] = rows(database)
    assert (row["status"], row["error"]) == ("failed", "MemoryError: no room for a task")
