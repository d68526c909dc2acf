"""The command line of the benchmarks: ``python -m tests.benchmarks``, or ``nox -s bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.benchmarks.contestants import CONTESTANTS, ROOT
from tests.benchmarks.environments import made_in
from tests.benchmarks.harness import Harness, scenarios
from tests.benchmarks.page import FOLDER, latency, open_loop, throughput, write
from tests.benchmarks.results import Results


def main() -> None:
    """Measure, print tables, write the page. The exit code is 0 whatever the figures are: nothing depends on them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (5)")
    parser.add_argument(
        "--effort", choices=("quick", "full"), default="full", help="how long each measurement is (full)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="contestants and scenarios; the page stays as it is, unless --output says where another one goes",
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=ROOT / ".benchmarks",
        metavar="DIR",
        help="where the environments of peers are made and kept, and where databases are written (.benchmarks)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the page goes (docs)")
    parser.add_argument("--report-only", action="store_true", help="make the page again of what was measured last")
    chosen = parser.parse_args()
    output: Path = chosen.output or ROOT / "docs"
    results = Results.load(output / FOLDER / "results.json") if chosen.report_only else measure(chosen)
    for report in (throughput, latency, open_loop):
        print(f"\n{report(results)}")
    if chosen.output or not chosen.only:
        write(results, output)
        print(f"written: {output / FOLDER}.md")


def measure(chosen: argparse.Namespace) -> Results:
    """Measure what the command line names."""
    found = scenarios()
    known = [each.name for each in (*CONTESTANTS, *found)]
    wanted = set(chosen.only or known)
    if unknown := wanted.difference(known):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen.environments.mkdir(parents=True, exist_ok=True)
    return Harness(
        contestants=[each for each in CONTESTANTS if each.name in wanted],
        scenarios=[each for each in found if each.name in wanted],
        rounds=chosen.rounds,
        effort=chosen.effort,
        python_of=made_in(chosen.environments),
        folder=chosen.environments,
        after_round=lambda results: results.save(chosen.environments / "results.json"),
    ).run()


if __name__ == "__main__":
    main()
