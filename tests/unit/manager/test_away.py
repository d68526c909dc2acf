"""A store that does not answer: nobody waits for it for ever, and nothing that it does later is lost."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bounds import patch_bounds
from tests.insides import LAUNCH, idle, stops
from tests.support import Puppet, eventually, hold_answer, hold_call, rows, statuses, turns

from aioruns import ManagerClosed, RunConflict, RunManager, StoreUnavailable
from aioruns.stores import SQLiteStore
from aioruns.testing import FaultyStore

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_bounds(monkeypatch, shortest_store_timeout=0.2, close=0.2)


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
    async with asyncio.timeout(60):
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
    async with asyncio.timeout(60):
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
        patch.setattr(*LAUNCH, fail)
        broken = asyncio.create_task(manager.start_run(puppet.job(1), key="k"))
        await gate.reached.wait()
    async with asyncio.timeout(60):
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


async def test_G1_a_store_that_hangs_is_not_taken_for_the_end_of_the_event_loop(database: Path) -> None:
    store = FaultyStore(database)
    async with RunManager(store, store_timeout=0) as manager:
        fault = store.hang("wait_changed")
        waiter = asyncio.create_task(manager.wait_run((await manager.start_run(Puppet().job(1))).id))
        await fault.reached.wait()
        loop, stopped = asyncio.get_running_loop(), False
        deadline = loop.time() + 0.5  # the call is given up meanwhile
        while loop.time() < deadline:
            stopped = stopped or stops(manager)
            await asyncio.sleep(0)
        assert not stopped
        waiter.cancel()
        await manager.cancel_run(1)


async def test_G5_a_run_whose_claim_was_never_answered_is_not_told_as_ended(database: Path) -> None:
    puppet, store = Puppet(), FaultyStore(database)
    manager = RunManager(store, store_timeout=0, max_running=1, shutdown_grace=0)
    await manager.open()
    await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2))
    store.hang("claim_run", times=math.inf)
    puppet.end(1)
    await eventually(lambda: any(call.verb == "claim_run" for call in store.calls))
    await manager.aclose()
    await asyncio.sleep(0)
    with pytest.raises((StoreUnavailable, ManagerClosed)):
        await second
    assert puppet.entered == [1]


async def test_a_bare_coroutine_that_could_not_be_claimed_is_closed_with_the_manager(database: Path) -> None:
    puppet, store = Puppet(), FaultyStore(database)

    async def bare() -> None: ...

    coroutine = bare()
    manager = RunManager(store, store_timeout=0, max_running=1, shutdown_grace=0)
    await manager.open()
    await manager.start_run(puppet.job(1))
    await manager.start_run(coroutine)
    store.away()
    await manager.aclose()
    await eventually(lambda: inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED)


async def test_G5_who_waits_for_an_end_that_was_never_stored_is_not_told_that_the_function_executes(
    database: Path,
) -> None:
    puppet, store = Puppet(), FaultyStore(database)
    manager = RunManager(store, store_timeout=60, shutdown_grace=0)
    await manager.open()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    fault = store.hang("finish_run", times=math.inf)
    waiter = asyncio.create_task(handle.wait())
    puppet.end(1, "done")
    await fault.reached.wait()
    await manager.aclose()
    with pytest.raises(StoreUnavailable):
        await waiter


async def test_G8_opening_a_store_that_hangs_is_bounded(database: Path) -> None:
    store = FaultyStore(database)
    store.hang("acquire_lease")
    store.hang("aclose")
    async with asyncio.timeout(60):
        with pytest.raises(StoreUnavailable, match="has not answered"):
            await RunManager(store, store_timeout=0).open()
    store.back()
    await store.aclose()


async def test_G8_connections_are_closed_when_a_close_that_took_too_long_can_go_on(
    database: Path,
) -> None:
    store = SQLiteStore(database)
    manager = RunManager(store, shutdown_grace=0)
    await manager.open()
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]
        await manager.aclose()
    assert threads
    await eventually(lambda: not any(thread.is_alive() for thread in threads))
