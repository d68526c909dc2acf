"""A batch of operations: applied in one transaction, in one order, and so that what fails fails alone."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from aioruns._values.model import Run
from aioruns.errors import LeaseLost
from aioruns.stores._operations import Append, Cancel, Claim, Finish, Insert, Op, Prune, Script
from aioruns.stores.sqlite._appending import append
from aioruns.stores.sqlite._columns import Row, run_of
from aioruns.stores.sqlite._errors import unavailable
from aioruns.stores.sqlite._multirow import finish_runs, insert_runs
from aioruns.stores.sqlite._queries import query

__all__ = ["commit"]

MOMENT: Final = 0.01
"""Seconds of a transaction in which runs are deleted: others wait meanwhile. One run is deleted in one piece."""


def commit(connection: sqlite3.Connection, ops: Sequence[Op]) -> list[Any]:
    """Apply operations in one transaction. It blocks, and is called on the database's thread.

    If one of them fails, the transaction is rolled back and each is committed by itself.

    Args:
        connection: In autocommit mode; a transaction that an earlier batch has left open is rolled back.
        ops: In the order of their coming.

    Returns:
        For each operation its answer, or the exception that it deserves.

    Raises:
        sqlite3.Error: The database is away, as ``unavailable`` says; it is not known what was stored. Or MemoryError.
    """
    if connection.in_transaction:
        connection.rollback()
    try:
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        answers = _apply(cursor, ops)
        cursor.execute("COMMIT")
    except Exception as error:
        # What made the transaction fail may make this fail too; the error to report is the first.
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        if unavailable(error, "") is not None:
            raise
        if len(ops) == 1:
            return [error]
        return [commit(connection, [op])[0] for op in ops]
    return answers


def _apply(cursor: sqlite3.Cursor, ops: Sequence[Op]) -> list[Any]:
    of: dict[type[Op], list[Any]] = {Insert: [], Claim: [], Append: [], Cancel: [], Finish: [], Prune: [], Script: []}
    for op in ops:
        of[type(op)].append(op)
    answers: dict[type[Op], Iterator[Any]] = {
        # In this order: a display is evaluated from left to right.
        Insert: iter(insert_runs(cursor, of[Insert])),
        Claim: iter([_claim(cursor, op) for op in of[Claim]]),
        Append: iter(_append_all(cursor, of[Append], of[Finish])),
        Cancel: iter([_cancel(cursor, op) for op in of[Cancel]]),
        Finish: iter(finish_runs(cursor, of[Finish])),
        Prune: iter([_prune(cursor, op) for op in of[Prune]]),
        Script: iter([_execute(cursor, op) for op in of[Script]]),
    }
    return [next(answers[type(op)]) for op in ops]


def _claim(cursor: sqlite3.Cursor, op: Claim) -> Run | None:
    values = {"run_id": op.run_id, "manager_id": op.fence.manager_id, "attempt": op.fence.attempt, "at": op.at}
    run = _run(cursor, "claim_run", values) or _run(cursor, "get_run", (op.run_id,))
    return run if run is not None and op.took(run) else None


def _append_all(cursor: sqlite3.Cursor, appends: Sequence[Append], ends: Sequence[Finish]) -> list[range | LeaseLost]:
    """Append what runs have said, with their last words; a run that may not say those may not end either."""
    said = [((op.run_id, op.fence), op.events) for op in appends]
    said += [((op.run_id, op.fence), op.ending.events) for op in ends if op.ending.events]
    if not said:
        return []
    stored = append(cursor, said)[: len(appends)]
    return [LeaseLost(op.run_id) if seqs is None else seqs for op, seqs in zip(appends, stored, strict=True)]


def _cancel(cursor: sqlite3.Cursor, op: Cancel) -> Run | None:
    values = {"run_id": op.run_id, "at": op.at, "reason": op.reason, "unless_shared": op.unless_shared}
    return _run(cursor, "request_cancel", values) or _run(cursor, "get_run", (op.run_id,))


def _prune(cursor: sqlite3.Cursor, op: Prune) -> Sequence[int]:
    until, gone = time.monotonic() + MOMENT, 0
    while not gone or (gone < len(op.run_ids) and time.monotonic() < until):
        cursor.execute(query("delete_run"), (op.run_ids[gone],))
        gone += 1
    cursor.execute(query("delete_spans"))
    return op.run_ids[:gone]  # those, too, that another process has deleted meanwhile


def _execute(cursor: sqlite3.Cursor, op: Script) -> list[list[Row]]:
    return [cursor.execute(sql, values).fetchall() for sql, values in op.statements]


def _run(cursor: sqlite3.Cursor, name: str, values: Any) -> Run | None:
    for row in cursor.execute(query(name), values).fetchall():
        return run_of(row)
    return None
