"""What other processes do to the runs here: cancel requests, rescues; and rows here that nobody executes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

from aioruns._running.live import ActiveRun
from aioruns._values.model import Run
from aioruns._values.status import RunStatus
from aioruns._values.times import now_micros
from aioruns.abc import Ending, Fence, Store
from aioruns.errors import LeaseLost, StoreUnavailable

__all__ = ["Watcher"]

PAUSE: Final = 0.5
"""Seconds until a store that was away is looked at again."""
PIECE: Final = 1000
"""Runs that are looked at together."""


class _Runs(Protocol):
    def __iter__(self) -> Iterator[ActiveRun]: ...
    def __len__(self) -> int: ...
    def __contains__(self, run_id: int) -> bool: ...
    def get(self, run_id: int) -> ActiveRun | None: ...


class Watcher:
    """Looks at the store whenever another process may have written, while anybody here is interested.

    Args:
        store: The store.
        manager_id: The manager whose runs these are.
        registry: The runs that execute or wait here.
        watched: Tells whether somebody here waits for runs of other processes.
        notify_all: Wakes everybody who waits.
        apply: Carries to a run here what the store says of it.
        withdraw: Ends a run here that the store has ended while it waited.
        starting: Tells whether a start is under way.
        settle: Waits for the starts that are under way.
    """

    def __init__(
        self,
        store: Store,
        manager_id: str,
        registry: _Runs,
        *,
        watched: Callable[[], bool],
        notify_all: Callable[[], None],
        apply: Callable[[Run], Awaitable[None]],
        withdraw: Callable[[ActiveRun, Run], None],
        starting: Callable[[], bool],
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._manager_id = manager_id
        self._registry = registry
        self._watched = watched
        self._notify_all = notify_all
        self._apply = apply
        self._withdraw = withdraw
        self._starting = starting
        self._settle = settle
        self._doubts = 0
        self._trusting = False
        self._interest = asyncio.Event()

    def wake(self) -> None:
        """Look: there is something to be interested in."""
        self._interest.set()

    def suspect(self) -> None:
        """Look for rows here that nobody executes: an insert has failed in a way that may have left one."""
        self._doubts += not self._trusting
        self._interest.set()

    def trust(self) -> None:
        """Look for such rows no more; a stray that is left is for whoever rescues."""
        self._trusting = True
        self._doubts = 0

    async def watch(self) -> None:
        """Watch until cancelled."""
        look_again = False
        while True:
            if not (self._registry or self._watched() or self._doubts):
                self._interest.clear()
                await self._interest.wait()
                continue
            try:
                await self.resolve_doubts()
                if await self._store.wait_changed() or look_again:
                    self._notify_all()
                    starting = self._starting()  # then it may be about a run that is stored and not registered yet
                    await self.look()
                    look_again = starting
            except StoreUnavailable:
                look_again = True  # there may have been a change, and its news are lost, or what was looked for
                await asyncio.sleep(PAUSE)

    async def look(self) -> None:
        """Compare the runs here with their rows, some at a time."""
        here = [active.run.id for active in self._registry]
        for start in range(0, len(here), PIECE):
            changed = await self._store.changed_runs(self._manager_id, here[start : start + PIECE])
            for run_id, run in changed.items():
                await self._react(run_id, run)

    async def _react(self, run_id: int, run: Run | None) -> None:
        active = self._registry.get(run_id)
        if active is None or active.function_over:
            return  # it has ended here
        if run is not None and run.active and run.manager_id == self._manager_id:
            if active.cancel_requested_at is None:
                await self._apply(run)
        elif active.waits:
            self._withdraw(active, run or active.run)
        else:
            active.lose()

    async def resolve_doubts(self) -> None:
        """End the rows of this manager that nobody executes: what is left of inserts whose answer was lost."""
        if not self._doubts:
            return
        doubts = self._doubts
        await self._settle()
        rows = await self._store.owned_runs(self._manager_id)
        if self._starting():
            return  # a row may be about to be registered: next time
        for run in rows:
            if run.id not in self._registry and not self._trusting:
                await self._end_stray(run)
        self._notify_all()
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
