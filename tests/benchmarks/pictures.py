"""What is drawn of the results: bars of the contestants, curves of the scenarios. How it is drawn: ``plots``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.results import Results, Spread
from tests.benchmarks.targets import START, THROUGHPUT

Points = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Picture:
    """A picture, with bars or with curves.

    Attributes:
        title: For the heading above it.
        x: The label of the horizontal axis.
        y: The label of the vertical axis, if it has one.
        explains: Why it looks as it does.
        bars: By contestant.
        lines: By name.
    """

    title: str
    x: str
    y: str = ""
    explains: str = ""
    bars: Mapping[str, Spread] = field(default_factory=dict[str, Spread])
    lines: Mapping[str, Points] = field(default_factory=dict[str, Points])

    @property
    def file(self) -> str:
        """Its file, beside the others."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-") + ".svg"

    @property
    def empty(self) -> bool:
        """Whether nothing of it was measured."""
        return not (self.bars or self.lines)


def contest(results: Results, contestants: Sequence[str], workload: str, figure: str, *, title: str, x: str) -> Picture:
    """Compare the contestants by a figure."""
    measured = {name: results.figure(name, workload, figure) for name in contestants}
    return Picture(title, x, bars={name: spread for name, spread in measured.items() if spread and spread.median > 0})


def contests(results: Results, contestants: Sequence[str]) -> Iterator[Picture]:
    """Compare the contestants by what matters most."""
    for count in (1, 100, 1000):
        workload, title = f"closed-{count}", f"Throughput at {count:,} concurrent"
        yield contest(results, contestants, workload, THROUGHPUT, title=title, x="runs per second")
    title = "Start latency at 100 concurrent"
    yield contest(results, contestants, "closed-100", START, title=title, x="p99 of a start (ms)")


def growth(scenario: str, report: Mapping[str, Any]) -> Iterator[Picture]:
    """Draw the curves of a scenario; those that share their axes share a picture."""
    series = report["series"]
    axes = dict.fromkeys((curve["x"], curve["y"]) for curve in series.values())
    for x, y in axes:
        mine = {name: curve for name, curve in series.items() if (curve["x"], curve["y"]) == (x, y)}
        title = next(iter(mine)) if len(mine) == 1 else f"{y} by {x}"
        explains = "\n\n".join(dict.fromkeys(curve["explains"] for curve in mine.values()))
        lines = {name: curve["points"] for name, curve in mine.items()}
        yield Picture(f"{scenario}: {title}", x, y, explains, lines=lines)
