"""The runs that execute or wait here, the current one of each key, and the starts under way. Synchronous, no I/O."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

import anyio

from aioruns._running.live import LiveRun
from aioruns._running.state import ManagerState
from aioruns._values.model import Run

__all__ = ["Registry"]


class Registry:
    """Maps ids to runs, and keys to ids. It holds nothing of a run that has ended.

    Args:
        state: The open manager.

    Attributes:
        sections: The start sections under way. Each may have stored a row that is not registered yet.
    """

    def __init__(self, state: ManagerState) -> None:
        self.sections: set[asyncio.Task[Any]] = set()
        self._state = state
        self._runs: dict[int, LiveRun] = {}
        self._current: dict[str, int] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[LiveRun]:
        return iter(tuple(self._runs.values()))

    def __contains__(self, run_id: int) -> bool:
        return run_id in self._runs

    async def settle(self, timeout: float | None = None) -> None:
        """Wait for the sections under way, ``timeout`` seconds at most. Cancelling the wait does not stop them."""
        if self.sections:
            await asyncio.wait(tuple(self.sections), timeout=timeout)

    def key_lock(self, key: str | None) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the lock under which one start of a key at a time inserts and registers; without a key, no lock."""
        if key is None:
            return _NOBODY
        return self._locks.setdefault(key, asyncio.Lock())

    def add(self, live: LiveRun) -> None:
        """Register a run whose row is stored. From now on, cancel reaches it, and it is the current one of its key."""
        self._runs[live.run.id] = live
        if live.run.key is not None:
            self._current[live.run.key] = live.run.id
        self._state.interest.set()

    def remove(self, live: LiveRun) -> None:
        """Forget a run, if it is registered."""
        run = live.run
        if self._runs.pop(run.id, None) is not None:
            if run.key is not None and self._current.get(run.key) == run.id:
                del self._current[run.key]
            self._changed.set()

    def get(self, run_id: int) -> LiveRun | None:
        """Find a run that executes or waits here."""
        return self._runs.get(run_id)

    def is_starting(self, run: Run) -> bool:
        """Tell whether a row belongs to a run that is being started here and is not registered yet."""
        return run.active and run.manager_id == self._state.manager_id and run.id not in self._runs

    def current_id(self, key: str | None) -> int | None:
        """Return the id of the run here that holds a key; without a key, of the newest run here."""
        if key is None:
            return next(reversed(tuple(self._runs)), None)  # copied in one step, because any thread may ask
        return self._current.get(key)

    async def wait_until_none(self, which: Callable[[LiveRun], bool], *, timeout: float) -> None:
        """Wait until ``which`` is true of no run, ``timeout`` seconds at most. Cancelling the wait changes nothing."""
        with anyio.move_on_after(timeout):
            while any(map(which, self._runs.values())):
                self._changed.clear()
                await self._changed.wait()

    def leftovers(self) -> dict[str, object]:
        """Report what is still remembered."""
        # The frames of an exception that left a start may keep a lock for a while that nobody holds.
        locked = [key for key, lock in self._locks.items() if lock.locked()]
        return {"runs": len(self), "current": dict(self._current), "sections": len(self.sections), "locked": locked}


_NOBODY = contextlib.nullcontext()
