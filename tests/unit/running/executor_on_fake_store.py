"""An executor that works on a fake store, and functions for it to execute."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from tests.streams import within
from tests.support import now_micros
from tests.unit.running.roles_on_fake_store import RolesOnFakeStore, live_run

from aioruns import Run, RunStatus, current_run
from aioruns._aio.threads import Thread
from aioruns._running.live import LiveRun
from aioruns.abc import Ending, Fence

__all__ = [
    "ENDED", "FENCE", "ExecutorOnFakeStore", "gives", "raises", "row", "said", "says_and_gives", "task_of", "thread_of",
    "waits",
]  # fmt: skip

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FENCE = Fence("manager", 1)
ENDED = ["notify 7", "forget 7"]
"""What an executor tells of a run that ends, or whose end is given up, as long as its manager is open."""


def row(status: str = "running", *, error: str | None = None, timeout: float | None = None) -> Run:
    ended = None if status in ("pending", "running", "cancelling") else NOW
    return Run(
        id=7, job="job", status=RunStatus(status), manager_id="manager", error=error, timeout=timeout, created_at=NOW,
        finished_at=ended,
    )  # fmt: skip


class ExecutorOnFakeStore(RolesOnFakeStore):
    """An executor, and the store that it works on: of one run, in memory. The store answers as the test tells it to.

    Attributes:
        troubles: What the next calls raise, one after the other.
        calls: The verbs that were called, with their fences.
        endings: What was to be stored as the end.
        stored: The row as others have left it.
        claimed: What a claim gives.
    """

    def __init__(self, *troubles: BaseException, **options: Any) -> None:
        super().__init__(**options)
        self.troubles = list(troubles)
        self.calls: list[tuple[str, Fence | None]] = []
        self.endings: list[Ending] = []
        self.stored: Run | None = row("interrupted", error="its process died")
        self.claimed: Run | None = row("running")

    def _answer(self, verb: str, run_id: int, fence: Fence | None) -> None:
        assert run_id == 7
        self.calls.append((verb, fence))
        if self.troubles:
            raise self.troubles.pop(0)

    async def claim_run(self, run_id: int, fence: Fence, *, at: int) -> Run | None:
        assert abs(at - now_micros()) < 60_000_000
        self._answer("claim", run_id, fence)
        return self.claimed

    async def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> Run:
        self.endings.append(ending)
        self._answer("finish", run_id, fence)
        return row(ending.status, error=ending.error)

    async def get_run(self, run_id: int) -> Run | None:
        self._answer("get", run_id, None)
        return self.stored

    def live(self, call: object, *, stored: Run | None = None, **options: Any) -> LiveRun:
        """Make a run, registered and with a slot, that has not been launched."""
        live = self.register(live_run(call, stored or row(), **options))
        assert live.has_slot
        self.told.clear()
        return live

    def launch(self, call: object, *, stored: Run | None = None, **options: Any) -> LiveRun:
        live = self.live(call, stored=stored, **options)
        self.executor.begin(live)
        return live

    async def ended(self, live: LiveRun) -> Ending:
        """Wait until a run is over in every respect, and give what was stored of it last."""
        await within(60, asyncio.wait((task_of(live),)))
        await within(60, live.ended.wait())
        return self.endings[-1]


def task_of(live: LiveRun) -> asyncio.Task[None]:
    """Give the task that executes a run."""
    assert live.attempt.task is not None
    return live.attempt.task


def thread_of(live: LiveRun) -> Thread | None:
    """Give the thread in which a run executes, once there is one."""
    return None if live.attempt.runner is None else live.attempt.runner.thread


async def gives(value: Any = None) -> Any:
    return value


async def says_and_gives(value: Any) -> Any:
    current_run().log("info", "hello")
    return value


async def raises(error: BaseException) -> None:
    raise error


async def waits() -> None:
    await asyncio.Event().wait()


def said(ending: Ending) -> str:
    """Give what the run had said and its end brought to the store."""
    return "\n".join(event.data for event in ending.events)
