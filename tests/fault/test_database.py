"""The database is away: locked, full, read-only, damaged. Real SQLite says so, and a real process locks it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from tests.support import Puppet, eventually, rows, statuses

from aioruns import (
    ConfigurationError,
    RunFailed,
    RunManager,
    RunStatus,
    StoreUnavailable,
    _engine,
    current_run,
    job,
)
from aioruns.abc import Ending, Fence, NewRun
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

OpenManager = Callable[..., Awaitable[RunManager]]
NOW = 1_760_000_000_000_000
HASTE = 0.02
"""Seconds that stores of these tests wait for a lock."""

LOCKER = textwrap.dedent("""
    import sqlite3, sys

    connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    connection.execute("COMMIT")
    connection.close()
    print("released", flush=True)
    sys.stdin.readline()
""")


@contextlib.asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """Let another process lock the database."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCKER, str(database), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"locked\n"
        yield
        process.stdin.write(b"\n")
        assert await process.stdout.readline() == b"released\n"
    finally:
        process.stdin.close()
        await process.wait()


@pytest.fixture
def hasty(database: Path) -> SQLiteStore:
    """A store that does not wait long for locks."""
    return SQLiteStore(database, busy_timeout=HASTE)


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def sound(database: Path) -> Iterator[None]:
    """Check that nothing is wrong with the database at the end of the test."""
    yield
    assert [row["integrity_check"] for row in rows(database, "PRAGMA integrity_check")] == ["ok"]
    assert rows(database, "PRAGMA foreign_key_check") == []


@contextlib.asynccontextmanager
async def opened(store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    await store.open()
    yield store
    await store.aclose()


def connection_of(store: SQLiteStore) -> aiosqlite.Connection:
    """The connection that writes."""
    assert store._write is not None
    return store._write


async def pragma(store: SQLiteStore, text: str) -> int:
    ((value,),) = await connection_of(store).execute_fetchall(f"PRAGMA {text}")
    return value


async def see_commits_fail(store: SQLiteStore) -> None:
    """Wait until what runs have handed in just now could not be stored."""
    for _ in range(2):  # the first takes long enough for everybody to come, and the second stands behind them
        with pytest.raises(StoreUnavailable):
            await store.request_cancel(99, at=NOW)


def new(token: int, **fields: Any) -> NewRun:
    values: dict[str, Any] = {"status": RunStatus.RUNNING, "job": "build", "created_at": NOW, **fields}
    return NewRun(manager_id="m", token=token, **values)


def stream(database: Path, run_id: int) -> list[str]:
    """Read what happened to a run, past the library: statuses and kinds of events, numbered without a gap."""
    sql = "SELECT seq, kind, json_extract(data, '$.status') AS status FROM events WHERE run_id = ? ORDER BY seq"
    found = rows(database, sql, run_id)
    assert [row["seq"] for row in found] == list(range(1, len(found) + 1))
    return [row["status"] or row["kind"] for row in found]


# Locked by another process


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
async def test_everybody_who_waits_is_told_that_the_database_is_locked(database: Path, hasty: SQLiteStore) -> None:
    async with opened(hasty) as store, locked(database):
        answers = await asyncio.gather(*(store.insert_run(new(token)) for token in range(20)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 20
    assert statuses(database) == {}


@pytest.mark.usefixtures("sound")
async def test_X4_lock_that_is_shorter_than_the_timeout_is_waited_for(database: Path) -> None:
    async with opened(SQLiteStore(database, busy_timeout=30)) as store:
        async with locked(database):
            inserting = asyncio.gather(*(store.insert_run(new(token)) for token in range(3)))
            assert await store.get_run(1) is None  # meanwhile, the event loop goes on
            assert not inserting.done()
        assert [inserted for _, inserted in await inserting] == [True] * 3
    assert len(statuses(database)) == 3


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
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


@pytest.mark.usefixtures("sound")
async def test_G8_closing_is_bounded_while_the_database_is_locked(
    database: Path, hasty: SQLiteStore, puppet: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_engine, "CLOSE_BOUND", 0.1)
    manager = RunManager(hasty, shutdown_grace=0)
    await manager.open()
    handle = await manager.start_run(puppet.job(1), key="a")
    await puppet.enters(1)
    async with locked(database):
        async with asyncio.timeout(20):
            await manager.aclose()
        with pytest.raises(StoreUnavailable):
            await handle.wait()
    assert statuses(database) == {1: "running"}
    async with RunManager(database, shutdown_grace=0) as successor:  # it is rescued at once
        assert statuses(database) == {1: "interrupted"}
        await successor.start_run(puppet.job(2), key="a")


# Full and read-only


@contextlib.asynccontextmanager
async def full(store: SQLiteStore) -> AsyncIterator[None]:
    """Leave no room for another page. https://sqlite.org/pragma.html#pragma_max_page_count"""
    await pragma(store, f"max_page_count = {await pragma(store, 'page_count')}")
    yield
    await pragma(store, "max_page_count = 1000000")


@pytest.mark.usefixtures("sound")
async def test_database_that_is_full_is_unavailable_and_works_again(database: Path) -> None:
    large = f'"{"x" * 100_000}"'
    async with opened(SQLiteStore(database)) as store:
        run, _ = await store.insert_run(new(1))
        async with full(store):
            answers = await asyncio.gather(
                store.insert_run(new(2, arguments_json=large)), store.insert_run(new(3)), return_exceptions=True
            )
            assert isinstance(answers[0], StoreUnavailable)
            assert f"the database {database} is unavailable: there is no room left" in str(answers[0])
            assert await store.get_run(run.id) == run
        _, inserted = await store.insert_run(new(2, arguments_json=large))
        assert inserted


@pytest.mark.usefixtures("sound")
async def test_F1_run_that_ends_while_the_database_is_full_keeps_its_outcome(
    database: Path, open_manager: OpenManager, puppet: Puppet
) -> None:
    store = SQLiteStore(database)
    manager = await open_manager(store, store_timeout=0.05)
    handle = await manager.start_run(puppet.job(1))
    async with full(store):
        puppet.end(1, "x" * 500_000)
        with pytest.raises(StoreUnavailable, match="there is no room left"):
            await handle
        assert statuses(database) == {1: "running"}
    await eventually(lambda: manager.current_run_id() is None)
    assert await handle == "x" * 500_000
    assert len(rows(database)[0]["result"]) == 500_002
    assert stream(database, 1) == ["running", "completed"]


@pytest.mark.usefixtures("sound")
async def test_F1_run_that_ends_while_the_database_is_read_only_keeps_its_outcome(
    database: Path, open_manager: OpenManager, puppet: Puppet
) -> None:
    store = SQLiteStore(database)
    manager = await open_manager(store, store_timeout=0.05)
    handle = await manager.start_run(puppet.job(1))
    await connection_of(store).execute_fetchall("PRAGMA query_only = ON")
    puppet.end(1, 3)
    with pytest.raises(StoreUnavailable, match="it is read-only"):
        await handle
    with pytest.raises(StoreUnavailable, match="it is read-only"):
        await manager.start_run(puppet.job(2))
    await connection_of(store).execute_fetchall("PRAGMA query_only = OFF")
    await eventually(lambda: manager.current_run_id() is None)
    assert await handle == 3
    assert statuses(database) == {1: "completed"}


# Damaged


def checkpoint(database: Path) -> None:
    """Bring everything from the log into the file."""
    assert tuple(rows(database, "PRAGMA wal_checkpoint(TRUNCATE)")[0]) == (0, 0, 0)


def overwrite(database: Path) -> None:
    checkpoint(database)
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.write((b"garbage " * size)[:size])


def overwrite_all_but_the_header(database: Path) -> None:
    checkpoint(database)
    size = database.stat().st_size - 100
    with database.open("r+b") as file:
        file.seek(100)
        file.write((b"\xff\xfe" * size)[:size])


def empty(database: Path) -> None:
    checkpoint(database)
    with database.open("r+b") as file:
        file.truncate()


@pytest.mark.parametrize("damage", [overwrite, overwrite_all_but_the_header, empty])
async def test_file_that_is_damaged_is_unavailable(database: Path, damage: Callable[[Path], None]) -> None:
    async with opened(SQLiteStore(database)) as store:
        for token in range(4):
            await store.insert_run(new(token, arguments_json=f'"{"x" * 1_000_000}"'))  # more than SQLite caches
        damage(database)
        for call in (
            store.get_run(1),
            store.read_events(1, after=0, limit=10),
            store.insert_run(new(9)),
            store.finish_run(2, Fence("m", 1), Ending(status=RunStatus.COMPLETED, at=NOW + 1)),
        ):
            with pytest.raises(StoreUnavailable, match=rf"^the database {database} is unavailable: "):
                await call


async def test_file_that_was_overwritten_cannot_be_opened(database: Path) -> None:
    async with opened(SQLiteStore(database)):
        overwrite(database)
    with pytest.raises(ConfigurationError, match="is not an SQLite database"):
        await SQLiteStore(database).open()


async def test_G8_manager_of_a_file_that_was_overwritten_tells_and_closes(
    database: Path, puppet: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_engine, "CLOSE_BOUND", 0.1)
    manager = RunManager(database, shutdown_grace=0, store_timeout=0.05)
    await manager.open()
    handle = await manager.start_run(puppet.job(1))
    overwrite(database)
    puppet.end(1, 3)
    with pytest.raises(StoreUnavailable, match="it is not an SQLite database"):
        await handle
    with pytest.raises(StoreUnavailable, match="it is not an SQLite database"):
        await manager.start_run(puppet.job(2))
    async with asyncio.timeout(20):
        await manager.aclose()
