"""Starts in thousands of schedules: against each other, against cancels, while a run ends, in line for capacity."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interleaving.judge import Schedules, World

from aioruns import RunHandle, RunManager, RunStatus
from aioruns.testing import run_schedules

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


@pytest.fixture
def schedules(tmp_path: Path) -> Schedules:
    return Schedules(tmp_path)


async def start_at_once(world: World) -> None:
    """Several starts under one key, by two managers; the winner executes until all have their answer."""
    chance = world.chance
    async with world.open() as one, world.open() as other:
        answered = asyncio.Event()
        ids: list[int] = []

        async def execute() -> None:
            await answered.wait()

        async def start() -> None:
            await world.somewhen()
            handle = await chance.choice([one, other]).start_run(execute(), key="k")
            ids.append(handle.id)
            assert handle._manager.current_run_id("k") == handle.id

        results = await asyncio.gather(*(start() for _ in range(chance.randint(2, 4))), return_exceptions=True)
        (winner,) = ids
        conflicts = [error.active_run_id for error in results if error is not None]  # pyright: ignore[reportAttributeAccessIssue]
        assert conflicts == [winner] * (len(results) - 1)
        answered.set()
        assert (await one.wait_run(winner)).status is RunStatus.COMPLETED
        world.ends[winner] = "returned"
        await world.idle()
    world.judge()


async def start_and_give_up(world: World) -> Counter[str]:
    """Starts and joins under one key, of which some are cancelled, and cancels of what they began."""
    chance = world.chance
    async with world.open() as one, world.open(max_running=1) as other:
        handles: list[RunHandle[Any]] = []

        async def start() -> None:
            await world.somewhen()
            call = world.work(seconds=chance.choice([0.0, 1.0]), clean_up=chance.choice([0.0, 0.5]))
            on_conflict = chance.choice(["reject", "join"])
            manager = chance.choice([one, one, other])
            if handle := await world.start(manager, call, key="k", on_conflict=on_conflict):
                handles.append(handle)
                if chance.random() < 0.3:
                    await world.somewhen()
                    await world.cancel(chance.choice([one, other]), handle.id)

        async def look() -> None:
            await world.somewhen()
            await world.look(chance.choice([one, other]), "k")

        async def cancel() -> None:
            for _ in range(100):
                for row in world.read("SELECT id FROM runs ORDER BY id"):  # whoever can read it can cancel it
                    await world.cancel(chance.choice([one, other]), row["id"])
                    return
                await asyncio.sleep(0)

        tasks = [world.task(start()) for _ in range(chance.randint(2, 4))] + [world.task(look()) for _ in range(3)]
        if chance.random() < 0.3:
            tasks.append(world.task(cancel()))
        if chance.random() < 0.5:
            await world.somewhen(100)
            chance.choice(tasks).cancel()
        await world.finish(tasks)
        for handle in handles:
            await world.wait(chance.choice([one, other]), handle.id)
        await world.idle()
        assert await one.get_active_run("k") is None
    for row in world.read("SELECT * FROM runs WHERE arguments LIKE '%\"seconds\":1%' AND NOT shared"):
        if row["id"] not in world.shared:  # nobody has its handle
            assert row["status"] == "cancelled", dict(row)
    return world.judge()


async def join_what_is_given_up(world: World) -> Counter[str]:
    """A start that is cancelled, just when others join its run: those who have a handle keep the run."""
    async with world.open() as one, world.open() as other:

        async def join(manager: RunManager) -> None:
            await world.somewhen(40)
            await world.start(manager, world.work(seconds=0.3), key="k", on_conflict="join")

        starting = asyncio.create_task(world.start(one, world.work(seconds=0.3), key="k"))
        tasks = [asyncio.create_task(join(manager)) for manager in (one, other)]
        await world.somewhen(40)
        starting.cancel()
        await world.finish([starting, *tasks])
        await world.idle()
    return world.judge()


async def start_while_finishing(world: World) -> Counter[str]:
    """Starts, joins and looks, just when the function of a run ends."""
    chance = world.chance
    async with world.open() as one, world.open() as other:
        call = world.work(seconds=1, end=chance.choice(["returns", "raises"]), turns=chance.choice([0, 3]))
        first = await one.start_run(call, key="k")

        async def join() -> None:
            await asyncio.sleep(1)
            await world.somewhen()
            manager = chance.choice([one, one, other])
            on_conflict = chance.choice(["join", "join", "reject"])
            if handle := await world.start(manager, world.work(), key="k", on_conflict=on_conflict):
                run = await handle.wait()
                assert not run.active
                # Whoever joins a run whose starter went away just before gets what becomes of that.
                abandoned = run.cancel_reason == "start abandoned"
                assert run.status is (RunStatus.CANCELLED if abandoned else RunStatus.COMPLETED) or run.id == first.id
                world.note(run.id, run.status)

        async def look() -> None:
            await asyncio.sleep(1)
            await world.somewhen()
            manager = chance.choice([one, other])
            run = await manager.get_run(first.id)
            world.note(run.id, run.status)
            current = await manager.get_current_or_latest_run("k")
            assert current is not None
            world.note(current.id, current.status)
            await world.wait(manager, first.id)

        tasks = [world.task(join()) for _ in range(chance.randint(1, 3))] + [world.task(look())]
        await world.finish(tasks)
        await world.idle()
    return world.judge()


async def wait_in_line(world: World) -> Counter[str]:
    """Runs that wait for capacity, some of which are cancelled while they wait or just when they may begin."""
    chance = world.chance
    async with world.open(max_running=chance.randint(1, 2)) as one, world.open() as other:
        handles: list[RunHandle[Any]] = []

        async def start() -> None:
            key = chance.choice(["k", "l", None, None])
            if handle := await world.start(one, key=key, idempotency_key=chance.choice(["once", None, None])):
                handles.append(handle)

        async def cancel() -> None:
            # 0.98 is noticed by the other manager at 1, when functions end and the next ones begin.
            await asyncio.sleep(chance.choice([0, 0, 0.98, 1]))
            await world.somewhen()
            if handles:
                await world.cancel(chance.choice([one, other]), chance.choice(handles).id)

        tasks = [world.task(start()) for _ in range(5)] + [world.task(cancel()) for _ in range(4)]
        await world.finish(tasks)
        for handle in handles:
            await world.wait(chance.choice([one, other]), handle.id)
        await world.idle()
    assert len(world.read("SELECT * FROM runs WHERE idempotency_key = 'once'")) <= 1
    return world.judge()


async def call_plain_functions(world: World) -> Counter[str]:
    """Jobs that are plain functions, started, joined and cancelled."""
    chance = world.chance
    async with world.open(max_running=chance.choice([None, 1])) as one:

        async def start() -> None:
            await world.somewhen()
            handle = await world.start(one, world.plain(), key=chance.choice(["k", None]), on_conflict="reject")
            if handle is not None and chance.random() < 0.5:
                await world.somewhen()
                await world.cancel(one, handle.id)

        tasks = [world.task(start()) for _ in range(3)]
        await world.finish(tasks)
        await world.idle()
    return world.judge()


@pytest.mark.parametrize(
    "play",
    [
        start_at_once,
        start_and_give_up,
        join_what_is_given_up,
        start_while_finishing,
        wait_in_line,
        call_plain_functions,
    ],
    ids=lambda play: play.__name__,
)
def test_G1_G2_S1_S3_X1_C9_starts_under_one_key_in_any_order(
    schedules: Schedules, scale: Callable[..., int], tally: Callable[..., None], play: Callable[[World], Any]
) -> None:
    scenario = schedules.scenario(play)
    tally("schedules", run_schedules(scenario, range(scale(quick=40, full=800, soak=50_000))))
