"""The watcher asks for what has changed, in pieces, and not for the rows of all that execute here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aioruns import Run, RunStatus
from aioruns._running import watch
from aioruns._running.feed import EventFeed
from aioruns._running.live import LiveRun, Why
from aioruns._running.registry import Registry
from aioruns._running.state import ManagerState
from aioruns._running.watch import Watcher

pytestmark = pytest.mark.asyncio

AT = datetime(2026, 1, 1, tzinfo=UTC)


def run_of(run_id: int, status: RunStatus, manager_id: str = "m") -> Run:
    return Run(
        id=run_id, job="build", status=status, key=None, idempotency_key=None, attempt=1, manager_id=manager_id,
        timeout=None, tags=(), triggered_by=None, arguments_json=None, result_json=None, error=None, traceback=None,
        created_at=AT, started_at=AT, finished_at=None if status.value in ("pending", "running", "cancelling") else AT,
        cancel_requested_at=None, cancel_reason=None, progress=None,
    )  # fmt: skip


class Here:
    """The runs of this process, as far as the watcher knows of them."""

    def __init__(self, count: int) -> None:
        self.lost: list[int] = []
        self.actives = {
            run_id: SimpleNamespace(
                run=run_of(run_id, RunStatus.RUNNING),
                cancel_requested_at=None,
                waits=False,
                attempt=SimpleNamespace(over=False, ask_to_end=partial(self._lose, run_id)),
            )
            for run_id in range(1, count + 1)
        }
        self.applied: list[int] = []
        self.withdrawn: list[tuple[int, RunStatus]] = []
        self.asked: list[list[int]] = []
        self.changed: dict[int, Run | None] = {}
        state, fake = ManagerState(), cast("Any", self)
        state.manager_id = "m"
        registry = Registry(state)
        registry._runs = cast("Any", self.actives)
        self.watcher = Watcher(fake, state, registry, EventFeed(fake, state), fake, fake)

    def _lose(self, run_id: int, why: Why) -> None:
        assert why is Why.LOST
        self.lost.append(run_id)

    async def changed_runs(self, manager_id: str, run_ids: list[int]) -> dict[int, Run | None]:
        assert manager_id == "m"
        self.asked.append(list(run_ids))
        await asyncio.sleep(0)
        return {run_id: self.changed[run_id] for run_id in run_ids if run_id in self.changed}

    async def apply(self, run: Run) -> None:
        self.applied.append(run.id)
        await asyncio.sleep(0)

    def withdraw(self, live: LiveRun, run: Run) -> None:
        self.withdrawn.append((live.run.id, run.status))


async def test_runs_are_looked_at_in_pieces() -> None:
    here = Here(2 * watch.PIECE + 1)
    await here.watcher.look()
    assert [len(piece) for piece in here.asked] == [watch.PIECE, watch.PIECE, 1]
    assert [run_id for piece in here.asked for run_id in piece] == list(here.actives)


async def test_nothing_here_asks_for_nothing() -> None:
    here = Here(0)
    await here.watcher.look()
    assert here.asked == []


async def test_G3_request_of_another_process_is_carried_to_its_run_once() -> None:
    here = Here(3)
    here.changed = {2: run_of(2, RunStatus.CANCELLING)}
    await here.watcher.look()
    assert here.applied == [2]
    here.actives[2].cancel_requested_at = AT
    await here.watcher.look()
    assert (here.applied, here.lost, here.withdrawn) == ([2], [], [])


@pytest.mark.parametrize(
    "row",
    [run_of(2, RunStatus.INTERRUPTED), run_of(2, RunStatus.RUNNING, "somebody"), None],
    ids=["interrupted", "another manager's", "gone"],
)
async def test_G7_run_that_is_not_ours_any_more_is_lost(row: Run | None) -> None:
    here = Here(3)
    here.changed = {2: row}
    await here.watcher.look()
    assert (here.lost, here.applied, here.withdrawn) == ([2], [], [])


@pytest.mark.parametrize("row", [run_of(2, RunStatus.CANCELLED), None], ids=["cancelled", "gone"])
async def test_C9_run_that_waits_and_was_ended_elsewhere_is_withdrawn(row: Run | None) -> None:
    here = Here(3)
    here.actives[2].waits = True
    here.changed = {2: row}
    await here.watcher.look()
    assert here.withdrawn == [(2, RunStatus.RUNNING if row is None else RunStatus.CANCELLED)]
    assert (here.lost, here.applied) == ([], [])


async def test_run_that_ends_here_while_it_is_looked_at_is_left_alone() -> None:
    here = Here(4)
    here.changed = {1: run_of(1, RunStatus.COMPLETED), 2: None, 3: run_of(3, RunStatus.CANCELLING)}
    looking = asyncio.ensure_future(here.watcher.look())
    await asyncio.sleep(0)
    assert here.asked
    for run_id in (1, 3):
        here.actives[run_id].attempt.over = True
    del here.actives[2]
    await looking
    assert (here.lost, here.applied, here.withdrawn) == ([], [], [])
