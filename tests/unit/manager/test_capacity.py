"""max_running: first in first out, never more than allowed, and nothing is lost in line."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.insides import idle
from tests.support import Puppet, eventually, rows, statuses, turns

from aioruns import ConfigurationError, RunConflict, RunManager, job

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


@pytest.mark.parametrize("max_running", [0, -1, 1.5, "2"])
async def test_a_limit_that_makes_no_sense_is_refused(max_running: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_running must be a whole number of at least 1"):
        RunManager(max_running=max_running)


@pytest.mark.parametrize("max_running", [1, 3])
async def test_runs_wait_in_line_first_in_first_out(open_manager: Open, database: Path, max_running: int) -> None:
    manager: RunManager = await open_manager(max_running=max_running)
    running, most, order = 0, 0, []

    @job
    async def counted(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        order.append(number)
        await eventually(lambda: most == max_running)  # however late the others begin
        await turns(3)
        running -= 1
        return number

    handles = await asyncio.gather(*(manager.start_run(counted(number)) for number in range(50)))
    assert [await handle for handle in handles] == list(range(50))
    assert order == list(range(50))
    assert [handle.id for handle in handles] == list(range(1, 51))
    assert most == max_running
    begun = [row["started_at"] for row in rows(database)]
    assert begun == sorted(begun)


async def test_a_run_without_a_slot_is_pending_until_there_is_one(open_manager: Open, database: Path) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()
    await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2), key="k")
    run = await manager.get_run(second.id)
    assert (run.status, run.started_at, run.active) == ("pending", None, True)
    assert manager.current_run_id("k") == manager.current_run_id() == second.id
    with pytest.raises(RunConflict):
        await manager.start_run(puppet.job(3), key="k")
    puppet.end(1)
    await puppet.enters(2)
    run = await manager.get_run(second.id)
    assert run.status == "running"
    assert run.created_at < run.started_at
    events = [event.data["status"] for event in await manager.read_events(second.id)]
    assert events == ["pending", "running"]


async def test_a_slot_comes_back_however_a_run_ends(open_manager: Open) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()

    @job
    async def unstorable() -> object:
        return object()

    ends: list[Callable[[int, Any], Any]] = [
        lambda part, _: puppet.end(part),
        lambda part, _: puppet.fail(part, ValueError()),
        lambda part, _: puppet.fail(part, SystemExit()),
        lambda _, handle: handle.cancel(),
    ]
    for part, end in enumerate(ends):
        handle = await manager.start_run(puppet.job(part))
        await puppet.enters(part)
        assert (await manager.get_run(handle.id)).status == "running"
        result = end(part, handle)
        if inspect.isawaitable(result):
            await result
        await handle.wait()
    for call, options in ((unstorable(), {}), (puppet.job(9), {"timeout": 0.01})):
        await (await manager.start_run(call, **options)).wait()
    puppet.end(10, "the slot is there")
    assert await (await manager.start_run(puppet.job(10))) == "the slot is there"


async def test_a_slot_comes_back_from_starts_that_came_to_nothing(open_manager: Open, database: Path) -> None:
    manager, puppet = await open_manager(max_running=2), Puppet()
    await manager.start_run(puppet.job(0), key="k")
    for part in range(10):
        with pytest.raises(RunConflict):
            await manager.start_run(puppet.job(part), key="k")
        await manager.start_run(puppet.job(part), key="k", on_conflict="join")
    second = await manager.start_run(puppet.job(20))
    assert (await manager.get_run(second.id)).status == "running"
    for part in range(10):
        with pytest.raises(RunConflict):
            await manager.start_run(puppet.job(part), key="k")
    third = await manager.start_run(puppet.job(30))
    assert statuses(database)[third.id] == "pending"
    puppet.end(20)
    await puppet.enters(30)


async def test_cancelled_runs_leave_the_line(open_manager: Open) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()
    handles = [await manager.start_run(puppet.job(part)) for part in range(10)]
    for handle in handles[1:9:2]:
        await handle.cancel()
    for part in range(0, 10, 2):
        await puppet.enters(part)
        puppet.end(part)
    await puppet.enters(9)
    puppet.end(9)
    await idle(manager)
    assert puppet.entered == [0, 2, 4, 6, 8, 9]


async def test_a_function_that_does_not_end_keeps_its_slot(open_manager: Open) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()
    stuck = await manager.start_run(puppet.stubborn(1))
    await puppet.enters(1)
    waiting = await manager.start_run(puppet.job(2))
    await stuck.cancel()
    await eventually(lambda: puppet.asked == [1])
    assert (await manager.get_run(waiting.id)).status == "pending"
    puppet.end(1)
    await puppet.enters(2)


async def test_S4_arguments_are_those_of_the_start_although_the_run_waits(open_manager: Open) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()

    @job
    async def tell(value: list[int]) -> list[int]:
        return value

    await manager.start_run(puppet.job(1))
    value = [1, 2]
    handle = await manager.start_run(tell(value))
    value.append(3)
    puppet.end(1)
    assert await handle == [1, 2]
    assert (await handle.wait()).arguments == {"value": [1, 2]}


async def test_the_limit_is_each_managers_own(open_manager: Open) -> None:
    puppet = Puppet()
    for part in range(2):
        manager = await open_manager(max_running=1)
        handle = await manager.start_run(puppet.job(part))
        assert (await manager.get_run(handle.id)).status == "running"
