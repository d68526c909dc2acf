"""The benchmarks measure, report what fails, and write their page; here in a second or two, with little work."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks import environments
from tests.benchmarks.children import ChildFailed, call, call_for_json
from tests.benchmarks.contestants import CONTESTANTS, ENVIRONMENTS, Contestant
from tests.benchmarks.harness import WORKLOADS, Harness, Scenario, scenarios
from tests.benchmarks.page import page, write
from tests.benchmarks.results import Results, Spread, spread
from tests.benchmarks.targets import START, THROUGHPUT, Target, targets


def made_up(
    *measurements: tuple[str, str, int, dict[str, float]], scenarios: list[dict[str, Any]] | None = None
) -> Results:
    """Make results of contestant, workload, round and figures."""
    return Results(
        "quick",
        3,
        {"processor": "made up"},
        measurements=[
            {"contestant": contestant, "workload": workload, "round": round_, "figures": figures}
            for contestant, workload, round_, figures in measurements
        ],
        scenarios=scenarios or [],
    )


def target(results: Results, what: str) -> Target:
    (found,) = (each for each in targets(results) if each.what == what)
    return found


def test_a_session_measures_and_writes_its_page_although_a_contestant_dies(tmp_path: Path) -> None:
    names = ("ours", "limit", "limit-events", "naive")
    contestants = [each for each in CONTESTANTS if each.name in names]
    dead = Contestant("dbos", "no_such_module", "dbos", "It dies at once.")
    results = Harness(
        contestants=[dead, *contestants],
        scenarios=[Scenario("no_such_scenario")],
        rounds=1,
        effort="quick",
        python_of=environments.running,
        folder=tmp_path,
        workloads=[each for each in WORKLOADS if each.name == "closed-100"],
        seconds=0.1,
    ).run()

    for name in names:
        measured = {each: results.figure(name, "closed-100", each) for each in (THROUGHPUT, START)}
        assert all(each and each.rounds == 1 and 0 < each.median < math.inf for each in measured.values()), name
        assert results.settings(name) == "synchronous=FULL, journal_mode=wal"
    ratio = target(results, "throughput at 100 concurrent, of the limit's").measured
    assert ratio
    assert 0 < ratio.median < math.inf

    write(results, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert re.search(r"^\| ours +\|", text, re.MULTILINE)
    assert re.search(r"^\| dbos +\| +– \| +failed \|", text, re.MULTILINE)
    assert re.search(r"closed-100 failed: `.*no_such_module", text)
    assert re.search(r"It failed: `.*no_such_scenario", text)
    assert all((tmp_path / picture).is_file() for picture in re.findall(r"\]\((benchmarks/\S+\.svg)\)", text))
    with_plots = "](benchmarks/throughput-at-100-concurrent.svg)" in text
    again = page(Results.load(tmp_path / "benchmarks" / "results.json"), with_plots=with_plots)
    assert again == text


def test_arrivals_of_an_open_loop_are_measured(tmp_path: Path) -> None:
    program = (sys.executable, "-m", "tests.benchmarks.contestants.ours", "open", "--rate", "500", "--seconds", "0.2")
    figures = call_for_json(program, seconds=30, folder=tmp_path)["figures"]
    assert 50 < figures["runs"] < 200
    assert 0 < figures["start p50 (ms)"] <= figures["start p99 (ms)"] <= figures["start since due p99 (ms)"] < math.inf


def test_who_takes_too_long_is_killed_with_everything_that_it_has_started(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(ChildFailed, match=r"^it was not ready after 1 s$"):
        call(("sh", "-c", f"sleep 60 & echo $! > {noted}; wait"), seconds=1)
    assert time.monotonic() - began < 30
    pid = int(noted.read_text())
    deadline = time.monotonic() + 10
    while _executes(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _executes(pid: int) -> bool:
    """Tell whether a process is there, and is not merely waiting to be collected."""
    try:
        os.kill(pid, 0)
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("raise ValueError('no luck')", "ValueError: no luck"),
        ("raise SystemExit(3)", "exit code 3"),
        ("print('no figures')", "it printed no JSON: 'no figures'"),
    ],
)
def test_a_program_that_gives_no_figures_says_why(program: str, error: str) -> None:
    with pytest.raises(ChildFailed, match=f"^{re.escape(error)}$"):
        call_for_json((sys.executable, "-c", program), seconds=30)


def test_an_environment_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    def python_of(name: str) -> Path:
        raise ChildFailed(f"{name} is not to be had")

    results = Harness(CONTESTANTS[:1], (), 1, "quick", python_of, tmp_path, WORKLOADS[:1]).run()
    assert results.errors("ours") == {WORKLOADS[0].name: "no environment: aioruns is not to be had"}


def test_ratios_are_taken_within_rounds() -> None:
    rates = ((1, 100.0, 1000.0), (2, 800.0, 1000.0), (3, 20.0, 40.0))
    results = made_up(
        *(("ours", "closed-100", round_, {THROUGHPUT: ours}) for round_, ours, _ in rates),
        *(("limit", "closed-100", round_, {THROUGHPUT: limit}) for round_, _, limit in rates),
    )
    assert results.ratio("ours", "limit", "closed-100", THROUGHPUT) == Spread(0.5, 0.1, 0.8, 3)
    assert results.figure("ours", "closed-100", THROUGHPUT) == Spread(100, 20, 800, 3)


@pytest.mark.parametrize(("ours", "met"), [(600, True), (599, False)])
def test_a_throughput_target_is_met_from_its_limit_upwards(ours: float, met: bool) -> None:
    results = made_up(("ours", "closed-100", 1, {THROUGHPUT: ours}), ("limit", "closed-100", 1, {THROUGHPUT: 1000}))
    assert target(results, "throughput at 100 concurrent, of the limit's").met is met


@pytest.mark.parametrize(("ours", "met"), [(5.0, True), (5.1, False)])
def test_a_latency_target_is_met_from_its_limit_downwards(ours: float, met: bool) -> None:
    results = made_up(("ours", "open-1000", 1, {START: ours}))
    assert target(results, "`start_run` p99 at 1,000 starts per second, open loop").met is met


def test_what_was_not_measured_is_not_met() -> None:
    assert [each.met for each in targets(made_up()) if each.measured] == []
    assert not any(each.met for each in targets(made_up()))


def test_a_scenario_is_reported_by_its_medians() -> None:
    def report(value: float, *, met: bool) -> dict[str, Any]:
        return {
            "name": "cancel",
            "figures": {"p50": value},
            "series": {"growth": {"x": "runs", "y": "ms", "points": [[1, value], [10, 2 * value]], "explains": "why"}},
            "targets": [{"what": "p50", "limit": "at most 2 ms", "measured": value, "unit": "ms", "met": met}],
        }

    rounds = [
        {"report": report(9, met=False)},
        {"error": "died"},
        {"report": report(1, met=True)},
        {"report": report(2, met=True)},
    ]
    results = made_up(
        scenarios=[{"name": "cancel", "about": "", "round": index, **each} for index, each in enumerate(rounds)]
    )
    merged = results.reports()["cancel"]
    assert merged["figures"] == {"p50": 2}
    assert merged["series"]["growth"]["points"] == [[1, 2], [10, 4]]
    assert target(results, "p50") == Target("p50", "at most 2 ms", spread([2]), "ms", True)


def test_every_contestant_is_a_program_with_an_environment_and_every_environment_is_used() -> None:
    folder = Path(__file__).parent / "contestants"
    assert all((folder / f"{each.module}.py").is_file() for each in CONTESTANTS)
    assert {each.environment for each in (*CONTESTANTS, *scenarios())} == set(ENVIRONMENTS)
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == {each.module for each in CONTESTANTS}


def test_scenarios_are_found_without_being_imported(tmp_path: Path) -> None:
    (tmp_path / "once.py").write_text('"""Why?\n\nSo."""\nimport no_such_module\nROUNDS: Final = 1\n', encoding="utf-8")
    (tmp_path / "often.py").write_text('ENVIRONMENT: Final = "web"\n', encoding="utf-8")
    (tmp_path / "_shared.py").write_text("", encoding="utf-8")
    assert scenarios(tmp_path) == [Scenario("often", environment="web"), Scenario("once", "Why?", 1)]
