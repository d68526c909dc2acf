"""An executor that works on a fake store, and functions for it to execute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from tests.streams import within
from tests.support import now_micros

from aioruns import Run, RunStatus, current_run, redact_secrets
from aioruns._jobs.work import work_of
from aioruns._running.execute import Executor
from aioruns._running.live import ActiveRun
from aioruns._running.outbox import Budget
from aioruns.abc import Ending, Fence, Store

__all__ = ["FENCE", "ExecutorOnFakeStore", "gives", "raises", "row", "said", "says_and_gives", "waits"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FENCE = Fence("manager", 1)


def row(status: str = "running", *, error: str | None = None, timeout: float | None = None) -> Run:
    ended = None if status in ("pending", "running", "cancelling") else NOW
    return Run(
        id=7, job="job", status=RunStatus(status), manager_id="manager", error=error, timeout=timeout, created_at=NOW,
        finished_at=ended,
    )  # fmt: skip


class ExecutorOnFakeStore:
    """An executor, and the store that it works on: of one run, in memory. The store answers as the test tells it to.

    Attributes:
        troubles: What the next calls raise, one after the other.
        calls: The verbs that were called, with their fences.
        endings: What was to be stored as the end.
        stored: The row as others have left it.
        told: What the executor has told others: calls of ``notify`` and ``on_end``.
        stopping: Whether the manager stops.
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
        self.stopping = False
        self.executor = Executor(
            cast("Store", self),
            redact=redact,
            patience=patience,
            stopping=lambda: self.stopping,
            notify=lambda run_id: self.told.append(f"notify {run_id}"),
            on_end=lambda active: self.told.append(f"end {active.run.id}"),
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

    def active(self, call: object, *, stored: Run | None = None, **options: Any) -> ActiveRun:
        options = {"budget": Budget(on_filled=lambda _: None), "redact": redact_secrets, "values": [], **options}
        active = ActiveRun(work_of(call), **options)
        active.attach(stored or row())
        return active

    def launch(self, call: object, *, stored: Run | None = None, **options: Any) -> ActiveRun:
        active = self.active(call, stored=stored, **options)
        self.executor.launch(active)
        return active

    async def ended(self, active: ActiveRun) -> Ending:
        """Wait until a run is over in every respect, and give what was stored of it last."""
        assert active.task is not None
        await within(60, asyncio.wait((active.task,)))
        await within(60, active.ended.wait())
        return self.endings[-1]


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
