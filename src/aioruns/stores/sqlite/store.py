"""Runs in one SQLite file, shared by all processes of a host."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType
from typing import Any, Final, cast

import aiosqlite

from aioruns._aio.tasks import create_task, until_done
from aioruns._aio.threads import in_thread
from aioruns._values.checks import check_seconds
from aioruns._values.json import encode
from aioruns._values.model import Run, RunCount, RunEvent, RunFilter
from aioruns.abc import Ending, Fence, NewEvent, NewRun
from aioruns.errors import ConfigurationError, StoreUnavailable
from aioruns.stores._writer import GroupCommit
from aioruns.stores.sqlite._batch import Append, Cancel, Claim, Finish, Insert, Op, Prune, Script, commit
from aioruns.stores.sqlite._checkpoint import LIMIT, Checkpoints
from aioruns.stores.sqlite._connections import call, check_path, connect, disconnect, file_of, set_pragma
from aioruns.stores.sqlite._errors import unavailable
from aioruns.stores.sqlite._lease import Lease, remove_strays
from aioruns.stores.sqlite._listing import select_page
from aioruns.stores.sqlite._queries import COLUMNS, SUMMARY, Row, count_of, event_of, query, run_of
from aioruns.stores.sqlite._schema import check_schema, migrate
from aioruns.stores.sqlite._stamp import Stamps

__all__ = ["SQLiteStore"]

LONGEST_TIMEOUT: Final = 2_000_000.0
"""Seconds that SQLite can wait: it counts milliseconds in 32 bits, and takes more for none at all."""
POLL: Final = 0.05
"""Seconds between two looks for commits of other processes, while somebody waits for them."""


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
        self._memory = self.path == ":memory:"
        self._synchronous = synchronous
        seconds = check_seconds(busy_timeout, what="busy_timeout", zero=True) or 0.0
        self._busy_timeout = min(seconds, LONGEST_TIMEOUT)
        self._database = self.path
        self._write: aiosqlite.Connection | None = None
        self._read: aiosqlite.Connection | None = None
        self._checkpoints: Checkpoints | None = None
        self._closer: asyncio.Task[None] | None = None
        self._closing: list[asyncio.Future[None]] = []
        self._writer: GroupCommit[Op] | None = None
        self._lease: Lease | None = None
        self._manager_id = ""
        self._swept = False
        self._seen_version = 0
        self._version_at = self._others_at = Stamps("")
        self._others: list[str] = []
        self._file: tuple[int, int] | None = None  # which file was opened

    def __repr__(self) -> str:
        return f"<SQLiteStore {self.path!r}>"

    async def open(self) -> None:
        """See ``Store``. Cancelling it leaves nothing open."""
        if self._writer is not None:
            raise ConfigurationError(f"{self!r} has been opened before: make a new store for a new manager")
        if not self._memory:
            # One name for one file: the locks lie beside it, whichever link led here.
            self._database = await in_thread(check_path, self.path)
        try:
            self._write = await connect(self._database, busy_timeout=self._busy_timeout, pragmas=self._pragmas())
            await check_schema(self._write, self.path)  # before the file is changed, be it only its journal's mode
            await set_pragma(self._write, "journal_mode", "WAL", patience=self._busy_timeout)
            await migrate(self._write, self.path)
            if not self._memory:
                self._read = await connect(
                    self._database, busy_timeout=self._busy_timeout, pragmas={"query_only": "ON"}
                )
                self._file = file_of(self._database)
                self._checkpoints = Checkpoints(self._database, finish=self._finish_checkpoint)
                self._version_at, self._others_at = Stamps(self._database), Stamps(self._database)
        except BaseException as error:
            await self._disconnect()
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
                raise ConfigurationError(f"the file {self.path!r} is not an SQLite database: name another") from error
            if isinstance(error, sqlite3.Error) and (away := unavailable(error, self.path)):
                raise away from error
            raise
        self._writer = GroupCommit(self._commit)

    def _pragmas(self) -> dict[str, str]:
        return {
            "foreign_keys": "ON",
            "synchronous": self._synchronous,
            "journal_size_limit": str(LIMIT),
            "wal_autocheckpoint": "0",
        }

    async def aclose(self) -> None:
        """See ``Store``. Cancelling the call does not stop that."""
        if self._closer is None or self._closer.done():  # torn with the event loop perhaps: then again
            self._closer = create_task(self._close())
        await until_done(self._closer)
        self._closer.result()

    async def _close(self) -> None:
        if self._writer is not None:
            await self._writer.aclose()
        if self._checkpoints is not None:
            await self._checkpoints.aclose()
        await self._disconnect()

    async def _disconnect(self) -> None:
        read, write = self._read, self._write
        self._read = self._write = None
        try:
            if read is not None:
                self._closing.append(disconnect(read))
                await asyncio.wait(self._closing)
        finally:  # only now: of two that close at once, neither is the last, which moves the WAL into the database
            if write is not None:
                self._closing.append(disconnect(write))
            if self._closing:
                await asyncio.wait(self._closing)

    async def _commit(self, ops: Sequence[Op]) -> list[Any]:
        try:
            answers = await call(self._connected(self._write), commit, ops)
        except (sqlite3.Error, ValueError, MemoryError) as error:
            return [unavailable(error, self.path) or error for _ in ops]  # one for each: it gets the frames of a task
        self._check_file()
        if self._checkpoints is not None:
            self._checkpoints.look()
        return answers

    async def _finish_checkpoint(self) -> None:
        await self._connected(self._write).execute_fetchall("PRAGMA wal_checkpoint")

    def _connected(self, connection: aiosqlite.Connection | None) -> aiosqlite.Connection:
        if connection is None:
            raise StoreUnavailable(f"the database {self.path} is not open")
        self._check_file()
        return connection

    def _check_file(self) -> None:
        """Raise if the path does not name the file any more that was opened.

        In WAL mode SQLite goes on writing to a file that was moved or removed, where nobody finds what it stores; with
        other journals it refuses: https://sqlite.org/rescode.html#readonly_dbmoved
        """
        if self._file is not None and file_of(self._database) != self._file:
            raise StoreUnavailable(f"the database {self.path} is unavailable: another file has taken its place")

    def _submit(self, op: Op) -> CoroutineType[Any, Any, Any]:
        if self._writer is None:
            raise StoreUnavailable(f"the database {self.path} is not open")
        return self._writer.submit(op)

    async def _fetch(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        if self._memory:  # one connection: reads pass between batches, and never see half of one
            (rows,) = await self._submit(Script([(sql, values)]))
            return rows
        connection = self._connected(self._read)
        try:
            rows = await connection.execute_fetchall(sql, values)  # pyright: ignore[reportArgumentType]
            return cast("list[Row]", rows)
        except (sqlite3.Error, ValueError) as error:
            if away := unavailable(error, self.path):
                raise away from error
            raise

    async def _fetch_run(self, name: str, *values: Any) -> Run | None:
        rows = await self._fetch(query(name), values)
        return run_of(rows[0]) if rows else None

    # Liveness

    async def acquire_lease(self, manager_id: str, *, at: int) -> None:
        """See ``Store``."""
        if not self._memory:
            self._lease = self._lease or await in_thread(Lease, self._database, manager_id)
            await in_thread(self._lease.acquire)
        self._manager_id = manager_id
        try:
            await self._insert_manager(at)
        except StoreUnavailable:
            await self._drop_lease()
            raise

    async def _insert_manager(self, at: int) -> None:
        row = (self._manager_id, os.getpid(), socket.gethostname(), at)
        await self._submit(Script([(query("insert_manager"), row)]))

    async def release_lease(self, manager_id: str) -> None:
        """See ``Store``."""
        delete = (query("delete_manager"), {"manager_id": manager_id})
        _, left_behind = await self._submit(Script([delete, (query("find_manager"), (manager_id,))]))
        if left_behind:
            self.abandon_lease(manager_id)
        else:
            await self._drop_lease()

    async def _drop_lease(self) -> None:
        if self._lease is not None:
            await in_thread(self._lease.release)
            self._lease = None

    def abandon_lease(self, manager_id: str) -> None:
        """See ``Store``."""
        lease, self._lease = self._lease, None  # at once: two threads may call this
        if lease is not None:
            lease.abandon()

    async def rescue_orphans(self, *, now: Callable[[], int]) -> list[int]:
        """See ``Store``."""
        if self._memory:
            return []
        await self._renew_lease(now)
        rescued: list[int] = []
        for manager_id in await self._find_others():
            lease = Lease(self._database, manager_id)
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
            await in_thread(remove_strays, self._database)
        return rescued

    async def _find_others(self) -> list[str]:
        """Find the managers that have rows or runs; read again only if anybody has written."""
        if (stamp := self._others_at.look()) is not None:
            rows = await self._fetch(query("other_managers"), {"manager_id": self._manager_id})
            self._others = [manager_id for (manager_id,) in rows]
            self._others_at.note(stamp)
        return self._others

    async def _renew_lease(self, now: Callable[[], int]) -> None:
        """Be alive again if somebody has deleted the lock's file: whoever saw that has taken this manager for dead."""
        self._connected(self._write)
        try:
            if self._lease is not None and self._lease.is_lost() and await in_thread(self._lease.renew):
                await self._insert_manager(now())
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error

    async def _interrupt_runs(self, manager_id: str, at: int) -> list[int]:
        error = "the process that executed the run ended without finishing it"
        rows, _ = await self._submit(
            Script(
                [
                    (query("interrupt_runs"), {"at": at, "error": error, "manager_id": manager_id}),
                    (query("delete_manager"), {"manager_id": manager_id}),
                ]
            )
        )
        return [run_id for (run_id,) in rows]

    # Runs

    # Plain functions, which give the coroutine of the writer: one less for each call that waits for its commit.

    def insert_run(self, new: NewRun) -> CoroutineType[Any, Any, tuple[Run, bool]]:
        """See ``Store``."""
        return self._submit(Insert(new))

    def claim_run(self, run_id: int, fence: Fence, *, at: int) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._submit(Claim(run_id, fence, at))

    def append_events(self, run_id: int, fence: Fence, events: Sequence[NewEvent]) -> CoroutineType[Any, Any, range]:
        """See ``Store``."""
        return self._submit(Append(run_id, fence, events))

    def request_cancel(
        self, run_id: int, *, at: int, reason: str | None = None, unless_shared: bool = False
    ) -> CoroutineType[Any, Any, Run | None]:
        """See ``Store``."""
        return self._submit(Cancel(run_id, at, reason, unless_shared))

    def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> CoroutineType[Any, Any, Run]:
        """See ``Store``."""
        return self._submit(Finish(run_id, fence, ending))

    async def get_run(self, run_id: int) -> Run | None:
        """See ``Store``."""
        return await self._fetch_run("get_run", run_id)

    async def get_active_run(self, key: str) -> Run | None:
        """See ``Store``."""
        return await self._fetch_run("find_holder", key)

    async def get_latest_run(self, key: str) -> Run | None:
        """See ``Store``."""
        return await self._fetch_run("find_latest", key)

    async def list_runs(self, where: RunFilter, *, limit: int, before: int | None, summary: bool = False) -> list[Run]:
        """See ``Store``."""
        sql, values = select_page(where, limit=limit, before=before, columns=SUMMARY if summary else COLUMNS)
        return [run_of(row) for row in await self._fetch(sql, values)]

    async def count_runs(self, *, since: int, width: int, among: int) -> list[RunCount]:
        """See ``Store``."""
        values = {"since": since, "width": width, "among": among}
        return [count_of(row) for row in await self._fetch(query("count_runs"), values)]

    async def owned_runs(self, manager_id: str) -> list[Run]:
        """See ``Store``."""
        # In the line of writes: behind an insert that nobody waits for any more, and that may still be committed.
        (rows,) = await self._submit(Script([(query("owned_runs"), (manager_id,))]))
        return [run_of(row) for row in rows]

    async def changed_runs(self, manager_id: str, run_ids: Sequence[int]) -> dict[int, Run | None]:
        """See ``Store``."""
        values = {"manager_id": manager_id, "run_ids": encode(run_ids, what="ids")}
        rows = await self._fetch(query("changed_runs"), values)
        return {row[0]: None if row[1] is None else run_of(row[1:]) for row in rows}

    async def read_events(self, run_id: int, *, after: int, limit: int) -> list[RunEvent]:
        """See ``Store``."""
        rows = await self._fetch(query("read_events"), (run_id, after, limit))
        return [event_of(run_id, row) for row in rows]

    async def prune_runs(self, *, finished_before: int, limit: int, after: int = 0) -> list[int]:
        """See ``Store``."""
        values = {"finished_before": finished_before, "limit": limit, "after": after}
        found = [run_id for (run_id,) in await self._fetch(query("find_prunable"), values)]
        return await self._submit(Prune(found)) if found else []

    async def wait_changed(self, *, timeout: float = 1.0) -> bool:
        """See ``Store``."""
        if self._memory:  # there are no other processes
            self._connected(self._write)
            await asyncio.sleep(timeout)
            return False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (now := loop.time()) < deadline:
            await asyncio.sleep(POLL)
            self._connected(self._write)
            stamp = self._version_at.look()
            # In any case at the end: the clocks of some file systems turn once in two seconds.
            if stamp is not None or now + POLL >= deadline:
                version, before = await self._data_version(), self._seen_version
                if stamp is not None:
                    self._version_at.note(stamp)
                self._seen_version = version
                if version != before:
                    return True
        return False

    async def _data_version(self) -> int:
        # On the connection that writes: its own commits do not show there. https://sqlite.org/pragma.html#pragma_data_version
        try:
            rows = list(await self._connected(self._write).execute_fetchall("PRAGMA data_version"))
        except (sqlite3.Error, ValueError) as error:
            raise unavailable(error, self.path) or error from error
        return rows[0][0]
