"""One run and many subscribers: what a delivered event costs, and what a subscriber costs that waits."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks.scenarios._support import MICRO, Report, Stopwatch, in_child, main, resident

from aioruns import RunHandle, RunManager, current_run

NUMBERS: Final = (1, 10, 100, 1_000)
TURNS: Final = 3
BURST: Final = 20
"""Events that are said together, and so usually stored by one commit."""


async def talk(go: asyncio.Event, events: int) -> None:
    await go.wait()
    ctx = current_run()
    for _ in range(events // BURST):
        for number in range(BURST):
            ctx.log("info", f"item {number} of the burst")
        await ctx.flush()


async def keep_silent() -> None:
    await asyncio.Event().wait()


class Audience:
    """Subscribers of one run, who count what they receive."""

    def __init__(self, handle: RunHandle[None]) -> None:
        self._handle = handle
        self._begun = asyncio.Semaphore(0)
        self._readers: list[asyncio.Task[int]] = []

    async def _read(self) -> int:
        received = 0
        async for _ in self._handle.events():
            received += 1
            if received == 1:  # it says that the run executes
                self._begun.release()
        return received

    async def grow(self, count: int) -> None:
        """Add subscribers, and wait until each has received the first event."""
        self._readers += (asyncio.create_task(self._read()) for _ in range(count))
        for _ in range(count):
            await self._begun.acquire()

    async def received(self) -> set[int]:
        """Wait for the end of the run, and return which numbers of events subscribers have received."""
        return set(await asyncio.gather(*self._readers))


async def cost(path: Path, subscribers: int, events: int) -> tuple[float, float]:
    """Return the seconds of CPU until all have subscribed, and from there until each has received the last event."""
    async with RunManager(path) as manager:
        go = asyncio.Event()
        handle = await manager.start_run(talk(go, events))
        audience = Audience(handle)
        watch = Stopwatch()
        await audience.grow(subscribers)
        subscribing = watch.cpu
        watch = Stopwatch()
        go.set()
        await handle
        assert await audience.received() <= {events + 2}
        return subscribing, watch.cpu


async def waiting(path: Path, subscribers: int) -> float:
    """Return bytes of memory per subscriber of a run that says nothing."""
    async with RunManager(path) as manager:
        handle = await manager.start_run(keep_silent())
        audience = Audience(handle)
        await audience.grow(1)
        gc.collect()
        before = resident()
        await audience.grow(subscribers)
        gc.collect()
        taken = resident() - before
        await handle.cancel()
        await audience.received()
        return taken / subscribers


def idle_bytes(path: Path, subscribers: int) -> float:
    return asyncio.run(waiting(path, subscribers))


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure one run with 1 to 1,000 subscribers."""
    deliveries = 1_000_000 if full else 100_000
    costs: dict[int, float] = {}
    asyncio.run(cost(folder / "warm.db", 1, 1_000))
    for number in NUMBERS:
        events = min(deliveries // number, 10_000)
        found: list[tuple[float, float]] = []
        for turn in range(TURNS):
            _, alone = asyncio.run(cost(folder / f"alone-{number}-{turn}.db", 0, events))
            subscribing, watched = asyncio.run(cost(folder / f"watched-{number}-{turn}.db", number, events))
            found.append((subscribing / number * MICRO, (watched - alone) / (events * number) * MICRO))
        subscription, costs[number] = (median(column) for column in zip(*found, strict=True))
        report.figures[f"CPU per delivered event, {number:,} subscribers (µs)"] = costs[number]
        report.figures[f"CPU per subscription, {number:,} subscribers (µs)"] = subscription
    report.plot(
        "cost of a delivered event",
        x="subscribers of one run",
        y="CPU µs per delivered event",
        points=costs.items(),
        explains="The store is read once for all subscribers of a run, so the price of reading is divided among them;"
        " what is left is to wake a task and to hand each event to it.",
    )
    report.at_most("cost per delivered event, 1,000 subscribers against 10", costs[1_000] / costs[10], 1, "")
    report.figures["memory per waiting subscriber (KiB)"] = (
        in_child(idle_bytes, folder / "idle.db", 10_000 if full else 1_000) / 1024
    )


if __name__ == "__main__":
    main(measure, "subscribers")
