"""A starter that works on a fake store, beside fakes of capacity and of those who execute, cancel and watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aioruns import Run, job, redact_secrets
from aioruns._running.live import LiveRun
from aioruns._running.outbox import Budget
from aioruns._running.registry import Registry
from aioruns._running.start import Starter, StartRequest, check_start
from aioruns._running.state import ManagerState
from aioruns.abc import NewRun

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


class _Registry(Registry):
    """Notes which runs are registered, and keeps none of them."""

    said: list[str]

    def add(self, live: LiveRun) -> None:
        assert live.inserted
        self.said.append(f"add {live.run.id}")


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
        state = ManagerState()
        state.manager_id = "manager"
        self.registry = _Registry(state)
        self.registry.said = self.said
        fake: Any = self
        self.starter = Starter(
            fake, state, self.registry, fake, fake, fake, fake,
            budget=Budget(on_filled=lambda _: None), redact=redact_secrets, context_vars=(),
        )  # fmt: skip

    @property
    def busy(self) -> bool:
        """Whether a section is under way."""
        return bool(self.registry.sections)

    def section(self) -> asyncio.Task[Any]:
        """Return the task of the one section under way, which the teardown of the event loop cancels."""
        (section,) = self.registry.sections
        return section

    # What the starter sees of a store

    async def insert_run(self, new: NewRun) -> tuple[Run, bool]:
        self.inserts.append(new)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self._insert, BaseException):
            raise self._insert
        return self._insert(new)

    # of capacity

    def reserve(self, live: LiveRun) -> bool:
        self.said.append("reserve")
        self.free -= 1
        live.has_slot = self.free >= 0
        return live.has_slot

    # of the executor

    def begin(self, live: LiveRun) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.said.append(f"{'launch' if live.has_slot else 'enqueue'} {live.run.id}")

    def discard(self, live: LiveRun) -> None:
        live.work.discard()
        self.said.append("release" if live.has_slot else "discard")

    def end_unbegun(self, live: LiveRun, error: BaseException) -> None:
        assert error is self.trouble
        self.said.append(f"fail {live.run.id}")
        asyncio.get_running_loop().call_soon(live.ended.set)

    # of the watcher and the canceller

    def suspect(self) -> None:
        self.said.append("doubt")

    async def cancel_abandoned(self, run_id: int) -> None:
        self.said.append(f"cancel {run_id}")

    def request(self, call: object | None = None, **options: Any) -> StartRequest:
        return check_start(call if call is not None else build(3), {}, **options)

    async def start(self, call: object | None = None, **options: Any) -> Run:
        run, _ = await self.starter.start(self.request(call, **options))
        return run
