"""A store whose calls always end: a call that hangs or fails in an unknown way raises ``StoreUnavailable``."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import CoroutineType
from typing import Any, Final, ParamSpec, TypeVar, cast

from aioruns._values.model import Run, RunCount, RunEvent, RunFilter
from aioruns.abc import Ending, Fence, NewEvent, NewRun, Store
from aioruns.errors import RunError, StoreUnavailable

__all__ = ["BoundedStore"]

log = logging.getLogger("aioruns")

P = ParamSpec("P")
T = TypeVar("T")

SHORTEST: Final = 2.0
"""Seconds that every call has at least: ``wait_changed`` alone may wait for one."""
LATE: Final = 0.5
"""A timer that is more than these seconds late shows that the event loop stood still."""


class BoundedStore(Store):
    """Calls another store: each call ends in time and raises only the errors of aioruns.

    A call that runs out of time or fails in an unknown way raises ``StoreUnavailable``: its outcome is unknown. Opening
    and closing have no bound.

    One timer serves all calls: each has the same time, so the oldest is the first to be late. ``asyncio.timeout`` would
    leave a timer for each call, which would keep a run's context alive until long after the run's end.

    Args:
        store: The store to call.
        patience: Seconds within which a call must end; less than two count as two.
    """

    def __init__(self, store: Store, *, patience: float) -> None:
        self._store = store
        self._seconds = max(patience, SHORTEST)
        self._loop = asyncio.get_running_loop()
        self._calls: dict[asyncio.Task[Any], float] = {}  # the deadline of each, in order
        self._given_up: dict[asyncio.Task[Any], str] = {}  # the reason for each
        self._timer: asyncio.TimerHandle | None = None

    async def _ask(self, verb: Callable[P, Awaitable[T]], *args: P.args, **options: P.kwargs) -> T:
        task = cast("asyncio.Task[Any]", asyncio.current_task(self._loop))
        cancellations = task.cancelling()
        deadline = self._loop.time() + self._seconds
        self._calls[task] = deadline
        if self._timer is None:
            self._wait_until(deadline)
        try:
            return await verb(*args, **options)
        except asyncio.CancelledError:
            if task in self._given_up and task.cancelling() - 1 <= cancellations:  # nobody but us has cancelled it
                raise StoreUnavailable(self._given_up[task]) from None
            raise
        except RunError:
            raise
        except Exception as error:
            log.exception("the store failed in a way that is not known")
            raise StoreUnavailable(f"the store failed: {type(error).__name__}: {error}") from error
        finally:
            del self._calls[task]
            if self._given_up.pop(task, None):
                task.uncancel()

    def _wait_until(self, when: float) -> None:
        self._timer = self._loop.call_at(when, self._give_up_late, when, context=contextvars.Context())

    def _give_up_late(self, due: float) -> None:
        self._timer = None
        now = self._loop.time()
        if now - due > LATE:  # the event loop stood still: answers may wait behind this callback
            self._wait_until(now + LATE)
            return
        for task, deadline in self._calls.items():
            if deadline > now:
                self._wait_until(deadline)
                return
            self._give_up(task, f"the store has not answered within {self._seconds:g} s")

    def _give_up(self, task: asyncio.Task[Any], why: str) -> None:
        if task not in self._given_up:
            self._given_up[task] = why
            task.cancel()

    def leftovers(self) -> dict[str, object]:
        """Report the calls under way."""
        return {"calls": len(self._calls), "calls given up": len(self._given_up)}

    # Not bounded

    async def open(self) -> None:
        """See ``Store``."""
        await self._store.open()

    async def aclose(self) -> None:
        """See ``Store``; calls that the store has not answered end."""
        try:
            await self._store.aclose()
        finally:
            for task in self._calls:
                self._give_up(task, "the store was closed before it answered")
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def abandon_lease(self, manager_id: str) -> None:
        """See ``Store``."""
        self._store.abandon_lease(manager_id)

    # Bounded. These plain functions return the coroutine of `_ask`, which saves each call a coroutine. `_ask` makes the
    # call, so that it maps whatever the call raises, and a call that is cancelled before its first step leaves nothing.

    def acquire_lease(self, manager_id: str, *, at: int) -> CoroutineType[Any, Any, None]:
        """See ``Store``."""
        return self._ask(self._store.acquire_lease, manager_id, at=at)

    def release_lease(self, manager_id: str) -> CoroutineType[Any, Any, None]:
        """See ``Store``."""
        return self._ask(self._store.release_lease, manager_id)

    def rescue_orphans(self, *, now: Callable[[], int]) -> CoroutineType[Any, Any, list[int]]:
        """See ``Store``."""
        return self._ask(self._store.rescue_orphans, now=now)

    def insert_run(self, new: NewRun) -> CoroutineType[Any, Any, tuple[Run, bool]]:
        """See ``Store``."""
        return self._ask(self._store.insert_run, new)

    def claim_run(self, run_id: int, fence: Fence, *, at: int) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._ask(self._store.claim_run, run_id, fence, at=at)

    def append_events(self, run_id: int, fence: Fence, events: Sequence[NewEvent]) -> CoroutineType[Any, Any, range]:
        """See ``Store``."""
        return self._ask(self._store.append_events, run_id, fence, events)

    def request_cancel(
        self, run_id: int, *, at: int, reason: str | None = None, unless_shared: bool = False
    ) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._ask(self._store.request_cancel, run_id, at=at, reason=reason, unless_shared=unless_shared)

    def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> CoroutineType[Any, Any, Run]:
        """See ``Store``."""
        return self._ask(self._store.finish_run, run_id, fence, ending)

    def get_run(self, run_id: int) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._ask(self._store.get_run, run_id)

    def get_active_run(self, key: str) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._ask(self._store.get_active_run, key)

    def get_latest_run(self, key: str) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._ask(self._store.get_latest_run, key)

    def list_runs(
        self, where: RunFilter, *, limit: int, before: int | None, summary: bool = False
    ) -> CoroutineType[Any, Any, list[Run]]:
        """See ``Store``."""
        return self._ask(self._store.list_runs, where, limit=limit, before=before, summary=summary)

    def count_runs(self, *, since: int, width: int, among: int) -> CoroutineType[Any, Any, list[RunCount]]:
        """See ``Store``."""
        return self._ask(self._store.count_runs, since=since, width=width, among=among)

    def owned_runs(self, manager_id: str) -> CoroutineType[Any, Any, list[Run]]:
        """See ``Store``."""
        return self._ask(self._store.owned_runs, manager_id)

    def changed_runs(self, manager_id: str, run_ids: Sequence[int]) -> CoroutineType[Any, Any, dict[int, Run | None]]:
        """See ``Store``."""
        return self._ask(self._store.changed_runs, manager_id, run_ids)

    def read_events(self, run_id: int, *, after: int, limit: int) -> CoroutineType[Any, Any, list[RunEvent]]:
        """See ``Store``."""
        return self._ask(self._store.read_events, run_id, after=after, limit=limit)

    def prune_runs(self, *, finished_before: int, limit: int, after: int = 0) -> CoroutineType[Any, Any, list[int]]:
        """See ``Store``."""
        return self._ask(self._store.prune_runs, finished_before=finished_before, limit=limit, after=after)

    def wait_changed(self, *, timeout: float = 1.0) -> CoroutineType[Any, Any, bool]:
        """See ``Store``."""
        return self._ask(self._store.wait_changed, timeout=timeout)
