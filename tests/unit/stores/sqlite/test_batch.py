"""How operations reach the database: in one hop and one transaction, in few statements, each with its own answer."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import each_statement
from tests.unit.stores.sqlite.batches import FENCE, NOW, committed, completed, kinds, new, said

from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence
from aioruns.errors import LeaseLost
from aioruns.stores import SQLiteStore
from aioruns.stores._operations import Append, Cancel, Claim, Finish, Insert, Op, Script

pytestmark = pytest.mark.asyncio


OPERATIONS: dict[str, Callable[[int], Op]] = {
    "insert": lambda _: Insert(new(8, key="a", idempotency_key="s")),
    "claim": lambda run_id: Claim(run_id, FENCE, NOW + 1),
    "append": lambda run_id: Append(run_id, FENCE, [said(1), said(2)]),
    "cancel": lambda run_id: Cancel(run_id, NOW + 1, "enough", unless_shared=True),
    "complete": completed,
    "fail": lambda run_id: completed(run_id, status=RunStatus.FAILED),
    "be cancelled": lambda run_id: completed(run_id, said(1), status=RunStatus.CANCELLED),
    "script": lambda _: Script([("DELETE FROM managers WHERE id = ? RETURNING id", ("m",))]),
}


def status_before(operation: str) -> RunStatus:
    return RunStatus.PENDING if operation == "claim" else RunStatus.RUNNING


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_operation_takes_one_hop(store: SQLiteStore, hops: list[str], operation: str) -> None:
    run, _ = await store.insert_run(new(7, status=status_before(operation)))
    hops.clear()
    await store._database.submit(OPERATIONS[operation](run.id))
    assert len(hops) == 1


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_operation_alone_is_one_transaction(store: SQLiteStore, statements: list[str], operation: str) -> None:
    run, _ = await store.insert_run(new(7, status=status_before(operation)))
    statements.clear()
    await store._database.submit(OPERATIONS[operation](run.id))
    assert (statements[0], statements[-1]) == ("BEGIN IMMEDIATE", "COMMIT")
    assert not {"BEGIN IMMEDIATE", "COMMIT"} & set(statements[1:-1])


async def test_batch_takes_one_hop_and_one_transaction(
    store: SQLiteStore, hops: list[str], statements: list[str]
) -> None:
    runs = [
        (await store.insert_run(new(100 + token, status=status_before(operation))))[0].id
        for token, operation in enumerate(OPERATIONS)
    ]
    hops.clear()
    statements.clear()
    operations = zip(OPERATIONS.values(), runs, strict=True)
    answers = await committed(store, *(operation(run_id) for operation, run_id in operations))
    assert not any(isinstance(answer, Exception) for answer in answers)
    assert len(hops) == 1
    assert (statements[0], statements[-1]) == ("BEGIN IMMEDIATE", "COMMIT")
    assert not {"BEGIN IMMEDIATE", "COMMIT"} & set(statements[1:-1])


async def test_G11_statements_are_executed_on_the_threads_of_the_database(store: SQLiteStore) -> None:
    threads: list[int] = []
    with each_statement(lambda _: threads.append(threading.get_ident())):
        run, _ = await store.insert_run(new(7))
        await store.append_events(run.id, FENCE, [said(1)])
        await store.get_run(run.id)
        await store.read_events(run.id, after=0, limit=10)
        await store.finish_run(run.id, FENCE, completed(run.id).ending)
    assert len(set(threads)) == 2  # one writes, one reads
    assert threading.get_ident() not in threads


async def test_S1_holder_that_an_insert_meets_cannot_end_before_it_is_read(store: SQLiteStore, database: Path) -> None:
    holder, _ = await store.insert_run(new(7, key="a"))
    refused: list[str] = []

    def end_holder(sql: str) -> None:
        if "WHERE held_key" in sql:
            with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as other:
                try:
                    other.execute(
                        "UPDATE runs SET status = 'completed', finished_at = ?, held_key = NULL WHERE id = ?",
                        (NOW + 1, holder.id),
                    )
                except sqlite3.OperationalError as error:
                    refused.append(str(error))

    with each_statement(end_holder):
        assert await store.insert_run(new(8, key="a")) == (holder, False)
    assert refused == ["database is locked"]


async def test_reads_do_not_wait_for_writes(store: SQLiteStore, database: Path) -> None:
    run, _ = await store.insert_run(new(7))
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(store.request_cancel(run.id, at=NOW + 1))
        assert await store.get_run(run.id) == run
        assert len(await store.read_events(run.id, after=0, limit=10)) == 1
        assert not writing.done()
        other.execute("COMMIT")
    await writing


@pytest.mark.parametrize(("count", "pieces"), [(2, 1), (64, 1), (100, 3)])
async def test_operations_of_one_kind_share_a_transaction_and_few_statements(
    store: SQLiteStore, statements: list[str], count: int, pieces: int
) -> None:
    def check_few() -> None:
        assert (statements[0], statements[-1]) == ("BEGIN IMMEDIATE", "COMMIT")
        assert len(statements[1:-1]) <= 2 * pieces  # what is to be done, and one look
        statements.clear()

    answers = await committed(store, *(Insert(new(token)) for token in range(count)))
    check_few()
    runs = [run for run, _ in answers]
    await committed(store, *(Append(run.id, FENCE, [said(1)]) for run in runs))
    check_few()
    await committed(store, *(completed(run.id) for run in runs))
    check_few()


async def test_batch_is_applied_in_its_order(store: SQLiteStore, database: Path) -> None:
    pending, _ = await store.insert_run(new(1, status=RunStatus.PENDING))
    running, _ = await store.insert_run(new(2))
    answers = await committed(
        store,
        Script([("SELECT count(*) FROM runs WHERE finished_at IS NOT NULL", ())]),
        completed(running.id, said(2)),
        completed(pending.id),
        Cancel(running.id, NOW + 8, None, unless_shared=False),
        Append(running.id, FENCE, [said(1)]),
        Append(pending.id, FENCE, [said(1)]),
        Claim(pending.id, FENCE, NOW + 7),
        Insert(new(3)),
    )
    assert kinds(database, running.id) == ["running", "log", "log", "cancelling", "completed"]
    assert kinds(database, pending.id) == ["pending", "running", "log", "completed"]
    assert answers[0] == [[(2,)]]
    assert [answers[1].status, answers[2].status, answers[3].status] == ["completed", "completed", "cancelling"]
    assert not any(isinstance(answer, Exception) for answer in answers[4:6])
    assert answers[6].status is RunStatus.RUNNING
    assert (answers[7][0].status, answers[7][1]) == (RunStatus.RUNNING, True)


async def test_G7_answers_in_a_batch_belong_to_their_fences(
    store: SQLiteStore,
) -> None:
    run, _ = await store.insert_run(new(1))
    wrong = Fence("m", 2)
    answers = await committed(
        store,
        Append(run.id, wrong, [said(1)]),
        Append(run.id, FENCE, [said(1)]),
        Finish(run.id, wrong, Ending(status=RunStatus.FAILED, at=NOW + 9)),
        completed(run.id),
    )
    assert [isinstance(answer, LeaseLost) for answer in answers] == [True, False, True, False]
    assert answers[3].status is RunStatus.COMPLETED
