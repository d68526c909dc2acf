"""Reads rows, but none of a run that is still being registered here; waits for runs to end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, TypeVar

from aioruns._running.feed import EventFeed
from aioruns._running.live import LiveRun
from aioruns._running.registry import Registry
from aioruns._values.model import Run, RunEvent, RunFilter, to_micros
from aioruns.abc import Store
from aioruns.errors import ConfigurationError, RunNotFound

__all__ = ["Reader", "check_periods"]

T = TypeVar("T")

MAX_COUNTED: Final = 1_000_000
"""The most runs that one call counts."""


class Reader:
    """Reads runs. A run of this manager that it returns can be cancelled, and is the current one of its key.

    The store commits a start on a thread, so its row can be read before the run is registered. A reader that meets such
    a row waits for the start section and reads again.

    Args:
        store: Where rows are read from.
        registry: The runs that execute or wait here.
        feed: Waits for the end of a run that executes in another process.
    """

    def __init__(self, store: Store, registry: Registry, feed: EventFeed) -> None:
        self._store = store
        self._registry = registry
        self._feed = feed

    async def get(self, run_id: int) -> Run:
        """Read a run, or raise ``RunNotFound``."""
        run = await self._one(lambda: self._store.get_run(run_id))
        if run is None:
            raise RunNotFound(run_id)
        return run

    async def holder(self, key: str) -> Run | None:
        """Read the run that holds a key."""
        return await self._one(lambda: self._store.get_active_run(key))

    async def holder_or_latest(self, key: str) -> Run | None:
        """Read the run that holds a key, or else the newest run with that key."""
        return await self.holder(key) or await self._one(lambda: self._store.get_latest_run(key))

    async def page(self, where: RunFilter, *, limit: int, before: int | None, summary: bool) -> list[Run]:
        """Read runs, newest first."""
        return await self._many(lambda: self._store.list_runs(where, limit=limit, before=before, summary=summary))

    async def events(self, run_id: int, after: int, limit: int) -> list[RunEvent]:
        """Read a page of events, or raise ``RunNotFound``."""
        events = await self._store.read_events(run_id, after=after, limit=limit)
        if not events:
            await self.get(run_id)
        return events

    async def _one(self, read: Callable[[], Awaitable[Run | None]]) -> Run | None:
        run = await read()
        if run is not None and self._registry.is_starting(run):
            await self._registry.settle()
            run = await read()
        return run

    async def _many(self, read: Callable[[], Awaitable[list[Run]]]) -> list[Run]:
        runs = await read()
        if any(map(self._registry.is_starting, runs)):
            await self._registry.settle()
            runs = await read()
        return runs

    async def wait(self, run_id: int, live: LiveRun | None, timeout: float | None) -> Run:
        """Wait until a run has ended, here or elsewhere; ``timeout`` seconds at most.

        Raises:
            TimeoutError: The run has not ended in time.
        """
        live = live or self._registry.get(run_id)
        if live is None:
            run = await self.get(run_id)
            if not run.active:
                return run
            live = self._registry.get(run_id)
        if live is None:
            return await _within(timeout, self._feed.wait_ended(run_id))
        await _within(timeout, live.ended.wait())
        return live.outcome()


def _within(seconds: float | None, waiting: Awaitable[T]) -> Awaitable[T]:
    return waiting if seconds is None or seconds == math.inf else _cut_off(seconds, waiting)


async def _cut_off(seconds: float, waiting: Awaitable[T]) -> T:
    async with asyncio.timeout(seconds):
        return await waiting


def check_periods(since: datetime, width: timedelta, among: int) -> tuple[int, int]:
    """Return the start of the first period and the length of each, in microseconds, or raise ``ConfigurationError``."""
    if width <= timedelta(0):
        raise ConfigurationError(f"width must be longer than zero, not {width}")
    if not 1 <= among <= MAX_COUNTED:
        raise ConfigurationError(f"among must be between 1 and {MAX_COUNTED:,}, not {among}")
    return to_micros(since, what="since"), width // timedelta(microseconds=1)
