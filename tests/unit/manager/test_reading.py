"""Reading runs and waiting for them: what is shown is what is stored."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import Puppet, rows, turns

from aioruns import ConfigurationError, Run, RunFilter, RunManager, RunNotFound, job

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


@job
async def quick(number: int = 0) -> int:
    return number


@job
async def fails() -> None:
    raise ValueError("no")


# Waiting


async def test_waiting_ends_with_the_run_as_it_is_stored(open_manager: Open) -> None:
    manager, other, puppet = await open_manager(), await open_manager(), Puppet()
    handle = await manager.start_run(puppet.job(1))
    waits = [
        handle.wait(),
        manager.wait_run(handle.id),
        manager.get_handle(handle.id).wait(),
        other.wait_run(handle.id),
    ]
    waiting = [asyncio.create_task(wait) for wait in waits]
    await turns(5)
    assert not any(each.done() for each in waiting)
    puppet.end(1, "done")
    stored = {await each for each in waiting}
    assert stored == {await manager.get_run(handle.id)}
    assert stored.pop().status == "completed"


async def test_waiting_for_too_long_raises_the_built_in_error_and_the_run_goes_on(open_manager: Open) -> None:
    manager, other, puppet = await open_manager(), await open_manager(), Puppet()
    handle = await manager.start_run(puppet.job(1))
    for wait in (handle.wait, lambda timeout: manager.wait_run(1, timeout), lambda timeout: other.wait_run(1, timeout)):
        for timeout in (0.01, 0):
            with pytest.raises(TimeoutError) as late:
                await wait(timeout=timeout)
            assert type(late.value) is TimeoutError
    assert (await manager.get_run(1)).status == "running"
    puppet.end(1, "done")
    assert (await handle.wait(timeout=math.inf)).result == "done"
    assert await handle == "done"


async def test_waiting_does_not_wait_for_what_has_ended(open_manager: Open) -> None:
    manager, other = await open_manager(), await open_manager()
    handle = await manager.start_run(quick())
    await handle
    for wait in (handle.wait, lambda timeout: manager.wait_run(1, timeout), lambda timeout: other.wait_run(1, timeout)):
        assert (await wait(timeout=5)).status == "completed"
    assert (await handle.wait(timeout=0)).status == "completed"


async def test_a_look_without_waiting_sees_that_a_run_has_ended(manager: RunManager) -> None:
    await (await manager.start_run(quick()))
    assert (await manager.wait_run(1, timeout=0)).status == "completed"


@pytest.mark.parametrize("timeout", [-1, math.nan, "1", True])
async def test_a_time_out_that_makes_no_sense_is_refused(manager: RunManager, timeout: Any) -> None:
    handle = await manager.start_run(quick())
    for wait in (handle.wait, lambda timeout: manager.wait_run(1, timeout)):
        with pytest.raises(ConfigurationError, match="timeout must be"):
            await wait(timeout=timeout)


async def test_cancelling_who_waits_leaves_the_run_alone(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)

    async def result() -> Any:
        return await handle

    waiting = [asyncio.ensure_future(each) for each in (result(), handle.wait(), manager.wait_run(1))]
    await turns(5)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    assert puppet.asked == []
    puppet.end(1, "done")
    assert await handle == "done"


async def test_a_handle_is_found_for_any_run_and_fails_when_there_is_none(manager: RunManager) -> None:
    handle = manager.get_handle(7)
    for use in (handle.wait, handle.cancel):
        with pytest.raises(RunNotFound):
            await use()
    with pytest.raises(RunNotFound):
        await handle
    with pytest.raises(RunNotFound):
        [_ async for _ in handle.events()]


# Values


async def test_V1_times_are_aware_utc_from_one_clock(manager: RunManager) -> None:
    before = datetime.now(UTC)
    handle = await manager.start_run(quick())
    run = await handle.wait()
    second = await (await manager.start_run(Puppet().job(1), timeout=0.01)).wait()
    after = datetime.now(UTC)
    for each in (run, second):
        times = [each.created_at, each.started_at, each.finished_at]
        assert {moment.tzinfo for moment in times if moment} == {UTC}
        assert times == sorted(times)  # type: ignore[type-var]
        assert before <= each.created_at
        assert each.finished_at is not None
        assert each.finished_at <= after + timedelta(milliseconds=1)
    for event in await manager.read_events(handle.id):
        assert event.at.tzinfo is UTC
        assert run.created_at <= event.at <= run.finished_at  # type: ignore[operator]


async def test_V2_a_run_that_has_not_ended_has_no_error(open_manager: Open, database: Path) -> None:
    manager, puppet = await open_manager(max_running=2), Puppet()
    for part, call in enumerate((puppet.stubborn, puppet.job, puppet.job)):
        await manager.start_run(call(part))
    await puppet.enters(1)
    await manager.cancel_run(1)
    assert [row["status"] for row in rows(database)] == ["cancelling", "running", "pending"]
    for row in rows(database):
        assert (row["error"], row["traceback"], row["result"], row["finished_at"]) == (None, None, None, None)
    puppet.end(0)


async def test_A1_current_or_latest_is_the_holder_else_the_newest_by_id(manager: RunManager) -> None:
    puppet = Puppet()
    assert await manager.get_current_or_latest_run("k") is None
    for number in range(20):
        handle = await manager.start_run(quick(number), key="k")
        await handle
        latest = await manager.get_current_or_latest_run("k")
        assert latest is not None
        assert latest.id == handle.id
        assert await manager.get_active_run("k") is None
    current = await manager.start_run(puppet.job(1), key="k")
    await (await manager.start_run(quick(), key="other"))
    found = await manager.get_current_or_latest_run("k")
    assert found == await manager.get_active_run("k") == await manager.get_run(current.id)


async def test_current_run_id_without_a_key_is_the_newest_here(open_manager: Open) -> None:
    manager, other, puppet = await open_manager(), await open_manager(), Puppet()
    handles = [await manager.start_run(puppet.job(part)) for part in range(3)]
    await puppet.enters(2)
    assert manager.current_run_id() == handles[2].id
    assert other.current_run_id() is None
    await handles[2].cancel()
    await handles[2].wait()
    assert manager.current_run_id() == handles[1].id


async def test_F4_what_a_verb_has_returned_is_visible_elsewhere(open_manager: Open, database: Path) -> None:
    manager, other, puppet = await open_manager(max_running=1), await open_manager(), Puppet()

    async def shown(run_id: int) -> tuple[str, str]:
        [row] = rows(database, "SELECT status FROM runs WHERE id = ?", run_id)
        return row["status"], (await other.get_run(run_id)).status

    first = await manager.start_run(puppet.job(1))
    assert await shown(first.id) == ("running", "running")
    second = await manager.start_run(puppet.job(2))
    assert await shown(second.id) == ("pending", "pending")
    await second.cancel()
    assert await shown(second.id) == ("cancelled", "cancelled")
    puppet.end(1)
    await first
    assert await shown(first.id) == ("completed", "completed")


# Lists


async def ids(manager: RunManager, where: RunFilter | None = None, **options: Any) -> list[int]:
    return [run.id for run in await manager.list_runs(where, **options)]


async def test_runs_are_listed_newest_first_and_page_by_page(manager: RunManager) -> None:
    for number in range(7):
        await (await manager.start_run(quick(number)))
    assert await ids(manager) == [7, 6, 5, 4, 3, 2, 1]
    assert await ids(manager, limit=3) == [7, 6, 5]
    assert await ids(manager, limit=3, before=5) == [4, 3, 2]
    assert await ids(manager, before=1) == []


async def test_a_summary_leaves_out_what_may_be_large(manager: RunManager) -> None:
    await (await manager.start_run(quick(3)))
    await (await manager.start_run(fails())).wait()
    for run, short in zip(await manager.list_runs(), await manager.list_runs(summary=True), strict=True):
        assert run.arguments_json is not None
        assert run.result_json or run.traceback
        assert short == dataclasses.replace(run, arguments_json=None, result_json=None, traceback=None)


async def test_a_filter_is_the_conjunction_of_what_it_names(manager: RunManager) -> None:
    puppet = Puppet()
    await (await manager.start_run(quick(), key="a", tags=["x", "y"], triggered_by="me")).wait()
    await (await manager.start_run(fails(), key="a", tags=["x"])).wait()
    await manager.start_run(puppet.job(1), key="b", tags=["y"])
    third = await manager.get_run(3)
    for expected, options in [
        ([2], {"status": "failed"}),
        ([3, 1], {"status": ["running", "completed"]}),
        ([1], {"job": "quick"}),
        ([2, 1], {"key": "a"}),
        ([2, 1], {"tags": ["x"]}),
        ([1], {"tags": ["y", "x"]}),
        ([1], {"triggered_by": "me"}),
        ([3], {"created_after": third.created_at}),
        ([2, 1], {"created_before": third.created_at}),
        ([], {"key": "a", "status": "running"}),
        ([], {"job": "qu%"}),
    ]:
        assert await ids(manager, RunFilter(**options)) == expected, options


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_out_of_bounds_is_refused(manager: RunManager, limit: int) -> None:
    handle = await manager.start_run(quick())
    for read in (manager.list_runs(limit=limit), manager.read_events(handle.id, limit=limit)):
        with pytest.raises(ConfigurationError, match="limit must be between 1 and 1000"):
            await read


async def test_pruning_deletes_what_ended_long_ago_and_nothing_active(manager: RunManager, database: Path) -> None:
    puppet = Puppet()
    active = await manager.start_run(puppet.job(1))
    for number in range(3):
        await (await manager.start_run(quick(number)))
    assert await manager.prune(older_than=timedelta(hours=1)) == 0
    assert await manager.prune(older_than=timedelta(0)) == 3
    assert await ids(manager) == [active.id]
    assert {row["run_id"] for row in rows(database, "SELECT run_id FROM events")} == {active.id}
    with pytest.raises(RunNotFound):
        await manager.get_run(2)
    assert (await manager.start_run(quick())).id == 5, "an id is never used again"
    with pytest.raises(ConfigurationError):
        await manager.prune(older_than=timedelta(seconds=-1))


async def test_jobs_are_found_by_name(database: Path) -> None:
    manager = RunManager(database, jobs=[quick, fails])
    assert manager.get_job("quick") is quick
    with pytest.raises(ConfigurationError, match="no job is called 'slow'; known jobs: fails, quick"):
        manager.get_job("slow")


async def test_a_run_is_a_value(manager: RunManager) -> None:
    run: Run = await (await manager.start_run(quick())).wait()
    assert run == await manager.get_run(run.id)
    with pytest.raises(AttributeError):
        run.status = "failed"  # type: ignore[misc]
