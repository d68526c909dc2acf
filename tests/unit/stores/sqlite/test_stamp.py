"""What has been read holds until somebody writes: nobody asks for it again, and nothing is missed."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from aioruns._values.status import RunStatus
from aioruns.abc import NewRun
from aioruns.errors import StoreUnavailable
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite import _watch
from aioruns.stores.sqlite._stamp import Stamps


def write(log: Path, *, size: int, tick: int) -> None:
    """Write a log as a commit does within a tick of the clock of files."""
    log.write_bytes(b"x" * size)
    os.utime(log, ns=(tick, tick))


def look(stamps: Stamps, log: Path) -> tuple[int, int] | None:
    return stamps.look(str(log).removesuffix("-wal"))


def read(stamps: Stamps, log: Path) -> bool:
    """Read what there is, unless what has been read still holds; tell whether."""
    stamp = look(stamps, log)
    if stamp is not None:
        stamps.note(stamp)
    return stamp is not None


def test_what_has_been_read_twice_holds_until_the_next_commit(tmp_path: Path) -> None:
    stamps, log = Stamps(), tmp_path / "runs.db-wal"
    write(log, size=10, tick=1)
    assert [read(stamps, log) for _ in range(4)] == [True, True, False, False]
    write(log, size=20, tick=2)
    assert [read(stamps, log) for _ in range(4)] == [True, True, False, False]


def test_log_that_is_written_anew_is_read(tmp_path: Path) -> None:
    stamps, log = Stamps(), tmp_path / "runs.db-wal"
    write(log, size=10, tick=1)
    assert [read(stamps, log) for _ in range(3)] == [True, True, False]
    write(log, size=10, tick=2)
    assert read(stamps, log)
    write(log, size=10, tick=1)  # the clock has been set back
    assert read(stamps, log)


def test_commit_in_the_tick_of_a_look_is_not_missed(tmp_path: Path) -> None:
    stamps, log = Stamps(), tmp_path / "runs.db-wal"
    write(log, size=10, tick=1)
    assert read(stamps, log)
    write(log, size=10, tick=1)
    assert read(stamps, log)


def test_commit_in_the_middle_of_a_reading_is_not_missed(tmp_path: Path) -> None:
    stamps, log = Stamps(), tmp_path / "runs.db-wal"
    write(log, size=10, tick=1)
    for _ in range(3):
        stamp = look(stamps, log)
        write(log, size=10 + (stamp or (0, 0))[1], tick=2)
        if stamp is not None:
            stamps.note(stamp)
    assert read(stamps, log)


def test_reading_that_failed_is_repeated(tmp_path: Path) -> None:
    stamps, log = Stamps(), tmp_path / "runs.db-wal"
    write(log, size=10, tick=1)
    assert all(look(stamps, log) is not None for _ in range(5))


def test_log_that_is_gone_is_no_reason_not_to_read(tmp_path: Path) -> None:
    stamps, log = Stamps(), tmp_path / "runs.db-wal"
    write(log, size=10, tick=1)
    assert [read(stamps, log) for _ in range(3)] == [True, True, False]
    log.unlink()
    assert [read(stamps, log) for _ in range(4)] == [True] * 4


# In the store


async def insert(store: SQLiteStore, token: int, manager_id: str = "m") -> None:
    new = NewRun(manager_id=manager_id, token=token, job="build", status=RunStatus.RUNNING, created_at=1)
    await store.insert_run(new)


@pytest.mark.asyncio
async def test_idle_store_is_hardly_asked(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "POLL", 0.01)
    await store.acquire_lease("m", at=1)
    for _ in range(3):
        await store.rescue_orphans(now=lambda: 1)
        await store.wait_changed(timeout=0.05)

    async def refuse(*_: Any) -> Any:
        raise AssertionError("nobody has written, and still it is read")

    version, asked = store._database.data_version, itertools.count()

    async def count() -> int:
        next(asked)
        return await version()

    monkeypatch.setattr(store._database, "fetch", refuse)
    monkeypatch.setattr(store._database, "data_version", count)
    for _ in range(5):
        assert await store.rescue_orphans(now=lambda: 1) == []
    assert not await store.wait_changed(timeout=0.2)
    assert next(asked) <= 2, "at the end, whatever the file says; its last look may be repeated"
    monkeypatch.undo()
    await store.release_lease("m")


@pytest.mark.asyncio
async def test_commits_are_noticed_however_long_nobody_wrote(
    store: SQLiteStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "POLL", 0.01)
    other = SQLiteStore(database)
    await other.open()
    try:
        for number in range(20):
            while await store.wait_changed(timeout=0.05):
                pass
            await insert(other, number)
            assert await store.wait_changed(timeout=10)
    finally:
        await other.aclose()


@pytest.mark.asyncio
async def test_G7_manager_that_dies_after_a_long_silence_is_rescued(store: SQLiteStore, database: Path) -> None:
    for _ in range(5):
        assert await store.rescue_orphans(now=lambda: 1) == []
    other = SQLiteStore(database)
    await other.open()
    await insert(other, 1, "dead")  # without a row and a lock of its manager
    await other.aclose()
    assert await store.rescue_orphans(now=lambda: 9) == [1]


@pytest.mark.asyncio
async def test_wait_on_a_store_that_was_closed_raises_although_others_use_the_file(database: Path) -> None:
    store, other = SQLiteStore(database), SQLiteStore(database)
    await store.open()
    await other.open()
    for _ in range(3):
        await store.wait_changed(timeout=0.06)
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(60):
            await store.wait_changed(timeout=5)
    with pytest.raises(StoreUnavailable):
        await store.rescue_orphans(now=lambda: 1)
    await other.aclose()


@pytest.mark.asyncio
async def test_commit_is_seen_although_the_clock_of_the_file_does_not_turn(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some file systems it turns once in two seconds, and the log's length says nothing once it is written anew."""
    monkeypatch.setattr(Stamps, "look", lambda stamps, _: None if stamps._known else (1, 1))
    one, other = SQLiteStore(database), SQLiteStore(database)
    await one.open()
    await other.open()
    try:
        while await one.wait_changed(timeout=0.2):
            pass
        assert one._watch._stamps._known, "it says from now on that nothing has been written"
        await other.acquire_lease("b", at=1)
        async with asyncio.timeout(60):
            while not await one.wait_changed(timeout=0.2):
                pass
    finally:
        await other.aclose()
        await one.aclose()
