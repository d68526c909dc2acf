"""Deletes old finished runs, a few at a time, so that starts can come in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from aioruns._running.feed import EventFeed
from aioruns._values.model import now_micros
from aioruns.abc import Store
from aioruns.errors import ConfigurationError

__all__ = ["prune"]

BATCH: Final = 500
"""Most runs deleted in one transaction; the store deletes fewer where that takes long."""


async def prune(store: Store, older_than: timedelta, feed: EventFeed) -> int:
    """Delete runs that ended longer ago than this, and wake all subscribers, who may be reading one of them.

    If the call is cancelled, some of the runs are deleted.

    Raises:
        ConfigurationError: ``older_than`` is negative.
    """
    if older_than < timedelta(0):
        raise ConfigurationError("older_than must not be negative")
    finished_before = now_micros() - older_than // timedelta(microseconds=1)
    total, last = 0, 0
    try:
        while pruned := await store.prune_runs(finished_before=finished_before, limit=BATCH, after=last):
            total, last = total + len(pruned), pruned[-1]
    finally:
        feed.notify_all()
    return total
