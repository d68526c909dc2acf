"""Who is alive: the row and the lease of this store's manager, and the rescue of what dead managers have left."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from aioruns._aio.threads import in_thread
from aioruns.errors import ConfigurationError, StoreUnavailable
from aioruns.stores._operations import Script
from aioruns.stores.sqlite._database import Database
from aioruns.stores.sqlite._lease import Lease, remove_strays
from aioruns.stores.sqlite._queries import query
from aioruns.stores.sqlite._stamp import Stamps

__all__ = ["Liveness"]


class Liveness:
    """Keeps one manager alive in the eyes of others, and looks for those that are dead.

    ``:memory:`` has rows and no leases: no other process can see them.

    Args:
        database: It is open.

    Attributes:
        lease: The lock of the manager, while it has one.
    """

    def __init__(self, database: Database) -> None:
        self.lease: Lease | None = None
        self._database = database
        self._manager_id = ""
        self._others: list[str] = []
        self._stamps = Stamps()
        self._swept = False

    async def acquire(self, manager_id: str, *, at: int) -> None:
        """See ``Store.acquire_lease``."""
        if not self._database.in_memory:
            self.lease = self.lease or await in_thread(Lease, self._database.path, manager_id)
            await in_thread(self.lease.acquire)
        self._manager_id = manager_id
        try:
            await self._insert_manager(at)
        except StoreUnavailable:
            await self._drop()
            raise

    async def _insert_manager(self, at: int) -> None:
        row = (self._manager_id, os.getpid(), socket.gethostname(), at)
        await self._database.submit(Script([(query("insert_manager"), row)]))

    async def release(self, manager_id: str) -> None:
        """See ``Store.release_lease``."""
        delete = (query("delete_manager"), {"manager_id": manager_id})
        _, left_behind = await self._database.submit(Script([delete, (query("find_manager"), (manager_id,))]))
        if left_behind:
            self.abandon()
        else:
            await self._drop()

    async def _drop(self) -> None:
        if self.lease is not None:
            await in_thread(self.lease.release)
            self.lease = None

    def abandon(self) -> None:
        """See ``Store.abandon_lease``."""
        lease, self.lease = self.lease, None  # at once: two threads may call this
        if lease is not None:
            lease.abandon()

    async def rescue(self, *, now: Callable[[], int]) -> list[int]:
        """See ``Store.rescue_orphans``."""
        if self._database.in_memory:
            return []
        await self._renew(now)
        rescued: list[int] = []
        for manager_id in await self._find_others():
            lease = Lease(self._database.path, manager_id)
            try:
                if not await in_thread(lease.try_acquire):
                    continue
                rescued += await self._interrupt_runs(manager_id, now())
            except BaseException:  # cancelled, it may have the lock, or be about to
                lease.abandon()
                raise
            await in_thread(lease.release)
        if not self._swept:
            self._swept = True
            await in_thread(remove_strays, self._database.path)
        return rescued

    async def _renew(self, now: Callable[[], int]) -> None:
        """Be alive again if somebody has deleted the lock's file: whoever saw that has taken this manager for dead."""
        self._database.check_open()
        try:
            if self.lease is not None and self.lease.is_lost() and await in_thread(self.lease.renew):
                await self._insert_manager(now())
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error

    async def _find_others(self) -> list[str]:
        """Find the managers that have rows or runs; read again only if anybody has written."""
        if (stamp := self._stamps.look(self._database.path)) is not None:
            rows = await self._database.fetch(query("other_managers"), {"manager_id": self._manager_id})
            self._others = [manager_id for (manager_id,) in rows]
            self._stamps.note(stamp)
        return self._others

    async def _interrupt_runs(self, manager_id: str, at: int) -> list[int]:
        values = {
            "at": at,
            "manager_id": manager_id,
            "error": "the process that executed the run ended without finishing it",
        }
        rows, _ = await self._database.submit(
            Script([(query("interrupt_runs"), values), (query("delete_manager"), {"manager_id": manager_id})])
        )
        return [run_id for (run_id,) in rows]
