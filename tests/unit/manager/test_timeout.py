"""Time-outs of runs, and the grace between the event and the cancellation."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
from tests.insides import grace_timer, is_told_to_end, limit_timer
from tests.support import Puppet, eventually, turns

from aioruns import RunConflict, RunFailed, RunHandle, RunManager, current_run, job

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]
SOON = 0.03


@job(timeout=SOON)
async def waits() -> None:
    await asyncio.get_running_loop().create_future()


@job
async def waits_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def fails_late(handle: RunHandle[Any], seconds: float = SOON) -> BaseException | None:
    """Expect that a run fails because its time was over; return what its function raised."""
    with pytest.raises(RunFailed) as failure:
        await handle
    run = failure.value.run
    assert run.error == f"TimeoutError: the run was still executing after {seconds:g} s"
    assert run.cancel_requested_at is None
    assert (run.finished_at - run.started_at).total_seconds() >= seconds * 0.9  # type: ignore[operator]
    cause = failure.value.__cause__
    assert isinstance(cause, TimeoutError)
    return cause.__cause__


async def test_a_jobs_own_time_out_fails_the_run(manager: RunManager) -> None:
    handle = await manager.start_run(waits(), key="k")
    assert await fails_late(handle) is None
    run = await handle.wait()
    assert run.timeout == SOON
    assert "waits" in (run.traceback or ""), "the traceback shows where the function was"
    assert manager.current_run_id("k") is None


async def test_the_time_out_of_a_start_comes_before_the_jobs_own(manager: RunManager) -> None:
    await fails_late(await manager.start_run(waits_for_ever(), timeout=0.01), 0.01)
    await fails_late(await manager.start_run(waits(), timeout=0.01), 0.01)


async def test_an_infinite_time_out_is_none(manager: RunManager) -> None:
    @job(timeout=0.001)
    async def takes_longer() -> str:
        await asyncio.sleep(0.02)
        return "done"

    @job(timeout=math.inf)
    async def has_none() -> str:
        return "done"

    for call, timeout in ((takes_longer(), math.inf), (has_none(), None)):
        handle = await manager.start_run(call, timeout=timeout)
        assert await handle == "done"
        assert (await handle.wait()).timeout is None


async def test_a_bare_coroutine_may_have_a_time_out(manager: RunManager) -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    await fails_late(await manager.start_run(work(), timeout=SOON))


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_C4_a_function_that_returns_after_its_time_was_over_is_completed(manager: RunManager, kind: str) -> None:
    puppet = Puppet()
    play = puppet.stubborn if kind == "async" else puppet.threaded
    handle = await manager.start_run(play(1), timeout=SOON)
    await puppet.enters(1)
    await eventually(lambda: is_told_to_end(manager, handle.id))
    puppet.end(1, "finished work")
    assert await handle == "finished work"
    assert (await handle.wait()).error is None


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_N5_a_function_that_does_not_end_when_its_time_is_over_keeps_its_key(
    manager: RunManager, kind: str
) -> None:
    puppet = Puppet()
    play = puppet.stubborn if kind == "async" else puppet.threaded
    handle = await manager.start_run(play(1), timeout=SOON, key="k")
    await puppet.enters(1)
    await eventually(lambda: is_told_to_end(manager, handle.id))
    with pytest.raises(RunConflict):
        await manager.start_run(waits(), key="k")
    puppet.fail(1, ValueError("too late"))
    cause = await fails_late(handle)
    assert repr(cause) == "ValueError('too late')"


async def test_a_thread_is_told_that_its_time_is_over(manager: RunManager) -> None:
    @job(timeout=SOON)
    def works() -> None:
        assert current_run().wait_cancelled(timeout=60)
        current_run().raise_if_cancelled()

    await fails_late(await manager.start_run(works()))


async def test_a_cancel_after_the_time_was_over_is_a_cancel(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.stubborn(1), timeout=0.01)
    await eventually(lambda: puppet.asked == [1])
    await handle.cancel()
    puppet.fail(1, asyncio.CancelledError())
    assert (await handle.wait()).status == "cancelled"


async def test_the_clock_starts_when_the_function_does(open_manager: Open) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()
    first = await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2), timeout=1000)
    assert limit_timer(manager, second.id) is None
    puppet.end(1)
    await first
    await puppet.enters(2)
    timer = limit_timer(manager, second.id)
    assert timer is not None
    assert 500 < timer.when() - asyncio.get_running_loop().time() < 1001
    puppet.end(2)
    await second
    assert timer.cancelled()


async def test_the_event_is_set_first_and_the_task_cancelled_after_the_grace(manager: RunManager) -> None:
    times: dict[str, float] = {}

    @job(timeout=0.01, cancel_grace=SOON)
    async def works() -> None:
        loop = asyncio.get_running_loop()
        await current_run().cancel_event.wait()
        times["event"] = loop.time()
        try:
            await loop.create_future()
        finally:
            times["task"] = loop.time()

    await fails_late(await manager.start_run(works()), 0.01)
    assert times["task"] - times["event"] >= SOON * 0.9


async def test_grace_leaves_the_task_alone_while_the_event_is_set(manager: RunManager) -> None:
    @job(cancel_grace=math.inf)
    async def reacts_to_the_event() -> str:
        try:
            await current_run().cancel_event.wait()
        except asyncio.CancelledError:
            return "cancelled"
        await turns(20)
        return "ended by itself"

    handle = await manager.start_run(reacts_to_the_event())
    await turns(5)
    await handle.cancel()
    assert await handle == "ended by itself"


async def test_the_task_is_cancelled_when_the_grace_is_over(manager: RunManager) -> None:
    grace, times = 0.03, {}

    @job(cancel_grace=grace)
    async def ignores_the_event() -> None:
        loop = asyncio.get_running_loop()
        await current_run().cancel_event.wait()
        times["event"] = loop.time()
        try:
            await loop.create_future()
        finally:
            times["task"] = loop.time()

    handle = await manager.start_run(ignores_the_event())
    await turns(5)
    await handle.cancel()
    assert (await handle.wait()).status == "cancelled"
    assert times["task"] - times["event"] >= grace * 0.9


async def test_R1_asking_again_within_the_grace_adds_nothing(manager: RunManager) -> None:
    puppet = Puppet()
    patient = job(cancel_grace=3600)(puppet.stubborn.function)
    handle = await manager.start_run(patient(1))
    await puppet.enters(1)
    await handle.cancel()
    timer = grace_timer(manager, handle.id)
    for _ in range(10):
        await handle.cancel()
    assert grace_timer(manager, handle.id) is timer
    assert puppet.asked == []
    puppet.end(1, "in time")
    assert await handle == "in time"
    assert timer is not None
    assert timer.cancelled()
