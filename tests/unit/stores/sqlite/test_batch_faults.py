"""Batches that fail, are torn, or were left open: nobody is told an untruth, and the next one is stored."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from tests.support import each_statement, rows
from tests.unit.stores.sqlite.batches import FENCE, NOW, committed, completed, kinds, new, said

from aioruns._values.status import RunStatus
from aioruns.errors import LeaseLost, StoreUnavailable
from aioruns.stores import SQLiteStore
from aioruns.stores._operations import Append, Cancel, Claim, Insert, Op, Script

pytestmark = pytest.mark.asyncio

FAULTS: dict[str, tuple[Callable[[int], Op], type[Exception]]] = {
    "a transition that is not allowed": (completed, sqlite3.IntegrityError),
    "a time that SQLite cannot hold": (
        lambda run_id: Append(run_id, FENCE, [said(1)._replace(at=2**70)]),
        OverflowError,
    ),
    "a key that is no text": (lambda _: Insert(new(99, key="\ud800")), UnicodeEncodeError),
    "an event of no kind": (
        lambda run_id: Append(run_id, FENCE, [said(1)._replace(kind=None)]),  # pyright: ignore[reportArgumentType]
        sqlite3.IntegrityError,
    ),
    "a statement that is none": (lambda _: Script([("NONSENSE", ())]), sqlite3.OperationalError),
}


class Neighbours:
    """A batch of one operation of each kind, and what is true once it is stored."""

    def __init__(self, database: Path, running: int, ending: int, pending: int) -> None:
        self._database = database
        self._runs = running, ending, pending
        self.operations: list[Op] = [
            Insert(new(10, key="a")),
            Append(running, FENCE, [said(1), said(2)]),
            Cancel(running, NOW + 1, "enough", unless_shared=False),
            completed(ending, said(1)),
            Claim(pending, FENCE, NOW + 1),
        ]

    @classmethod
    async def of(cls, store: SQLiteStore) -> Neighbours:
        statuses = RunStatus.RUNNING, RunStatus.RUNNING, RunStatus.PENDING
        runs = [await store.insert_run(new(token, status=status)) for token, status in enumerate(statuses)]
        return cls(Path(store.path), *(run.id for run, _ in runs))

    def check_stored(self) -> None:
        running, ending, pending = self._runs
        assert sorted(kinds(self._database, running)) == ["cancelling", "log", "log", "running"]
        assert kinds(self._database, ending) == ["running", "log", "completed"]
        assert kinds(self._database, pending) == ["pending", "running"]
        assert [row["token"] for row in rows(self._database) if row["key"] == "a"] == [10]

    def check_nothing_stored(self) -> None:
        assert [kinds(self._database, run_id) for run_id in self._runs] == [["running"], ["running"], ["pending"]]
        assert len(rows(self._database)) == 3


@contextlib.asynccontextmanager
async def opened(database: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(database)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


def check_unlocked(database: Path) -> None:
    """Check that nobody holds the write lock."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as connection:
        connection.execute("BEGIN IMMEDIATE")


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("fault", FAULTS)
async def test_operation_that_fails_fails_no_neighbour_wherever_it_stands(
    store: SQLiteStore, hops: list[str], fault: str, place: int
) -> None:
    neighbours = await Neighbours.of(store)
    other, _ = await store.insert_run(new(3, status=RunStatus.PENDING))
    operation, error = FAULTS[fault]
    batch = neighbours.operations.copy()
    batch.insert(place, operation(other.id))
    hops.clear()
    answers = await committed(store, *batch)
    assert len(hops) == 1
    assert isinstance(answers.pop(place), error)
    assert not any(isinstance(answer, Exception) for answer in answers)
    assert kinds(Path(store.path), other.id) == ["pending"]
    neighbours.check_stored()
    check_unlocked(Path(store.path))


@pytest.mark.parametrize("fault", FAULTS)
async def test_operation_that_fails_alone_leaves_no_transaction_open(
    store: SQLiteStore, connection: aiosqlite.Connection, fault: str
) -> None:
    run, _ = await store.insert_run(new(1, status=RunStatus.PENDING))
    operation, error = FAULTS[fault]
    with pytest.raises(error):
        await store._database.submit(operation(run.id))
    assert not connection.in_transaction
    assert kinds(Path(store.path), run.id) == ["pending"]


async def test_G7_lease_that_was_lost_is_told_to_its_writer_alone(
    store: SQLiteStore,
) -> None:
    neighbours = await Neighbours.of(store)
    lost = FENCE._replace(attempt=2)
    answers = await committed(store, *neighbours.operations, Append(1, lost, [said(1)]))
    assert [isinstance(answer, LeaseLost) for answer in answers] == [False] * 5 + [True]
    neighbours.check_stored()


def disk_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    return error


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(disk_error, StoreUnavailable, id="disk"),
        pytest.param(MemoryError, StoreUnavailable, id="memory"),
    ],
)
async def test_G5_batch_that_fails_at_any_statement_is_stored_as_a_whole_or_not_at_all(
    tmp_path: Path, fault: Callable[[], Exception], told: type[Exception]
) -> None:
    for failing in itertools.count(1):
        async with opened(tmp_path / f"{failing}.db") as store:
            neighbours = await Neighbours.of(store)
            numbers = itertools.count(1)

            def before(_: str, failing: int = failing, numbers: Iterator[int] = numbers) -> None:
                if next(numbers) == failing:
                    raise fault()

            with each_statement(before):
                answers = await asyncio.gather(
                    *map(store._database.submit, neighbours.operations), return_exceptions=True
                )
            happened = next(numbers) > failing
            failed = [isinstance(answer, told) for answer in answers]
            assert any(failed) is happened
            if all(failed):
                neighbours.check_nothing_stored()
            check_unlocked(Path(store.path))
            for answer in await asyncio.gather(
                *map(store._database.submit, neighbours.operations)
            ):  # as a patient caller does
                assert not isinstance(answer, BaseException)
            neighbours.check_stored()
            if not happened:
                assert failing > 6  # BEGIN, one for each, COMMIT
                return


async def leave_open(connection: aiosqlite.Connection) -> None:
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    await connection.execute_fetchall("UPDATE runs SET shared = 1, triggered_by = 'a batch that was torn'")


async def test_G5_batch_that_was_left_open_is_rolled_back_by_the_next(
    store: SQLiteStore, connection: aiosqlite.Connection, statements: list[str]
) -> None:
    neighbours = await Neighbours.of(store)
    await leave_open(connection)
    statements.clear()
    answers = await committed(store, *neighbours.operations)
    assert not any(isinstance(answer, Exception) for answer in answers)
    assert statements.count("BEGIN IMMEDIATE") == 1  # nothing failed, and nothing was tried twice
    neighbours.check_stored()
    assert {row["triggered_by"] for row in rows(Path(store.path))} == {None}
    check_unlocked(Path(store.path))


async def test_G5_operation_alone_behind_a_batch_that_was_left_open_is_stored(
    store: SQLiteStore, connection: aiosqlite.Connection
) -> None:
    run, _ = await store.insert_run(new(1))
    await leave_open(connection)
    await store.insert_run(new(2))
    assert [(row["token"], row["triggered_by"]) for row in rows(Path(store.path))] == [(1, None), (2, None)]
    assert await store.get_run(run.id) == run
    check_unlocked(Path(store.path))


class Canceller:
    """Cancels a task at the n-th statement from now on; the statement is executed all the same.

    Attributes:
        statements: How many there have been.
    """

    def __init__(self, statement: int) -> None:
        self._statement = statement
        self._loop = asyncio.get_running_loop()
        self.task: asyncio.Task[Any] | None = None
        self.statements = 0

    def __call__(self, _: str) -> None:
        self.statements += 1
        if self.statements == self._statement:
            asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(timeout=60)

    async def _cancel(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.sleep(0)  # by now it has had its CancelledError


async def test_G5_writer_that_is_cancelled_at_any_statement_stores_everything_once(tmp_path: Path) -> None:
    for statement in itertools.count(1):
        async with opened(tmp_path / f"{statement}.db") as store:
            neighbours = await Neighbours.of(store)
            assert store._database._writer is not None
            canceller = Canceller(statement)
            canceller.task = store._database._writer._task
            with each_statement(canceller):
                answers = await asyncio.gather(*map(store._database.submit, neighbours.operations))
            assert answers[0][1], "inserted, whichever visit to the database did it"
            assert [getattr(answer, "status", None) for answer in answers[2:]] == ["cancelling", "completed", "running"]
            neighbours.check_stored()
            if canceller.statements < statement:
                assert statement > 6  # BEGIN, one for each, COMMIT
                return


@pytest.mark.parametrize("operation", range(5))
async def test_S3_operation_whose_caller_is_cancelled_at_any_statement_is_stored_once(
    tmp_path: Path, operation: int
) -> None:
    for statement in itertools.count(1):
        async with opened(tmp_path / f"{statement}.db") as store:
            neighbours = await Neighbours.of(store)
            canceller = Canceller(statement)
            with each_statement(canceller):
                submitted = neighbours.operations[operation]
                canceller.task = asyncio.ensure_future(store._database.submit(submitted))
                await asyncio.wait((canceller.task,))
            happened = canceller.statements >= statement
            assert canceller.task.cancelled() is happened
            await asyncio.gather(
                *(store._database.submit(each) for each in neighbours.operations if each is not submitted)
            )
            neighbours.check_stored()
            await store._database.submit(submitted)  # as who insists does
            neighbours.check_stored()
            if not happened:
                assert statement > 1
                return
