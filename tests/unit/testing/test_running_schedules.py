"""Scenarios under many seeds: what fails is raised with the line that replays it."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from aioruns.testing import Deadlock, run_schedule, run_schedules


async def lose_an_update(chance: random.Random) -> int:
    """Read, wait, and write back: right only if nobody comes between."""
    count = 0

    async def add() -> None:
        nonlocal count
        before = count
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        count = before + 1

    await asyncio.gather(add(), add())
    assert count == 2, f"{count} of 2 updates"
    return count


def test_a_failure_tells_the_seed_and_the_line_that_replays_it() -> None:
    with pytest.raises(AssertionError, match="1 of 2 updates") as caught:
        run_schedules(lose_an_update, range(100))
    (note,) = caught.value.__notes__
    seed = int(note.split("run_schedule(lose_an_update, ")[1].rstrip(")"))
    assert note == f"This was schedule {seed}. It is replayed by: run_schedule(lose_an_update, {seed})"
    for _ in range(10):
        with pytest.raises(AssertionError, match="1 of 2 updates"):
            run_schedule(lose_an_update, seed)


def test_seeds_that_hold_are_counted_and_give_the_same_each_time() -> None:
    def outcome(seed: int) -> int | None:
        try:
            return run_schedule(lose_an_update, seed)
        except AssertionError:
            return None

    outcomes = [outcome(seed) for seed in range(50)]
    assert set(outcomes) == {2, None}
    assert [outcome(seed) for seed in range(50)] == outcomes
    good = [seed for seed, result in enumerate(outcomes) if result]
    assert run_schedules(lose_an_update, good) == len(good)


def test_an_error_in_a_callback_fails_the_schedule() -> None:
    async def scenario(_: random.Random) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        run_schedule(scenario, 0)


def test_a_message_of_the_event_loop_without_an_error_fails_the_schedule() -> None:
    async def scenario(_: random.Random) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "something is wrong"})

    with pytest.raises(RuntimeError, match="something is wrong"):
        run_schedule(scenario, 0)


def test_a_deadlock_is_raised_although_its_tasks_cannot_be_cancelled() -> None:
    async def swallow() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    async def scenario(_: random.Random) -> None:
        await asyncio.create_task(swallow(), name="swallows")

    with pytest.raises(Deadlock, match="nothing is ready") as caught:
        run_schedule(scenario, 0)
    assert "swallows" in str(caught.value)


def test_an_error_of_the_scenario_is_not_masked_by_that_of_its_clean_up() -> None:
    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.Event().wait()

    async def scenario(_: random.Random) -> None:
        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(1)
        assert task.done(), "the scenario's own"

    with pytest.raises(AssertionError, match="the scenario's own"):
        run_schedule(scenario, 0)


def test_garbage_is_not_collected_in_a_schedule() -> None:
    async def scenario(_: random.Random) -> bool:
        return gc.isenabled()

    assert gc.isenabled()
    assert not run_schedule(scenario, 0)
    assert gc.isenabled()
    gc.disable()
    try:
        assert not run_schedule(scenario, 0)
        assert not gc.isenabled()
    finally:
        gc.enable()
