"""The worker example, as a process of its own that is stopped by a signal."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.examples.processes import EXAMPLES, running
from tests.support import rows, statuses

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_G8_worker_runs_items_once_at_a_time_and_drains_when_it_is_stopped(tmp_path: Path, number: int) -> None:
    database = tmp_path / "runs.db"
    async with running(str(EXAMPLES / "worker.py"), folder=tmp_path) as worker:
        assert await worker.prints("is left out") == "item-0 is left out: run 1 is at it"
        await worker.prints("item-0 is completed")
        await worker.prints("is taken by run")
        assert "running" in statuses(database).values()
        worker.signal(number)
        await worker.prints("stopping")
        assert await worker.ends() == 0
        assert worker.printed[-1] == "stopped"
        assert worker.complaints == []
    # Those under way have been completed; a start that the signal cut off has been taken back.
    ends = {(row["status"], row["cancel_reason"]) for row in rows(database)}
    assert ("completed", None) in ends
    assert ends <= {("completed", None), ("cancelled", "start abandoned")}
    assert rows(database, "SELECT * FROM managers") == []
    assert {row["result"] for row in rows(database)} >= {'"ITEM-0"', '"ITEM-1"'}
