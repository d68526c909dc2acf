"""The operations that change the database, and how a batch of them is committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import aiosqlite

from aioruns._lifecycle import RunStatus
from aioruns._model import Run, to_micros
from aioruns._outbox import NewEvent
from aioruns.abc import Ending, Fence, NewRun
from aioruns.errors import LeaseLost
from aioruns.stores.sqlite._queries import Row, chunks, many, query, run_of

__all__ = ["Append", "Cancel", "Claim", "Finish", "Insert", "Op", "Script", "commit"]


@dataclass(slots=True)
class Insert:
    """Insert a run; answers with the run and whether it was inserted."""

    new: NewRun


@dataclass(slots=True)
class Claim:
    """Take a run from pending to running; answers with the run, or None."""

    run_id: int
    fence: Fence
    at: int


@dataclass(slots=True)
class Append:
    """Append events; answers with None."""

    run_id: int
    fence: Fence
    events: Sequence[NewEvent]


@dataclass(slots=True)
class Cancel:
    """Record that a run is to end; answers with the run, or None."""

    run_id: int
    at: int
    reason: str | None
    unless_shared: bool


@dataclass(slots=True)
class Finish:
    """End a run; answers with the run."""

    run_id: int
    fence: Fence
    ending: Ending


@dataclass(slots=True)
class Script:
    """Rare statements, in order; answers with the rows of each."""

    statements: Sequence[tuple[str, Sequence[Any] | Mapping[str, Any]]]


Op = Insert | Claim | Append | Cancel | Finish | Script
_Answers = list[Any]
_Group = list[tuple[int, Any]]


async def commit(connection: aiosqlite.Connection, ops: Sequence[Op]) -> _Answers:
    """Apply operations in one transaction: inserts, claims, events, cancel requests, finishes, the rest.

    A lone statement is its own transaction: one hop to the database's thread and not three.

    Returns:
        For each operation its answer, or the exception that it alone deserves.

    Raises:
        sqlite3.Error: Nothing was applied, or the answer was lost; the connection may be inside a transaction.
    """
    answers: _Answers = [None] * len(ops)
    groups: dict[type[Op], _Group] = {}
    for index, op in enumerate(ops):
        groups.setdefault(type(op), []).append((index, op))
    alone = len(groups) == 1 and _is_one_statement(ops)
    if not alone:
        await connection.execute_fetchall("BEGIN IMMEDIATE")
    for kind in (Insert, Claim):
        if kind in groups:
            await _APPLY[kind](connection, groups[kind], answers)
    await _append_all(connection, groups, answers)
    for kind in (Cancel, Finish, Script):
        if kind in groups:
            await _APPLY[kind](connection, groups[kind], answers)
    if not alone:
        await connection.execute_fetchall("COMMIT")
    return answers


def _is_one_statement(ops: Sequence[Op]) -> bool:
    if len(ops) > 1:
        return False
    match ops[0]:
        case Append(events=events):
            return len(events) == 1
        case Finish(ending=ending):
            return ending.status is not RunStatus.CANCELLED and not ending.events
        case Script(statements=statements):
            return len(statements) == 1
        case _:
            return True


async def _insert(connection: aiosqlite.Connection, group: _Group, answers: _Answers) -> None:
    inserted: dict[int, int] = {}
    for chunk in chunks(group):
        values = [value for _, op in chunk for value in _columns_of(op.new)]
        inserted.update(await _fetch(connection, many("insert_run", len(chunk), 15), values))
    for index, op in group:
        new: NewRun = op.new
        if new.token in inserted:
            answers[index] = (_as_inserted(inserted[new.token], new), True)
        else:
            answers[index] = await _in_the_way(connection, new)


def _columns_of(new: NewRun) -> tuple[Any, ...]:
    return (
        new.job, new.status, new.key, new.key, new.idempotency_key, new.idempotency_key is not None,
        new.manager_id, new.token, 1, new.timeout, json.dumps(new.tags), new.triggered_by, new.arguments_json,
        new.created_at, new.created_at if new.status is RunStatus.RUNNING else None,
    )  # fmt: skip


def _as_inserted(run_id: int, new: NewRun) -> Any:
    return run_of(
        (
            run_id, new.job, new.status, new.key, new.idempotency_key, 1, new.manager_id, new.timeout,
            json.dumps(new.tags), new.triggered_by, new.arguments_json, None, None, None,
            new.created_at, new.created_at if new.status is RunStatus.RUNNING else None, None, None, None, None,
        )
    )  # fmt: skip


async def _in_the_way(connection: aiosqlite.Connection, new: NewRun) -> Any:
    """Find what an insert met: itself, earlier; its idempotency key; the holder of its key. None if that is gone."""
    for row in await _fetch(connection, query("find_inserted"), (new.manager_id, new.token)):
        return run_of(row), True
    if new.idempotency_key is not None:
        for row in await _fetch(connection, query("find_idempotent"), (new.idempotency_key,)):
            return run_of(row), False
    if new.join:
        for row in await _fetch(connection, query("share_run"), (new.key, new.job)):
            return run_of(row), False
    for row in await _fetch(connection, query("find_holder"), (new.key,)):
        return run_of(row), False
    return None


async def _claim(connection: aiosqlite.Connection, group: _Group, answers: _Answers) -> None:
    claimed: dict[int, Any] = {}
    for chunk in chunks(group):
        values = [value for _, op in chunk for value in (op.run_id, *op.fence, op.at)]
        rows = await _fetch(connection, many("claim_run", len(chunk), 4), values)
        claimed.update((row[0], run_of(row)) for row in rows)
    for index, op in group:
        run = claimed.get(op.run_id) or await _get_run(connection, op.run_id)
        answers[index] = run if run is not None and _is_claimed(run, op) else None


def _is_claimed(run: Run, op: Claim) -> bool:
    """Tell whether this claim took the run, now or when it was made before."""
    return run.active and (run.manager_id, run.attempt) == op.fence and run.started_at is not None


async def _append_all(connection: aiosqlite.Connection, groups: dict[type[Op], _Group], answers: _Answers) -> None:
    """Append the events of appends and finishes together, in the order of the operations."""
    appends = [(index, op, op.events) for index, op in groups.get(Append, ())]
    finishes = [(index, op, op.ending.events) for index, op in groups.get(Finish, ())]
    rows = [_event_values(op, event) for _, op, events in appends + finishes for event in events]
    if not rows:
        return
    cursor = await connection.executemany(query("append_event"), rows)
    if cursor.rowcount != len(rows):  # some were there already, or a fence has fallen
        for index, op, events in appends:
            if events and not await _fetch(connection, query("is_appended"), _event_values(op, events[-1])):
                answers[index] = LeaseLost(op.run_id)


def _event_values(op: Append | Finish, event: NewEvent) -> dict[str, Any]:
    return {"run_id": op.run_id, **op.fence._asdict(), **event._asdict()}


async def _get_run(connection: aiosqlite.Connection, run_id: int) -> Run | None:
    for row in await _fetch(connection, query("get_run"), (run_id,)):
        return run_of(row)
    return None


async def _cancel(connection: aiosqlite.Connection, group: _Group, answers: _Answers) -> None:
    for index, op in group:
        rows = await _fetch(
            connection,
            query("request_cancel"),
            {"run_id": op.run_id, "at": op.at, "reason": op.reason, "unless_shared": op.unless_shared},
        ) or await _fetch(connection, query("get_run"), (op.run_id,))
        answers[index] = run_of(rows[0]) if rows else None


async def _finish(connection: aiosqlite.Connection, group: _Group, answers: _Answers) -> None:
    for _, op in group:
        if op.ending.status is RunStatus.CANCELLED:
            await _begin_cancelling(connection, op)
    finished: dict[int, Any] = {}
    for chunk in chunks(group):
        values = [value for _, op in chunk for value in (op.run_id, *op.fence, *_ending_columns(op.ending))]
        rows = await _fetch(connection, many("finish_run", len(chunk), 8), values)
        finished.update((row[0], run_of(row)) for row in rows)
    for index, op in group:
        run = finished.get(op.run_id) or await _get_run(connection, op.run_id)
        answers[index] = run if run is not None and _is_ended(run, op) else LeaseLost(op.run_id)


async def _begin_cancelling(connection: aiosqlite.Connection, op: Finish) -> None:
    await _fetch(
        connection,
        query("begin_cancelling"),
        {
            "run_id": op.run_id,
            "manager_id": op.fence.manager_id,
            "attempt": op.fence.attempt,
            "at": op.ending.cancel_requested_at,
            "reason": op.ending.cancel_reason,
        },
    )


def _ending_columns(ending: Ending) -> tuple[Any, ...]:
    return (ending.status, ending.at, ending.result_json, ending.error, ending.traceback)


def _is_ended(run: Run, op: Finish) -> bool:
    """Tell whether this is the end that the run came to, now or when it was stored before."""
    at = None if run.finished_at is None else to_micros(run.finished_at, what="finished_at")
    return (run.manager_id, run.attempt) == op.fence and (run.status, at) == (op.ending.status, op.ending.at)


async def _script(connection: aiosqlite.Connection, group: _Group, answers: _Answers) -> None:
    for index, op in group:
        answers[index] = [await _fetch(connection, sql, values) for sql, values in op.statements]


async def _fetch(connection: aiosqlite.Connection, sql: str, values: Sequence[Any] | Mapping[str, Any]) -> list[Row]:
    rows = await connection.execute_fetchall(sql, values)  # pyright: ignore[reportArgumentType]
    return cast("list[Row]", rows)


_APPLY: Final[dict[type[Op], Callable[..., Any]]] = {
    Insert: _insert,
    Claim: _claim,
    Cancel: _cancel,
    Finish: _finish,
    Script: _script,
}
