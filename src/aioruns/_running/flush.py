"""Stores what runs say while they execute: in order, without delay, and again after the store was away."""

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
"""Seconds before a store that was away is called again; doubled each time, up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE: Final = 2.0
LARGEST: Final = 1000
"""Most events in one append, so that no start or end waits long behind a talkative run."""


class Flusher:
    """Appends the events of runs. A run has at most one append under way, so its events keep their order.

    Args:
        store: Stores the events.
        feed: Gives stored events to the subscribers of runs.
        patience: Seconds that the store may be away before whoever waits in ``ctx.flush`` is told.

    Attributes:
        budget: What the outboxes of all these runs share.
    """

    def __init__(self, store: Store, feed: EventFeed, *, patience: float) -> None:
        self.budget: Budget = Budget(on_filled=self.start)
        self._store = store
        self._feed = feed
        self._patience = patience
        self._tasks = OwnedTasks()

    def start(self, live: LiveRun) -> None:
        """Start storing what a run has said, until nothing is left."""
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
                loop.call_soon(live.attempt.ask_to_end, Why.LOST)  # after whoever waits in ``flush`` has got the error
                return
            except StoreUnavailable as error:
                away_since = away_since or loop.time()
                if loop.time() - away_since >= self._patience:
                    outbox.fail(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            away_since, pause = None, PAUSE
            # The executor acknowledges a closed outbox, once the run's end is stored.
            if outbox.closed or not outbox.acknowledge():
                return

    async def _append(self, live: LiveRun, said: Sequence[NewEvent]) -> None:
        run, fence = live.run, live.fence
        for start in range(0, len(said), LARGEST):
            part = said[start : start + LARGEST]
            seqs = await self._store.append_events(run.id, fence, part)
            self._feed.publish(run, part, seqs)
            if live.attempt.outbox.closed:  # the run's end stores the rest
                return

    def leftovers(self) -> dict[str, object]:
        """Report the flushes under way and the unstored bytes."""
        return {"flushes": len(self._tasks), "bytes": self.budget.bytes}
