"""Everything that was measured, as plain data: kept in one JSON file, asked for medians, spreads and ratios."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spread:
    """What several rounds have given."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Iterable[float]) -> Spread | None:
    """Sum several rounds up; ``None`` if there was none."""
    known = sorted(values)
    return Spread(statistics.median(known), known[0], known[-1], len(known)) if known else None


@dataclass
class Results:
    """What a session has measured.

    Attributes:
        effort: ``quick`` or ``full``.
        rounds: How often everything was measured.
        machine: What it was measured on.
        environments: By name: Python, SQLite and packages, or the ``error`` for which there is none.
        measurements: One for each contestant, workload and round: ``figures`` and ``settings``, or an ``error``.
        scenarios: One for each scenario and round: its ``report``, or an ``error``.
    """

    effort: str
    rounds: int
    machine: dict[str, str]
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    measurements: list[dict[str, Any]] = field(default_factory=list)
    scenarios: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write everything to a file, one measurement a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        parts: list[str] = []
        for name, value in vars(self).items():
            if isinstance(value, list):
                text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]" if value else "[]"
            else:
                text = json.dumps(value)
            parts.append(f' "{name}": {text}')
        path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what ``save`` has written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def rounds_of(self, contestant: str, workload: str, figure: str) -> dict[int, float]:
        """Return a figure of a contestant by round."""
        return {
            each["round"]: each["figures"][figure]
            for each in self.measurements
            if (each["contestant"], each["workload"]) == (contestant, workload) and figure in each.get("figures", ())
        }

    def figure(self, contestant: str, workload: str, figure: str) -> Spread | None:
        """Sum a figure of a contestant up."""
        return spread(self.rounds_of(contestant, workload, figure).values())

    def ratio(self, contestant: str, to: str, workload: str, figure: str) -> Spread | None:
        """Compare two contestants by the ratios of each round, in which both met the same noise."""
        ours = self.rounds_of(contestant, workload, figure)
        theirs = self.rounds_of(to, workload, figure)
        return spread(ours[each] / theirs[each] for each in ours.keys() & theirs.keys())

    def errors(self, contestant: str) -> dict[str, str]:
        """Return by workload why a contestant has no figures, or has none of some round."""
        return {
            each["workload"]: each["error"]
            for each in self.measurements
            if each["contestant"] == contestant and "error" in each
        }

    def settings(self, contestant: str) -> str:
        """Return how durable a contestant said it is."""
        said = (each.get("settings", "") for each in self.measurements if each["contestant"] == contestant)
        return next(filter(None, said), "")

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return the median report of every scenario, or the error of one that never had any."""
        names = dict.fromkeys(each["name"] for each in self.scenarios)
        merged: dict[str, dict[str, Any]] = {}
        for name in names:
            mine = [each for each in self.scenarios if each["name"] == name]
            reports = [each["report"] for each in mine if "report" in each]
            outcome = _median_report(reports) if reports else {"error": mine[-1]["error"]}
            merged[name] = {"about": mine[-1]["about"], **outcome}
        return merged


def _median_report(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Take the median of every figure, point and target."""
    first = reports[0]
    return {
        "figures": {
            name: statistics.median(each["figures"][name] for each in reports if name in each["figures"])
            for name in first["figures"]
        },
        "series": {
            name: {**curve, "points": _median_points([each["series"][name]["points"] for each in reports])}
            for name, curve in first["series"].items()
        },
        "targets": [
            sorted((each["targets"][index] for each in reports), key=lambda target: target["measured"])[
                (len(reports) - 1) // 2
            ]
            for index in range(len(first["targets"]))
        ],
    }


def _median_points(curves: list[list[list[float]]]) -> list[list[float]]:
    return [
        [points[0][0], statistics.median(y for _, y in points)]
        for points in zip(*curves, strict=False)  # one round may have given up earlier than another
    ]
