"""The overview: every period is there, at round times, and every run is counted once."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.web_support import JOBS, add, fail

from aioruns import RunManager
from aioruns.web._overview import MAX_HOURS, MAX_PERIODS, overview

pytestmark = pytest.mark.asyncio


async def test_every_period_is_there(manager: RunManager) -> None:
    now = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)
    for hours in (*range(1, 200), 24 * 30, MAX_HOURS):
        shown = await overview(manager, hours, now)
        starts = [period["start"] for period in shown["periods"]]
        width = timedelta(seconds=shown["width"])
        assert starts == [shown["since"] + number * width for number in range(len(starts))]
        assert timedelta(0) <= now - timedelta(hours=hours) - shown["since"] < width
        assert starts[-1] <= now < starts[-1] + width
        assert len(starts) <= MAX_PERIODS + 1


async def test_runs_are_counted_where_they_belong(open_manager: Callable[..., Awaitable[RunManager]]) -> None:
    manager = await open_manager(jobs=JOBS)
    for call in add(1), add(2), fail():
        await (await manager.start_run(call)).wait()
    runs = await manager.list_runs()
    shown = await overview(manager, 1, runs[0].created_at)
    for period in shown["periods"]:
        inside = [run for run in runs if 0 <= (run.created_at - period["start"]).total_seconds() < shown["width"]]
        assert {status: runs for status, runs in period["counts"].items() if runs} == {
            status: sum(run.status == status for run in inside) for status in {run.status for run in inside}
        }
    bounds = [*shown["longer_than"], float("inf")]
    for job in shown["jobs"]:
        took = [
            (run.finished_at - run.started_at).total_seconds()
            for run in runs
            if run.job == job["job"] and run.finished_at and run.started_at
        ]
        assert job["runs"] == len(took) > 0
        assert job["durations"] == [
            sum(low <= seconds < high for seconds in took) for low, high in itertools.pairwise(bounds)
        ]


async def test_runs_of_a_clock_that_is_ahead_break_nothing(open_manager: Callable[..., Awaitable[RunManager]]) -> None:
    manager = await open_manager(jobs=JOBS)
    await (await manager.start_run(add(1))).wait()
    shown = await overview(manager, 1, datetime.now(UTC) - timedelta(minutes=30))
    assert sum(sum(period["counts"].values()) for period in shown["periods"]) == 0
    assert [job["runs"] for job in shown["jobs"]] == [1]
