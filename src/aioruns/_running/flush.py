"""Storing what runs say while they execute: in order, without delay, and again after the store was away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aioruns._aio.tasks import OwnedTasks
from aioruns._running.feed import EventFeed
from aioruns._running.live import LiveRun, Why
from aioruns._running.outbox import Budget
from aioruns.abc import NewEvent, Store
from aioruns.errors import LeaseLost, StoreUnavailable

__all__ = ["Flusher"]

PAUSE: Final = 0.1
"""Seconds until a store that was away is tried again; doubled up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE: Final = 2.0
LARGEST: Final = 1000
"""Events in one append, so that no start and no end waits long behind a talkative run."""


class Flusher:
    """Appends the events of runs. A run has at most one append under way, so its events keep their order.

    Args:
        store: Where events go.
        feed: The subscribers of runs, who get what is stored.
        patience: Seconds for which the store may be away before those who wait in ``flush`` are told.

    Attributes:
        budget: What the outboxes share that are flushed here.
    """

    def __init__(self, store: Store, feed: EventFeed, *, patience: float) -> None:
        self.budget: Budget = Budget(on_filled=self.start)
        self._store = store
        self._feed = feed
        self._patience = patience
        self._tasks = OwnedTasks()

    def start(self, live: LiveRun) -> None:
        """Begin to store what the run has said; it goes on until there is nothing left."""
        self._tasks.create(self._flush(live))

    async def _flush(self, live: LiveRun) -> None:
        outbox = live.attempt.outbox
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        pause = PAUSE
        while not outbox.closed:
            try:
                await self._append(live, outbox.take())
            except LeaseLost as error:
                outbox.lose(error)
                loop.call_soon(live.attempt.ask_to_end, Why.LOST)  # behind those who learn it from their flush
                return
            except StoreUnavailable as error:
                away_since = away_since or loop.time()
                if loop.time() - away_since >= self._patience:
                    outbox.fail(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            away_since, pause = None, PAUSE
            # A closed outbox is acknowledged by the commit that ends the run.
            if outbox.closed or not outbox.acknowledge():
                return

    async def _append(self, live: LiveRun, said: Sequence[NewEvent]) -> None:
        run, fence = live.run, live.fence
        for start in range(0, len(said), LARGEST):
            part = said[start : start + LARGEST]
            seqs = await self._store.append_events(run.id, fence, part)
            self._feed.publish(run, part, seqs)
            if live.attempt.outbox.closed:  # the rest is stored with the end
                return

    def leftovers(self) -> dict[str, object]:
        """Tell what is still under way."""
        return {"flushes": len(self._tasks), "bytes": self.budget.bytes}
