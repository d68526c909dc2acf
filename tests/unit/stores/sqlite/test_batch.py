"""How operations reach the database: few hops, one transaction, each with its own answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio
from tests.support import rows

from aioruns._lifecycle import RunStatus
from aioruns._model import Run
from aioruns.abc import Ending, Fence, NewEvent, NewRun
from aioruns.errors import LeaseLost
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite._batch import Append, Cancel, Claim, Finish, Insert, Op, Script, commit

pytestmark = pytest.mark.asyncio

NOW = 1_760_000_000_000_000
FENCE = Fence("m", 1)


@pytest_asyncio.fixture
async def store(database: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(database)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def connection(store: SQLiteStore) -> aiosqlite.Connection:
    """The connection that writes."""
    assert store._write is not None
    return store._write


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every hop to a thread of the database from now on."""
    hops: list[str] = []
    original = aiosqlite.Connection._execute

    async def execute(connection: aiosqlite.Connection, function: Any, *values: Any, **options: Any) -> Any:
        hops.append(next((value for value in values if isinstance(value, str)), getattr(function, "__name__", "?")))
        return await original(connection, function, *values, **options)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", execute)
    return hops


def new(token: int, **fields: Any) -> NewRun:
    values: dict[str, Any] = {"job": "build", "status": RunStatus.RUNNING, "created_at": NOW, **fields}
    return NewRun(manager_id="m", token=token, **values)


def said(ordinal: int) -> NewEvent:
    return NewEvent(ordinal, NOW, "log", f'{{"ordinal":{ordinal}}}')


def completed(run_id: int, *events: NewEvent, at: int = NOW + 9, status: RunStatus = RunStatus.COMPLETED) -> Finish:
    return Finish(run_id, FENCE, Ending(status=status, at=at, events=events))


def kinds(database: Path, run_id: int) -> list[str]:
    found = rows(
        database,
        "SELECT kind, json_extract(data, '$.status') AS status FROM events WHERE run_id = ? ORDER BY seq",
        run_id,
    )
    return [row["status"] or row["kind"] for row in found]


@pytest.mark.parametrize(
    "operation",
    [
        lambda run_id: Insert(new(8, key="a", idempotency_key="s")),
        lambda run_id: Append(run_id, FENCE, [said(1)]),
        lambda run_id: Cancel(run_id, NOW + 1, "enough", unless_shared=True),
        completed,
        lambda run_id: completed(run_id, status=RunStatus.FAILED),
        lambda run_id: Script([("DELETE FROM managers WHERE id = ? RETURNING id", ("m",))]),
    ],
    ids=["insert", "append", "cancel", "complete", "fail", "script"],
)
async def test_operation_that_is_one_statement_takes_one_hop(
    store: SQLiteStore, hops: list[str], operation: Callable[[int], Op]
) -> None:
    run, _ = await store.insert_run(new(7))
    hops.clear()
    await store._submit(operation(run.id))
    assert len(hops) == 1


async def test_claim_takes_one_hop(store: SQLiteStore, hops: list[str]) -> None:
    run, _ = await store.insert_run(new(7, status=RunStatus.PENDING))
    hops.clear()
    await store.claim_run(run.id, FENCE, at=NOW + 1)
    assert len(hops) == 1


async def test_reads_do_not_wait_for_writes(store: SQLiteStore, connection: aiosqlite.Connection) -> None:
    run, _ = await store.insert_run(new(7))
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    await connection.execute_fetchall("UPDATE runs SET shared = 1")
    writing = asyncio.ensure_future(store.request_cancel(run.id, at=NOW + 1))
    assert await store.get_run(run.id) == run
    assert len(await store.read_events(run.id, after=0, limit=10)) == 1
    await writing


@pytest.mark.parametrize("count", [2, 64, 100])
async def test_operations_of_one_kind_share_a_transaction_and_few_statements(
    store: SQLiteStore, hops: list[str], count: int
) -> None:
    runs = [run for run, _ in await asyncio.gather(*(store.insert_run(new(token)) for token in range(count)))]
    inserts = hops.copy()
    hops.clear()
    await asyncio.gather(*(store.append_events(run.id, FENCE, [said(1), said(2)]) for run in runs))
    assert len(hops) == 3
    hops.clear()
    await asyncio.gather(*(store.finish_run(run.id, FENCE, completed(run.id).ending) for run in runs))
    for statements in (inserts, hops):
        assert (statements[0], statements[-1]) == ("BEGIN IMMEDIATE", "COMMIT")
        assert len(statements) == 2 + {2: 1, 64: 1, 100: 3}[count]


async def test_batch_is_applied_in_its_order(
    store: SQLiteStore, connection: aiosqlite.Connection, database: Path
) -> None:
    pending, _ = await store.insert_run(new(1, status=RunStatus.PENDING))
    running, _ = await store.insert_run(new(2))
    answers = await commit(
        connection,
        [
            Script([("SELECT count(*) FROM runs WHERE finished_at IS NOT NULL", ())]),
            completed(running.id, said(2)),
            completed(pending.id),
            Cancel(running.id, NOW + 8, None, unless_shared=False),
            Append(running.id, FENCE, [said(1)]),
            Append(pending.id, FENCE, [said(1)]),
            Claim(pending.id, FENCE, NOW + 7),
            Insert(new(3)),
        ],
    )
    assert kinds(database, running.id) == ["running", "log", "log", "cancelling", "completed"]
    assert kinds(database, pending.id) == ["pending", "running", "log", "completed"]
    assert answers[0] == [[(2,)]]
    assert [answers[1].status, answers[2].status, answers[3].status] == ["completed", "completed", "cancelling"]
    assert (answers[4:6], answers[6].status) == ([None, None], RunStatus.RUNNING)
    assert (answers[7][0].status, answers[7][1]) == (RunStatus.RUNNING, True)


async def test_operation_that_fails_fails_no_neighbour(store: SQLiteStore, database: Path) -> None:
    running, _ = await store.insert_run(new(1))
    pending, _ = await store.insert_run(new(2, status=RunStatus.PENDING))
    other, _ = await store.insert_run(new(3))
    answers = await asyncio.gather(
        store.append_events(running.id, FENCE, [said(1)]),
        store.finish_run(pending.id, FENCE, completed(pending.id).ending),  # the guards refuse this
        store.insert_run(new(4, key="a")),
        store.append_events(other.id, FENCE, [said(1)._replace(at=2**70)]),  # SQLite cannot hold this
        store.request_cancel(other.id, at=NOW + 1),
        store.insert_run(new(5, key="\ud800")),  # this is no text
        return_exceptions=True,
    )
    assert answers[0] is None
    assert isinstance(answers[1], sqlite3.IntegrityError)
    assert not isinstance(answers[2], BaseException)
    assert answers[2][1]
    assert isinstance(answers[3], OverflowError)
    assert getattr(answers[4], "status", None) is RunStatus.CANCELLING
    assert isinstance(answers[5], UnicodeEncodeError)
    assert kinds(database, running.id) == ["running", "log"]
    assert kinds(database, pending.id) == ["pending"]
    assert kinds(database, other.id) == ["running", "cancelling"]
    assert len(rows(database)) == 4


async def test_failed_batch_leaves_no_transaction_open(store: SQLiteStore, connection: aiosqlite.Connection) -> None:
    run, _ = await store.insert_run(new(1, status=RunStatus.PENDING))
    for events in ([], [said(1)]):
        with pytest.raises(sqlite3.IntegrityError):
            await store.finish_run(run.id, FENCE, completed(run.id, *events).ending)
        assert not connection.in_transaction


async def test_G7_answers_in_a_batch_belong_to_their_fences(
    store: SQLiteStore, connection: aiosqlite.Connection
) -> None:
    run, _ = await store.insert_run(new(1))
    wrong = Fence("m", 2)
    answers = await commit(
        connection,
        [
            Append(run.id, wrong, [said(1)]),
            Append(run.id, FENCE, [said(1)]),
            Finish(run.id, wrong, Ending(status=RunStatus.FAILED, at=NOW + 9)),
            completed(run.id),
        ],
    )
    assert [isinstance(answer, LeaseLost) for answer in answers] == [True, False, True, False]
    assert answers[3].status is RunStatus.COMPLETED


@pytest.fixture
def cancel_writer_at(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Cancel the task of the writer at the n-th statement from now on; gives the number of statements, in a list.

    The statement is executed all the same, and its answer lost.
    """

    def cancel_at(statement: int) -> list[int]:
        assert store._writer is not None
        writer = store._writer._task
        count = [0]
        original = aiosqlite.Connection._execute

        async def execute(connection: aiosqlite.Connection, function: Any, *values: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == statement:
                writer.cancel()
            return await original(connection, function, *values, **options)

        monkeypatch.setattr(aiosqlite.Connection, "_execute", execute)
        return count

    return cancel_at


@pytest.mark.parametrize("statement", range(1, 6))
async def test_G5_writer_that_is_cancelled_at_any_statement_stores_everything_once(
    store: SQLiteStore, database: Path, cancel_writer_at: Callable[[int], list[int]], statement: int
) -> None:
    running, _ = await store.insert_run(new(1))
    statements = cancel_writer_at(statement)
    first, second, appended, ended = await asyncio.gather(
        store.insert_run(new(2, key="a")),
        store.insert_run(new(3, status=RunStatus.PENDING, idempotency_key="s")),
        store.append_events(running.id, FENCE, [said(1)]),
        store.finish_run(running.id, FENCE, completed(running.id, said(2)).ending),
        return_exceptions=True,
    )
    assert statements[0] > 6  # BEGIN, inserts, events, ends, COMMIT; and again
    for answer, status in ((first, RunStatus.RUNNING), (second, RunStatus.PENDING)):
        assert isinstance(answer, tuple)
        assert (answer[0].status, answer[1]) == (status, True)
    assert appended is None
    assert isinstance(ended, Run)
    assert ended.status is RunStatus.COMPLETED
    assert kinds(database, running.id) == ["running", "log", "log", "completed"]
    assert len(rows(database)) == 3


@pytest.mark.parametrize("statement", range(1, 5))
async def test_G5_operation_alone_whose_writer_is_cancelled_at_any_statement_is_stored_once(
    store: SQLiteStore, database: Path, cancel_writer_at: Callable[[int], list[int]], statement: int
) -> None:
    running, _ = await store.insert_run(new(1))
    statements = cancel_writer_at(statement)
    ended = await store.finish_run(running.id, FENCE, completed(running.id, said(1), said(2)).ending)
    assert statements[0] > 4  # BEGIN, events, end, COMMIT; and again
    assert ended.status is RunStatus.COMPLETED
    assert kinds(database, running.id) == ["running", "log", "log", "completed"]
