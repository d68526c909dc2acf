"""Inserts and ends of runs, which there are most of: those of a batch share statements of many rows.

A statement has 64, 32, … 1 rows. What it costs besides its rows is then hardly felt, and neither is the
interpreter's lock, which each statement lets go of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

from aioruns._values.model import Run
from aioruns._values.status import RunStatus
from aioruns.abc import NewRun
from aioruns.errors import LeaseLost
from aioruns.stores._operations import Finish, Insert
from aioruns.stores.sqlite._columns import INSERTED, inserted_values, run_of
from aioruns.stores.sqlite._queries import chunks, many, query

__all__ = ["finish_runs", "insert_runs"]

_WIDTH = INSERTED.count(",") + 1


def insert_runs(cursor: sqlite3.Cursor, ops: Sequence[Insert]) -> list[tuple[Run, bool]]:
    """Insert runs inside a transaction; an insert that meets something in its way answers with that."""
    answers: list[tuple[Run, bool]] = []
    for chunk in chunks(ops):
        values = list(chain.from_iterable(inserted_values(op.new) for op in chunk))
        cursor.execute(many("insert_run", len(chunk), _WIDTH, columns=INSERTED), values)
        run_ids = _inserted_ids(cursor, chunk)
        if run_ids is not None:
            answers += [(op.inserted(run_id), True) for op, run_id in zip(chunk, run_ids, strict=True)]
        else:
            answers += [_in_the_way(cursor, op.new) for op in chunk]
    return answers


def _inserted_ids(cursor: sqlite3.Cursor, chunk: Sequence[Insert]) -> range | None:
    """Tell which ids the rows of the last statement were given, in their order; None if not all were inserted.

    Ids ascend (https://sqlite.org/autoinc.html), so where the first and the last are as far apart as the rows, there
    is no other between them, and nobody needs to return them one by one.
    """
    count, last = len(chunk), cursor.lastrowid
    if cursor.rowcount != count or last is None:
        return None
    if count > 1:
        first = chunk[0].new
        ((found,),) = cursor.execute(query("find_id"), (first.manager_id, first.token)).fetchall()
        if found != last - count + 1:
            return None
    return range(last - count + 1, last + 1)


def _in_the_way(cursor: sqlite3.Cursor, new: NewRun) -> tuple[Run, bool]:
    """Find what an insert met: its own row; the run with its idempotency key; the holder of its key."""
    for row in cursor.execute(query("find_inserted"), (new.manager_id, new.token)).fetchall():
        return run_of(row), True
    if new.idempotency_key is not None:
        for row in cursor.execute(query("find_idempotent"), (new.idempotency_key,)).fetchall():
            return run_of(row), False
    if new.join:
        for row in cursor.execute(query("share_run"), (new.key, new.job)).fetchall():
            return run_of(row), False
    (holder,) = cursor.execute(query("find_holder"), (new.key,)).fetchall()
    return run_of(holder), False


def finish_runs(cursor: sqlite3.Cursor, ops: Sequence[Finish]) -> list[Run | LeaseLost]:
    """End runs inside a transaction; their last events have been appended."""
    for op in ops:
        if op.ending.status is RunStatus.CANCELLED:
            _begin_cancelling(cursor, op)
    ended: dict[int, Run] = {}
    for chunk in chunks(ops):
        values = list(chain.from_iterable(_ending_values(op) for op in chunk))
        rows = cursor.execute(many("finish_run", len(chunk), 8), values).fetchall()
        ended.update((row[0], run_of(row)) for row in rows)
    return [_as_ended(cursor, op, ended.get(op.run_id)) for op in ops]


def _begin_cancelling(cursor: sqlite3.Cursor, op: Finish) -> None:
    values = {
        "run_id": op.run_id,
        "manager_id": op.fence.manager_id,
        "attempt": op.fence.attempt,
        "at": op.ending.cancel_requested_at,
        "reason": op.ending.cancel_reason,
    }
    cursor.execute(query("begin_cancelling"), values)


def _ending_values(op: Finish) -> tuple[Any, ...]:
    ending = op.ending
    return (op.run_id, *op.fence, ending.status, ending.at, ending.result_json, ending.error, ending.traceback)


def _as_ended(cursor: sqlite3.Cursor, op: Finish, run: Run | None) -> Run | LeaseLost:
    if run is None:  # it was ended before: by this very operation, whose answer was lost, or by somebody else
        for row in cursor.execute(query("get_run"), (op.run_id,)).fetchall():
            run = run_of(row)
    return run if run is not None and op.ended(run) else LeaseLost(op.run_id)
