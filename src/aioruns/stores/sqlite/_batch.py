"""The operations that change the database, and how a batch of them is committed."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from msgspec import Struct

from aioruns._values.json import encode
from aioruns._values.model import Run, from_micros
from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence, NewEvent, NewRun
from aioruns.errors import LeaseLost
from aioruns.stores.sqlite._appending import append
from aioruns.stores.sqlite._errors import unavailable
from aioruns.stores.sqlite._queries import COLUMNS, Row, chunks, many, query, run_of

__all__ = ["Append", "Cancel", "Claim", "Finish", "Insert", "Op", "Prune", "Script", "commit"]


class Insert(Struct, gc=False):
    """Insert a run; answers with the run and whether it was inserted."""

    new: NewRun


class Claim(Struct, gc=False):
    """Take a run from pending to running; answers with the run, or None."""

    run_id: int
    fence: Fence
    at: int


class Append(Struct, gc=False):
    """Append events; answers with the ``seq`` of those that it stored."""

    run_id: int
    fence: Fence
    events: Sequence[NewEvent]


class Cancel(Struct, gc=False):
    """Record that a run is to end; answers with the run, or None."""

    run_id: int
    at: int
    reason: str | None
    unless_shared: bool


class Finish(Struct, gc=False):
    """End a run; answers with the run."""

    run_id: int
    fence: Fence
    ending: Ending


class Prune(Struct, gc=False):
    """Delete runs that have ended, in order, until a moment is over; answers with those that are gone, one at least."""

    run_ids: Sequence[int]


class Script(Struct, gc=False):
    """Rare statements, in order; answers with the rows of each."""

    statements: Sequence[tuple[str, Sequence[Any] | Mapping[str, Any]]]


Op = Insert | Claim | Append | Cancel | Finish | Prune | Script
_Answers = list[Any]
_Group = list[tuple[int, Any]]

MOMENT: Final = 0.01
"""Seconds of a transaction in which runs are deleted: others wait meanwhile. One run is deleted in one piece."""

_NAMES: Final = COLUMNS.split(", ")
_OWNER: Final = itemgetter(_NAMES.index("manager_id"), _NAMES.index("attempt"))
_END: Final = itemgetter(_NAMES.index("status"), _NAMES.index("finished_at"))


def commit(connection: sqlite3.Connection, ops: Sequence[Op]) -> _Answers:
    """Apply operations in one transaction: inserts, claims, events, cancel requests, finishes, the rest.

    Blocks, and is called on the database's thread: one visit for the whole batch. A lone statement is its own
    transaction. What fails in a batch fails alone: it is rolled back, and each operation is tried by itself.

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
        return _commit(connection.cursor(), ops)
    except Exception as error:
        # What made the transaction fail may make this fail too; the error to report is the first.
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        if unavailable(error, "") is not None:
            raise
        if len(ops) == 1:
            return [error]
        return [commit(connection, [op])[0] for op in ops]


def _commit(cursor: sqlite3.Cursor, ops: Sequence[Op]) -> _Answers:
    answers: _Answers = [None] * len(ops)
    groups: dict[type[Op], _Group] = {}
    for index, op in enumerate(ops):
        groups.setdefault(type(op), []).append((index, op))
    alone = len(ops) == 1 and _is_one_statement(ops[0])
    if not alone:
        cursor.execute("BEGIN IMMEDIATE")
    for kind in (Insert, Claim):
        if kind in groups:
            _APPLY[kind](cursor, groups[kind], answers)
    _append_all(cursor, groups, answers)
    for kind in (Cancel, Finish, Prune, Script):
        if kind in groups:
            _APPLY[kind](cursor, groups[kind], answers)
    if not alone:
        cursor.execute("COMMIT")
    return answers


def _is_one_statement(op: Op) -> bool:
    match op:
        case Append(events=events):
            return not events
        case Finish(ending=ending):
            return ending.status is not RunStatus.CANCELLED and not ending.events
        case Prune():
            return False
        case Script(statements=statements):
            return len(statements) == 1
        case _:
            return True


def _insert(cursor: sqlite3.Cursor, group: _Group, answers: _Answers) -> None:
    for chunk in chunks(group):
        values = tuple(chain.from_iterable(_columns_of(op.new) for _, op in chunk))
        cursor.execute(many("insert_run", len(chunk), 16), values)
        for (index, op), run_id in zip(chunk, _inserted_ids(cursor, chunk), strict=True):
            if run_id is not None:
                answers[index] = _as_inserted(run_id, op.new), True
            elif (met := _in_the_way(cursor, op.new)) is not None:
                answers[index] = met
            else:  # alone, and so in no transaction: it was gone before it could be read
                _insert(cursor, [(index, op)], answers)


def _inserted_ids(cursor: sqlite3.Cursor, chunk: Sequence[tuple[int, Insert]]) -> Sequence[int | None]:
    """Tell which ids rows were given, in their order; None for all if one of them met something in its way.

    Ids ascend (https://sqlite.org/autoinc.html), so where the first and the last are as far apart as the rows, there
    is no other between them, and nobody needs to return them one by one.
    """
    count, last = len(chunk), cursor.lastrowid
    if cursor.rowcount != count or last is None:
        return [None] * count
    if count > 1:
        first: NewRun = chunk[0][1].new
        ((found,),) = _fetch(cursor, query("find_id"), (first.manager_id, first.token))
        if found != last - count + 1:
            return [None] * count
    return range(last - count + 1, last + 1)


def _columns_of(new: NewRun) -> tuple[Any, ...]:
    return (
        new.job, new.status, new.key, new.key, new.idempotency_key, new.idempotency_key is not None,
        new.manager_id, new.token, 1, new.timeout, encode(new.tags, what="tags") if new.tags else "[]",
        new.triggered_by, new.retry_of,
        new.arguments_json, new.created_at, new.created_at if new.status is RunStatus.RUNNING else None,
    )  # fmt: skip


def _as_inserted(run_id: int, new: NewRun) -> Run:
    created_at = from_micros(new.created_at)
    return Run(
        id=run_id,
        job=new.job,
        status=new.status,
        key=new.key,
        idempotency_key=new.idempotency_key,
        manager_id=new.manager_id,
        timeout=new.timeout,
        tags=new.tags,
        triggered_by=new.triggered_by,
        retry_of=new.retry_of,
        arguments_json=new.arguments_json,
        created_at=created_at,
        started_at=created_at if new.status is RunStatus.RUNNING else None,
    )


def _in_the_way(cursor: sqlite3.Cursor, new: NewRun) -> Any:
    """Find what an insert met: itself, earlier; its idempotency key; the holder of its key. None if that is gone."""
    for row in _fetch(cursor, query("find_inserted"), (new.manager_id, new.token)):
        return run_of(row), True
    if new.idempotency_key is not None:
        for row in _fetch(cursor, query("find_idempotent"), (new.idempotency_key,)):
            return run_of(row), False
    if new.join:
        for row in _fetch(cursor, query("share_run"), (new.key, new.job)):
            return run_of(row), False
    for row in _fetch(cursor, query("find_holder"), (new.key,)):
        return run_of(row), False
    return None


def _claim(cursor: sqlite3.Cursor, group: _Group, answers: _Answers) -> None:
    claimed: dict[int, Any] = {}
    for chunk in chunks(group):
        values = [value for _, op in chunk for value in (op.run_id, *op.fence, op.at)]
        rows = _fetch(cursor, many("claim_run", len(chunk), 4), values)
        claimed.update((row[0], run_of(row)) for row in rows)
    for index, op in group:
        run = claimed.get(op.run_id) or _get_run(cursor, op.run_id)
        answers[index] = run if run is not None and _is_claimed(run, op) else None


def _is_claimed(run: Run, op: Claim) -> bool:
    """Tell whether this claim took the run, now or when it was made before."""
    return run.active and (run.manager_id, run.attempt) == op.fence and run.started_at is not None


def _append_all(cursor: sqlite3.Cursor, groups: dict[type[Op], _Group], answers: _Answers) -> None:
    """Append the events of appends and finishes together, in the order of the operations."""
    said = [((op.run_id, op.fence), op.events) for _, op in groups.get(Append, ())]
    ends = [((op.run_id, op.fence), op.ending.events) for _, op in groups.get(Finish, ()) if op.ending.events]
    if not said and not ends:
        return
    for (index, op), stored in zip(groups.get(Append, ()), append(cursor, said + ends), strict=False):
        answers[index] = LeaseLost(op.run_id) if stored is None else stored


def _get_run(cursor: sqlite3.Cursor, run_id: int) -> Run | None:
    for row in _fetch(cursor, query("get_run"), (run_id,)):
        return run_of(row)
    return None


def _cancel(cursor: sqlite3.Cursor, group: _Group, answers: _Answers) -> None:
    for index, op in group:
        rows = _fetch(
            cursor,
            query("request_cancel"),
            {"run_id": op.run_id, "at": op.at, "reason": op.reason, "unless_shared": op.unless_shared},
        ) or _fetch(cursor, query("get_run"), (op.run_id,))
        answers[index] = run_of(rows[0]) if rows else None


def _finish(cursor: sqlite3.Cursor, group: _Group, answers: _Answers) -> None:
    for _, op in group:
        if op.ending.status is RunStatus.CANCELLED:
            _begin_cancelling(cursor, op)
    ended: dict[int, Row] = {}
    for chunk in chunks(group):
        values = tuple(chain.from_iterable(_ending_columns(op) for _, op in chunk))
        ended.update((row[0], row) for row in _fetch(cursor, many("finish_run", len(chunk), 8), values))
    for index, op in group:
        row = ended.get(op.run_id) or next(iter(_fetch(cursor, query("get_run"), (op.run_id,))), None)
        answers[index] = run_of(row) if row is not None and _is_ended(row, op) else LeaseLost(op.run_id)


def _begin_cancelling(cursor: sqlite3.Cursor, op: Finish) -> None:
    _fetch(
        cursor,
        query("begin_cancelling"),
        {
            "run_id": op.run_id,
            "manager_id": op.fence.manager_id,
            "attempt": op.fence.attempt,
            "at": op.ending.cancel_requested_at,
            "reason": op.ending.cancel_reason,
        },
    )


def _ending_columns(op: Finish) -> tuple[Any, ...]:
    ending = op.ending
    return (op.run_id, *op.fence, ending.status, ending.at, ending.result_json, ending.error, ending.traceback)


def _is_ended(row: Row, op: Finish) -> bool:
    """Tell whether this is the end that the run came to, now or when it was stored before."""
    return _OWNER(row) == op.fence and _END(row) == (op.ending.status, op.ending.at)


def _prune(cursor: sqlite3.Cursor, group: _Group, answers: _Answers) -> None:
    for index, op in group:
        until, gone = time.monotonic() + MOMENT, 0
        while not gone or (gone < len(op.run_ids) and time.monotonic() < until):
            _fetch(cursor, query("delete_run"), (op.run_ids[gone],))
            gone += 1
        _fetch(cursor, query("delete_spans"), ())
        answers[index] = op.run_ids[:gone]  # those, too, that another process has deleted meanwhile


def _script(cursor: sqlite3.Cursor, group: _Group, answers: _Answers) -> None:
    for index, op in group:
        answers[index] = [_fetch(cursor, sql, values) for sql, values in op.statements]


def _fetch(cursor: sqlite3.Cursor, sql: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
    return cursor.execute(sql, values).fetchall()


_APPLY: Final[dict[type[Op], Callable[..., Any]]] = {
    Insert: _insert,
    Claim: _claim,
    Cancel: _cancel,
    Finish: _finish,
    Prune: _prune,
    Script: _script,
}
