"""Waiting for commits of other processes: SQLite tells nobody of them, so the watch looks."""

from __future__ import annotations

import asyncio
from typing import Final

from aioruns.stores.sqlite._database import Database
from aioruns.stores.sqlite._stamp import Stamps

__all__ = ["Watch"]

POLL: Final = 0.05
"""Seconds between two looks for commits of other processes, while somebody waits for them."""


class Watch:
    """Remembers up to which commit of other processes has been seen.

    Args:
        database: It is open.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = 0
        self._stamps = Stamps()

    async def wait(self, timeout: float) -> bool:
        """See ``Store.wait_changed``."""
        if self._database.in_memory:  # there are no other processes
            self._database.check_open()
            await asyncio.sleep(timeout)
            return False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (now := loop.time()) < deadline:
            await asyncio.sleep(POLL)
            self._database.check_open()
            stamp = self._stamps.look(self._database.path)
            # In any case at the end: the clocks of some file systems turn once in two seconds.
            if (stamp is not None or now + POLL >= deadline) and await self._is_changed(stamp):
                return True
        return False

    async def _is_changed(self, stamp: tuple[int, int] | None) -> bool:
        version, before = await self._database.data_version(), self._seen
        if stamp is not None:
            self._stamps.note(stamp)
        self._seen = version
        return version != before
