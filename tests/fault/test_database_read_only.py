"""The database, its folder or its log may not be written to."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fault.database import OpenManager, connection_of, stream
from tests.support import Puppet, eventually, statuses

from aioruns import RunManager, StoreUnavailable
from aioruns.stores import SQLiteStore

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("sound")]


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Take the permission to write from a file or a folder; root needs none, so for root it becomes immutable."""
    if os.geteuid():
        mode = path.stat().st_mode
        path.chmod(mode & ~0o222)
        yield
        path.chmod(mode)
    else:
        with immutable(path):
            yield


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    """Have the kernel refuse every change, also through descriptors that are open."""
    changed = subprocess.run(["chattr", "+i", str(path)], capture_output=True, text=True, check=False)
    if changed.returncode:
        pytest.skip(f"nothing can be made immutable here: {changed.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


async def leave_a_run(database: Path, puppet: Puppet) -> None:
    """Leave a database that holds one run, which is over."""
    async with RunManager(database) as manager:
        puppet.end(1, 3)
        await (await manager.start_run(puppet.job(1)))


@pytest.mark.parametrize(
    ("what", "why"), [("file", "it is read-only; check the permissions"), ("folder", "it cannot be opened; check that")]
)
async def test_database_that_may_not_be_written_cannot_be_opened(
    database: Path, puppet: Puppet, what: str, why: str
) -> None:
    await leave_a_run(database, puppet)
    unavailable = pytest.raises(StoreUnavailable, match=rf"^the database {database} is unavailable: {why}")
    with read_only(database if what == "file" else database.parent), unavailable:
        await RunManager(database).open()
    async with RunManager(database):
        assert statuses(database) == {1: "completed"}


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


async def test_F1_run_that_ends_while_the_log_may_not_be_written_keeps_its_outcome(
    database: Path, open_manager: OpenManager, puppet: Puppet
) -> None:
    manager = await open_manager(database, store_timeout=0.05)
    handle = await manager.start_run(puppet.job(1), key="a")
    refused = rf"^the database {database} is unavailable: the disk failed to read or write it"
    with immutable(Path(f"{database}-wal")):
        puppet.end(1, 3)
        with pytest.raises(StoreUnavailable, match=refused):
            await handle
        with pytest.raises(StoreUnavailable, match=refused):
            await manager.start_run(puppet.job(2))
        assert (await manager.get_run(handle.id)).status == "running"  # reading goes on
    await eventually(lambda: manager.current_run_id("a") is None)
    assert await handle == 3
    assert stream(database, 1) == ["running", "completed"]


async def test_G8_closing_in_a_folder_that_is_read_only_lets_the_lock_go(
    database: Path, puppet: Puppet, caplog: pytest.LogCaptureFixture
) -> None:
    manager = RunManager(database, shutdown_grace=0)
    await manager.open()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    with read_only(database.parent):
        await manager.aclose()
        assert (await handle.wait()).status == "interrupted"
    async with RunManager(database):
        assert len(list(database.parent.glob("*.lock"))) == 1  # the other was free to be removed
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
