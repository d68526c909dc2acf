"""A starter that works on a fake store, beside a fake registry and fake capacity."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from aioruns import Run, job, redact_secrets
from aioruns._jobs.work import Work
from aioruns._running.live import ActiveRun
from aioruns._running.outbox import Budget
from aioruns._running.start import Starter, Ticket, check_start
from aioruns.abc import NewRun, Store

__all__ = ["NOW", "StarterOnFakeStore", "build", "row"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Insert = Callable[[NewRun], tuple[Run, bool]]


def row(new: NewRun, run_id: int = 7, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": run_id, "job": new.job, "status": new.status, "key": new.key, "idempotency_key": new.idempotency_key,
        "manager_id": new.manager_id, "created_at": NOW,
    }  # fmt: skip
    return Run(**{**values, **changes})


@job
async def build(number: int) -> None: ...


class StarterOnFakeStore:
    """A starter, and all that it works with: the store, the registry, capacity, and those who execute and cancel.

    Each of them only notes what the starter asks of it.

    Attributes:
        inserts: What was to be inserted.
        said: What the starter has asked of others, in order.
        free: How many runs may begin at once.
        trouble: What is raised when a run is launched.
        gate: What the answers of inserts wait for.
    """

    def __init__(self, insert: Insert | BaseException | None = None, *, free: int = 1) -> None:
        self.inserts: list[NewRun] = []
        self.said: list[str] = []
        self.free = free
        self.trouble: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self._insert = insert or (lambda new: (row(new), True))
        self.starter = Starter(
            cast("Store", self), "manager", self, self,
            launch=self._launch, fail=self._fail, cancel_abandoned=self._cancel, on_doubt=self._doubt,
        )  # fmt: skip

    # What the starter sees of a store

    async def insert_run(self, new: NewRun) -> tuple[Run, bool]:
        self.inserts.append(new)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self._insert, BaseException):
            raise self._insert
        return self._insert(new)

    # of the registry

    def add(self, active: ActiveRun) -> None:
        assert active.is_attached(active.run.id)
        self.said.append(f"add {active.run.id}")

    # of capacity

    def reserve(self) -> bool:
        self.said.append("reserve")
        self.free -= 1
        return self.free >= 0

    def release(self) -> None:
        self.said.append("release")

    def enqueue(self, active: ActiveRun) -> None:
        self.said.append(f"enqueue {active.run.id}")

    def withdraw(self) -> None:
        self.said.append("withdraw")

    # and of those who execute and cancel

    def _launch(self, active: ActiveRun) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.said.append(f"launch {active.run.id}")

    def _fail(self, active: ActiveRun, error: BaseException) -> None:
        assert error is self.trouble
        self.said.append(f"fail {active.run.id}")
        asyncio.get_running_loop().call_soon(active.ended.set)

    def _doubt(self) -> None:
        self.said.append("doubt")

    async def _cancel(self, run_id: int) -> None:
        self.said.append(f"cancel {run_id}")

    def ticket(self, call: object | None = None, **options: Any) -> Ticket:
        def prepare(work: Work) -> ActiveRun:
            return ActiveRun(work, budget=Budget(on_filled=lambda _: None), redact=redact_secrets, values=[])

        options = {
            "key": None, "on_conflict": "reject", "idempotency_key": None, "timeout": None, "tags": None,
            "triggered_by": None, **options,
        }  # fmt: skip
        return check_start(call if call is not None else build(3), {}, prepare=prepare, **options)

    async def start(self, call: object | None = None, **options: Any) -> Run:
        return await self.starter.start(self.ticket(call, **options))
