"""What the scenarios share: the command line, the line of JSON, child processes, memory."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

from aioruns import JobCall, RunManager, job

P = ParamSpec("P")
R = TypeVar("R")

MICRO: Final = 1e6
MILLI: Final = 1e3


@dataclass
class Report:
    """What a scenario has found; the harness makes tables and plots of it."""

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def plot(self, name: str, *, x: str, y: str, points: Iterable[Sequence[float]], explains: str) -> None:
        """Add a curve: its axes, its points, and why it has this shape."""
        self.series[name] = {"x": x, "y": y, "points": [list(point) for point in points], "explains": explains}

    def at_most(self, what: str, measured: float, limit: float, unit: str) -> None:
        """Add a target that is met from a limit downwards."""
        self._target(what, f"at most {limit:g} {unit}".strip(), measured, unit, measured <= limit)

    def at_least(self, what: str, measured: float, limit: float, unit: str) -> None:
        """Add a target that is met from a limit upwards."""
        self._target(what, f"at least {limit:g} {unit}".strip(), measured, unit, measured >= limit)

    def _target(self, what: str, limit: str, measured: float, unit: str, met: bool) -> None:
        self.targets.append({"what": what, "limit": limit, "measured": measured, "unit": unit, "met": met})


def main(measure: Callable[[Report, bool, Path], None], name: str) -> None:
    """Measure as the command line says, and print the report.

    Args:
        measure: Fills a report; is told whether the effort is full, and a folder for its files.
        name: The scenario.
    """
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--effort", choices=("quick", "full"), default="quick")
    full: bool = parser.parse_args().effort == "full"
    report = Report(name)
    with tempfile.TemporaryDirectory(prefix=f"aioruns-{name}-") as folder:
        measure(report, full, Path(folder))
    print(json.dumps(dataclasses.asdict(report), allow_nan=False))


def in_child(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of a module in a fresh process, so that memory and caches are its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


class Stopwatch:
    """Seconds, and seconds of CPU of this process in all its threads, since it was made."""

    def __init__(self) -> None:
        gc.collect()
        self._cpu = time.process_time()
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def cpu(self) -> float:
        return time.process_time() - self._cpu


class LongestTurn:
    """The longest turn of the event loop while a block executes, in seconds of CPU of its thread.

    CPU, since the time in which another process has the processor is not the library's.

    Args:
        pause: Seconds between two looks; 0 for one in each turn, which keeps the processor busy.

    Attributes:
        seconds: How long it was.
        collecting: The longest time for which Python's garbage collector has held the event loop, which may be part of
            it: it looks at all that lives, of whomever.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self.seconds = 0.0
        self.collecting = 0.0
        self._pause = pause

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        gc.callbacks.append(self._collect)
        self._noted = time.thread_time()
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.callbacks.remove(self._collect)
        self._next.cancel()
        self._note()

    def _collect(self, phase: str, _info: object) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.collecting = max(self.collecting, now - self._began)

    def _note(self) -> None:
        now = time.thread_time()
        self.seconds = max(self.seconds, now - self._noted)
        self._noted = now

    def _look(self) -> None:
        self._note()
        self._next = self._loop.call_later(self._pause, self._look) if self._pause else self._loop.call_soon(self._look)


@job
async def sleep_long() -> None:
    """Sleep until somebody cancels it."""
    await asyncio.sleep(3600)


async def start_all(manager: RunManager, calls: Iterable[JobCall[Any]], *, concurrent: int = 100) -> None:
    """Start runs, so many at a time, and await none of them."""
    waiting = iter(calls)

    async def worker() -> None:
        for call in waiting:
            await manager.start_run(call)

    await asyncio.gather(*(worker() for _ in range(concurrent)))


def resident() -> int:
    """Return the bytes of memory that this process has."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
