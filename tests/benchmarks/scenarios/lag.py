"""How late the event loop wakes others while runs start, and what an open manager does when there is nothing to do."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.scenarios._load import CONTESTANTS, under_load
from tests.benchmarks.scenarios._support import Report, in_child, main, sleep_long

from aioruns import RunManager

TURNS: Final = 3
"""How often the library and the bare loop take turns."""


async def _idle(path: Path, seconds: float, sleeping: int) -> tuple[float, float]:
    async with RunManager(path, shutdown_grace=0) as manager:
        for _ in range(sleeping):
            await manager.start_run(sleep_long())
        await asyncio.sleep(1.5)  # what the start has woken looks on for a second
        before = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.sleep(seconds)
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # The one wake-up that ends the sleep here is not the manager's.
    return cpu / seconds, (after.ru_nvcsw - before.ru_nvcsw - 1) / seconds


def idle(path: Path, seconds: float, sleeping: int) -> tuple[float, float]:
    """Return what part of a processor all threads of a process use that waits, and how often a second they wake up."""
    return asyncio.run(_idle(path, seconds, sleeping))


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure the lag of the event loop, the library and the bare loop taking turns; then an idle manager."""
    late: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in CONTESTANTS}
    for turn in range(TURNS):
        for contestant, found in late.items():
            found.append(in_child(under_load, contestant, folder / f"{contestant}-{turn}", 100, 5.0 if full else 0.7))
    for contestant, found in late.items():
        for figure in ("event-loop lag p50 (ms)", "event-loop lag p99 (ms)"):
            report.figures[f"{figure}, {contestant}"] = median(each[figure] for each in found)
    ours, bare = (report.figures[f"event-loop lag p99 (ms), {contestant}"] for contestant in ("ours", "limit"))
    report.at_most("event-loop lag p99 at 100 concurrent, against the bare loop", ours / bare, 2, "times")
    for sleeping, seconds in ((0, 4.0), (1, 2.0)):
        cpu, wakes = in_child(idle, folder / f"idle-{sleeping}.db", 10.0 if full else seconds, sleeping)
        label = f"{sleeping} sleeping run{'' if sleeping == 1 else 's'}"
        report.figures[f"idle CPU, {label} (%)"] = cpu * 100
        report.figures[f"idle wake-ups per second, {label}"] = wakes
    report.at_most("idle CPU", report.figures["idle CPU, 0 sleeping runs (%)"], 0.1, "%")
    report.at_most("idle wake-ups", report.figures["idle wake-ups per second, 0 sleeping runs"], 1, "per second")


if __name__ == "__main__":
    main(measure, "lag")
