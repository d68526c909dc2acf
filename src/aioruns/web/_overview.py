"""Counts of runs over time and by duration, for the plots of the dashboard."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, Field

from aioruns import RunManager, RunStatus
from aioruns._values.model import LONGER_THAN

__all__ = ["MAX_HOURS", "OverviewView", "overview"]

AMONG: Final = 20_000
MAX_HOURS: Final = 24 * 366
MAX_PERIODS: Final = 60
_WIDTHS: Final = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600)
"""Possible lengths of a period in seconds: steps that people are used to reading off an axis."""


class PeriodView(BaseModel):
    """How many runs were created in a period."""

    start: datetime
    counts: dict[RunStatus, int] = Field(description="By status, zeros included.")


class JobDurationsView(BaseModel):
    """How long the runs of a job took."""

    job: str
    runs: int = Field(description="How many runs there were, including those that have not ended.")
    durations: list[int] = Field(description="How many runs fall in each class of `longer_than`.")


class OverviewView(BaseModel):
    """Runs over time, and how long they took."""

    since: datetime
    width: float = Field(description="Length of a period, in seconds.")
    periods: list[PeriodView] = Field(description="Every period until now, oldest first.")
    jobs: list[JobDurationsView] = Field(description="The jobs, by name.")
    longer_than: list[float] = Field(description="Where each class of durations begins, in seconds.")
    among: int = Field(description="The server counts at most this many of the newest runs.")


async def overview(manager: RunManager, hours: int, now: datetime) -> dict[str, Any]:
    """Count the runs of the last hours.

    Args:
        manager: The manager whose runs to count.
        hours: How far to look back; the first period begins a little earlier, at a round time.
        now: The current time, aware.
    """
    width = next((each for each in _WIDTHS if hours * 3600 <= each * MAX_PERIODS), _WIDTHS[-1])
    since = datetime.fromtimestamp((now.timestamp() - hours * 3600) // width * width, UTC)
    step = timedelta(seconds=width)
    periods = {since + number * step: dict.fromkeys(RunStatus, 0) for number in range((now - since) // step + 1)}
    jobs: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (1 + len(LONGER_THAN)))
    for count in await manager.count_runs(since=since, width=step, among=AMONG):
        if count.start in periods:  # a clock elsewhere may be ahead
            periods[count.start][count.status] += count.runs
        jobs[count.job][0] += count.runs
        if count.longer_than is not None:
            jobs[count.job][1 + LONGER_THAN.index(count.longer_than)] += count.runs
    return {
        "since": since,
        "width": width,
        "periods": [{"start": start, "counts": counts} for start, counts in periods.items()],
        "jobs": [{"job": job, "runs": runs, "durations": rest} for job, (runs, *rest) in sorted(jobs.items())],
        "longer_than": LONGER_THAN,
        "among": AMONG,
    }
