"""How many log events a second become durable, and how soon a subscriber has them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.scenarios._support import MICRO, MILLI, Report, Stopwatch, main
from tests.benchmarks.work import percentile

from aioruns import RunHandle, RunManager, current_run, job

BURST: Final = 1_000
"""Events of all runs together that are said before the store is given time to take them."""
SIZES: Final = (50, 200, 1_000, 4_000, 16_000)
"""Characters of a message."""
MEBIBYTES: Final = 24


@job
async def talk(events: int, burst: int, size: int) -> None:
    """Log in bursts, as a job does that works on chunks; each event says when it was said."""
    ctx = current_run()
    message = "x" * size
    for said in range(0, events, burst):
        for _ in range(min(burst, events - said)):
            ctx.log("info", message, said=time.perf_counter())
        await ctx.flush()


async def delays(handle: RunHandle[None], every: int) -> list[float]:
    """Receive all events of a run; return the seconds between saying and receiving of every so-manieth."""
    return [
        time.perf_counter() - event.data["fields"]["said"]
        async for event in handle.events()
        if event.kind == "log" and event.seq % every == 0
    ]


async def rate(path: Path, *, runs: int, events: int, size: int) -> tuple[float, float]:
    """Return durable events per second of some runs together, and microseconds of CPU per event."""
    async with RunManager(path) as manager:
        call = talk(events // runs, BURST // min(runs, BURST), size)
        watch = Stopwatch()
        handles = [await manager.start_run(call) for _ in range(runs)]
        for handle in handles:
            await handle
        return events / watch.seconds, watch.cpu / events * MICRO


async def delivery(path: Path, *, runs: int, events: int, size: int) -> list[float]:
    """Return the seconds between saying and receiving, of a part of the events, with one subscriber on each run."""
    async with RunManager(path) as manager:
        call = talk(events // runs, BURST // min(runs, BURST), size)
        subscribers = [
            asyncio.create_task(delays(await manager.start_run(call), every=max(1, 100 // runs))) for _ in range(runs)
        ]
        return [delay for found in await asyncio.gather(*subscribers) for delay in found]


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure log events: durable ones per second from 1 and from 100 runs, and live delivery."""
    events = 200_000 if full else 50_000
    asyncio.run(rate(folder / "warm.db", runs=1, events=2_000, size=50))
    for runs in (1, 100):
        label = f"{runs} run{'s' if runs > 1 else ''}"
        per_second, cost = asyncio.run(rate(folder / f"rate-{runs}.db", runs=runs, events=events, size=50))
        report.figures[f"durable events per second, {label}"] = per_second
        report.figures[f"CPU per event, {label} (µs)"] = cost
        report.at_least(f"durable log events per second, {label}", per_second, 60_000, "")
        late = asyncio.run(delivery(folder / f"live-{runs}.db", runs=runs, events=events, size=50))
        for percent in (50, 99):
            report.figures[f"live delivery p{percent}, {label} (ms)"] = percentile(late, percent) * MILLI
        report.at_most(f"live delivery p99 under that load, {label}", percentile(late, 99) * MILLI, 50, "ms")
    points = {}
    for size in SIZES:
        count = min(events // 2, MEBIBYTES * (4 if full else 1) * 2**20 // size)
        points[size], _ = asyncio.run(rate(folder / f"size-{size}.db", runs=1, events=count, size=size))
    report.plot(
        "events by size",
        x="characters of a message",
        y="durable events per second",
        points=points.items(),
        explains="Small events cost what a row costs. From about a kilobyte on, the bytes count: they are encoded,"
        " measured, and written twice, to the write-ahead log and by the checkpoint.",
    )


if __name__ == "__main__":
    main(measure, "events")
