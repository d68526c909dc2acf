"""Every way for a run to end, against each other and at the same moment, in thousands of schedules."""

from __future__ import annotations

import asyncio
import random
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interleaving.judge import Schedules, World

from aioruns import ManagerClosed, RunHandle, RunManager, RunStatus
from aioruns.stores.sqlite._lease import Lease
from aioruns.testing import ShuffledEventLoop, run_schedule, run_schedules

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]


@pytest.fixture
def schedules(tmp_path: Path) -> Schedules:
    return Schedules(tmp_path)


async def end_in_every_way(world: World) -> Counter[str]:
    """A function that returns or raises, its time-out, cancels from two managers, and a close; all at one moment."""
    chance = world.chance
    around = [0.0, 0.95, 1.0, 1.0, 1.0, 1.0, 1.0, 1.05]
    interrupted = chance.random() < 0.6
    async with world.open(max_running=chance.choice([None, 1])) as one, world.open() as other:
        handles: list[RunHandle[Any]] = []
        for key in ("k", "l")[: chance.randint(1, 2)]:
            call = world.work(
                seconds=1,
                turns=chance.choice([0, 3]),
                end=chance.choice(["returns", "raises", "swallows"]),
                clean_up=chance.choice([0, 0, 0.5]),
            )
            handles.append(await one.start_run(call, key=key, timeout=chance.choice([1, 1, 5])))

        async def cancel() -> None:
            await asyncio.sleep(chance.choice(around))
            await world.somewhen()
            await world.cancel(chance.choice([one, other]), chance.choice(handles).id)

        async def wait() -> None:
            manager, handle = chance.choice([one, other]), chance.choice(handles)
            await world.wait(manager, handle.id, timeout=chance.choice([None, 1, 5]))

        async def close() -> None:
            await asyncio.sleep(chance.choice(around))
            await world.somewhen()
            if interrupted:
                await world.close(one)

        tasks = [world.task(cancel()) for _ in range(chance.randint(0, 3))]
        tasks += [world.task(wait()) for _ in range(2)] + [world.task(close())]
        await world.finish(tasks)
        if one._lifespan._closing is None:
            for handle in handles:
                await world.wait(one, handle.id)
            await world.idle()
    return world.judge(interrupted=interrupted)


async def cancel_again_and_again(world: World) -> Counter[str]:
    """Cancels of the same run by several callers, some of which are cancelled themselves, while it cleans up."""
    chance = world.chance
    async with world.open(max_running=chance.choice([None, 1])) as one, world.open() as other:
        handles = [
            await one.start_run(world.work(seconds=1, clean_up=0.5, end=chance.choice(["returns", "swallows"])))
            for _ in range(2)
        ]

        async def cancel() -> None:
            await asyncio.sleep(chance.choice([0, 0.05, 0.05, 0.5]))
            await world.somewhen()
            await world.cancel(chance.choice([one, other]), handles[0].id)

        await world.finish([world.task(cancel()) for _ in range(4)])
        runs = [await handle.wait() for handle in handles]
        for run in runs:
            world.note(run.id, run.status)
        assert runs[1].status == "completed", "C1: the other run was touched"
        await world.idle()
    return world.judge()


async def close_among_starts(world: World) -> Counter[str]:
    """A manager that opens and closes while callers start, wait and cancel; opened, closed and cancelled anywhere."""
    chance = world.chance
    one = world.manager(max_running=chance.choice([None, 1]), shutdown_grace=chance.choice([0, 0, 1]))

    async def start() -> None:
        await world.somewhen()
        try:
            handle = await one.start_run(world.some_work(), key=chance.choice(["k", None, None]))
            run = await handle.wait()
            world.note(run.id, run.status)
        except Exception as error:
            if not (isinstance(error, ManagerClosed) or type(error).__name__ in ("RunConflict", "StoreUnavailable")):
                raise

    async def close() -> None:
        await world.somewhen(200)
        await one.aclose()

    opening = world.task(one.open())
    if chance.random() < 0.7:
        await asyncio.wait((opening,))
    tasks = [world.task(start()) for _ in range(4)] + [world.task(close()) for _ in range(2)]
    await asyncio.wait((opening,))
    await world.finish(tasks)
    await world.close(one)
    async with world.open() as other:  # whatever was cancelled, the next manager finds nothing that is active
        for run in await other.list_runs():
            world.note(run.id, run.status)
            assert not run.active
    return world.judge(interrupted=True)


def lose_lock(manager: RunManager) -> None:
    """Let a living manager look dead, as it does when its lock file is deleted."""
    engine = manager._lifespan.engine
    assert engine is not None
    lease = engine.store.store._liveness.lease  # pyright: ignore[reportAttributeAccessIssue]
    if lease is not None:
        lease.abandon()


async def lose_to_a_rescuer(world: World) -> Counter[str]:
    """A living manager is taken for dead while its runs begin, execute, end and are cancelled, and while it closes."""
    chance = world.chance
    world.rescued = True
    async with world.open() as other, world.open() as one:
        handles: list[RunHandle[Any]] = []

        async def start() -> None:
            await asyncio.sleep(chance.choice([0, 1, 1.9]))
            call = world.work(seconds=chance.choice([0.1, 1, 2]), end=chance.choice(["returns", "raises", "swallows"]))
            if handle := await world.start(one, call):
                handles.append(handle)
                await world.subscribe(chance.choice([one, other]), handle.id)
                await world.wait(chance.choice([one, other]), handle.id)

        async def cancel() -> None:
            await asyncio.sleep(2)
            await world.somewhen()
            if handles:
                await world.cancel(chance.choice([one, other]), chance.choice(handles).id)

        async def close() -> None:
            await asyncio.sleep(2)
            await world.somewhen()
            await world.close(one)

        tasks = [world.task(start()) for _ in range(5)] + [world.task(cancel())]
        if chance.random() < 0.3:
            tasks.append(world.task(close()))
        await asyncio.sleep(chance.choice([0, 1, 2]))
        lose_lock(one)
        await world.finish(tasks)
        await world.idle()
    return world.judge(interrupted=True)


async def rescue_again(world: World) -> None:
    """A manager that was taken for dead starts another run, whether its lock is whole again or not, and dies."""
    world.rescued = True
    async with world.open() as other:
        one = world.manager()
        await one.open()
        first = await one.start_run(world.work(seconds=100))
        while (await other.get_run(first.id)).active:  # until it does not take the lock again in time
            lose_lock(one)
            await asyncio.sleep(0.5)
        await asyncio.sleep(world.chance.choice([0, 5]))
        second = await one.start_run(world.work(seconds=100), key="k")
        assert one._lifespan.engine is not None
        assert one._lifespan.engine._rescuer is not None
        one._lifespan.engine._rescuer.cancel()  # a dead manager takes nothing back
        lose_lock(one)
        await asyncio.sleep(5)
        assert (await other.get_run(second.id)).status is RunStatus.INTERRUPTED
        assert await other.get_active_run("k") is None
        await one.aclose()
    world.judge(interrupted=True)


async def cut_a_rescue_short(world: World, at: int) -> None:
    """A rescue is cancelled at an await, as by a close; the next one, in the same process, finds what is left of it."""
    world.rescued = True
    async with world.open() as dead, world.open() as rescuer:
        run = await dead.start_run(world.work(seconds=100), key="k")
        assert dead._lifespan.engine is not None
        assert dead._lifespan.engine._rescuer is not None
        dead._lifespan.engine._rescuer.cancel()
        lose_lock(dead)
        assert rescuer._lifespan.engine is not None
        assert rescuer._lifespan.engine._rescuer is not None
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ShuffledEventLoop)
        loop.cancel_at(rescuer._lifespan.engine._rescuer, at)
        await asyncio.sleep(3)
        async with world.open() as other:
            assert (await other.get_run(run.id)).status is RunStatus.INTERRUPTED
    world.judge(interrupted=True)


async def leave_open(world: World) -> asyncio.AbstractEventLoop:
    """The main task ends, and the event loop is torn down around a manager that is opened, open or being closed."""
    chance = world.chance
    manager = world.manager(max_running=chance.choice([None, 1]))

    async def start() -> None:
        await world.somewhen()
        handle = await world.start(manager, world.some_work(), key=chance.choice(["k", None]))
        if handle is not None:
            await world.subscribe(manager, handle.id)

    async def close() -> None:
        await world.somewhen()
        await manager.aclose()

    opening = world.task(manager.open())
    if chance.random() < 0.8:
        await asyncio.wait((opening,))
    for _ in range(4):
        world.task(start())
    if chance.random() < 0.2:
        world.task(close())
    await world.somewhen(100)
    await asyncio.sleep(chance.choice([0, 0, 1]))
    return asyncio.get_running_loop()


async def look_again(world: World) -> None:
    """Open another manager: it finds nothing that is active."""
    async with world.open() as manager:
        for run in await manager.list_runs():
            assert not run.active


@pytest.mark.parametrize(
    "play",
    [end_in_every_way, cancel_again_and_again, close_among_starts, lose_to_a_rescuer],
    ids=lambda play: play.__name__,
)
def test_G3_G4_G8_C3_C4_T1_N1_ends_in_any_order(
    schedules: Schedules, scale: Callable[..., int], tally: Callable[..., None], play: Callable[[World], Any]
) -> None:
    scenario = schedules.scenario(play)
    tally("schedules", run_schedules(scenario, range(scale(quick=40, full=800, soak=50_000))))


def test_G8_N2_a_torn_event_loop_leaves_no_run_active_in_any_order(
    schedules: Schedules, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    for seed in range(seeds := scale(quick=40, full=800, soak=50_000)):
        with schedules.world(random.Random(seed)) as world, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loop = run_schedule(lambda _, world=world: leave_open(world), seed)
            assert not asyncio.all_tasks(loop), f"schedule {seed} has left tasks behind"
            run_schedule(lambda _, world=world: look_again(world), seed)
            world.judge(interrupted=True)
    tally("schedules", seeds)


def test_G7_R3_a_run_of_a_manager_that_was_rescued_before_is_rescued_too(schedules: Schedules) -> None:
    run_schedules(schedules.scenario(rescue_again), range(20))


def test_G7_R3_a_rescue_that_is_cancelled_at_any_await_hinders_no_other(schedules: Schedules) -> None:
    for at in range(1, 16):

        async def play(world: World, at: int = at) -> None:
            await cut_a_rescue_short(world, at)

        run_schedules(schedules.scenario(play), range(3))


def test_G7_a_lock_that_is_taken_after_it_was_abandoned_is_not_kept(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path / "runs.db"), "manager")
    lease.abandon()
    lease.acquire()
    other = Lease(str(tmp_path / "runs.db"), "manager")
    assert other.try_acquire()
    other.release()
