"""Whether what is stored and what callers were told agrees with what functions really did; and what is left behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sqlite3
from typing import Any, Final

from tests.fault.store_world import LATE, World, until
from tests.insides import is_starting, leftovers, live_runs, unstored_bytes
from tests.support import is_path, rows

from aioruns import (
    ManagerClosed,
    Run,
    RunCancelled,
    RunConflict,
    RunCount,
    RunEvent,
    RunFailed,
    RunHandle,
    RunInterrupted,
    RunManager,
    RunStatus,
)
from aioruns.stores import SQLiteStore

__all__ = ["closes", "finds_keys_free", "finds_nothing_active", "judge", "rests"]

CLOSED: Final = 20.0
"""Seconds within which a manager is closed, whatever its store does; G8."""
RESCUED: Final = "the process that executed the run ended without finishing it"


async def rests(world: World) -> None:
    """Check that nothing stays stuck: every run ends, its waiters learn how, and nothing is left in memory."""
    await until(lambda: not live_runs(world.manager) and not is_starting(world.manager), "no run is left in memory")
    await until(lambda: not world.active_rows(), "no row is active")
    assert unstored_bytes(world.manager) == 0, "events are left in an outbox"
    await until(lambda: not leftovers(world.manager), "the manager remembers nothing")
    assert world.manager.current_run_id() is None
    for label in list(world.handles):
        attempts = itertools.count(1)  # a call of these may be the one that fails
        while world.handles[label] is not None and await world.result(label) is None:
            assert next(attempts) < 2 * LATE, f"the outcome of {label} is stored, and not told"
            await asyncio.sleep(1)


async def finds_keys_free(world: World, manager: RunManager, name: str) -> None:
    """Check that a run under every key begins and ends. A call of these runs may be the one that fails."""
    for key in sorted(world.keys):
        for attempt in itertools.count(1):
            label = f"{name} under {key}, attempt {attempt}"
            answer = await world.start(label, manager=manager, key=key)
            if isinstance(answer, RunHandle):
                await world.result(label)
                break
            assert answer is None or attempt > 1, f"{key} is held: {answer!r}"
            assert attempt < 2 * LATE, f"no start under {key} succeeds"
            await asyncio.sleep(1)


async def closes(world: World) -> None:
    """Check that closing is bounded, and leaves nothing behind but functions that do not end."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.ask("closing", world.manager.aclose(), bound=10 * CLOSED)
    assert loop.time() - began < CLOSED, f"closing took {loop.time() - began:g} s"
    await asyncio.gather(*world.callers)
    await world.others.aclose()
    assert logging.getLogRecordFactory() is logging.LogRecord, "logging is still captured"
    for label, deed in world.deeds.items():
        if deed.end is None:
            assert label.startswith("stubborn"), f"the function of {label} still executes"
            assert label in [row[-1] for row in world.active_rows()], f"{label} still executes, and holds no key"
            world.gate(label).set()
    await until(lambda: not live_runs(world.manager), "no run is left in memory")


async def finds_nothing_active(world: World) -> None:
    """Check that the next manager of the file finds nothing active, or what it may rescue, and every key free."""
    async with RunManager(SQLiteStore(world.database, synchronous="normal"), shutdown_grace=0) as successor:
        assert world.active_rows() == [], "the successor finds active rows"
        assert len(rows(world.database, "SELECT * FROM managers")) == 1, "the row of a manager is left"
        locks = [path.name for path in world.database.parent.glob("*.lock")]
        assert len(locks) == 1, f"locks are left: {locks}"
        await finds_keys_free(world, successor, "a start of the successor")


def judge(world: World, *, closed: bool = False, rescued: bool = False) -> None:
    """Compare everything that is stored and was told with what functions did.

    Args:
        world: Whose.
        closed: Whether runs were left to ``aclose``.
        rescued: Whether their ends may not have been stored before it ended, so that they were rescued.
    """
    stored = {row["triggered_by"]: row for row in rows(world.database)}
    assert len(stored) == len(rows(world.database)), "a start was stored twice"
    for label, row in stored.items():
        is_rescued = row["error"] == RESCUED and (rescued or label.startswith(("orphan", "stubborn")))
        if not is_rescued:
            _check_end(world, label, row, closed=closed)
        _check_events(world, label, row, complete=not is_rescued)
    for label, answer in world.answers:
        _check_answer(world, label, answer, stored)
    for label, heard in world.heard:
        if not closed or (heard and heard[-1].terminal):
            _check_heard(world, stored[label], heard)


def _check_end(world: World, label: str, row: sqlite3.Row, *, closed: bool) -> None:
    deed, end = world.deeds.get(label), (row["status"], row["error"])
    told = f"run {label} is {row['status']} ({row['error']}), and its function {deed.end if deed else 'never began'}"
    assert row["finished_at"] is not None, told
    if deed is None:
        may = [("cancelled", None)] if label in world.asked else []
        may += [("interrupted", "the manager was closed before the run ended")] if closed else []
        if world.handles.get(label) is None:
            may.append(("failed", "the store was unavailable while the run was being started: it never began"))
        assert end in may, told
    elif deed.end == "returned":
        assert (*end, row["result"]) == ("completed", None, json.dumps(label)), told
    elif deed.end == "LookupError":
        assert end == ("failed", "LookupError: the job's own"), told
    elif label in world.asked:
        assert (*end, deed.end) == ("cancelled", None, "CancelledError"), told
    elif row["timeout"] is not None:
        assert end == ("failed", f"TimeoutError: the run was still executing after {row['timeout']:g} s"), told
    else:
        assert closed, told
        assert end == ("interrupted", "the manager was closed before the run ended"), told


def _check_events(world: World, label: str, row: sqlite3.Row, *, complete: bool) -> None:
    events = rows(world.database, "SELECT * FROM events WHERE run_id = ? ORDER BY seq", row["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), f"{label}: seq has gaps"
    path = [RunStatus(json.loads(event["data"])["status"]) for event in events if event["kind"] == "status"]
    assert is_path(path), f"{label} went {path}"
    assert (events[-1]["kind"], path[-1]) == ("status", row["status"]), f"{label} is {row['status']}, and went {path}"
    ordinals = [event["ordinal"] for event in events if event["ordinal"] is not None]
    assert ordinals == list(range(1, len(ordinals) + 1)), f"{label}: events were lost or doubled: {ordinals}"
    said, stored = world.deeds[label].said if label in world.deeds else [], world.stored_numbers(row["id"])
    assert stored == (said if complete else said[: len(stored)]), f"{label} said {said}, and {stored} is stored"


def _check_answer(world: World, label: str, answer: Any, stored: dict[str, sqlite3.Row]) -> None:
    by_id = {row["id"]: row for row in stored.values()}
    told = f"of {label} somebody was told {answer!r}"
    match answer:
        case None | ManagerClosed():
            pass
        case Run():
            assert answer.active or answer.status == by_id[answer.id]["status"], told
        case RunEvent(run_id=run_id) | RunHandle(id=run_id) | RunConflict(active_run_id=run_id):
            assert run_id in by_id, told
        case RunCount(job=job, runs=count):
            assert 1 <= count <= sum(row["job"] == job for row in by_id.values()), told
        case list():
            for each in answer:
                _check_answer(world, label, each, stored)
        case RunFailed() | RunCancelled() | RunInterrupted():
            row = by_id[answer.run.id]
            assert (answer.run.status, answer.run.error) == (row["status"], row["error"]), told
            own = isinstance(answer, RunFailed) and row["error"] == "LookupError: the job's own"
            assert not own or isinstance(answer.__cause__, LookupError), f"the job's own exception is masked: {told}"
        case _:
            handle = world.handles[label]
            assert handle is not None
            assert by_id[handle.id]["status"] == "completed", told
            assert by_id[handle.id]["triggered_by"] == answer, told


def _check_heard(world: World, row: sqlite3.Row, heard: list[RunEvent]) -> None:
    sql = "SELECT seq, kind FROM events WHERE run_id = ? ORDER BY seq"
    stored = [tuple(event) for event in rows(world.database, sql, row["id"])]
    assert [(event.seq, event.kind) for event in heard] == stored, f"of {row['triggered_by']} was heard {heard}"
