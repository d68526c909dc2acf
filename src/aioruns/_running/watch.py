"""Watches what other processes do to the runs here, and finds rows of this manager that nobody executes."""

from __future__ import annotations

import asyncio
from typing import Final

from aioruns._running.cancel import Canceller
from aioruns._running.execute import Executor
from aioruns._running.feed import EventFeed
from aioruns._running.live import Why
from aioruns._running.registry import Registry
from aioruns._running.state import ManagerState
from aioruns._values.model import Run, now_micros
from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence, Store
from aioruns.errors import LeaseLost, StoreUnavailable

__all__ = ["Watcher"]

PAUSE: Final = 0.5
"""Seconds before the watcher looks again at a store that was away."""
PIECE: Final = 1000
"""Most runs that one call of the store compares."""


class Watcher:
    """Looks at the store whenever another process may have written, while anybody here is interested.

    Args:
        store: The store.
        state: The open manager, which owns the runs here.
        registry: The runs that execute or wait here.
        feed: Wakes the subscribers here, also those of runs of other processes.
        executor: Withdraws a run that was waiting here when its row was ended.
        canceller: Passes a cancel request on to a run here.
    """

    def __init__(
        self,
        store: Store,
        state: ManagerState,
        registry: Registry,
        feed: EventFeed,
        executor: Executor,
        canceller: Canceller,
    ) -> None:
        self._store = store
        self._state = state
        self._registry = registry
        self._feed = feed
        self._executor = executor
        self._canceller = canceller
        self._doubts = 0
        self._trusting = False

    def suspect(self) -> None:
        """Look for strays: a failed insert may have left a row of this manager that nobody executes."""
        self._doubts += not self._trusting
        self._state.interest.set()

    def trust(self) -> None:
        """Look for strays no more; another manager will rescue those that are left."""
        self._trusting = True
        self._doubts = 0

    async def watch(self) -> None:
        """Watch until cancelled."""
        look_again = False
        while True:
            if not (self._registry or self._feed or self._doubts):
                self._state.interest.clear()
                await self._state.interest.wait()
                continue
            try:
                await self.resolve_doubts()
                if await self._store.wait_changed() or look_again:
                    self._feed.notify_all()
                    # The change may be about a run that is stored and not registered yet: then look again.
                    starting = bool(self._registry.sections)
                    await self.look()
                    look_again = starting
            except StoreUnavailable:
                look_again = True  # the watcher may have missed a change, or a part of it
                await asyncio.sleep(PAUSE)

    async def look(self) -> None:
        """Compare the runs here with their rows, ``PIECE`` at a time."""
        here = [live.run.id for live in self._registry]
        for start in range(0, len(here), PIECE):
            changed = await self._store.changed_runs(self._state.manager_id, here[start : start + PIECE])
            for run_id, run in changed.items():
                await self._react(run_id, run)

    async def _react(self, run_id: int, run: Run | None) -> None:
        live = self._registry.get(run_id)
        if live is None or live.attempt.over:
            return  # it has ended here
        if run is not None and run.active and run.manager_id == self._state.manager_id:
            if live.cancel_requested_at is None:
                await self._canceller.apply(run)
        elif live.waits:
            self._executor.withdraw(live, run or live.run)
        else:
            live.attempt.ask_to_end(Why.LOST)

    async def resolve_doubts(self) -> None:
        """End strays: rows of this manager that nobody executes, left by inserts whose answer was lost."""
        if not self._doubts:
            return
        doubts = self._doubts
        await self._registry.settle()
        rows = await self._store.owned_runs(self._state.manager_id)
        if self._registry.sections:
            return  # one of the rows may be about to be registered: try again next time
        for run in rows:
            if run.id not in self._registry and not self._trusting:
                await self._end_stray(run)
        self._feed.notify_all()
        if self._doubts == doubts:
            self._doubts = 0

    async def _end_stray(self, run: Run) -> None:
        ending = Ending(
            status=RunStatus.FAILED,
            at=now_micros(),
            error="the store was unavailable while the run was being started: it never began",
        )
        try:
            await self._store.finish_run(run.id, Fence(run.manager_id, run.attempt), ending)
        except LeaseLost:
            return  # it has ended meanwhile

    def leftovers(self) -> dict[str, object]:
        """Report how many inserts are in doubt."""
        return {"doubts": self._doubts}
