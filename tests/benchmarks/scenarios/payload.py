"""What arguments and results cost by their size: throughput, and how long the event loop is held to encode them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.benchmarks.scenarios._support import MILLI, LongestTurn, Report, main
from tests.benchmarks.work import closed_loop, percentile

from aioruns import RunManager, job

SIZES: Final = (10, 2_000, 20_000, 200_000)
"""Bytes of JSON of the arguments, and again of the result."""
TURNS: Final = 3
FIGURES: Final = ("runs per second", "CPU per run (µs)")
EXPLAINED: Final = {
    "records": "Beyond a few hundred bytes the objects count: each run has its own copy of them, which is decoded, then"
    " looked at by Python's garbage collector, then encoded.",
    "text": "Up to a kilobyte a run costs the same. Beyond it the bytes count: each is copied into the write-ahead log,"
    " with the page that it is on, when the run starts and when it ends, and once more by the checkpoint.",
}

Document = list[dict[str, Any]]


@job
async def echo(document: Document) -> Document:
    return document


def records(size: int) -> Document:
    """Make records of so many bytes of JSON, all in all: strings, numbers and lists, as applications have them."""
    record = {"id": 1, "term": "group commit", "score": 0.75, "seen": True, "sources": ["store.md", "events.md"]}
    return [record] * (size // len(json.dumps(record))) or [{"id": 1}]


def text(size: int) -> Document:
    """Make a document of the same size that is one string, which is all that Python has to look at."""
    return [{"text": "x" * (size - len('[{"text":""}]'))}]


KINDS: Final = {"records": records, "text": text}


async def load(path: Path, document: Document, seconds: float) -> dict[str, float]:
    """Return the figures of a closed loop at 100 concurrent."""
    async with RunManager(path) as manager:
        return await closed_loop(lambda _, __: manager.start_run(echo(document)), concurrent=100, seconds=seconds)


def loads(folder: Path, kind: str, seconds: float) -> dict[int, dict[str, float]]:
    """Return the median figures for each size; the sizes take turns."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for turn in range(TURNS):
        for size, measured in found.items():
            path = folder / f"{kind}-{size}-{turn}.db"
            measured.append(asyncio.run(load(path, KINDS[kind](size), seconds / TURNS)))
    return {
        size: {figure: median(each[figure] for each in measured) for figure in FIGURES}
        for size, measured in found.items()
    }


async def held(path: Path, document: Document, runs: int) -> list[float]:
    """Return, for each of some runs one after another, the longest turn of the event loop in seconds."""
    turns: list[float] = []
    async with RunManager(path) as manager:
        for _ in range(runs):
            with LongestTurn() as longest:
                await (await manager.start_run(echo(document)))
            turns.append(longest.seconds)
    return turns


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure runs with arguments and results from 10 B to 200 KB."""
    asyncio.run(load(folder / "warm.db", records(10), 0.2))
    for kind in KINDS:
        measured = loads(folder, kind, 4 if full else 1)
        for figure in FIGURES:
            for size, figures in measured.items():
                report.figures[f"{figure}, {size:,} B of {kind}"] = figures[figure]
        found = {size: figures["runs per second"] for size, figures in measured.items()}
        report.at_least(f"throughput with 2 KB of {kind}, of that with 10 B", found[2_000] / found[10], 0.667, "")
        report.plot(
            f"throughput with {kind}",
            x="bytes of the arguments, and of the result",
            y="runs per second",
            points=found.items(),
            explains=EXPLAINED[kind],
        )
    runs = 500 if full else 100
    for size in (10, 20_000, 200_000):
        turns = asyncio.run(held(folder / f"held-{size}.db", records(size), runs))
        for percent in (50, 99):
            report.figures[f"longest turn of the event loop p{percent}, {size:,} B (ms)"] = (
                percentile(turns, percent) * MILLI
            )
    held_20k = report.figures["longest turn of the event loop p99, 20,000 B (ms)"]
    report.at_most("event loop held by a run with 20 KB, p99", held_20k, 1, "ms")


if __name__ == "__main__":
    main(measure, "payload")
