"""What a sleeping run takes of memory, and how long many of them take to start, and to end when the manager closes."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.scenarios._support import (
    MILLI,
    LongestTurn,
    Report,
    Stopwatch,
    in_child,
    main,
    resident,
    sleep_long,
    start_all,
)

from aioruns import RunManager

ROUNDS: Final = 1
CLOSING: Final = 35
"""Seconds that closing may take without grace: what its time-outs come to."""


class Sleepers(NamedTuple):
    """What a number of sleeping runs in one process have cost.

    Attributes:
        memory: Resident bytes of each.
        starting: Seconds to start all.
        closing: Seconds to close the manager with them.
        held: Seconds of the longest turn of the event loop meanwhile.
        collecting: Seconds of the longest garbage collection meanwhile.
    """

    memory: float
    starting: float
    closing: float
    held: float
    collecting: float


async def _sleepers(path: Path, runs: int) -> Sleepers:
    manager = RunManager(path, shutdown_grace=0)
    await manager.open()
    await start_all(manager, repeat(sleep_long(), 100))
    gc.collect()
    before = resident()
    watch = Stopwatch()
    await start_all(manager, repeat(sleep_long(), runs))
    starting = watch.seconds
    gc.collect()
    taken = resident() - before
    watch = Stopwatch()
    with LongestTurn(pause=0.001) as longest:
        await manager.aclose()
    return Sleepers(taken / runs, starting, watch.seconds, longest.seconds, longest.collecting)


def sleepers(path: Path, runs: int) -> Sleepers:
    """Start runs that sleep, then close."""
    return asyncio.run(_sleepers(path, runs))


async def _allocated(path: Path, runs: int) -> float:
    async with RunManager(path, shutdown_grace=0) as manager:
        await start_all(manager, repeat(sleep_long(), 100))
        gc.collect()
        tracemalloc.start()
        await start_all(manager, repeat(sleep_long(), runs))
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return taken / runs


def allocated(path: Path, runs: int) -> float:
    """Return the bytes that Python has allocated per sleeping run."""
    return asyncio.run(_allocated(path, runs))


async def _bare(tasks: int) -> float:
    gc.collect()
    before = resident()
    sleeping = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(tasks)]
    await asyncio.sleep(0)
    gc.collect()
    taken = resident() - before
    for task in sleeping:
        task.cancel()
    await asyncio.gather(*sleeping, return_exceptions=True)
    return taken / tasks


def bare(tasks: int) -> float:
    """Return the bytes of memory of a sleeping task of asyncio."""
    return asyncio.run(_bare(tasks))


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure 1,000 to 10,000 sleeping runs in one process; at full effort 100,000."""
    counts = (1_000, 3_000, 10_000, *((30_000, 100_000) if full else ()))
    most = counts[-1]
    measured = {count: in_child(sleepers, folder / f"sleepers-{count}.db", count) for count in counts}
    report.figures["bytes allocated per sleeping run"] = in_child(allocated, folder / "allocated.db", 10_000)
    report.figures["resident bytes per sleeping task of asyncio"] = in_child(bare, most)
    for count, each in measured.items():
        report.figures[f"resident bytes per run, {count:,} runs"] = each.memory
        report.figures[f"seconds to start {count:,} runs"] = each.starting
        report.figures[f"seconds to close with {count:,} runs"] = each.closing
        report.figures[f"longest turn of the event loop, closing with {count:,} runs (ms)"] = each.held * MILLI
        report.figures[f"longest garbage collection, closing with {count:,} runs (ms)"] = each.collecting * MILLI
    all_of_them = measured[most]
    report.at_most(f"memory per sleeping run, {most:,} runs", all_of_them.memory / 1024, 4, "KiB")
    report.at_least("sleeping runs in one process", most, 100_000 if full else 10_000, "")
    report.at_most(f"closing with {most:,} sleeping runs", all_of_them.closing, CLOSING, "s")
    report.plot(
        "memory",
        x="sleeping runs",
        y="MiB resident",
        points=[(count, count * each.memory / 2**20) for count, each in measured.items()],
        explains="A run is a task, its coroutine, its state, and its row as an object: the same for each.",
    )
    report.plot(
        "closing",
        x="sleeping runs",
        y="seconds to close",
        points=[(count, each.closing) for count, each in measured.items()],
        explains="Each run is cancelled and stored as interrupted: the same for each, but for the garbage collector of"
        " Python, which looks at all that lives again and again.",
    )


if __name__ == "__main__":
    main(measure, "memory")
