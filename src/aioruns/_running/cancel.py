"""Stores cancel requests, and passes them to functions that execute here."""

from __future__ import annotations

import asyncio
from typing import Final

from aioruns._aio.tasks import OwnedTasks, until_done
from aioruns._running.execute import Executor
from aioruns._running.feed import EventFeed
from aioruns._running.registry import Registry
from aioruns._running.state import ManagerState
from aioruns._values.model import Run, now_micros, to_micros
from aioruns._values.redaction import Redact, safe_text
from aioruns.abc import Store
from aioruns.errors import RunAlreadyFinished, RunNotFound, StoreUnavailable

__all__ = ["Canceller"]

MAX_REASON: Final = 1024
"""Most bytes of UTF-8 in the reason of a cancel."""
ABANDONED: Final = "start abandoned"
"""The reason stored when a start was cancelled before it returned."""
PAUSE: Final = 0.25
"""Seconds before the cancel of an abandoned run is requested again, after the store was away."""


class Canceller:
    """Cancels runs, wherever they execute.

    Args:
        store: Stores the requests.
        state: The open manager.
        registry: The runs that execute or wait here.
        executor: Withdraws a run that was waiting here when its row was ended.
        feed: Wakes the subscribers of a run when a request is stored.
        redact: Removes from reasons what must not be shown.
    """

    def __init__(
        self,
        store: Store,
        state: ManagerState,
        registry: Registry,
        executor: Executor,
        feed: EventFeed,
        *,
        redact: Redact,
    ) -> None:
        self._store = store
        self._state = state
        self._registry = registry
        self._executor = executor
        self._feed = feed
        self._redact = redact
        self._tasks = OwnedTasks()

    async def cancel(self, run_id: int, *, reason: str | None) -> Run:
        """Request that a run end, and return its row as stored then. Cancelling the call does not undo the request.

        Raises:
            RunNotFound: There is no such run.
            RunAlreadyFinished: The run has ended, and not because of this request.
            StoreUnavailable: The request could not be stored; a function that executes here was asked to end anyway.
        """
        if reason is not None:
            reason = safe_text(str(reason), MAX_REASON, self._redact, one_line=True) or None
        at = now_micros()
        task = self._tasks.create(self._request(run_id, at, reason, unless_shared=False))
        if (live := self._registry.get(run_id)) is not None:
            # Ask before the commit, so that the function need not wait for the disk. The request still enters the
            # store's line before the function's end, because the task just created takes its step first.
            live.request_cancel(at=at, reason=reason)
        await until_done(task)
        run = task.result()
        if not run.active and (
            run.cancel_requested_at is None or to_micros(run.cancel_requested_at, what="time") != at
        ):
            raise RunAlreadyFinished(run)
        return run

    async def cancel_abandoned(self, run_id: int) -> None:
        """Cancel the run of an abandoned start unless it is shared; try again while the store is away."""
        while not self._state.stopping:
            try:
                await self._request(run_id, now_micros(), ABANDONED, unless_shared=True)
                return
            except RunNotFound:  # the run has ended, and was pruned
                return
            except StoreUnavailable:
                await asyncio.sleep(PAUSE)

    async def _request(self, run_id: int, at: int, reason: str | None, *, unless_shared: bool) -> Run:
        run = await self._store.request_cancel(run_id, at=at, reason=reason, unless_shared=unless_shared)
        if run is None:
            raise RunNotFound(run_id)
        self._feed.notify(run_id)
        if run.manager_id == self._state.manager_id:
            await self.apply(run)
        return run

    async def apply(self, run: Run) -> None:
        """Pass a cancel request or an end that is in the store on to the run here."""
        live = self._registry.get(run.id)
        if live is None:
            await self._registry.settle()
            live = self._registry.get(run.id)
        if live is None:
            return
        if run.active and run.cancel_requested_at is not None and live.cancel_requested_at is None:
            live.request_cancel(at=to_micros(run.cancel_requested_at, what="time"), reason=run.cancel_reason)
        elif not run.active and live.waits:
            self._executor.withdraw(live, run)

    def leftovers(self) -> dict[str, object]:
        """Report the requests under way."""
        return {"requests": len(self._tasks)}
