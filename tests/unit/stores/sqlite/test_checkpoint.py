"""The write-ahead log stays short, and nobody who starts a run waits for that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import eventually, rows, turns

from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence, NewRun
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite import _checkpoint, _database

LIMIT = 1 << 16
"""Bytes that the log may have, in these tests."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_checkpoint, _database):
        monkeypatch.setattr(module, "LIMIT", LIMIT)
    monkeypatch.setattr(_checkpoint, "TOO_LONG", 16 * LIMIT)


def log_of(database: Path) -> int:
    """Give the length of the log, in bytes."""
    return Path(f"{database}-wal").stat().st_size


class Runs:
    """Runs that are inserted and ended, one after the other."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store
        self.count = 0

    async def run(self) -> None:
        """Insert a run of some kilobytes, and end it."""
        self.count += 1
        new = NewRun(
            manager_id="m", token=self.count, job="build", status=RunStatus.RUNNING, created_at=1, arguments_json="1"
        )
        run, _ = await self.store.insert_run(new)
        ending = Ending(status=RunStatus.COMPLETED, at=2, result_json=f'"{"x" * 4000}"')
        await self.store.finish_run(run.id, Fence("m", 1), ending)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let runs come and go until a condition is true."""
        async with asyncio.timeout(60):
            while not condition():
                await self.run()


@pytest.mark.asyncio
async def test_log_begins_anew_again_and_again_while_writing_never_stops(
    store: SQLiteStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_checkpoint, "TOO_LONG", 1 << 40)
    runs = Runs(store)
    beginnings = 0

    async def work() -> None:
        nonlocal beginnings
        while beginnings < 5:
            before = log_of(database)
            await runs.run()
            beginnings += log_of(database) <= LIMIT < before

    async with asyncio.timeout(60):
        await asyncio.gather(*(work() for _ in range(5)))


@pytest.mark.asyncio
async def test_short_log_is_left_alone(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkpoint, "LIMIT", 1 << 30)
    monkeypatch.setattr(_checkpoint, "checkpoint", lambda *_: pytest.fail("nobody asked for a checkpoint"))
    runs = Runs(store)
    for _ in range(30):
        await runs.run()
    assert store._database._checkpoints is not None
    assert store._database._checkpoints._task is None


@pytest.mark.asyncio
async def test_starts_do_not_wait_for_a_checkpoint(
    store: SQLiteStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    monkeypatch.setattr(_checkpoint, "checkpoint", lambda *_: begun.set() or goes_on.wait(60))
    runs = Runs(store)
    try:
        await runs.until(begun.is_set)
        before = log_of(database)
        for _ in range(20):
            await runs.run()
        assert log_of(database) > before
    finally:
        goes_on.set()


@pytest.mark.asyncio
async def test_reads_do_not_wait_for_a_checkpoint(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    monkeypatch.setattr(_checkpoint, "checkpoint", lambda *_: begun.set() or goes_on.wait(60))
    runs = Runs(store)
    try:
        await runs.until(begun.is_set)
        async with asyncio.timeout(60):
            assert await store.get_run(1) is not None
    finally:
        goes_on.set()


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("database or disk is full"), RuntimeError("can't start new thread")],
    ids=["disk full", "no thread"],
)
@pytest.mark.asyncio
async def test_G5_checkpoint_that_fails_fails_no_run_and_is_tried_again(
    store: SQLiteStore, database: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tries: list[str] = []
    original = _checkpoint.checkpoint

    def fail(*_: object) -> bool:
        tries.append("failed")
        raise error

    monkeypatch.setattr(_checkpoint, "checkpoint", fail)
    runs = Runs(store)
    await runs.until(lambda: len(tries) == 3)
    assert log_of(database) > LIMIT
    assert store._database._checkpoints is not None
    assert store._database._checkpoints._task is not None
    await store._database._checkpoints.aclose()
    assert store._database._checkpoints._task.exception() is None
    monkeypatch.setattr(_checkpoint, "checkpoint", original)
    await runs.until(lambda: log_of(database) <= LIMIT)
    assert {row["status"] for row in rows(database)} == {"completed"}


@pytest.mark.asyncio
async def test_what_fails_is_not_tried_at_each_commit(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    monkeypatch.setattr(_checkpoint, "checkpoint", lambda *_: tries.append("") or False)
    runs = Runs(store)
    await runs.until(lambda: tries)
    for _ in range(100):  # four kilobytes at least in each, so the log becomes seven times as long and more
        await runs.run()
    assert 2 < len(tries) < 20


@pytest.mark.asyncio
async def test_log_that_a_reader_holds_is_cut_back_when_the_reader_has_gone(store: SQLiteStore, database: Path) -> None:
    runs = Runs(store)
    await runs.run()
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        await runs.until(lambda: log_of(database) > 3 * LIMIT)
        assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        reader.execute("COMMIT")
    await runs.until(lambda: log_of(database) <= LIMIT)


@pytest.mark.asyncio
async def test_log_that_is_far_too_long_is_made_to_begin_anew(
    store: SQLiteStore, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []
    original = _checkpoint.checkpoint

    def note(database: str, mode: str) -> bool:
        modes.append(mode)
        return original(database, mode) if mode == "RESTART" else False

    monkeypatch.setattr(_checkpoint, "checkpoint", note)
    runs = Runs(store)
    await runs.until(lambda: "RESTART" in modes)
    assert set(modes[:-1]) == {"PASSIVE"}
    await runs.until(lambda: log_of(database) <= LIMIT)


@pytest.mark.asyncio
async def test_G8_closing_waits_for_a_checkpoint_and_leaves_one_file(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(database)
    await store.open()
    begun, goes_on = threading.Event(), threading.Event()
    original = _checkpoint.checkpoint
    monkeypatch.setattr(_checkpoint, "checkpoint", lambda *args: begun.set() or (goes_on.wait(60) and original(*args)))
    await Runs(store).until(begun.is_set)
    disconnect, waited = store._database._disconnect, False

    async def note() -> None:
        nonlocal waited
        waited = goes_on.is_set()
        await disconnect()

    monkeypatch.setattr(store._database, "_disconnect", note)
    closing = asyncio.ensure_future(store.aclose())
    await eventually(lambda: store._database._writer is not None and store._database._writer._task.done())
    await turns(10)
    goes_on.set()
    await closing
    assert waited
    assert [path.name for path in database.parent.iterdir()] == [database.name]


@pytest.mark.asyncio
async def test_G8_closing_waits_no_longer_than_the_event_loop_lives(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(database)
    await store.open()
    begun, goes_on = threading.Event(), threading.Event()
    monkeypatch.setattr(_checkpoint, "checkpoint", lambda *_: begun.set() or goes_on.wait(60))
    await Runs(store).until(begun.is_set)
    try:
        assert store._database._checkpoints is not None
        assert store._database._checkpoints._task is not None
        store._database._checkpoints._task.cancel()  # as the teardown of the event loop does
        async with asyncio.timeout(60):
            await store.aclose()
    finally:
        goes_on.set()


@pytest.mark.asyncio
async def test_checkpoints_leave_no_file_open(store: SQLiteStore) -> None:
    runs = Runs(store)
    await runs.run()
    _checkpoint.checkpoint(store._database.path, "PASSIVE")
    before = len(os.listdir("/dev/fd"))
    for _ in range(50):
        await runs.run()
        _checkpoint.checkpoint(store._database.path, "PASSIVE")
    assert store._database._checkpoints is not None
    await store._database._checkpoints.aclose()
    # SQLite keeps a file open for a while whose closing would let go of another connection's locks.
    assert len(os.listdir("/dev/fd")) <= before + 5


def test_checkpoint_of_a_database_that_is_gone_does_not_make_a_new_one(database: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        _checkpoint.checkpoint(str(database), "PASSIVE")
    assert not database.exists()


@pytest.mark.parametrize("name", ["runs.db", "r u%6Es?.db#", "ключ.db"])
def test_checkpoint_finds_the_file_whatever_its_name(tmp_path: Path, name: str) -> None:
    database = tmp_path / name
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (c)")
        assert _checkpoint.checkpoint(str(database), "PASSIVE")
        assert b"CREATE TABLE t" in database.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [name]


KILLED = """
    import asyncio, sys
    from aioruns import RunManager, job
    from aioruns.stores.sqlite import _checkpoint, _database

    _checkpoint.LIMIT = _database.LIMIT = 1 << 16

    @job
    async def noop(text: str) -> str:
        return text

    async def work(manager):
        while True:
            handle = await manager.start_run(noop("x" * 4000))
            await handle
            print(handle.id, flush=True)

    async def main():
        async with RunManager(sys.argv[1]) as manager:
            await asyncio.gather(*(work(manager) for _ in range(5)))

    asyncio.run(main())
"""


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_R3_what_was_stored_is_there_after_a_kill_in_the_middle_of_checkpoints(
    tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    kills = scale(quick=2, full=20, soak=2000)
    for number in range(kills):
        database = tmp_path / f"runs-{number}.db"
        program = [sys.executable, "-c", textwrap.dedent(KILLED), str(database)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            told = [int(child.stdout.readline()) for _ in range(100 + 7 * (number % 40))]
            child.kill()
            told += [int(line) for line in child.stdout if line.endswith("\n")]
        assert [row[0] for row in rows(database, "PRAGMA integrity_check")] == ["ok"]
        completed = {row["id"] for row in rows(database) if row["status"] == "completed"}
        assert completed >= set(told)
    tally("kills in the middle of checkpoints", kills)
