"""Counting runs through the manager: what is asked is checked, and what is given can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import Puppet

from aioruns import ConfigurationError, ManagerClosed, Run, RunManager, job
from aioruns._values.model import LONGER_THAN

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]
HOUR = timedelta(hours=1)


@job
async def quick(*, fails: bool = False) -> None:
    if fails:
        raise ValueError("no")


def duration_class(run: Run) -> float | None:
    """Return the seconds from which on the class of a run's duration counts; None while it executes."""
    if run.started_at is None or run.finished_at is None:
        return None
    return max(bound for bound in LONGER_THAN if bound <= (run.finished_at - run.started_at).total_seconds())


async def test_runs_are_counted_by_what_they_are_and_how_they_ended(open_manager: Open) -> None:
    manager: RunManager = await open_manager()
    puppet, since = Puppet(), datetime.now(UTC) - timedelta(minutes=1)
    for fails in (True, False, False):
        await (await manager.start_run(quick(fails=fails))).wait()
    handle = await manager.start_run(puppet.job(1))
    counts = await manager.count_runs(since=since, width=HOUR)
    assert {each.start for each in counts} == {since}
    assert all(each.start.utcoffset() == timedelta(0) for each in counts)
    runs = Counter((run.job, run.status, duration_class(run)) for run in await manager.list_runs())
    assert {(each.job, each.status, each.longer_than): each.runs for each in counts} == runs
    assert Counter(job for job, _, _ in runs.elements()) == {"quick": 3, puppet.job.name: 1}
    assert await manager.count_runs(since=datetime.now(UTC) + HOUR, width=HOUR) == []
    assert sum(each.runs for each in await manager.count_runs(since=since, width=HOUR, among=2)) == 2
    puppet.end(1)
    await handle


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"since": datetime(2024, 5, 6)}, "naive"),  # noqa: DTZ001
        ({"width": timedelta(0)}, "width"),
        ({"width": -HOUR}, "width"),
        ({"among": 0}, "among"),
        ({"among": 1_000_001}, "among"),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused(open_manager: Open, asked: dict[str, Any], why: str) -> None:
    manager: RunManager = await open_manager()
    with pytest.raises(ConfigurationError, match=why):
        await manager.count_runs(**{"since": datetime.now(UTC), "width": HOUR, **asked})


async def test_a_closed_manager_counts_nothing(open_manager: Open) -> None:
    manager: RunManager = await open_manager()
    await manager.aclose()
    with pytest.raises(ManagerClosed):
        await manager.count_runs(since=datetime.now(UTC), width=HOUR)
