"""There is no room: SQLite may not grow the file, the disk is full, the process may not write as much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.fault.database import OpenManager, check_sound, connection_of, new, opened, stream
from tests.fault.programs import Programs, RemoteError
from tests.support import Puppet, eventually, rows, statuses

from aioruns import RunManager, StoreUnavailable, current_run, job
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def full(store: SQLiteStore) -> AsyncIterator[None]:
    """Leave no room for another page. https://sqlite.org/pragma.html#pragma_max_page_count"""
    connection = connection_of(store)
    ((pages,),) = await connection.execute_fetchall("PRAGMA page_count")
    await connection.execute_fetchall(f"PRAGMA max_page_count = {pages}")
    yield
    await connection.execute_fetchall("PRAGMA max_page_count = 1000000")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 512 KiB, where the machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk may be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a disk to the last byte, and make room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert os.statvfs(disk).f_bfree == 0
    yield
    filler.unlink()


@job
async def talk(heard: str, goes_on: str) -> int:
    """Say one thing, wait for a file, say the rest."""
    ctx = current_run()
    ctx.emit("said", 1)
    await ctx.flush()
    Path(heard).touch()
    await eventually(lambda: Path(goes_on).exists())
    for number in range(2, 100):
        ctx.emit("said", number)
    return 99


# SQLite may not grow the file


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


# The disk is full


async def test_F1_what_is_done_on_a_full_disk_is_stored_once_there_is_room(
    small_disk: Path, tmp_path: Path, open_manager: OpenManager
) -> None:
    database, heard, goes_on = small_disk / "runs.db", tmp_path / "heard", tmp_path / "goes on"
    no_room = rf"^the database {database} is unavailable: there is no room left"
    manager = await open_manager(database, store_timeout=0.05)
    handle = await manager.start_run(talk(str(heard), str(goes_on)), key="a")
    await eventually(heard.exists)
    with filled(small_disk):
        goes_on.touch()
        with pytest.raises(StoreUnavailable, match=no_room):
            await handle
        with pytest.raises(StoreUnavailable, match=no_room):
            await manager.start_run(talk("", ""), key="b")
        with pytest.raises(StoreUnavailable, match=no_room):
            await RunManager(database).open()
        assert statuses(database) == {1: "running"}
        assert stream(database, 1) == ["running", "said"]
        assert manager.current_run_id("a") == 1
    await eventually(lambda: manager.current_run_id("a") is None)
    assert await handle == 99
    assert stream(database, 1) == ["running", *["said"] * 99, "completed"]
    assert await (await manager.start_run(talk(str(heard), str(goes_on)), key="b")) == 99
    check_sound(database)


async def test_G8_closing_is_bounded_on_a_full_disk(small_disk: Path, puppet: Puppet, quick_close: None) -> None:
    database = small_disk / "runs.db"
    manager = RunManager(database, shutdown_grace=0)
    await manager.open()
    handle = await manager.start_run(puppet.job(1), key="a")
    await puppet.enters(1)
    with filled(small_disk):
        async with asyncio.timeout(60):
            await manager.aclose()
        with pytest.raises(StoreUnavailable, match="there is no room left"):
            await handle.wait()
    async with RunManager(database, shutdown_grace=0) as successor:  # it is rescued at once
        assert statuses(database) == {1: "interrupted"}
        await successor.start_run(puppet.job(2), key="a")
    check_sound(database)


# The process may not write files as large as that


async def test_F1_what_a_process_does_that_may_not_write_is_stored_once_it_may(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with Programs(tmp_path) as programs:
        remote = await programs.remote()
        run_id = await remote.call("start", "count", 100, str(gate), key="a")
        await eventually(lambda: len(programs.stream(run_id)) > 50)
        _, hard = resource.prlimit(remote.pid, resource.RLIMIT_FSIZE)
        written = Path(f"{programs.db}-wal").stat().st_size
        resource.prlimit(remote.pid, resource.RLIMIT_FSIZE, (written, hard))
        gate.touch()
        with pytest.raises(RemoteError) as refusal:
            await remote.call("start", "hold", key="b")
        assert refusal.value.name == "StoreUnavailable"
        assert refusal.value.message.startswith(f"the database {programs.db} is unavailable: the disk failed to ")
        assert programs.statuses() == {run_id: "running"}
        resource.prlimit(remote.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert await remote.call("wait", run_id) == "completed"
        said = [event["number"] for event in programs.stream(run_id) if event["kind"] == "number"]
        assert said == list(range(100))
        await remote.call("start", "hold", key="b")
        assert await remote.leaves() == 0
        programs.check_all_over()
