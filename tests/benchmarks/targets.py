"""What was aimed at, beside what was measured: the targets of the harness itself, and those of the scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.results import Results, Spread, spread

THROUGHPUT: Final = "runs per second"
START: Final = "start p99 (ms)"
LAG: Final = "event-loop lag p99 (ms)"


@dataclass(frozen=True)
class Target:
    """A figure, and the limit that it shall not pass.

    Attributes:
        what: The figure in words.
        limit: ``at least 0.6``, ``at most 5 ms``.
        measured: What it is; ``None`` if it could not be measured.
        unit: Its unit, or nothing.
        met: Whether it is met.
    """

    what: str
    limit: str
    measured: Spread | None
    unit: str
    met: bool


def targets(results: Results) -> Iterator[Target]:
    """Compare everything that was measured with what was aimed at."""
    for count in (100, 1000):
        at = f"throughput at {count:,} concurrent"
        throughput = f"closed-{count}"
        yield at_least(f"{at}, of the limit's", results.ratio("ours", "limit", throughput, THROUGHPUT), 0.6)
        yield at_least(f"{at}, of that of DBOS", results.ratio("ours", "dbos", throughput, THROUGHPUT), 50)
        yield at_least(f"{at}, of that of huey", results.ratio("ours", "huey", throughput, THROUGHPUT), 10)
    one = results.ratio("ours", "naive", "closed-1", THROUGHPUT)
    yield at_least("throughput one at a time, of that of two autocommit statements", one, 0.9)
    start = results.ratio("ours", "limit", "closed-100", START)
    yield at_most("`start_run` p99 at 100 concurrent, of the limit's", start, 3)
    for rate, limit in ((1000, 5), (2000, 10)):
        start = results.figure("ours", f"open-{rate}", START)
        yield at_most(f"`start_run` p99 at {rate:,} starts per second, open loop", start, limit, "ms")
    for report in results.reports().values():
        for target in report.get("targets", ()):
            measured = spread([target["measured"]])
            yield Target(target["what"], target["limit"], measured, target["unit"], target["met"])


def at_least(what: str, measured: Spread | None, limit: float, unit: str = "") -> Target:
    """Make a target that is met from its limit upwards."""
    return Target(
        what, f"at least {limit:g} {unit}".strip(), measured, unit, measured is not None and measured.median >= limit
    )


def at_most(what: str, measured: Spread | None, limit: float, unit: str = "") -> Target:
    """Make a target that is met from its limit downwards."""
    return Target(
        what, f"at most {limit:g} {unit}".strip(), measured, unit, measured is not None and measured.median <= limit
    )
