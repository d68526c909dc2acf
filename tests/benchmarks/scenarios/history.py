"""What a long history costs: a start, a page of a list, and starts while old runs are pruned."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.scenarios._history import BLOCK, KEYS, RARE, SPAN, build, make_history
from tests.benchmarks.scenarios._support import MILLI, Report, main
from tests.benchmarks.work import percentile

from aioruns import RunFilter, RunManager, job

ROUNDS: Final = 1
REPEATED: Final = 5
PER_SECOND: Final = 200
"""Starts per second while old runs are pruned."""


@job
async def noop(number: int) -> int:
    return number


async def starts(managers: list[RunManager], count: int) -> list[float]:
    """Start and await runs one at a time, the managers taking turns; return the p50 of a start with each."""
    took: list[list[float]] = [[] for _ in managers]
    for number in range(-20, count):
        for manager, seconds in zip(managers, took, strict=True):
            began = time.perf_counter()
            handle = await manager.start_run(noop(number))
            if number >= 0:
                seconds.append(time.perf_counter() - began)
            await handle
    return [percentile(seconds, 50) for seconds in took]


def filters(runs: int) -> dict[str, dict[str, Any]]:
    """Name filters of one field: of values that are frequent, that only the oldest runs have, and that none has."""
    now = datetime.now(UTC)
    middle = now - timedelta(seconds=SPAN * (runs // BLOCK // 2))
    oldest = now - timedelta(seconds=SPAN * (runs // BLOCK) - SPAN // 2)
    return {
        "none": {},
        "status, frequent": {"status": "completed"},
        "status, rare": {"status": "failed"},
        "status, absent": {"status": "cancelled"},
        "job, frequent": {"job": build.name},
        "job, rare": {"job": "migrate"},
        "job, absent": {"job": "absent"},
        "key, frequent": {"key": "project:1"},
        "key, rare": {"key": "project:rare"},
        "key, absent": {"key": "absent"},
        "tag, frequent": {"tags": ["nightly"]},
        "tag, rare": {"tags": ["rare"]},
        "tag, absent": {"tags": ["absent"]},
        "triggered_by, frequent": {"triggered_by": "user:1"},
        "triggered_by, rare": {"triggered_by": "operator"},
        "triggered_by, absent": {"triggered_by": "absent"},
        "created_after, half of all": {"created_after": middle},
        "created_after, none": {"created_after": now + timedelta(days=1)},
        "created_before, half of all": {"created_before": middle},
        "created_before, the oldest": {"created_before": oldest},
        "created_before, none": {"created_before": oldest - timedelta(days=1)},
    }


def combined(runs: int) -> dict[str, dict[str, Any]]:
    """Name filters of several fields; of some the fields are frequent, and no run has them together."""
    single = filters(runs)
    return {
        "status and job, frequent": single["status, frequent"] | single["job, frequent"],
        "status and job, rare": single["status, frequent"] | single["job, rare"],
        "two tags, frequent": {"tags": ["nightly", "team:3"]},
        "two tags, rare": {"tags": ["nightly", "rare"]},
        "two tags, never together": {"tags": ["team:2", "team:3"]},
        "key and triggered_by, never together": {"key": f"project:{KEYS - 1}", "triggered_by": "user:1"},
        "job and triggered_by, frequent": single["job, frequent"] | single["triggered_by, frequent"],
        "job, in the older half": single["job, frequent"] | single["created_before, half of all"],
        "job and status, never together": {"job": build.name, "status": "failed"},
    }


async def pages(manager: RunManager, wanted: dict[str, dict[str, Any]], runs: int) -> dict[str, float]:
    """Return for each filter the p50 in seconds of a page of 50: the first page or a deep one, whichever is slower."""
    found: dict[str, float] = {}
    for name, fields in wanted.items():
        for before in (None, RARE + runs // 20):
            took: list[float] = []
            for _ in range(REPEATED):
                began = time.perf_counter()
                await manager.list_runs(RunFilter(**fields), limit=50, before=before)
                took.append(time.perf_counter() - began)
            found[name] = max(found.get(name, 0.0), percentile(took, 50))
    return found


async def waits(manager: RunManager, until: asyncio.Task[Any]) -> list[float]:
    """Start runs at a steady rate until a task has ended; return the seconds that each start took."""
    took: list[float] = []

    async def start(number: int) -> None:
        began = time.perf_counter()
        await manager.start_run(noop(number))
        took.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        number = 0
        while not until.done():
            tasks.create_task(start(number))
            number += 1
            await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
    return took


async def look(folder: Path, runs: int, report: Report, *, full: bool) -> tuple[float, float, float]:
    """Look at a file with so many finished runs.

    Returns:
        The p50 of a start against that of an empty file, its milliseconds, and those of the slowest page by one field.
    """
    async with RunManager(folder / "runs.db") as manager, RunManager(folder / "empty.db") as empty:
        start, start_empty = await starts([manager, empty], 1_000 if full else 200)
        single, several = [await pages(manager, wanted, runs) for wanted in (filters(runs), combined(runs))]
    slowest = max(single.values()) * MILLI
    report.figures[f"start p50, {runs:,} runs (ms)"] = start * MILLI
    report.figures[f"start p50, {runs:,} runs, against an empty file"] = start / start_empty
    report.figures[f"slowest page by one field, {runs:,} runs (ms)"] = slowest
    report.figures[f"slowest page by several fields, {runs:,} runs (ms)"] = max(several.values()) * MILLI
    if runs >= (1_000_000 if full else 100_000):
        for name, seconds in (single | several).items():
            report.figures[f"page by {name} (ms)"] = seconds * MILLI
        report.at_most(f"start p50 with {runs:,} runs, against an empty file", start / start_empty, 1.1, "times")
        report.at_most(f"page of 50 by one field, the slowest, {runs:,} runs", slowest, 5, "ms")
        report.at_most(
            f"page of 50 by several fields, the slowest, {runs:,} runs", max(several.values()) * MILLI, 5, "ms"
        )
    return start / start_empty, start * MILLI, slowest


async def pruning(path: Path, runs: int, pruned: int, report: Report) -> None:
    """Prune the oldest runs while others start, after a while of starts without."""
    older_than = timedelta(seconds=SPAN * ((runs - pruned) // BLOCK) + SPAN // 2)
    async with RunManager(path) as manager:
        await waits(manager, asyncio.create_task(asyncio.sleep(0.5)))
        without = await waits(manager, asyncio.create_task(asyncio.sleep(3)))
        began = time.perf_counter()
        prune = asyncio.create_task(manager.prune(older_than=older_than))
        during = await waits(manager, prune)
        took = time.perf_counter() - began
    assert prune.result() == pruned + RARE
    for name, found in (("without prune", without), ("during prune", during)):
        report.figures[f"start p99 {name} (ms)"] = percentile(found, 99) * MILLI
        report.figures[f"longest start {name} (ms)"] = max(found) * MILLI
    report.figures[f"prune of {prune.result():,} runs (s)"] = took
    report.at_most(f"longest start during a prune of {pruned:,} runs", max(during) * MILLI, 50, "ms")


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure files with 0 to 100,000 finished runs and ten events each; at full effort to a million."""
    counts = (0, 10_000, 100_000, *((1_000_000,) if full else ()))
    found: dict[int, tuple[float, float, float]] = {}
    for runs in counts:
        made = folder / str(runs)
        made.mkdir()
        make_history(made / "runs.db", runs)
        found[runs] = asyncio.run(look(made, runs, report, full=full))
    asyncio.run(pruning(folder / str(counts[-1]) / "runs.db", counts[-1], 100_000 if full else 20_000, report))
    events = [(10 * runs, *values) for runs, values in found.items()]
    report.plot(
        "start by history",
        x="events in the file",
        y="start p50 (ms)",
        points=[(count, start) for count, _, start, _ in events],
        explains="A start appends to tables and to small indexes; a larger file makes their trees one level deeper.",
    )
    report.plot(
        "page by history",
        x="events in the file",
        y="slowest page of 50 by one field (ms)",
        points=[(count, page) for count, *_, page in events],
        explains="An index gives the ids that satisfy a filter, newest first: a page reads fifty, however many there"
        " are.",
    )


if __name__ == "__main__":
    main(measure, "history")
