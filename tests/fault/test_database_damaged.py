"""The file is overwritten, cut short, moved or removed, or its log or index is; at open, and while it is in use."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fault.database import NOW, OpenManager, check_sound, new, opened
from tests.fault.programs import Programs
from tests.support import Puppet, eventually, rows, statuses

from aioruns import ConfigurationError, RunError, RunManager, RunStatus, StoreUnavailable
from aioruns.abc import Ending, Fence
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Damage = Callable[[Path], object]
PAGE = 4096


def checkpoint(database: Path) -> None:
    """Bring everything from the log into the file."""
    assert tuple(rows(database, "PRAGMA wal_checkpoint(TRUNCATE)")[0]) == (0, 0, 0)


def overwrite(path: Path, start: int = 0) -> None:
    size = path.stat().st_size - start
    with path.open("r+b") as file:
        file.seek(start)
        file.write((b"garbage " * size)[:size])


def overwrite_all_but_the_header(path: Path) -> None:
    overwrite(path, 100)


def overwrite_all_but_a_page(path: Path) -> None:
    overwrite(path, PAGE)


def cut_to_a_page(path: Path) -> None:
    os.truncate(path, PAGE)


def cut_to_half_a_page(path: Path) -> None:
    os.truncate(path, PAGE // 2)


def cut_to_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES: list[Damage] = [
    overwrite, overwrite_all_but_the_header, overwrite_all_but_a_page, cut_to_a_page, cut_to_half_a_page,
]  # fmt: skip


# While it is in use


@pytest.mark.parametrize("damage", [*DAMAGES, empty])
async def test_file_that_is_damaged_is_unavailable(database: Path, damage: Damage) -> None:
    async with opened(SQLiteStore(database)) as store:
        for token in range(4):
            await store.insert_run(new(token, arguments_json=f'"{"x" * 1_000_000}"'))  # more than SQLite caches
        checkpoint(database)
        damage(database)
        for call in (
            store.get_run(1),
            store.read_events(1, after=0, limit=10),
            store.insert_run(new(9)),
            store.finish_run(2, Fence("m", 1), Ending(status=RunStatus.COMPLETED, at=NOW + 1)),
        ):
            with pytest.raises(StoreUnavailable, match=rf"^the database {database} is unavailable: it is "):
                await call


@pytest.mark.parametrize(("damage", "why"), [(overwrite, "not an SQLite database"), (cut_to_half_a_page, "corrupt")])
async def test_G8_manager_of_a_file_that_was_damaged_tells_and_closes(
    database: Path, puppet: Puppet, quick_close: None, damage: Damage, why: str
) -> None:
    manager = RunManager(database, shutdown_grace=0, store_timeout=0.05)
    await manager.open()
    handle = await manager.start_run(puppet.job(1))
    checkpoint(database)
    damage(database)
    puppet.end(1, 3)
    with pytest.raises(StoreUnavailable, match=f"{database} is unavailable: it is {why}"):
        await handle
    with pytest.raises(StoreUnavailable, match=f"{database} is unavailable: it is {why}"):
        await manager.start_run(puppet.job(2))
    async with asyncio.timeout(60):
        await manager.aclose()


@pytest.mark.parametrize("damage", [empty, overwrite])
async def test_G8_manager_whose_log_was_damaged_tells_and_closes(
    database: Path, puppet: Puppet, quick_close: None, damage: Damage
) -> None:
    manager = RunManager(database, shutdown_grace=0, store_timeout=0.05)
    await manager.open()
    await manager.start_run(puppet.job(1))
    damage(Path(f"{database}-wal"))
    with pytest.raises(StoreUnavailable, match=f"^the database {database} is unavailable: "):
        await manager.get_run(1)
    async with asyncio.timeout(60):
        await manager.aclose()


@pytest.mark.parametrize("which", ["wal", "shm"])
async def test_log_or_index_that_is_removed_while_in_use_costs_nothing(
    database: Path, open_manager: OpenManager, puppet: Puppet, which: str
) -> None:
    manager = await open_manager()
    handle = await manager.start_run(puppet.job(1))
    Path(f"{database}-{which}").unlink()  # the process has it open, and moves all of it into the database at its close
    await manager.start_run(puppet.job(2))
    puppet.end(1, 3)
    assert await handle == 3
    await manager.aclose()
    check_sound(database)
    assert statuses(database) == {1: "completed", 2: "interrupted"}


async def test_R3_process_that_dies_because_its_index_was_cut_leaves_nothing_active(tmp_path: Path) -> None:
    async with Programs(tmp_path) as programs:
        victim = await programs.remote()
        await victim.call("start", "hold", key="a")
        empty(Path(f"{programs.db}-shm"))
        victim.send("start", "hold", key="b")  # memory is mapped that is there no longer
        assert await victim.exits() == -signal.SIGBUS
        async with RunManager(programs.db):
            assert set(programs.statuses().values()) == {"interrupted"}
        programs.check_all_over()


def remove_file(folder: Path) -> None:
    (folder / "runs.db").unlink()


def replace_file(folder: Path) -> None:
    (folder / "runs.db").rename(folder / "old.db")
    shutil.copy(folder / "old.db", folder / "runs.db")


def rename_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize("remove", [remove_file, replace_file, rename_folder, shutil.rmtree])
async def test_F4_nothing_is_acknowledged_once_the_file_is_gone(
    tmp_path: Path, puppet: Puppet, quick_close: None, remove: Damage
) -> None:
    database = tmp_path / "folder" / "runs.db"
    database.parent.mkdir()
    manager = RunManager(database, shutdown_grace=0, store_timeout=0.05)
    await manager.open()
    handle = await manager.start_run(puppet.job(1))
    remove(database.parent)
    puppet.end(1, 3)
    gone = f"^the database {database} is unavailable: (its file is gone|another file has taken its place)"
    with pytest.raises(StoreUnavailable, match=gone):
        await handle
    with pytest.raises(StoreUnavailable, match=gone):
        await manager.start_run(puppet.job(2))
    async with asyncio.timeout(60):
        await manager.aclose()


async def test_F1_run_that_ends_while_its_folder_is_elsewhere_is_stored_when_it_is_back(
    tmp_path: Path, open_manager: OpenManager, puppet: Puppet
) -> None:
    database = tmp_path / "folder" / "runs.db"
    database.parent.mkdir()
    manager = await open_manager(database, store_timeout=0.05)
    handle = await manager.start_run(puppet.job(1), key="a")
    elsewhere = database.parent.rename(tmp_path / "elsewhere")
    puppet.end(1, 3)
    with pytest.raises(StoreUnavailable, match="its file is gone"):
        await handle
    assert statuses(elsewhere / "runs.db") == {1: "running"}
    elsewhere.rename(database.parent)
    await eventually(lambda: manager.current_run_id("a") is None)
    assert await handle == 3
    assert statuses(database) == {1: "completed"}


# At open


@pytest.mark.parametrize("damage", [*DAMAGES, cut_to_half])
async def test_file_that_was_damaged_cannot_be_opened_and_is_left_alone(
    database: Path, puppet: Puppet, damage: Damage
) -> None:
    async with RunManager(database, shutdown_grace=0) as manager:
        await manager.start_run(puppet.job(1))
    damage(database)
    found = database.read_bytes()
    with pytest.raises(RunError, match=re.escape(str(database))) as refusal:
        await RunManager(database).open()
    assert isinstance(refusal.value, ConfigurationError if damage is overwrite else StoreUnavailable)
    assert re.search("is not an SQLite database|it is corrupt", str(refusal.value))
    assert database.read_bytes() == found
    assert os.listdir(database.parent) == ["runs.db"]


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("which", ["wal", "shm"])
@pytest.mark.parametrize("damage", [overwrite, cut_to_half, empty, remove])
async def test_R3_log_or_index_that_was_damaged_after_a_crash_costs_no_more_than_what_was_in_it(
    tmp_path: Path, which: str, damage: Damage
) -> None:
    async with Programs(tmp_path) as programs:
        victim = await programs.remote()
        started = [await victim.call("start", "hold", key=f"key {number}") for number in range(5)]
        checkpoint(programs.db)
        started += [await victim.call("start", "hold", key=f"key {number}") for number in range(5, 10)]
        victim.kill()
        damage(Path(f"{programs.db}-{which}"))
        async with RunManager(programs.db):
            programs.check()
        programs.check_all_over()
        left = list(programs.statuses())
        assert left == started[: len(left)]  # the log ends where it is damaged, and with a whole transaction
        assert len(left) == 10 if which == "shm" else len(left) >= 5
