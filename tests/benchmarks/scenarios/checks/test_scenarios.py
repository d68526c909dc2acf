"""The scenarios report as the harness expects it, and look at a history that the library could have made."""

from __future__ import annotations

import asyncio
import importlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.benchmarks.harness import scenarios
from tests.benchmarks.scenarios._history import BLOCK, LOGGED, RARE, SPAN, build, make_history
from tests.benchmarks.scenarios._support import LongestTurn, Report, main

from aioruns import Run, RunFilter, RunManager

BLOCKS = 2


@pytest.mark.parametrize("name", [scenario.name for scenario in scenarios()])
def test_a_scenario_says_what_it_measures(name: str) -> None:
    module = importlib.import_module(f"tests.benchmarks.scenarios.{name}")
    assert module.__doc__
    assert module.measure.__doc__


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda words: monkeypatch.setattr("sys.argv", ["scenario", *words.split()])


def test_a_report_is_one_line_of_json(command_line: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    def measure(report: Report, full: bool, folder: Path) -> None:
        assert folder.is_dir()
        report.figures["full"] = float(full)
        report.plot("curve", x="runs", y="seconds", points=[(1, 0.5), (2, 0.75)], explains="It grows.")
        report.at_most("time", 0.75, 0.75, "s")
        report.at_most("time", 0.76, 0.75, "s")
        report.at_least("rate", 4, 4, "")
        report.at_least("rate", 3, 4, "")

    command_line("--effort full")
    main(measure, "example")
    (line,) = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert [target["met"] for target in report.pop("targets")] == [True, False, True, False]
    assert report == {
        "name": "example",
        "figures": {"full": 1.0},
        "series": {"curve": {"x": "runs", "y": "seconds", "points": [[1, 0.5], [2, 0.75]], "explains": "It grows."}},
    }


@pytest.mark.asyncio
@pytest.mark.parametrize("pause", [0.0, 0.001])
async def test_the_longest_turn_is_noticed_and_what_comes_after_it_is_not(pause: float) -> None:
    def compute(seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            pass

    with LongestTurn(pause) as nothing:
        await asyncio.sleep(0.005)
    with LongestTurn(pause) as longest:
        compute(0.05)
        await asyncio.sleep(0.005)
    compute(0.2)
    await asyncio.sleep(0.005)
    assert nothing.seconds < longest.seconds < 0.2


async def _look(path: Path) -> None:
    made = RARE + BLOCKS * BLOCK
    async with RunManager(path) as manager:

        async def listed(where: RunFilter | None = None) -> list[Run]:
            runs: list[Run] = []
            while page := await manager.list_runs(where, limit=1000, before=runs[-1].id if runs else None):
                runs += page
            return runs

        runs = await listed()
        assert [run.id for run in runs] == list(range(made, 0, -1))
        assert [run.status for run in runs] == ["completed"] * BLOCKS * BLOCK + ["failed"] * RARE
        for run in runs[:: made // 50]:
            events = await manager.read_events(run.id)
            assert [event.seq for event in events] == list(range(1, LOGGED + 3))
            assert [events[0].data["status"], events[-1].data["status"]] == ["running", run.status]
            assert run.finished_at is not None
            assert run.created_at <= events[1].at <= events[-1].at == run.finished_at
        assert len(await listed(RunFilter(tags=["rare", "nightly"]))) == RARE
        assert len(await listed(RunFilter(tags=["nightly"]))) == made
        assert len(await listed(RunFilter(job="migrate", key="project:rare", triggered_by="operator"))) == RARE
        older = RunFilter(created_before=datetime.now(UTC) - timedelta(seconds=SPAN * 1.5))
        assert len(await listed(older)) == RARE + (BLOCKS - 1) * BLOCK
        assert await manager.prune(older_than=timedelta(seconds=SPAN * 1.5)) == RARE + (BLOCKS - 1) * BLOCK
        assert len(await listed()) == BLOCK
        assert (await manager.start_run(build(1))).id == made + 1


def test_a_made_history_is_what_the_library_stores(tmp_path: Path) -> None:
    path, empty = tmp_path / "runs.db", tmp_path / "empty.db"
    make_history(path, BLOCKS * BLOCK)
    make_history(empty, 0)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("ATTACH ? AS empty", (str(empty),))
        schemas = [
            connection.execute(f"SELECT name, sql FROM {file}.sqlite_master ORDER BY name").fetchall()
            for file in ("main", "empty")
        ]
        assert schemas[0] == schemas[1]
    asyncio.run(_look(path))
