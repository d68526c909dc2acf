"""A starter that works on a fake store, with the roles that it works with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.insides import is_execution
from tests.unit.running.roles_on_fake_store import RolesOnFakeStore

from aioruns import Run, RunStatus, job
from aioruns._running.live import LiveRun
from aioruns._running.start import StartRequest, check_start
from aioruns._values.model import from_micros
from aioruns.abc import Ending, Fence, NewRun

__all__ = ["NOW", "StarterOnFakeStore", "build", "refuse_to_launch", "row"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Insert = Callable[[NewRun], tuple[Run, bool]]


def row(new: NewRun, run_id: int | None = None, **changes: Any) -> Run:
    """Give the row of an insert; the first one's id is 7."""
    values: dict[str, Any] = {
        "id": run_id or 6 + new.token, "job": new.job, "status": new.status, "key": new.key,
        "idempotency_key": new.idempotency_key, "manager_id": new.manager_id, "created_at": NOW,
    }  # fmt: skip
    return Run(**{**values, **changes})


@job
async def build(number: int) -> None:
    await asyncio.Event().wait()


class StarterOnFakeStore(RolesOnFakeStore):
    """A starter, and the store that it and the other roles work on.

    Attributes:
        inserts: What was to be inserted.
        cancels: The cancel requests: the run, the reason, and whether a shared run was to be left alone.
        endings: The runs whose ends were stored, and how they ended.
        gate: What the answers of inserts wait for.
        finish_gate: What the answers of ``finish_run`` wait for.
    """

    def __init__(self, insert: Insert | BaseException | None = None, *, free: int = 1, **options: Any) -> None:
        super().__init__(max_running=free, **options)
        self.inserts: list[NewRun] = []
        self.cancels: list[tuple[int, str | None, bool]] = []
        self.endings: list[tuple[int, Ending]] = []
        self.gate: asyncio.Event | None = None
        self.finish_gate: asyncio.Event | None = None
        self._insert = insert or (lambda new: (row(new), True))
        self._rows: dict[int, Run] = {}

    @property
    def tokens(self) -> list[int]:
        """The tokens of the inserts, in order; that of one which was called again is there again."""
        return [new.token for new in self.inserts]

    @property
    def busy(self) -> bool:
        """Whether a section is under way."""
        return bool(self.registry.sections)

    async def insert_run(self, new: NewRun) -> tuple[Run, bool]:
        self.inserts.append(new)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self._insert, BaseException):
            raise self._insert
        run, inserted = self._insert(new)
        self._rows[run.id] = run
        return run, inserted

    async def request_cancel(self, run_id: int, *, at: int, reason: str | None, unless_shared: bool) -> Run:
        self.cancels.append((run_id, reason, unless_shared))
        run = self._rows[run_id]
        return self._replace(run, RunStatus.CANCELLING, cancel_requested_at=from_micros(at), cancel_reason=reason)

    async def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> Run:
        if self.finish_gate is not None:
            await self.finish_gate.wait()
        self.endings.append((run_id, ending))
        return self._replace(self._rows[run_id], ending.status, finished_at=NOW, error=ending.error)

    def _replace(self, run: Run, status: RunStatus, **changes: Any) -> Run:
        values = {"key": run.key, "manager_id": run.manager_id, "created_at": NOW, **changes}
        return Run(id=run.id, job=run.job, status=status, **values)

    def request(self, call: object | None = None, **options: Any) -> StartRequest:
        return check_start(call if call is not None else build(3), {}, **options)

    async def start(self, call: object | None = None, **options: Any) -> Run:
        run, _ = await self.starter.start(self.request(call, **options))
        return run

    def live(self, run_id: int = 7) -> LiveRun:
        """Give a run that is registered."""
        live = self.registry.get(run_id)
        assert live is not None, f"run {run_id} is not registered"
        return live

    def section(self) -> asyncio.Task[Any]:
        """Give the one section under way."""
        (section,) = self.registry.sections
        return section


def refuse_to_launch(error: Exception | None) -> None:
    """Let creating the task that executes a run fail, from now on, or not any more."""

    def create(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        if error is not None and is_execution(coroutine):
            raise error
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(create)
