"""The runs that execute or wait here, and which of them is the current one of its key. Synchronous, no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import anyio

from aioruns._running.live import ActiveRun

__all__ = ["Registry"]


class Registry:
    """Runs by id, and ids by key; holds nothing of a run that has ended."""

    def __init__(self) -> None:
        self._runs: dict[int, ActiveRun] = {}
        self._current: dict[str, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[ActiveRun]:
        return iter(tuple(self._runs.values()))

    def __contains__(self, run_id: int) -> bool:
        return run_id in self._runs

    def add(self, active: ActiveRun) -> None:
        """Register a run whose row is stored."""
        self._runs[active.run.id] = active
        if active.run.key is not None:
            self._current[active.run.key] = active.run.id

    def remove(self, active: ActiveRun) -> None:
        """Forget a run; nothing happens if it is not registered."""
        run = active.run
        if self._runs.pop(run.id, None) is not None:
            if run.key is not None and self._current.get(run.key) == run.id:
                del self._current[run.key]
            self._changed.set()

    def get(self, run_id: int) -> ActiveRun | None:
        """Find a run that executes or waits here."""
        return self._runs.get(run_id)

    def current_id(self, key: str | None) -> int | None:
        """Return the id of the run here that holds a key; without a key, of the newest run here."""
        if key is None:
            return next(reversed(tuple(self._runs)), None)  # copied in one step: any thread may ask
        return self._current.get(key)

    async def wait_until_none(self, which: Callable[[ActiveRun], bool], *, timeout: float) -> None:
        """Wait until there is no such run left, ``timeout`` seconds at most. Cancelling the wait changes nothing."""
        with anyio.move_on_after(timeout):
            while any(map(which, self._runs.values())):
                self._changed.clear()
                await self._changed.wait()
