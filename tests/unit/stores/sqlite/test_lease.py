"""Leases: a lock that is held as long as its process lives, and no longer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.support import rows
from tests.unit.stores.interrupting import CANCELLED

from aioruns._values.status import RunStatus
from aioruns.abc import NewRun
from aioruns.errors import ConfigurationError, StoreUnavailable
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite import _lease
from aioruns.stores.sqlite._lease import Lease

HOLD = textwrap.dedent("""
    import sys
    from aioruns.stores.sqlite._lease import Lease

    lease = Lease(sys.argv[1], "m")
    print("acquired" if lease.try_acquire() else "refused", flush=True)
    sys.stdin.readline()
""")


def lock_file(database: Path, manager_id: str = "m") -> Path:
    return database.with_name(f"{database.name}.{manager_id}.lock")


def test_lease_that_is_held_is_refused_to_others(database: Path) -> None:
    mine, theirs = Lease(str(database), "m"), Lease(str(database), "m")
    mine.acquire()
    assert not theirs.try_acquire()
    assert Lease(str(database), "another").try_acquire()
    mine.release()
    assert theirs.try_acquire()
    theirs.release()


def test_lease_that_is_released_leaves_no_file(database: Path) -> None:
    lease = Lease(str(database), "m")
    lease.acquire()
    assert lock_file(database).exists()
    lease.release()
    assert not lock_file(database).exists()
    lease.release()


def test_lease_that_is_abandoned_can_be_taken_by_a_rescuer(database: Path) -> None:
    lease, rescuer = Lease(str(database), "m"), Lease(str(database), "m")
    lease.acquire()
    lease.abandon()
    assert lock_file(database).exists()
    assert rescuer.try_acquire()
    rescuer.release()


def test_G7_lease_ends_with_its_process_however_it_dies(database: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "acquired\n"
        lease = Lease(str(database), "m")
        assert not lease.try_acquire()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        assert lease.try_acquire()
        lease.release()


def test_G7_lease_is_refused_to_another_process(database: Path) -> None:
    lease = Lease(str(database), "m")
    lease.acquire()
    result = subprocess.run(
        [sys.executable, "-c", HOLD, str(database)], input="\n", capture_output=True, text=True, check=True, timeout=30
    )
    assert result.stdout == "refused\n"
    lease.release()


class NoLock:
    """A lock of a file system whose locks do nothing."""

    is_locked = False

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def acquire(self, timeout: float = 0) -> None:
        self._path.touch()

    def release(self, force: bool = False) -> None:
        pass


def test_locks_that_do_not_work_are_found_out(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lease, "_new_lock", NoLock)
    with pytest.raises(ConfigurationError, match=r"file locks do not work beside .*; put the database on a local disk"):
        Lease(str(database), "m").acquire()
    assert not lock_file(database).exists()


def test_lock_that_cannot_be_made_is_told(database: Path) -> None:
    lock_file(database).mkdir()
    with pytest.raises(
        ConfigurationError, match=r"cannot be locked: .*; put the database into a folder on a local disk"
    ):
        Lease(str(database), "m").acquire()


def test_G7_lock_that_cannot_be_looked_at_is_taken_for_held(database: Path) -> None:
    lock_file(database).mkdir()
    assert not Lease(str(database), "m").try_acquire()


@pytest.mark.parametrize("name", ["runs.db", "[r]?*.db"])
def test_locks_that_nobody_holds_are_removed_and_no_other_files(tmp_path: Path, name: str) -> None:
    database = tmp_path / name
    held = Lease(str(database), "held")
    held.acquire()
    others = [name, f"{name}-wal", f"{name}.lock", f"another-{name}.m.lock", "runs.database.m.lock", "r.db.m.lock"]
    for other in (*others, f"{name}.stray.lock", f"{name}.stray too.lock"):
        tmp_path.joinpath(other).touch()
    _lease.remove_strays(str(database))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({*others, f"{name}.held.lock"})
    held.release()


def test_lease_is_acquired_although_somebody_looks_for_strays(database: Path) -> None:
    rescuer = Lease(str(database), "m")
    assert rescuer.try_acquire()
    timer = threading.Timer(0.05, rescuer.release)
    timer.start()
    lease = Lease(str(database), "m")
    lease.acquire()
    timer.join()
    assert not Lease(str(database), "m").try_acquire()
    lease.release()


# The verbs of the store


@pytest.mark.asyncio
async def test_manager_is_a_row_and_a_lock_until_it_is_released(database: Path) -> None:
    store = SQLiteStore(database)
    await store.open()
    await store.acquire_lease("m", at=3)
    (row,) = rows(database, "SELECT * FROM managers")
    assert (row["id"], row["pid"], row["opened_at"]) == ("m", os.getpid(), 3)
    assert row["host"]
    assert not Lease(str(database), "m").try_acquire()
    await store.release_lease("m")
    assert rows(database, "SELECT * FROM managers") == []
    assert not lock_file(database).exists()
    await store.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("cancelled", CANCELLED)
async def test_lease_that_was_cancelled_at_any_await_can_be_acquired_again(
    database: Path, cancelled: Callable[[Coroutine[Any, Any, Any], int], Any]
) -> None:
    store = SQLiteStore(database)
    await store.open()
    for wait in itertools.count(1):
        torn = await cancelled(store.acquire_lease(f"m{wait}", at=0), wait)
        await store.acquire_lease(f"m{wait}", at=0)
        assert not Lease(str(database), f"m{wait}").try_acquire()
        await store.release_lease(f"m{wait}")
        assert not lock_file(database, f"m{wait}").exists()
        if not torn:
            break
    assert rows(database, "SELECT * FROM managers") == []
    await store.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("cancelled", CANCELLED)
async def test_release_that_was_cancelled_at_any_await_can_be_repeated(
    database: Path, cancelled: Callable[[Coroutine[Any, Any, Any], int], Any]
) -> None:
    store = SQLiteStore(database)
    await store.open()
    for wait in itertools.count(1):
        await store.acquire_lease(f"m{wait}", at=0)
        torn = await cancelled(store.release_lease(f"m{wait}"), wait)
        await store.release_lease(f"m{wait}")
        assert not lock_file(database, f"m{wait}").exists()
        if not torn:
            break
    assert rows(database, "SELECT * FROM managers") == []
    await store.aclose()


@pytest.mark.asyncio
async def test_lock_is_held_before_the_row_can_be_read(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(database)
    await store.open()
    held: list[bool] = []
    original = store._database.submit

    async def submit(op: object) -> object:
        held.append(not Lease(str(database), "m").try_acquire())
        return await original(op)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(store._database, "submit", submit)
    await store.acquire_lease("m", at=0)
    await store.release_lease("m")
    assert held == [True, True]
    await store.aclose()


@pytest.mark.asyncio
async def test_rescue_takes_the_row_and_the_lock_file_of_the_dead(database: Path) -> None:
    dead, rescuer = SQLiteStore(database), SQLiteStore(database)
    await asyncio.gather(dead.open(), rescuer.open())
    await dead.acquire_lease("m", at=0)
    dead.abandon_lease("m")
    assert lock_file(database).exists()
    await rescuer.rescue_orphans(now=lambda: 1)
    assert rows(database, "SELECT * FROM managers") == []
    assert not lock_file(database).exists()
    await asyncio.gather(dead.aclose(), rescuer.aclose())


@pytest.mark.asyncio
async def test_rescue_that_cannot_be_stored_can_be_done_later(database: Path) -> None:
    dead, rescuer = SQLiteStore(database), SQLiteStore(database, busy_timeout=0)
    await dead.open()
    await rescuer.open()
    await dead.acquire_lease("m", at=0)
    dead.abandon_lease("m")
    assert dead._database._write is not None
    await dead._database._write.execute_fetchall("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await rescuer.rescue_orphans(now=lambda: 1)
    assert len(rows(database, "SELECT * FROM managers")) == 1
    await dead._database._write.execute_fetchall("ROLLBACK")
    await rescuer.rescue_orphans(now=lambda: 1)
    assert rows(database, "SELECT * FROM managers") == []
    await asyncio.gather(dead.aclose(), rescuer.aclose())


@pytest.mark.asyncio
async def test_store_in_memory_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore(":memory:")
    await store.open()
    await store.acquire_lease("m", at=0)
    assert await store.rescue_orphans(now=lambda: 1) == []
    await store.release_lease("m")
    await store.aclose()
    assert list(tmp_path.iterdir()) == []


def test_lease_whose_file_was_deleted_is_taken_again(database: Path) -> None:
    lease = Lease(str(database), "m")
    lease.acquire()
    assert not lease.renew()
    lock_file(database).unlink()
    assert lease.renew()
    assert not lease.renew()
    assert not Lease(str(database), "m").try_acquire()
    lease.release()


def test_lease_whose_file_another_has_taken_cannot_be_renewed_until_it_is_free(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lease, "PATIENCE", 0.0)
    lease, rescuer = Lease(str(database), "m"), Lease(str(database), "m")
    lease.acquire()
    lock_file(database).unlink()
    assert rescuer.try_acquire()
    with pytest.raises(ConfigurationError, match="cannot be locked"):
        lease.renew()
    rescuer.abandon()
    assert lease.renew()
    lease.release()


@pytest.mark.asyncio
async def test_G7_manager_that_was_taken_for_dead_is_alive_again_at_its_next_look(database: Path) -> None:
    mistaken, other = SQLiteStore(database), SQLiteStore(database)
    await mistaken.open()
    await other.open()
    await mistaken.acquire_lease("m", at=1)
    await other.acquire_lease("other", at=1)
    first, _ = await mistaken.insert_run(new(1))
    lock_file(database).unlink()
    assert await other.rescue_orphans(now=lambda: 2) == [first.id]

    assert await mistaken.rescue_orphans(now=lambda: 3) == []
    second, _ = await mistaken.insert_run(new(2))
    assert await other.rescue_orphans(now=lambda: 4) == []
    await mistaken.aclose()
    mistaken.abandon_lease("m")
    assert await other.rescue_orphans(now=lambda: 5) == [second.id]
    await other.release_lease("other")
    await other.aclose()
    assert rows(database, "SELECT * FROM managers") == []


@pytest.mark.asyncio
async def test_G7_run_of_a_manager_without_a_row_is_rescued(database: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        store = SQLiteStore(database)
        await store.open()
        stack.push_async_callback(store.aclose)
        await store.acquire_lease("other", at=1)
        run, _ = await store.insert_run(new(1))
        assert await store.rescue_orphans(now=lambda: 2) == [run.id]
        await store.release_lease("other")


def new(token: int) -> NewRun:
    return NewRun(manager_id="m", token=token, job="job", status=RunStatus.RUNNING, created_at=1)
