"""A caller that is cancelled at any turn of the event loop while its start is under way, in every way there is."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.insides import idle
from tests.support import Puppet, hold_answer, rows, turns

from aioruns import RunHandle, RunManager, job
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Start = Callable[[], Coroutine[Any, Any, RunHandle[Any]]]
GivesUp = Callable[[Start, int], Awaitable[RunHandle[Any] | None]]


async def by_task_cancel(start: Start, turn: int) -> RunHandle[Any] | None:
    task = asyncio.create_task(start())
    await turns(turn)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await task
    return None


async def by_timeout(start: Start, turn: int) -> RunHandle[Any] | None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as scope:
            async with _after(turn, lambda: scope.reschedule(-math.inf)):
                return await start()
    return None


async def by_anyio_scope(start: Start, turn: int) -> RunHandle[Any] | None:
    with anyio.CancelScope() as scope:
        async with _after(turn, scope.cancel):
            return await start()
    return None


async def by_anyio_deadline(start: Start, turn: int) -> RunHandle[Any] | None:
    with anyio.move_on_after(math.inf) as scope:
        async with _after(turn, lambda: setattr(scope, "deadline", -math.inf)):
            return await start()
    return None


@contextlib.asynccontextmanager
async def _after(turn: int, act: Callable[[], object]) -> AsyncIterator[None]:
    async def wait_and_act() -> None:
        await turns(turn)
        act()

    task = asyncio.create_task(wait_and_act())
    try:
        yield
    finally:
        task.cancel()


WAYS = [by_task_cancel, by_timeout, by_anyio_scope, by_anyio_deadline]
every_way = pytest.mark.parametrize("give_up", WAYS, ids=lambda way: way.__name__)


def sweep() -> Iterator[tuple[int, Callable[[bool], None]]]:
    """Count turns up, one by one at first, until the start has returned three times in a row.

    How many turns that takes is not fixed: part of a start happens on another thread.
    """
    turn = returned = 0

    def note(has_returned: bool) -> None:
        nonlocal returned
        returned = returned + 1 if has_returned else 0

    while returned < 3:
        yield turn, note
        turn += max(1, turn // 8 - 5)
    assert turn > 3, "the start was never cancelled in time"


@job
async def quick() -> str:
    return "done"


def newest(database: Path, known: int) -> dict[str, Any] | None:
    found = rows(database, "SELECT * FROM runs WHERE id > ? ORDER BY id", known)
    assert len(found) <= 1
    return dict(found[0]) if found else None


@every_way
async def test_S3_a_start_cancelled_at_any_turn_leaves_no_row_or_a_cancelled_one(
    manager: RunManager, database: Path, give_up: GivesUp
) -> None:
    puppet, known, abandoned = Puppet(), 0, 0
    for turn, note in sweep():
        handle = await give_up(partial(manager.start_run, puppet.job(turn), key="k"), turn)
        note(handle is not None)
        if handle is not None:
            assert manager.current_run_id("k") == handle.id
            await handle.cancel()
        await idle(manager)

        if (row := newest(database, known)) is not None:
            assert row["status"] == "cancelled"
            assert row["cancel_reason"] == (None if handle else "start abandoned")
            abandoned += handle is None
        after = await manager.start_run(quick(), key="k")
        assert await after == "done"
        known = after.id
    assert abandoned


@every_way
async def test_S3_a_start_cancelled_while_its_run_waits_for_capacity_leaves_nothing_in_line(
    open_manager: Any, database: Path, give_up: GivesUp
) -> None:
    manager: RunManager = await open_manager(max_running=1)
    puppet = Puppet()
    first = await manager.start_run(puppet.job(-1))
    known = first.id
    for turn, note in sweep():
        handle = await give_up(partial(manager.start_run, puppet.job(turn), key="k"), turn)
        note(handle is not None)
        if handle is not None:
            await handle.cancel()
        await idle(manager, runs=1)

        if (row := newest(database, known)) is not None:
            assert (row["status"], row["started_at"]) == ("cancelled", None)
            assert row["cancel_reason"] == (None if handle else "start abandoned")
            known = row["id"]
    last = await manager.start_run(quick(), key="k")
    puppet.end(-1)
    assert await last == "done"
    assert puppet.entered == [-1]


@every_way
async def test_S3_a_cancelled_start_with_an_idempotency_key_goes_on(
    manager: RunManager, database: Path, give_up: GivesUp
) -> None:
    puppet = Puppet()
    for turn, note in sweep():
        start = partial(manager.start_run, puppet.job(turn), key=f"k{turn}", idempotency_key=f"i{turn}")
        handle = await give_up(start, turn)
        note(handle is not None)
        again = await start()
        if handle is not None:
            assert again.id == handle.id
        puppet.end(turn, turn)
        assert await again == turn
    assert {row["status"] for row in rows(database)} == {"completed"}
    assert len(puppet.entered) == len(set(puppet.entered)) == len(rows(database))


@every_way
async def test_S3_a_cancelled_start_goes_on_for_a_start_that_has_joined_it(
    manager: RunManager, database: Path, give_up: GivesUp
) -> None:
    puppet = Puppet()
    for turn, note in sweep():
        start = partial(manager.start_run, puppet.job(turn), key=f"k{turn}", on_conflict="join")
        giving_up = asyncio.ensure_future(give_up(start, turn))
        await turns(1)
        joined = await start()
        handle = await giving_up
        note(handle is not None)
        if handle is not None:
            assert joined.id == handle.id
        puppet.end(turn, turn)
        assert await joined == turn
    assert {row["status"] for row in rows(database)} == {"completed"}


@every_way
async def test_S3_a_cancelled_joiner_takes_nobodys_run_away(
    manager: RunManager, database: Path, give_up: GivesUp
) -> None:
    puppet = Puppet()
    first = await manager.start_run(puppet.job(0), key="k")
    for turn, note in sweep():
        handle = await give_up(partial(manager.start_run, puppet.job(1), key="k", on_conflict="join"), turn)
        note(handle is not None)
    puppet.end(0, "kept")
    assert await first == "kept"
    assert puppet.entered == [0]


@every_way
async def test_S3_a_bare_coroutine_whose_start_was_cancelled_is_closed(
    manager: RunManager, database: Path, give_up: GivesUp
) -> None:
    """Python would warn about a coroutine that was never awaited, and warnings are errors here."""

    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    for turn, note in sweep():
        coroutine = work()
        handle = await give_up(partial(manager.start_run, coroutine, key="k"), turn)
        note(handle is not None)
        if handle is not None:
            await handle.cancel()
        elif turn == 0:
            coroutine.close()  # the body of start_run was never entered
        await idle(manager)
        assert coroutine.cr_frame is None


@every_way
async def test_G1_a_row_whose_insert_is_answered_after_the_caller_has_gone_is_cancelled(
    open_manager: Any, database: Path, give_up: GivesUp
) -> None:
    store = SQLiteStore(database)
    manager: RunManager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    puppet = Puppet()
    going = asyncio.ensure_future(give_up(partial(manager.start_run, puppet.job(1), key="k"), 1000))
    await gate.reached.wait()
    assert [row["status"] for row in rows(database)] == ["running"]
    assert await going is None
    gate.open()
    await idle(manager)

    [row] = rows(database)
    assert (row["status"], row["cancel_reason"]) == ("cancelled", "start abandoned")
    assert await (await manager.start_run(quick(), key="k")) == "done"


@pytest.mark.parametrize("shared_by", ["idempotency key", "joiner"])
async def test_G1_a_shared_row_whose_insert_is_answered_after_the_caller_has_gone_goes_on(
    open_manager: Any, database: Path, shared_by: str
) -> None:
    store = SQLiteStore(database)
    manager: RunManager = await open_manager(store)
    gate = hold_answer(store, "insert_run")
    puppet = Puppet()
    name = "i" if shared_by == "idempotency key" else None
    first = asyncio.create_task(manager.start_run(puppet.job(1), key="k", idempotency_key=name))
    await gate.reached.wait()
    second = asyncio.create_task(
        manager.start_run(puppet.job(2), key="k", idempotency_key=name, on_conflict="reject" if name else "join")
    )
    await turns(5)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open()
    puppet.end(1, "shared")
    assert await (await second) == "shared"
    assert puppet.entered == [1]
