"""Opening a file: what is refused, and that nothing stays open however opening ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from tests.support import eventually
from tests.unit.stores.interrupting import CANCELLED

from aioruns import RunManager
from aioruns.errors import ConfigurationError, StoreUnavailable
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite import _file

pytestmark = pytest.mark.asyncio


before: set[threading.Thread] = set()
"""The threads that ran when the test began."""


@pytest.fixture(autouse=True)
def _note_threads() -> None:
    before.clear()
    before.update(threading.enumerate())


def connections() -> list[threading.Thread]:
    """Give the threads of the connections that this test has opened and that are open."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.endswith("(_connection_worker_thread)") and thread not in before
    ]


async def check_nothing_is_open(folder: Path) -> None:
    await eventually(lambda: not connections())
    assert [path.name for path in folder.iterdir() if path.suffix == ".lock"] == []


# What is refused


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "the store '{folder}' is a directory: name a file in it, e.g. {folder}/runs.db"),
        ("no/runs.db", "the folder of the store '{folder}/no/runs.db' does not exist: create it, or name another"),
        (
            "text.db/runs.db",
            "the folder of the store '{folder}/text.db/runs.db' does not exist: create it, or name another",
        ),
        ("text.db", "the file '{folder}/text.db' is not an SQLite database: name another"),
        ("short.db", "the file '{folder}/short.db' is not an SQLite database: name another"),
        ("pipe", "the store '{folder}/pipe' is not a regular file: name another"),
    ],
)
async def test_path_that_cannot_be_a_database_is_refused(tmp_path: Path, name: str, message: str) -> None:
    tmp_path.joinpath("text.db").write_text("This is a text, and a text is not a database.")
    tmp_path.joinpath("short.db").write_bytes(b"SQLite")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigurationError) as refused:
        await SQLiteStore(os.path.join(tmp_path, name).rstrip("/")).open()
    assert str(refused.value) == message.format(folder=tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    await check_nothing_is_open(tmp_path)


@pytest.mark.parametrize(("name", "reason"), [("x" * 300, "File name too long"), ("nul\0.db", "embedded null")])
async def test_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"cannot be used: .*{reason}"):
        await SQLiteStore(tmp_path / name).open()
    await check_nothing_is_open(tmp_path)


async def test_link_to_nowhere_is_unavailable(tmp_path: Path) -> None:
    tmp_path.joinpath("link.db").symlink_to(tmp_path / "no" / "runs.db")
    with pytest.raises(StoreUnavailable, match="it cannot be opened; check that the folder exists"):
        await SQLiteStore(tmp_path / "link.db").open()
    await check_nothing_is_open(tmp_path)


async def test_sqlite_that_is_too_old_is_refused(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file, "OLDEST_SQLITE", (99, 1))
    with pytest.raises(ConfigurationError, match=rf"Python was built with {sqlite3.sqlite_version}"):
        await SQLiteStore(database).open()
    assert not database.exists()


async def test_store_is_opened_once(database: Path) -> None:
    store = SQLiteStore(database)
    await store.open()
    with pytest.raises(ConfigurationError, match="opened before"):
        await store.open()
    assert await store.get_run(1) is None
    await store.aclose()
    with pytest.raises(ConfigurationError, match="opened before"):
        await store.open()
    await check_nothing_is_open(database.parent)


async def test_store_that_was_not_opened_is_unavailable(database: Path) -> None:
    with pytest.raises(StoreUnavailable, match=rf"the database {database} is not open"):
        await SQLiteStore(database).get_run(1)
    with pytest.raises(StoreUnavailable, match=rf"the database {database} is not open"):
        await SQLiteStore(database).request_cancel(1, at=0)


async def test_store_whose_opening_failed_can_be_opened_later(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "later" / "runs.db")
    with pytest.raises(ConfigurationError):
        await store.open()
    tmp_path.joinpath("later").mkdir()
    await store.open()
    await store.aclose()


async def test_store_stays_where_it_was_opened(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(database.parent)
    elsewhere = database.parent / "elsewhere"
    elsewhere.mkdir()
    store = SQLiteStore("runs.db")
    await store.open()
    monkeypatch.chdir(elsewhere)
    await store.acquire_lease("m", at=0)
    await store.release_lease("m")
    await store.aclose()
    assert database.exists()
    assert list(elsewhere.iterdir()) == []


async def test_G7_manager_that_came_by_a_link_is_left_alone(database: Path) -> None:
    here, there = SQLiteStore(database), SQLiteStore(database.with_name("link.db"))
    await here.open()
    database.with_name("link.db").symlink_to(database)
    await there.open()
    await there.acquire_lease("m", at=0)
    assert database.with_name("runs.db.m.lock").exists()
    await there.release_lease("m")
    await asyncio.gather(here.aclose(), there.aclose())


# What stays open


@pytest.mark.parametrize("exists", [False, True], ids=["fresh", "existing"])
@pytest.mark.parametrize("cancelled", CANCELLED)
async def test_opening_that_is_cancelled_at_any_await_leaves_nothing_open(
    tmp_path: Path, cancelled: Callable[[Coroutine[Any, Any, Any], int], Any], exists: bool
) -> None:
    template = tmp_path / "template.db"
    if exists:
        await opened_and_closed(template)
    wait = 0
    for wait in itertools.count(1):
        path = tmp_path / f"{wait}.db"
        if exists:
            path.write_bytes(template.read_bytes())
        store = SQLiteStore(path)
        if not await cancelled(store.open(), wait):
            await store.aclose()
            break
        await check_nothing_is_open(tmp_path)
        await opened_and_closed(path)
    assert wait > 10


@pytest.mark.parametrize("exists", [False, True], ids=["fresh", "existing"])
async def test_opening_that_fails_at_any_statement_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    template = tmp_path / "template.db"
    if exists:
        await opened_and_closed(template)
    failing = 0
    for failing in itertools.count(1):
        path = tmp_path / f"{failing}.db"
        if exists:
            path.write_bytes(template.read_bytes())
        with monkeypatch.context() as patch:
            hops = break_hop(patch, failing)
            store = SQLiteStore(path)
            try:
                await store.open()
            except StoreUnavailable:
                pass
            else:
                await store.aclose()
        if hops[0] < failing:
            break
        await check_nothing_is_open(tmp_path)
        await opened_and_closed(path)
    assert failing > 8


@pytest.mark.parametrize("turns", range(4))
async def test_manager_whose_opening_is_cancelled_leaves_nothing_open(database: Path, turns: int) -> None:
    manager = RunManager(database)
    opening = asyncio.ensure_future(manager.open())
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait((opening,))
    if manager._lifespan._opening is not None:
        await asyncio.wait((manager._lifespan._opening,))
        await manager.aclose()
    await check_nothing_is_open(database.parent)


async def test_manager_whose_opening_fails_leaves_nothing_open(database: Path) -> None:
    await opened_and_closed(database)
    rival = sqlite3.connect(database)
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="another process has locked it"):
        await RunManager(SQLiteStore(database, busy_timeout=0)).open()
    await check_nothing_is_open(database.parent)
    rival.rollback()
    assert rival.execute("SELECT count(*) FROM managers").fetchone() == (0,)
    rival.close()


@pytest.mark.parametrize("cancelled", CANCELLED)
async def test_closing_that_is_cancelled_at_any_await_can_be_repeated(
    database: Path, cancelled: Callable[[Coroutine[Any, Any, Any], int], Any]
) -> None:
    for wait in itertools.count(1):
        store = SQLiteStore(database)
        await store.open()
        if not await cancelled(store.aclose(), wait):
            break
        await store.aclose()
    await check_nothing_is_open(database.parent)


async def test_read_at_once_with_closing_is_answered_or_unavailable(database: Path) -> None:
    for turns in range(6):
        store = SQLiteStore(database)
        await store.open()
        closing = asyncio.ensure_future(store.aclose())
        for _ in range(turns):
            await asyncio.sleep(0)
        with contextlib.suppress(StoreUnavailable):
            assert await store.get_run(1) is None
        await closing


async def test_G8_store_that_is_forgotten_does_not_keep_the_interpreter(database: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, sys
        from aioruns.stores import SQLiteStore

        async def main():
            global store
            store = SQLiteStore(sys.argv[1])
            await store.open()

        asyncio.new_event_loop().run_until_complete(main())
    """)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(database), stderr=subprocess.PIPE)
    async with asyncio.timeout(60):
        await process.communicate()
    assert process.returncode == 0


async def opened_and_closed(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    await store.aclose()


def break_hop(patch: pytest.MonkeyPatch, failing: int) -> list[int]:
    """Let the n-th statement on any connection fail, as if the disk did; return the number of statements."""
    hops = [0]
    original = aiosqlite.Connection._execute

    async def execute(connection: aiosqlite.Connection, function: Any, *values: Any, **options: Any) -> Any:
        hops[0] += 1
        if hops[0] == failing:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
            raise error
        return await original(connection, function, *values, **options)

    patch.setattr(aiosqlite.Connection, "_execute", execute)
    return hops
