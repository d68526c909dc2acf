"""Cancel, completion, failure, time-out and closing in every order: one end, and the true one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import Puppet, eventually, hold_answer, hold_call, rows, statuses, turns

from aioruns import RunAlreadyFinished, RunCancelled, RunManager, job
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


async def history(manager: RunManager, run_id: int) -> list[str]:
    """Read which statuses a run has had."""
    return [event.data["status"] for event in await manager.read_events(run_id) if event.kind == "status"]


# C3: of any interleaving of cancel and the function's own end, exactly one terminal update succeeds.


@pytest.mark.parametrize("end", ["returns", "raises"])
async def test_C3_a_cancel_at_any_turn_of_a_runs_life_meets_exactly_one_end(
    manager: RunManager, database: Path, end: str
) -> None:
    @job
    async def ends_by_itself() -> str:
        await turns(10)
        if end == "raises":
            raise ValueError("by itself")
        return "by itself"

    seen: set[str] = set()
    turn = 0
    while True:
        handle = await manager.start_run(ends_by_itself(), key="k")
        await turns(turn)
        try:
            answer = await handle.cancel()
        except RunAlreadyFinished as refusal:
            answer = refusal.run
            assert answer.status in ("completed", "failed")
            assert answer.cancel_requested_at is None
            break
        run = await handle.wait()
        seen.add(run.status)
        path = await history(manager, handle.id)
        assert path in [
            ["running", "cancelling", "cancelled"],
            ["running", "cancelling", "completed" if end == "returns" else "failed"],
        ]
        assert path[-1] == run.status
        assert run.cancel_requested_at is not None
        turn += 1
    assert "cancelled" in seen
    assert set(statuses(database).values()) <= {"cancelled", "completed", "failed"}


@pytest.mark.parametrize("status", ["completed", "failed"])
async def test_C3_a_function_that_ended_before_the_request_keeps_its_end(
    open_manager: Open, database: Path, status: str
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    gate = hold_call(store, "finish_run")
    puppet.end(1, "done") if status == "completed" else puppet.fail(1, ValueError("by itself"))
    await gate.reached.wait()
    assert (await handle.cancel(reason="too late")).status == "cancelling"
    gate.open()
    run = await handle.wait()
    assert run.status == status
    assert await history(manager, 1) == ["running", "cancelling", status]


async def test_C3_a_cancel_that_comes_behind_the_stored_end_is_told_so(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    gate = hold_answer(store, "finish_run")
    puppet.end(1, "done")
    await gate.reached.wait()
    assert statuses(database) == {1: "completed"}
    with pytest.raises(RunAlreadyFinished) as refusal:
        await handle.cancel()
    assert refusal.value.run.status == "completed"
    gate.open()
    assert await handle == "done"


async def test_C3_a_request_whose_record_comes_behind_the_end_that_it_caused_has_succeeded(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    gate = hold_call(store, "request_cancel")
    cancel = asyncio.create_task(handle.cancel(reason="please"))
    run = await handle.wait()
    assert (run.status, run.cancel_reason) == ("cancelled", "please")
    assert await history(manager, 1) == ["running", "cancelling", "cancelled"]
    gate.open()
    assert await cancel == run


@pytest.mark.parametrize("recorded", ["by the request", "by the end"])
async def test_C3_of_two_requests_the_first_is_recorded(open_manager: Open, database: Path, recorded: str) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    handle = await manager.start_run(puppet.stubborn(1))
    await puppet.enters(1)
    gate = hold_call(store, "request_cancel")
    requests = [asyncio.create_task(handle.cancel(reason=reason)) for reason in ("first", "second")]
    await eventually(lambda: puppet.asked)
    if recorded == "by the request":
        gate.open()
        first, second = await asyncio.gather(*requests)
        assert first.cancel_requested_at == second.cancel_requested_at
    puppet.fail(1, RuntimeError("enough"))
    run = await handle.wait()
    assert (run.status, run.cancel_reason) == ("cancelled", "first")
    gate.open()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    if recorded == "by the end":
        assert answers[0] == run
        assert isinstance(answers[1], RunAlreadyFinished)


# T1: terminal rows are immutable, whatever comes.


async def test_T1_nothing_changes_a_row_that_has_ended(open_manager: Open, database: Path) -> None:
    manager, other = await open_manager(), await open_manager()
    puppet = Puppet()
    for part, end in enumerate((puppet.end, lambda part: puppet.fail(part, ValueError()), None), 1):
        handle = await manager.start_run(puppet.job(part), key="k")
        await puppet.enters(part)
        await handle.cancel() if end is None else end(part)
        await handle.wait()
    before = [tuple(row) for row in rows(database)]
    assert [row[2] for row in before] == ["completed", "failed", "cancelled"]
    for each in (manager, other):
        for run_id in (1, 2, 3):
            with pytest.raises(RunAlreadyFinished):
                await each.cancel_run(run_id)
    await manager.aclose()
    await other.aclose()
    assert [tuple(row) for row in rows(database)] == before


async def test_T1_a_run_that_was_cancelled_while_pending_is_not_claimed(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, max_running=1)
    await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2), key="k")
    gate = hold_call(store, "claim_run")
    puppet.end(1)
    await gate.reached.wait()
    run = await second.cancel()
    assert run.status == "cancelled"
    gate.open()
    with pytest.raises(RunCancelled):
        await second
    [_, row] = rows(database)
    assert (row["status"], row["started_at"]) == ("cancelled", None)
    assert puppet.entered == [1]


async def test_C9_a_run_cancelled_when_it_has_just_been_claimed_never_calls_its_function(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store, max_running=1)
    await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2))
    gate = hold_answer(store, "claim_run")
    puppet.end(1)
    await gate.reached.wait()
    assert (await second.cancel()).status == "cancelling"
    gate.open()
    assert (await second.wait()).status == "cancelled"
    assert puppet.entered == [1]


async def test_C9_a_run_cancelled_at_any_turn_of_its_promotion_never_runs_after_the_answer_cancelled(
    open_manager: Open, database: Path
) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()
    answers: set[str] = set()
    for turn in itertools.count():
        first, second = 2 * turn, 2 * turn + 1
        await manager.start_run(puppet.job(first))
        waiting = await manager.start_run(puppet.job(second))
        puppet.end(first)
        await turns(turn)
        has_entered = second in puppet.entered
        answer = await waiting.cancel()
        run = await waiting.wait()
        answers.add(answer.status)
        assert run.status == "cancelled"
        assert puppet.entered.count(second) == puppet.asked.count(second) == has_entered
        if answer.status == "cancelled":
            assert run.started_at is None
        await eventually(lambda: manager.current_run_id() is None)
        if has_entered:
            break
    assert answers == {"cancelled", "cancelling"}


@pytest.mark.parametrize("by", ["a starter that gave up", "another manager"])
async def test_C9_a_run_cancelled_while_pending_does_not_run_when_its_turn_comes_at_that_moment(
    open_manager: Open, database: Path, by: str
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager, other = await open_manager(store, max_running=1), await open_manager()
    first = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    makes_room = hold_answer(store, "finish_run", only_first=True)
    if by == "another manager":
        is_told = hold_answer(store, "changed_runs", only_first=True)
        await manager.start_run(puppet.job(2))
        await other.cancel_run(2)
    else:
        is_told = hold_answer(store, "request_cancel", only_first=True)
        inserts = hold_answer(store, "insert_run", only_first=True)
        start = asyncio.create_task(manager.start_run(puppet.job(2)))
        await inserts.reached.wait()
        start.cancel()
        inserts.open()
    await is_told.reached.wait()
    puppet.end(1)
    await makes_room.reached.wait()
    makes_room.open()
    is_told.open()
    await first
    run = await manager.wait_run(2)
    assert (run.status, run.started_at) == ("cancelled", None)
    await turns(20)
    assert puppet.entered == [1]
    puppet.end(3, "the slot is free")
    assert await (await manager.start_run(puppet.job(3))) == "the slot is free"


# Time-outs


async def test_T1_a_function_that_ended_when_its_time_was_over_keeps_its_end(
    open_manager: Open, database: Path
) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager = await open_manager(store)
    gate = hold_call(store, "finish_run")
    handle = await manager.start_run(puppet.job(1), timeout=0.02)
    await puppet.enters(1)
    puppet.end(1, "in time")
    await gate.reached.wait()
    started_at = (await manager.get_run(1)).started_at
    assert started_at is not None
    await eventually(lambda: datetime.now(UTC) > started_at + timedelta(seconds=0.04))
    gate.open()
    assert await handle == "in time"
