"""Throughput, the latency of a start and memory, against how many runs are under way: the library and the limit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tests.benchmarks.scenarios._load import CONTESTANTS, under_load
from tests.benchmarks.scenarios._support import Report, in_child, main

ROUNDS: Final = 1
CONCURRENT: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
AT_FULL_EFFORT: Final = (30_000, 100_000)
NOT_COLLECTING: Final = (100, 1_000, 10_000, 100_000)

CURVES: Final = {
    "runs per second": "throughput",
    "start p50 (ms)": "start p50",
    "start p99 (ms)": "start p99",
    "MiB": "memory",
}
EXPLAINED: Final = {
    "throughput": "Alone, a run waits for the disk twice. The more are under way, the more share a commit, until the"
    " processor has no time left. Beyond a thousand, Python's garbage collector takes more and more of it: it looks at"
    " all that lives, again and again, and finds nothing. Without it the curve stays nearly flat.",
    "start p50": "One commit; under load, the commit that is under way and one's own.",
    "start p99": "The same, behind all others that start at the same moment.",
    "memory": "A base, and the same for each run that is under way.",
}


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure from 1 run at a time to 10,000; at full effort to 100,000."""
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}

    def look(contestant: str, concurrent: int, *, collecting: bool = True) -> None:
        name = contestant if collecting else f"{contestant} without garbage collection"
        ran = folder / f"{contestant}-{concurrent}-{collecting}"
        figures = in_child(under_load, contestant, ran, concurrent, 2.0 if full else 0.3, collecting=collecting)
        shutil.rmtree(ran)
        figures["MiB"] = figures["resident"] / 2**20
        for figure in CURVES if collecting else ("runs per second",):
            points.setdefault((figure, name), []).append((concurrent, figures[figure]))
        report.figures[f"runs per second, {name}, {concurrent:,}"] = figures["runs per second"]

    for concurrent in (*CONCURRENT, *(AT_FULL_EFFORT if full else ())):
        for contestant in CONTESTANTS:
            look(contestant, concurrent)
        if concurrent in NOT_COLLECTING:
            look("ours", concurrent, collecting=False)
    for (figure, name), curve in points.items():
        what = CURVES[figure]
        report.plot(f"{what}, {name}", x="runs under way", y=figure, points=curve, explains=EXPLAINED[what])


if __name__ == "__main__":
    main(measure, "concurrency")
