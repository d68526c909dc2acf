"""The SQLite store: what each verb asks of the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import CoroutineType
from typing import Any, Final

from aioruns._values.checks import check_seconds
from aioruns._values.json import encode
from aioruns._values.model import Run, RunCount, RunEvent, RunFilter
from aioruns.abc import Ending, Fence, NewEvent, NewRun
from aioruns.errors import ConfigurationError
from aioruns.stores._operations import Append, Cancel, Claim, Finish, Insert, Prune, Script
from aioruns.stores.sqlite._columns import COLUMNS, SUMMARY, run_of
from aioruns.stores.sqlite._database import Database
from aioruns.stores.sqlite._listing import select_page
from aioruns.stores.sqlite._liveness import Liveness
from aioruns.stores.sqlite._queries import count_of, event_of, query
from aioruns.stores.sqlite._watch import Watch

__all__ = ["SQLiteStore"]

LONGEST_TIMEOUT: Final = 2_000_000.0
"""Seconds that SQLite can wait: it counts milliseconds in 32 bits, and takes more for none at all."""


class SQLiteStore:
    """Keeps runs in one SQLite file; other processes of the same host may use the file at the same time.

    Network file systems are not supported: neither SQLite's nor our locks are reliable there.

    Args:
        path: The file, created if it does not exist; or ``:memory:``, for tests.
        synchronous: ``full`` to survive power loss; ``normal`` survives a crash of the process only, and is faster.
        busy_timeout: Seconds to wait while another process has locked the database.

    Raises:
        ConfigurationError: A parameter makes no sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "full",
        busy_timeout: float = 5.0,
    ) -> None:
        if synchronous not in ("full", "normal"):
            raise ConfigurationError(f"synchronous={synchronous!r} is unknown; use 'full' or 'normal'")
        if not os.fspath(path):
            raise ConfigurationError("the path of the store is empty; name a file, e.g. runs.db")
        self.path: Final = os.fspath(path)
        seconds = check_seconds(busy_timeout, what="busy_timeout", zero=True) or 0.0
        self._database = Database(self.path, synchronous=synchronous, busy_timeout=min(seconds, LONGEST_TIMEOUT))
        self._liveness = Liveness(self._database)
        self._watch = Watch(self._database)

    def __repr__(self) -> str:
        return f"<SQLiteStore {self.path!r}>"

    async def open(self) -> None:
        """See ``Store``. Cancelling it leaves nothing open."""
        await self._database.open()

    async def aclose(self) -> None:
        """See ``Store``. Cancelling the call does not stop that."""
        await self._database.aclose()

    # Managers

    async def acquire_lease(self, manager_id: str, *, at: int) -> None:
        """See ``Store``."""
        await self._liveness.acquire(manager_id, at=at)

    async def release_lease(self, manager_id: str) -> None:
        """See ``Store``."""
        await self._liveness.release(manager_id)

    def abandon_lease(self, manager_id: str) -> None:
        """See ``Store``."""
        self._liveness.abandon()

    async def rescue_orphans(self, *, now: Callable[[], int]) -> list[int]:
        """See ``Store``."""
        return await self._liveness.rescue(now=now)

    # Verbs that change runs. They are plain functions, which give the coroutine of the writer: one less for each call
    # that waits for its commit.

    def insert_run(self, new: NewRun) -> CoroutineType[Any, Any, tuple[Run, bool]]:
        """See ``Store``."""
        return self._database.submit(Insert(new))

    def claim_run(self, run_id: int, fence: Fence, *, at: int) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._database.submit(Claim(run_id, fence, at))

    def append_events(self, run_id: int, fence: Fence, events: Sequence[NewEvent]) -> CoroutineType[Any, Any, range]:
        """See ``Store``."""
        return self._database.submit(Append(run_id, fence, events))

    def request_cancel(
        self, run_id: int, *, at: int, reason: str | None = None, unless_shared: bool = False
    ) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._database.submit(Cancel(run_id, at, reason, unless_shared))

    def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> CoroutineType[Any, Any, Run]:
        """See ``Store``."""
        return self._database.submit(Finish(run_id, fence, ending))

    async def prune_runs(self, *, finished_before: int, limit: int, after: int = 0) -> list[int]:
        """See ``Store``."""
        values = {"finished_before": finished_before, "limit": limit, "after": after}
        found = [run_id for (run_id,) in await self._database.fetch(query("find_prunable"), values)]
        return await self._database.submit(Prune(found)) if found else []

    # Verbs that read

    async def get_run(self, run_id: int) -> Run | None:
        """See ``Store``."""
        return await self._fetch_run("get_run", run_id)

    async def get_active_run(self, key: str) -> Run | None:
        """See ``Store``."""
        return await self._fetch_run("find_holder", key)

    async def get_latest_run(self, key: str) -> Run | None:
        """See ``Store``."""
        return await self._fetch_run("find_latest", key)

    async def _fetch_run(self, name: str, *values: Any) -> Run | None:
        rows = await self._database.fetch(query(name), values)
        return run_of(rows[0]) if rows else None

    async def list_runs(self, where: RunFilter, *, limit: int, before: int | None, summary: bool = False) -> list[Run]:
        """See ``Store``."""
        sql, values = select_page(where, limit=limit, before=before, columns=SUMMARY if summary else COLUMNS)
        return [run_of(row) for row in await self._database.fetch(sql, values)]

    async def count_runs(self, *, since: int, width: int, among: int) -> list[RunCount]:
        """See ``Store``."""
        values = {"since": since, "width": width, "among": among}
        return [count_of(row) for row in await self._database.fetch(query("count_runs"), values)]

    async def owned_runs(self, manager_id: str) -> list[Run]:
        """See ``Store``."""
        # In the line of writes: behind an insert that nobody waits for any more, and that may still be committed.
        (rows,) = await self._database.submit(Script([(query("owned_runs"), (manager_id,))]))
        return [run_of(row) for row in rows]

    async def changed_runs(self, manager_id: str, run_ids: Sequence[int]) -> dict[int, Run | None]:
        """See ``Store``."""
        values = {"manager_id": manager_id, "run_ids": encode(run_ids, what="ids")}
        rows = await self._database.fetch(query("changed_runs"), values)
        return {row[0]: None if row[1] is None else run_of(row[1:]) for row in rows}

    async def read_events(self, run_id: int, *, after: int, limit: int) -> list[RunEvent]:
        """See ``Store``."""
        rows = await self._database.fetch(query("read_events"), (run_id, after, limit))
        return [event_of(run_id, row) for row in rows]

    async def wait_changed(self, *, timeout: float = 1.0) -> bool:
        """See ``Store``."""
        return await self._watch.wait(timeout)
