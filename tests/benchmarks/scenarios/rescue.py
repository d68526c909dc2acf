"""How long a manager takes to open when a process was killed with many runs executing."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import shutil
from itertools import repeat
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.scenarios._support import (
    MILLI,
    LongestTurn,
    Report,
    Stopwatch,
    in_child,
    main,
    sleep_long,
    start_all,
)

from aioruns import RunFilter, RunManager

ROUNDS: Final = 1


async def _live(path: Path, runs: int, ready: Connection) -> None:
    async with RunManager(path) as manager:
        await start_all(manager, repeat(sleep_long(), runs))
        ready.send(runs)
        await asyncio.Event().wait()


def live(path: Path, runs: int, ready: Connection) -> None:
    """Execute runs until this process is killed."""
    asyncio.run(_live(path, runs, ready))


def leave_orphans(path: Path, runs: int) -> None:
    """Start runs in another process, and kill it."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=live, args=(path, runs, there))
    process.start()
    there.close()
    here.recv()
    process.kill()
    process.join()


async def _opening(path: Path, orphans: int) -> tuple[float, float]:
    manager = RunManager(path)
    watch = Stopwatch()
    with LongestTurn(pause=0.001) as longest:
        await manager.open()
        seconds = watch.seconds
    interrupted = await manager.list_runs(RunFilter(status="interrupted"), limit=1000)
    assert len(interrupted) == min(orphans, 1000)
    await manager.aclose()
    return seconds, longest.seconds


def opening(path: Path, orphans: int) -> tuple[float, float]:
    """Open, which rescues all orphans; their warnings go to a file.

    Returns:
        The seconds that it took, and those of the longest turn of the event loop meanwhile.
    """
    logging.basicConfig(filename=path.with_suffix(".log"))
    return asyncio.run(_opening(path, orphans))


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure openings after a kill with 0 to 10,000 runs; at full effort 100,000."""
    took: dict[int, float] = {}
    held: dict[int, float] = {}
    for orphans in (0, 100, 1_000, 3_000, 10_000, *((100_000,) if full else ())):
        killed = folder / f"orphans-{orphans}"
        killed.mkdir()
        leave_orphans(killed / "runs.db", orphans)
        again: list[tuple[float, float]] = []
        for number in range(5 if full and orphans <= 10_000 else 2):
            copied = shutil.copytree(killed, folder / f"{killed.name}-{number}")
            again.append(in_child(opening, copied / "runs.db", orphans))
            shutil.rmtree(copied)
        shutil.rmtree(killed)
        took[orphans], held[orphans] = (median(column) for column in zip(*again, strict=True))
        report.figures[f"open with {orphans:,} orphans (ms)"] = took[orphans] * MILLI
        report.figures[f"longest turn of the event loop, {orphans:,} orphans (ms)"] = held[orphans] * MILLI
    report.figures["open with 10,000 orphans, against none"] = took[10_000] / took[0]
    report.at_most("rescue of 10,000 orphans at open", took[10_000], 1, "s")
    report.plot(
        "rescue",
        x="orphans",
        y="seconds until open",
        points=took.items(),
        explains="One statement ends the runs of a dead process, and a trigger adds an event to each: microseconds per"
        " run. What is left is to log a warning for each.",
    )


if __name__ == "__main__":
    main(measure, "rescue")
