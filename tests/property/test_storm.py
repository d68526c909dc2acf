"""Many callers at once, on two managers of one file: keys stay exclusive, and every row tells what its function did."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.insides import idle
from tests.support import eventually, is_path, rows, turns

from aioruns import (
    ManagerClosed,
    RunAlreadyFinished,
    RunConflict,
    RunFailed,
    RunHandle,
    RunManager,
    RunStatus,
    StoreUnavailable,
    current_run,
    job,
)

pytestmark = pytest.mark.asyncio

KEYS = ["a", "b", "c", None]


class Storm:
    """Callers that start, join, give up, cancel and wait as chance has it."""

    def __init__(self, managers: list[RunManager], seed: int) -> None:
        self.managers = managers
        self.chance = random.Random(seed)
        self.executing: dict[str, int] = {}
        self.entered: list[int] = []
        self.ends: dict[int, str] = {}
        self.known: list[RunHandle[Any]] = []
        self.closing = False
        self.work = job(name="work")(self._work)

    async def _work(self, length: int, stubborn: bool, fails: bool) -> int:
        ctx = current_run()
        self.entered.append(ctx.id)
        if ctx.key is not None:
            assert ctx.key not in self.executing, f"runs {ctx.id} and {self.executing[ctx.key]} hold {ctx.key} at once"
            self.executing[ctx.key] = ctx.id
        self.ends[ctx.id] = "raised"
        try:
            for _ in range(length):
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    if not stubborn:
                        raise
            if fails:
                raise LookupError("as chance has it")
            self.ends[ctx.id] = "returned"
            return ctx.id
        finally:
            if ctx.key is not None:
                del self.executing[ctx.key]

    async def caller(self, steps: int) -> None:
        chance = self.chance
        for _ in range(steps):
            act = chance.choice([self.start, self.start, self.start, self.give_up, self.cancel, self.wait])
            try:
                await act()
            except (ManagerClosed, StoreUnavailable):
                assert self.closing
            await turns(chance.randrange(30))

    def starting(self) -> Any:
        chance = self.chance
        key = chance.choice(KEYS)
        call = self.work(chance.randrange(80), chance.random() < 0.3, chance.random() < 0.2)
        joins = key is not None and chance.random() < 0.3
        return chance.choice(self.managers).start_run(call, key=key, on_conflict="join" if joins else "reject")

    async def start(self) -> None:
        try:
            self.known.append(await self.starting())
        except RunConflict as conflict:
            assert conflict.active_run_id > 0

    async def give_up(self) -> None:
        task = asyncio.create_task(self.starting())
        await turns(self.chance.randrange(60))
        task.cancel()
        with contextlib.suppress(RunConflict, asyncio.CancelledError):
            self.known.append(await task)

    async def cancel(self) -> None:
        if self.known:
            handle, manager = self.chance.choice(self.known), self.chance.choice(self.managers)
            with contextlib.suppress(RunAlreadyFinished):
                assert (await manager.cancel_run(handle.id)).id == handle.id

    async def wait(self) -> None:
        if self.known:
            handle = self.chance.choice(self.known)
            run = await handle.wait()
            assert not run.active
            with contextlib.suppress(RunFailed):
                if run.status is RunStatus.COMPLETED:
                    assert await handle == handle.id


async def check(database: Path, storm: Storm, reader: RunManager) -> list[str]:
    """Compare what is stored with what the functions did; return how the runs ended."""
    assert len(storm.entered) == len(set(storm.entered)), "a function was called twice"
    assert storm.executing == {}
    stored = rows(database)
    asked = {"cancelled", "interrupted"} if storm.closing else {"cancelled"}
    expected = {"returned": {"completed"}, "raised": {"failed"} | asked, "never entered": asked}
    for row in stored:
        end = storm.ends.get(row["id"], "never entered")
        assert row["status"] in expected[end], f"run {row['id']}: {end}, but {row['status']}"
        assert (row["status"] == "cancelled") <= (row["cancel_requested_at"] is not None)
        events = rows(database, "SELECT * FROM events WHERE run_id = ? ORDER BY seq", row["id"])
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    for run_id in (row["id"] for row in stored):
        events = await reader.read_events(run_id)
        path = [RunStatus(event.data["status"]) for event in events if event.kind == "status"]
        assert is_path(path)
        assert events[-1].terminal
    return [row["status"] for row in stored]


@pytest.mark.parametrize("seed", range(6))
async def test_G2_G3_T1_a_storm_of_callers_leaves_only_the_truth(
    open_manager: Callable[..., Any], database: Path, seed: int
) -> None:
    managers = [await open_manager(max_running=3), await open_manager()]
    storm = Storm(managers, seed)
    async with asyncio.TaskGroup() as callers:
        for _ in range(15):
            callers.create_task(storm.caller(12))
    for manager in managers:
        await idle(manager)
    ends = await check(database, storm, managers[0])
    assert len(ends) > 20
    assert len(set(ends)) > 1


@pytest.mark.parametrize("seed", range(6))
async def test_G8_N2_a_manager_that_closes_in_a_storm_leaves_only_the_truth(
    open_manager: Callable[..., Any], database: Path, seed: int
) -> None:
    managers = [await open_manager(max_running=3), await open_manager()]
    storm = Storm(managers, seed)
    async with asyncio.TaskGroup() as callers:
        for _ in range(15):
            callers.create_task(storm.caller(12))
        await eventually(lambda: len(storm.entered) > seed % 6 * 4)
        storm.closing = True
        await managers[0].aclose()
    await idle(managers[1])
    await check(database, storm, managers[1])
    assert rows(database, "SELECT * FROM runs WHERE finished_at IS NULL") == []
