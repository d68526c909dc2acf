"""How soon a function notices that it is cancelled, and how many commits later that is stored."""

from __future__ import annotations

import asyncio
import struct
import time
from pathlib import Path
from statistics import mean
from typing import Final, NamedTuple

from tests.benchmarks.scenarios._support import MILLI, Report, main
from tests.benchmarks.work import percentile

from aioruns import RunCancelled, RunManager, job

COUNTED: Final = 50
"""Cancels whose commits are counted; few enough that nothing of the write-ahead log is written over meanwhile."""

noticed_at: dict[int, float] = {}


@job
async def sleep_long(number: int) -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        noticed_at[number] = time.perf_counter()
        raise


class Cancel(NamedTuple):
    """Seconds that the start of a run took, from its cancel until its function noticed, and until that was stored."""

    started: float
    noticed: float
    stored: float


async def cancel(manager: RunManager, numbers: range) -> list[Cancel]:
    """Start runs, then cancel them all at once."""

    async def start(number: int) -> tuple[int, float]:
        called = time.perf_counter()
        return (await manager.start_run(sleep_long(number))).id, time.perf_counter() - called

    async def one(number: int, run_id: int, started: float) -> Cancel:
        called = time.perf_counter()
        await manager.cancel_run(run_id)
        try:
            await manager.get_handle(run_id)
        except RunCancelled:
            return Cancel(started, noticed_at[number] - called, time.perf_counter() - called)
        raise AssertionError("the run was not cancelled")

    starts = [(number, *await start(number)) for number in numbers]
    return await asyncio.gather(*(one(*started) for started in starts))


async def one_at_a_time(path: Path, count: int) -> list[Cancel]:
    """Cancel single runs."""
    async with RunManager(path) as manager:
        await cancel(manager, range(-50, 0))
        return [each for number in range(count) for each in await cancel(manager, range(number, number + 1))]


async def together(path: Path, count: int) -> list[Cancel]:
    """Cancel runs all at once."""
    async with RunManager(path) as manager:
        return await cancel(manager, range(count))


def commits(database: Path) -> int:
    """Count the commits in a write-ahead log: the frames that hold a size. https://sqlite.org/fileformat2.html#walformat"""
    log = database.with_name(f"{database.name}-wal").read_bytes()
    (page,) = struct.unpack_from(">8xI", log)
    frames = (struct.unpack_from(">4xI8s", log, at) for at in range(32, len(log), 24 + page))
    return sum(size > 0 and salt == log[16:24] for size, salt in frames)


async def commits_of_a_cancel(path: Path) -> float:
    """Return how many commits were made between a cancel and the news of its end."""
    counts: list[int] = []
    async with RunManager(path) as manager:
        for number in range(COUNTED):
            handle = await manager.start_run(sleep_long(number))
            before = commits(path)
            await handle.cancel()
            await handle.wait()
            counts.append(commits(path) - before)
    return mean(counts)


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure cancels of single runs, and of up to a thousand at once."""
    cancels = asyncio.run(one_at_a_time(folder / "one.db", 2_000 if full else 300))
    for name in Cancel._fields:
        for percent in (50, 99):
            report.figures[f"{name} p{percent} (ms)"] = (
                percentile([getattr(each, name) for each in cancels], percent) * MILLI
            )
    report.figures["commits until stored"] = asyncio.run(commits_of_a_cancel(folder / "counted.db"))
    report.figures["stored p50, in starts, which are one commit each"] = (
        report.figures["stored p50 (ms)"] / report.figures["started p50 (ms)"]
    )
    report.at_most("a function notices, p50 after the call", report.figures["noticed p50 (ms)"], 0.3, "ms")
    report.at_most("`cancelled` is stored after the call", report.figures["commits until stored"], 2, "commits")
    ended: dict[int, float] = {}
    for count in (1, 10, 100, 1_000):
        ended[count] = max(each.stored for each in asyncio.run(together(folder / f"together-{count}.db", count)))
    report.plot(
        "cancels at once",
        x="runs cancelled at once",
        y="ms until the last one is stored",
        points=[(count, seconds * MILLI) for count, seconds in ended.items()],
        explains="A few commits take all of them; what grows is the work of ending that many runs.",
    )


if __name__ == "__main__":
    main(measure, "cancel")
