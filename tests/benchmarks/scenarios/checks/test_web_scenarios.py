"""The scenarios of the web measure what they say they do; here with little of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.benchmarks.scenarios import web_dashboard, web_load, web_start
from tests.benchmarks.scenarios._web import serving

from aioruns import RunManager


def test_each_kind_of_request_is_answered_and_two_of_them_start_a_run(tmp_path: Path) -> None:
    with serving(web_start.application, tmp_path) as port:
        took = asyncio.run(web_start.requests(port, 3))
    assert {name: len(seconds) for name, seconds in took.items()} == dict.fromkeys(web_start.REQUESTS, 3)
    assert all(0 < each < 30 for seconds in took.values() for each in seconds)

    async def stored() -> list[str]:
        async with RunManager(tmp_path / "runs.db") as manager:
            return [run.job for run in await manager.list_runs(limit=1000)]

    assert asyncio.run(stored()) == ["noop"] * 2 * (20 + 3)


def test_starts_are_answered_while_streams_are_read_to_their_ends(tmp_path: Path) -> None:
    with serving(web_load.application, tmp_path) as port:
        load = web_load.Load(port)
        rate = asyncio.run(load.run(0.3))
    assert len(load.starts) == 60
    assert 0 < rate <= web_load.RATE
    assert load.heard == [3] * 100
    assert len(load.late) == 300
    assert all(-0.01 < each < 30 for each in load.late)


def test_a_long_log_is_complete(tmp_path: Path) -> None:
    async def read() -> list[str]:
        run_id = await web_dashboard.fill(tmp_path / "runs.db", 12_000)
        async with RunManager(tmp_path / "runs.db") as manager:
            last = await manager.read_events(run_id, after=11_990)
            return [each.data["message"] for each in last if each.kind == "log"]

    assert asyncio.run(read())[-1] == "line 11999 of the log"
