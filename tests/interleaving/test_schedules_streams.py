"""Subscribers that arrive at every point of a run, of its finalisation and of a close, in thousands of schedules."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interleaving.judge import Schedules, World

from aioruns import ManagerClosed, RunEvent, RunManager, current_run
from aioruns.testing import run_schedules

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


@pytest.fixture
def schedules(tmp_path: Path) -> Schedules:
    return Schedules(tmp_path)


def stored(world: World, run_id: int, after: int) -> list[tuple[int, str, Any]]:
    rows = world.read("SELECT * FROM events WHERE run_id = ? AND seq > ? ORDER BY seq", run_id, after)
    return [(row["seq"], row["kind"], json.loads(row["data"])) for row in rows]


def told(events: list[RunEvent]) -> list[tuple[int, str, Any]]:
    return [(event.seq, event.kind, dict(event.data)) for event in events]


async def talk(world: World) -> None:
    """Say things in every way, some of them flushed."""
    ctx = current_run()
    with world._executing(ctx.id, ctx.key):
        for turn in range(world.chance.randrange(6)):
            ctx.log("info", "a line")
            ctx.set_progress(turn, 6, step=world.chance.choice(["read", "write"]))
            ctx.emit("custom", {"turn": turn})
            if world.chance.random() < 0.5:
                await ctx.flush()
            await asyncio.sleep(world.chance.choice([0, 0, 0.05]))
        if world.chance.random() < 0.3:
            raise LookupError("as asked")


async def subscribe_at_every_point(world: World) -> Counter[str]:
    """Subscribers of both managers, early, late, or just when the run ends; each is told exactly what is stored."""
    chance = world.chance
    async with world.open() as one, world.open() as other:
        # Events say nothing that the owner of the function does not: the same for every subscriber.
        handle = await one.start_run(talk(world))
        streams: list[tuple[int, list[RunEvent]]] = []

        async def subscribe(manager: RunManager) -> None:
            await asyncio.sleep(chance.choice([0, 0, 0, 0.05, 0.1]))
            await world.somewhen(100)
            after = chance.choice([0, 0, 1, 3])
            events = await world.subscribe(manager, handle.id, after=after)
            assert events is not None
            streams.append((after, events))
            run = await manager.get_run(handle.id)
            assert not run.active
            world.note(run.id, run.status)

        async def leave_early() -> None:
            await world.somewhen()
            stream = chance.choice([one, other]).stream_events(handle.id)
            async for event in stream:
                if event.seq == 2:
                    break

        async def cancel() -> None:
            await world.somewhen(200)
            await world.cancel(chance.choice([one, other]), handle.id)

        tasks = [world.task(subscribe(manager)) for manager in (one, one, one, one, one, other)]
        tasks.append(world.task(leave_early()))
        if chance.random() < 0.3:
            tasks.append(world.task(cancel()))
        await world.finish(tasks)
        await handle.wait()
        for after, events in streams:
            assert told(events) == stored(world, handle.id, after)
        await world.idle()
    return world.judge()


async def close_under_subscribers(world: World) -> Counter[str]:
    """A manager closes under its subscribers: each is told the whole stream, or a part of it and that it was closed."""
    async with world.open() as other:
        one = world.manager()
        await one.open()
        handle = await one.start_run(talk(world))

        async def subscribe(manager: RunManager) -> None:
            await world.somewhen(100)
            events: list[RunEvent] = []
            try:
                async for event in manager.stream_events(handle.id):
                    events.append(event)  # noqa: PERF401 - what was told before the manager closed counts
            except ManagerClosed:
                assert manager is one
            else:
                assert events[-1].terminal
            assert told(events) == stored(world, handle.id, 0)[: len(events)]

        async def wait() -> None:
            await world.somewhen(100)
            await world.wait(one, handle.id)

        tasks = [world.task(subscribe(manager)) for manager in (one, one, one, other)] + [world.task(wait())]
        await world.somewhen(100)
        await world.close(one)
        await world.finish(tasks)
        await world.idle()
    return world.judge(interrupted=True)


@pytest.mark.parametrize("play", [subscribe_at_every_point, close_under_subscribers], ids=lambda play: play.__name__)
def test_G6_L1_L3_L4_L5_subscribers_are_told_what_is_stored_in_any_order(
    schedules: Schedules, scale: Callable[..., int], tally: Callable[..., None], play: Callable[[World], Any]
) -> None:
    scenario = schedules.scenario(play)
    tally("schedules", run_schedules(scenario, range(scale(quick=40, full=800, soak=50_000))))
