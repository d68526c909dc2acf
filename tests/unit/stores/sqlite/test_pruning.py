"""Pruning a file: the spans of what is gone go too, and what is old is found without walking what is young."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support import rows

from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence, NewRun
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite._queries import query

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def store(database: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(database, synchronous="normal")
    await store.open()
    yield store
    await store.aclose()


async def run(store: SQLiteStore, at: int) -> None:
    """Insert a run and end it, both at a time."""
    new = NewRun(manager_id="m", token=at, job="build", status=RunStatus.RUNNING, created_at=at)
    run, _ = await store.insert_run(new)
    await store.finish_run(run.id, Fence("m", 1), Ending(status=RunStatus.COMPLETED, at=at))


async def prune(store: SQLiteStore, before: int) -> list[int]:
    """Delete what ended before a time; each call stops when its moment is over, however few runs that were."""
    gone: list[int] = []
    while more := await store.prune_runs(finished_before=before, limit=5000):
        gone += more
    return gone


async def test_spans_go_with_their_runs(store: SQLiteStore, database: Path) -> None:
    for at in range(2100):
        await run(store, at)
    spans = [(span["first_id"], span["last_id"]) for span in rows(database, "SELECT * FROM run_spans")]
    assert spans == [(1, 1000), (1001, 2000), (2001, 2**63 - 1)]
    assert len(await prune(store, 999)) == 999
    assert len(rows(database, "SELECT * FROM run_spans")) == 3
    assert len(await prune(store, 1500)) == 501
    assert [span["first_id"] for span in rows(database, "SELECT * FROM run_spans")] == [1001, 2001]
    assert len(await prune(store, 5000)) == 600
    assert [span["first_id"] for span in rows(database, "SELECT * FROM run_spans")] == [2001]
    await run(store, 6000)
    assert await prune(store, 7000) == [2101]


async def test_old_runs_are_found_by_their_spans(database: Path, store: SQLiteStore) -> None:
    assert store.path == str(database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN\n{query('find_prunable').split(chr(10), 1)[1]}",
            {"finished_before": 1, "limit": 1, "after": 0},
        )
        assert [row[3] for row in plan] == [
            "SCAN run_spans",
            "SEARCH runs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        ]
