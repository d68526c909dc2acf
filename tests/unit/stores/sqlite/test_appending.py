"""G6: what several say in one batch is numbered in turn, each event once, behind what is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import aiosqlite
import pytest
from tests.unit.stores.sqlite.batches import FENCE, committed, completed, new, said

from aioruns.abc import Fence, NewEvent
from aioruns.stores import SQLiteStore
from aioruns.stores._operations import Append
from aioruns.stores.sqlite._appending import NOTHING, append
from aioruns.stores.sqlite._connections import call

pytestmark = pytest.mark.asyncio

LATER = Fence(FENCE.manager_id, FENCE.attempt + 1)


async def appended(
    connection: aiosqlite.Connection, *writes: tuple[tuple[int, Fence], Sequence[NewEvent]]
) -> list[range | None]:
    def append_all(database: sqlite3.Connection) -> list[range | None]:
        return append(database.cursor(), writes)

    return await call(connection, append_all)


async def ordinals(store: SQLiteStore, run_id: int) -> list[int]:
    """Check that a stream has no gap; return the ordinals in it."""
    events = await store.read_events(run_id, after=0, limit=10_000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [event.data["ordinal"] for event in events if event.kind == "log"]


async def test_G6_of_what_one_writer_says_twice_in_a_batch_each_event_is_stored_once(
    store: SQLiteStore, connection: aiosqlite.Connection
) -> None:
    run, _ = await store.insert_run(new(1))
    writer = (run.id, FENCE)
    answers = await appended(
        connection, (writer, [said(1), said(2)]), (writer, [said(1), said(2)]), (writer, [said(2), said(3)])
    )
    assert answers == [range(2, 4), NOTHING, range(4, 5)]
    assert await ordinals(store, run.id) == [1, 2, 3]


async def test_G6_events_that_come_with_an_append_and_with_the_end_in_one_batch_are_stored_once(
    store: SQLiteStore,
) -> None:
    run, _ = await store.insert_run(new(1))
    events = [said(1), said(2)]
    answers = await committed(
        store, Append(run.id, FENCE, events), completed(run.id, *events, said(3)), Append(run.id, FENCE, events)
    )
    assert (answers[0], answers[1].status, answers[2]) == (range(2, 4), "completed", NOTHING)
    assert await ordinals(store, run.id) == [1, 2, 3]


async def test_G6_the_ordinals_of_each_attempt_are_its_own(
    store: SQLiteStore, connection: aiosqlite.Connection
) -> None:
    run, _ = await store.insert_run(new(1))
    assert await appended(connection, ((run.id, FENCE), [said(1), said(2)])) == [range(2, 4)]
    await connection.execute_fetchall("UPDATE runs SET attempt = ? WHERE id = ?", (LATER.attempt, run.id))
    answers = await appended(connection, ((run.id, FENCE), [said(3)]), ((run.id, LATER), [said(1)]))
    assert answers == [None, range(4, 5)]
    assert await ordinals(store, run.id) == [1, 2, 1]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 129, 1_000])
async def test_a_batch_of_any_size_is_stored_in_order(
    store: SQLiteStore, connection: aiosqlite.Connection, count: int
) -> None:
    one, other = [(await store.insert_run(new(token)))[0] for token in (1, 2)]
    events = [said(ordinal) for ordinal in range(1, count + 1)]
    answers = await appended(connection, ((one.id, FENCE), events), ((other.id, FENCE), events))
    assert answers == [range(2, count + 2)] * 2
    for run in (one, other):
        assert await ordinals(store, run.id) == list(range(1, count + 1))


async def test_a_batch_takes_few_statements_however_many_say_something(
    store: SQLiteStore, connection: aiosqlite.Connection, statements: list[str]
) -> None:
    runs = [(await store.insert_run(new(token)))[0] for token in range(64)]
    statements.clear()
    await appended(connection, *(((run.id, FENCE), [said(1), said(2)]) for run in runs))
    assert len(statements) == 1 + 2
    for run in runs:
        assert await ordinals(store, run.id) == [1, 2]


async def test_data_is_stored_as_it_is(store: SQLiteStore, connection: aiosqlite.Connection) -> None:
    run, _ = await store.insert_run(new(1))
    texts = ['"\\u0000"', '"a\x00b"', '"\'); DROP TABLE events; --"', '"🎉?1:data{rows}"', "[" * 100 + "]" * 100]
    said_so = [NewEvent(ordinal, 0, "own", text) for ordinal, text in enumerate(texts, 1)]
    await appended(connection, ((run.id, FENCE), said_so))
    events = await store.read_events(run.id, after=1, limit=10)
    assert [event.data_json for event in events] == texts
