"""The work that every contestant does: runs in a closed or in an open loop, timed. It needs the standard library only.

A contestant is a program of its own, executed in an environment of its own:

    python -m tests.benchmarks.contestants.limit closed --concurrent 100 --seconds 2

It prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import math
import random
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Start = Callable[[int, float], Awaitable[Awaitable[Any]]]
"""Starts a run, of a number and of the seconds that it sleeps. What it returns, awaited, is the number."""

WARM_UP: Final = 20
LONGEST_BODY: Final = 0.05
"""Seconds that a run sleeps in an open loop, at most."""


@dataclass(frozen=True)
class Opened:
    """A contestant that is ready to work.

    Attributes:
        start: Starts a run; returns when the contestant has accepted it, which a durable one has then stored.
        settings: How durable it is, read back from its connection where that is possible.
    """

    start: Start
    settings: str


async def body(number: int, seconds: float) -> int:
    """Do what every contestant's runs do."""
    if seconds:
        await asyncio.sleep(seconds)
    return number


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def milliseconds(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Describe durations by the figures that are reported."""
    return {f"{name} p{percent} (ms)": 1000 * percentile(seconds, percent) for percent in (50, 99)}


@asynccontextmanager
async def lateness(pause: float = 0.001) -> AsyncIterator[list[float]]:
    """Note, while the block executes, how many seconds too late the event loop wakes a task that sleeps."""
    late: list[float] = []

    async def sleep() -> None:
        while True:
            due = time.perf_counter() + pause
            await asyncio.sleep(pause)
            late.append(max(0.0, time.perf_counter() - due))  # some timers are early

    task = asyncio.create_task(sleep())
    try:
        yield late
    finally:
        task.cancel()


async def closed_loop(start: Start, *, concurrent: int, seconds: float) -> dict[str, float]:
    """Let workers start and await runs of nothing, each one run after another, until the time is over.

    Every worker makes one run at least, and the clock stops when the last run has ended.
    """
    starts: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()

    async def worker(number: int) -> None:
        while True:
            asked = time.perf_counter()
            run = await start(number, 0.0)
            starts.append(time.perf_counter() - asked)
            await run
            if time.perf_counter() - began >= seconds:
                return

    async with lateness() as late:
        await asyncio.gather(*(worker(number) for number in range(concurrent)))
        took, used = time.perf_counter() - began, time.process_time() - cpu
        await asyncio.sleep(0.01)  # one look at least
    return {
        "runs": len(starts),
        "runs per second": len(starts) / took,
        "CPU per run (µs)": 1e6 * used / len(starts),
        **milliseconds("start", starts),
        **milliseconds("event-loop lag", late),
    }


async def open_loop(start: Start, *, rate: float, seconds: float) -> dict[str, float]:
    """Start runs when chance says so, whether earlier ones have ended or not: Poisson arrivals, bodies that sleep.

    A start is timed from its call, and also from the moment at which it was due, which includes what the event loop was
    late; nothing is forgotten while the contestant keeps everybody waiting.
    """
    chance = random.Random(rate)
    starts: list[float] = []
    waits: list[float] = []

    async def arrive(due: float, sleep: float) -> None:
        asked = time.perf_counter()
        run = await start(len(starts), sleep)
        now = time.perf_counter()
        starts.append(now - asked)
        waits.append(now - due)
        await run

    async with lateness() as late, asyncio.TaskGroup() as tasks:
        began, cpu = time.perf_counter(), time.process_time()
        due = began
        while (due := due + chance.expovariate(rate)) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(arrive(due, chance.uniform(0, LONGEST_BODY)))
    return {
        "runs": len(starts),
        "runs per second": len(starts) / (time.perf_counter() - began),
        "CPU per run (µs)": 1e6 * (time.process_time() - cpu) / len(starts),
        **milliseconds("start", starts),
        **milliseconds("start since due", waits),
        **milliseconds("event-loop lag", late),
    }


def journal_modes(folder: Path) -> str:
    """Read back from the databases that a contestant has left how their journals are kept."""
    modes: set[str] = set()
    for path in folder.rglob("*"):
        if path.is_file() and path.open("rb").read(15) == b"SQLite format 3":
            with closing(sqlite3.connect(path)) as connection:
                modes.update(*connection.execute("PRAGMA journal_mode"))
    return ", ".join(sorted(modes))


def synchronous(level: int) -> str:
    """Give the name that SQLite has for a level: https://sqlite.org/pragma.html#pragma_synchronous"""
    return f"synchronous={('OFF', 'NORMAL', 'FULL', 'EXTRA')[level]}"


def main(opened: Callable[[Path], AbstractAsyncContextManager[Opened]]) -> None:
    """Let a contestant do the work that the command line describes, and print what was measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=("closed", "open"))
    parser.add_argument("--concurrent", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1000, help="starts per second")
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--uvloop", action="store_true")
    chosen = parser.parse_args()
    settings = ""

    async def work(folder: Path) -> dict[str, float]:
        nonlocal settings
        async with opened(folder) as contestant:
            settings = contestant.settings
            for number in range(WARM_UP):
                assert await (await contestant.start(number, 0.0)) == number
            gc.collect()
            if chosen.loop == "closed":
                return await closed_loop(contestant.start, concurrent=chosen.concurrent, seconds=chosen.seconds)
            return await open_loop(contestant.start, rate=chosen.rate, seconds=chosen.seconds)

    with tempfile.TemporaryDirectory() as folder:
        figures = run(work(Path(folder)), uvloop=chosen.uvloop)
        if mode := journal_modes(Path(folder)):
            settings = f"{settings}, journal_mode={mode}"
    print(json.dumps({"figures": figures, "settings": settings}))


def run(work: Coroutine[Any, Any, dict[str, float]], *, uvloop: bool) -> dict[str, float]:
    """Execute a coroutine on an event loop of asyncio, or of uvloop."""
    factory = importlib.import_module("uvloop").new_event_loop if uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
