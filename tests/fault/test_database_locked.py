"""The database is locked by another process, for longer than the timeout or for less."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from tests.bounds import patch_bounds
from tests.fault.database import NOW, OpenManager, locked, new, opened, see_commits_fail, stream
from tests.support import Puppet, eventually, rows, statuses

from aioruns import RunFailed, RunManager, RunStatus, StoreUnavailable, current_run, job
from aioruns.abc import Ending, Fence
from aioruns.stores import SQLiteStore

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("sound")]


async def test_database_that_is_locked_is_unavailable_and_works_again(database: Path, hasty: SQLiteStore) -> None:
    async with opened(hasty) as store:
        run, _ = await store.insert_run(new(1))
        async with locked(database):
            with pytest.raises(StoreUnavailable) as away:
                await store.insert_run(new(2))
            assert f"the database {database} is unavailable: another process has locked it" in str(away.value)
            assert isinstance(away.value.__cause__, sqlite3.OperationalError)
            assert "database is locked" in str(away.value.__cause__)
            with pytest.raises(StoreUnavailable):
                await store.finish_run(run.id, Fence("m", 1), Ending(status=RunStatus.COMPLETED, at=NOW + 1))
            assert await store.get_run(run.id) == run  # readers do not need the lock
        _, inserted = await store.insert_run(new(2))
        assert inserted
    assert statuses(database) == {1: "running", 2: "running"}


async def test_everybody_who_waits_is_told_that_the_database_is_locked(database: Path, hasty: SQLiteStore) -> None:
    async with opened(hasty) as store, locked(database):
        answers = await asyncio.gather(*(store.insert_run(new(token)) for token in range(20)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 20
    assert statuses(database) == {}


async def test_X4_lock_that_is_shorter_than_the_timeout_is_waited_for(database: Path) -> None:
    async with opened(SQLiteStore(database, busy_timeout=30)) as store:
        async with locked(database):
            inserting = asyncio.gather(*(store.insert_run(new(token)) for token in range(3)))
            assert await store.get_run(1) is None  # meanwhile, the event loop goes on
            assert not inserting.done()
        assert [inserted for _, inserted in await inserting] == [True] * 3
    assert len(statuses(database)) == 3


async def test_F1_run_that_ends_while_the_database_is_locked_keeps_its_outcome(
    database: Path, hasty: SQLiteStore, open_manager: OpenManager, puppet: Puppet
) -> None:
    manager = await open_manager(hasty)
    returned = await manager.start_run(puppet.job(1), key="a")
    raised = await manager.start_run(puppet.job(2))
    await puppet.enters(2)
    waiting = asyncio.gather(returned, raised, return_exceptions=True)
    error = KeyError("the job's own")
    async with locked(database):
        puppet.end(1, {"words": 3})
        puppet.fail(2, error)
        await see_commits_fail(hasty)
        assert not waiting.done()
        assert statuses(database) == {1: "running", 2: "running"}
        assert manager.current_run_id("a") == returned.id
    result, failure = await waiting
    assert result == {"words": 3}
    assert isinstance(failure, RunFailed)
    assert failure.__cause__ is error
    assert statuses(database) == {1: "completed", 2: "failed"}
    assert [stream(database, 1), stream(database, 2)] == [["running", "completed"], ["running", "failed"]]


async def test_F3_who_waits_is_told_that_the_end_cannot_be_stored_and_later_the_truth(
    database: Path, hasty: SQLiteStore, open_manager: OpenManager, puppet: Puppet
) -> None:
    manager = await open_manager(hasty, store_timeout=0.05)
    handle = await manager.start_run(puppet.job(1), key="a")
    async with locked(database):
        puppet.end(1, 3)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="another process has locked it"):
                await handle
        with pytest.raises(StoreUnavailable):
            await manager.wait_run(handle.id)
        assert statuses(database) == {1: "running"}
    await eventually(lambda: manager.current_run_id("a") is None)
    assert await handle == 3
    assert (await manager.wait_run(handle.id)).status is RunStatus.COMPLETED
    assert stream(database, 1) == ["running", "completed"]


@pytest.mark.parametrize("max_running", [None, 2])
async def test_G1_starts_that_fail_while_the_database_is_locked_leave_nothing_active(
    database: Path, hasty: SQLiteStore, open_manager: OpenManager, puppet: Puppet, max_running: int | None
) -> None:
    manager = await open_manager(hasty, max_running=max_running)
    async with locked(database):
        starts = [manager.start_run(puppet.job(part), key=f"key {part % 3}") for part in range(9)]
        answers = await asyncio.gather(*starts, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 9
        assert manager.current_run_id() is None
    # The key and the room that they would have taken are free.
    handles = [await manager.start_run(puppet.job(part), key=f"key {part % 3}") for part in (10, 11)]
    for part, handle in zip((10, 11), handles, strict=True):
        puppet.end(part, part)
        assert await handle == part
    assert [status for status in statuses(database).values() if status != "completed"] == []
    assert puppet.entered == [10, 11]


async def test_G1_start_that_is_cancelled_while_the_database_is_locked_leaves_nothing_active(
    database: Path, open_manager: OpenManager, puppet: Puppet
) -> None:
    manager = await open_manager(SQLiteStore(database, busy_timeout=30))
    async with locked(database):
        starting = asyncio.ensure_future(manager.start_run(puppet.job(1)))
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()
    await eventually(lambda: set(statuses(database).values()) == {"cancelled"})
    assert rows(database)[0]["cancel_reason"] == "start abandoned"


async def test_C6_cancel_that_cannot_be_stored_reaches_the_function_all_the_same(
    database: Path, hasty: SQLiteStore, open_manager: OpenManager, puppet: Puppet
) -> None:
    manager = await open_manager(hasty)
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    async with locked(database):
        with pytest.raises(StoreUnavailable):
            await handle.cancel("enough")
        await eventually(lambda: puppet.asked == [1])
        assert statuses(database) == {1: "running"}
    run = await handle.wait()
    assert (run.status, run.cancel_reason) == (RunStatus.CANCELLED, "enough")
    assert stream(database, 1) == ["running", "cancelling", "cancelled"]


async def test_G3_cancel_that_cannot_be_stored_is_in_the_row_of_a_pending_run_that_ends_by_it(
    database: Path, hasty: SQLiteStore, puppet: Puppet
) -> None:
    async with RunManager(hasty, max_running=1, shutdown_grace=0) as manager:
        await manager.start_run(puppet.job(1))
        waiting = await manager.start_run(puppet.job(2))
        async with locked(database):
            with pytest.raises(StoreUnavailable):
                await waiting.cancel("enough")
    row = rows(database)[1]
    assert (row["status"], row["cancel_reason"]) == ("cancelled", "enough")
    assert row["cancel_requested_at"] is not None
    assert puppet.entered == [1]


async def test_G6_what_is_said_while_the_database_is_locked_is_stored_once_and_in_order(
    database: Path, hasty: SQLiteStore, open_manager: OpenManager
) -> None:
    says: asyncio.Queue[int] = asyncio.Queue()

    @job
    async def talk() -> None:
        while number := await says.get():
            current_run().emit("said", number)

    manager = await open_manager(hasty)
    handle = await manager.start_run(talk())
    heard: list[int] = []

    async def listen() -> None:
        async for event in handle.events():
            if event.kind == "said":
                heard.append(event.data)  # noqa: PERF401 - as they come

    listening = asyncio.ensure_future(listen())
    says.put_nowait(1)
    await eventually(lambda: heard == [1])
    async with locked(database):
        for number in range(2, 50):
            says.put_nowait(number)
            await asyncio.sleep(0)
        await eventually(says.empty)
        await see_commits_fail(hasty)
        assert heard == [1]  # nobody sees what is not stored
    await eventually(lambda: heard == list(range(1, 50)))
    says.put_nowait(50)
    says.put_nowait(0)
    await handle
    await listening
    assert heard == list(range(1, 51))
    assert stream(database, 1) == ["running", *["said"] * 50, "completed"]


async def test_G8_closing_is_bounded_while_the_database_is_locked(
    database: Path, hasty: SQLiteStore, puppet: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_bounds(monkeypatch, close=0.1)
    manager = RunManager(hasty, shutdown_grace=0)
    await manager.open()
    handle = await manager.start_run(puppet.job(1), key="a")
    await puppet.enters(1)
    async with locked(database):
        async with asyncio.timeout(60):
            await manager.aclose()
        with pytest.raises(StoreUnavailable):
            await handle.wait()
    assert statuses(database) == {1: "running"}
    async with RunManager(database, shutdown_grace=0) as successor:  # it is rescued at once
        assert statuses(database) == {1: "interrupted"}
        await successor.start_run(puppet.job(2), key="a")


async def test_manager_cannot_be_opened_while_the_database_is_locked_and_leaves_nothing(
    database: Path, hasty: SQLiteStore, open_manager: OpenManager
) -> None:
    await (await open_manager()).aclose()
    async with locked(database):
        with pytest.raises(StoreUnavailable, match=f"{database} is unavailable: another process has locked it"):
            await RunManager(hasty).open()
        assert list(database.parent.glob("*.lock")) == []
        assert rows(database, "SELECT * FROM managers") == []
    await open_manager()


async def test_file_that_is_locked_exclusively_is_unavailable_and_works_again(
    database: Path, hasty: SQLiteStore, open_manager: OpenManager, puppet: Puppet
) -> None:
    await (await open_manager()).aclose()
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as owner:
        owner.execute("PRAGMA locking_mode = EXCLUSIVE")
        owner.execute("BEGIN IMMEDIATE")  # from here to its close, nobody else may even read
        with pytest.raises(StoreUnavailable, match=f"{database} is unavailable: another process has locked it"):
            await RunManager(hasty).open()
    manager = await open_manager()
    puppet.end(1, 3)
    assert await (await manager.start_run(puppet.job(1))) == 3
