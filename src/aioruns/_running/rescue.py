"""Ends the runs of dead processes without an operator, at open and every two seconds."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aioruns._running.feed import EventFeed
from aioruns._values.model import now_micros
from aioruns.abc import Store
from aioruns.errors import StoreUnavailable

__all__ = ["rescue", "rescue_periodically"]

log = logging.getLogger("aioruns")

INTERVAL: Final = 2.0
"""Seconds between two looks for managers that have died."""


async def rescue(store: Store, feed: EventFeed) -> None:
    """End the runs of managers that have died, and wake all subscribers.

    If the call is cancelled, the next one rescues the runs that are left.
    """
    try:
        for number, run_id in enumerate(await store.rescue_orphans(now=now_micros), 1):
            log.warning("run %s was interrupted: its process ended without finishing it", run_id)
            if number % 100 == 0:  # logging handlers take their time
                await asyncio.sleep(0)
    finally:
        feed.notify_all()


async def rescue_periodically(store: Store, feed: EventFeed) -> None:
    """Rescue until cancelled."""
    while True:
        await asyncio.sleep(INTERVAL)
        try:
            await rescue(store, feed)
        except StoreUnavailable as error:
            log.warning("orphaned runs are not looked for at present: %s", error)
