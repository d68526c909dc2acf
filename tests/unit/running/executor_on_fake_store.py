"""An executor that works on a fake store, and functions for it to execute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, cast

from tests.streams import within
from tests.support import now_micros

from aioruns import Run, RunStatus, current_run, redact_secrets
from aioruns._aio.threads import Thread
from aioruns._jobs.work import work_of
from aioruns._running.blocking import BlockWatch
from aioruns._running.capacity import Capacity
from aioruns._running.execute import Executor
from aioruns._running.feed import EventFeed
from aioruns._running.live import Attempt, LiveRun
from aioruns._running.outbox import Budget
from aioruns._running.registry import Registry
from aioruns._running.state import ManagerState
from aioruns.abc import Ending, Fence, Store

__all__ = [
    "FENCE",
    "ExecutorOnFakeStore",
    "gives",
    "raises",
    "row",
    "said",
    "says_and_gives",
    "task_of",
    "thread_of",
    "waits",
]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FENCE = Fence("manager", 1)


def row(status: str = "running", *, error: str | None = None, timeout: float | None = None) -> Run:
    ended = None if status in ("pending", "running", "cancelling") else NOW
    return Run(
        id=7, job="job", status=RunStatus(status), manager_id="manager", error=error, timeout=timeout, created_at=NOW,
        finished_at=ended,
    )  # fmt: skip


class _Feed(EventFeed):
    """Notes which runs it is told of before they have ended."""

    told: list[str]
    lives: dict[int, LiveRun]

    def notify(self, run_id: int) -> None:
        if not self.lives[run_id].attempt.over:
            self.told.append(f"notify {run_id}")
        super().notify(run_id)


class _Registry(Registry):
    """Notes which runs leave it."""

    told: list[str]

    def remove(self, live: LiveRun) -> None:
        self.told.append(f"end {live.run.id}")
        super().remove(live)


class ExecutorOnFakeStore:
    """An executor, and the store that it works on: of one run, in memory. The store answers as the test tells it to.

    Attributes:
        troubles: What the next calls raise, one after the other.
        calls: The verbs that were called, with their fences.
        endings: What was to be stored as the end.
        stored: The row as others have left it.
        told: What the executor has told others: ``notify`` of what happens to a run, ``end`` when it forgets the run.
        state: The open manager; ``state.closing`` tells whether it stops.
    """

    def __init__(
        self, *troubles: BaseException, patience: float = 60, redact: Callable[[str], str] = redact_secrets
    ) -> None:
        self.troubles = list(troubles)
        self.calls: list[tuple[str, Fence | None]] = []
        self.endings: list[Ending] = []
        self.stored: Run | None = row("interrupted", error="its process died")
        self.claimed: Run | None = row("running")
        self.told: list[str] = []
        self.state = ManagerState()
        store = cast("Store", self)
        feed, registry = _Feed(store, self.state), _Registry(self.state)
        self._lives: dict[int, LiveRun] = {}
        feed.told = registry.told = self.told
        feed.lives = self._lives
        self.executor = Executor(
            store, self.state, registry, Capacity(None), feed, BlockWatch(registry), redact=redact, patience=patience
        )

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

    def live(
        self,
        call: object,
        *,
        stored: Run | None = None,
        values: Sequence[tuple[ContextVar[Any], Any]] = (),
        budget: Budget | None = None,
    ) -> LiveRun:
        attempt = Attempt(budget=budget or Budget(on_filled=lambda _: None), redact=redact_secrets)
        live = LiveRun(work_of(call), attempt, values)
        live.attach(stored or row())
        live.has_slot = True
        self._lives[live.run.id] = live
        return live

    def launch(self, call: object, **options: Any) -> LiveRun:
        live = self.live(call, **options)
        self.executor.begin(live)
        return live

    async def ended(self, live: LiveRun) -> Ending:
        """Wait until a run is over in every respect, and give what was stored of it last."""
        await within(60, asyncio.wait((task_of(live),)))
        await within(60, live.ended.wait())
        return self.endings[-1]


def task_of(live: LiveRun) -> asyncio.Task[None]:
    """Return the task that executes a run that was launched."""
    assert live.attempt.task is not None
    return live.attempt.task


def thread_of(live: LiveRun) -> Thread | None:
    """Return the thread that executes the function of a run, if it has begun."""
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
