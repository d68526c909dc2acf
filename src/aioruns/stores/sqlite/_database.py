"""The open database: batches on the connection that writes, statements on the one that reads."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from types import CoroutineType
from typing import Any, Final, cast

import aiosqlite

from aioruns._aio.tasks import create_task, until_done
from aioruns._aio.threads import in_thread
from aioruns.errors import ConfigurationError, StoreUnavailable
from aioruns.stores._operations import Op, Script
from aioruns.stores._writer import GroupCommit
from aioruns.stores.sqlite._batch import commit
from aioruns.stores.sqlite._checkpoint import LIMIT, Checkpoints
from aioruns.stores.sqlite._columns import Row
from aioruns.stores.sqlite._connections import call, connect, disconnect, set_pragma
from aioruns.stores.sqlite._errors import unavailable
from aioruns.stores.sqlite._file import check_path, file_of
from aioruns.stores.sqlite._schema import check_schema, migrate

__all__ = ["Database"]


class Database:
    """One SQLite file, opened once and closed once.

    ``:memory:`` has one connection: its reads pass between batches, and never see half of one.

    Args:
        name: The file or ``:memory:``, as the user has named it.
        synchronous: ``full`` or ``normal``.
        busy_timeout: Seconds to wait while another process has locked the file.

    Attributes:
        path: Its one absolute name, once it is open.
        in_memory: Whether it is ``:memory:``, which no other process can see.
    """

    def __init__(self, name: str, *, synchronous: str, busy_timeout: float) -> None:
        self.path = name
        self.in_memory: Final = name == ":memory:"
        self._name = name
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._write: aiosqlite.Connection | None = None
        self._read: aiosqlite.Connection | None = None
        self._writer: GroupCommit[Op] | None = None
        self._checkpoints: Checkpoints | None = None
        self._file: tuple[int, int] | None = None  # which file was opened
        self._closer: asyncio.Task[None] | None = None
        self._closing: list[asyncio.Future[None]] = []

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Cancelling it leaves nothing open.

        Raises:
            ConfigurationError: It was opened before, or what is there is no database of ours.
            StoreUnavailable: It cannot be reached.
        """
        if self._writer is not None:
            raise ConfigurationError(
                f"the store {self._name!r} has been opened before: make a new store for a new manager"
            )
        if not self.in_memory:
            # One name for one file: the locks lie beside it, whichever link led here.
            self.path = await in_thread(check_path, self._name)
        try:
            await self._connect()
        except BaseException as error:
            await self._disconnect()
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
                raise ConfigurationError(f"the file {self._name!r} is not an SQLite database: name another") from error
            if isinstance(error, sqlite3.Error) and (away := unavailable(error, self._name)):
                raise away from error
            raise
        self._writer = GroupCommit(self._commit)

    async def _connect(self) -> None:
        patience = self._busy_timeout
        pragmas = {
            "foreign_keys": "ON",
            "synchronous": self._synchronous,
            "journal_size_limit": str(LIMIT),
            "wal_autocheckpoint": "0",
        }
        self._write = await connect(self.path, busy_timeout=patience, pragmas=pragmas)
        await check_schema(self._write, self._name)  # before the file is changed, be it only its journal's mode
        await set_pragma(self._write, "journal_mode", "WAL", patience=patience)
        await migrate(self._write, self._name)
        if not self.in_memory:
            self._read = await connect(self.path, busy_timeout=patience, pragmas={"query_only": "ON"})
            self._file = file_of(self.path)
            self._checkpoints = Checkpoints(self.path, finish=self._finish_checkpoint)

    async def aclose(self) -> None:
        """Commit what waits and disconnect. Cancelling the call does not stop that."""
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

    # Writing

    def submit(self, op: Op) -> CoroutineType[Any, Any, Any]:
        """Hand in an operation, and wait until it is committed; see ``GroupCommit.submit``."""
        # It gives the coroutine of the writer: one less for each call that waits for its commit.
        if self._writer is None:
            raise StoreUnavailable(f"the database {self._name} is not open")
        return self._writer.submit(op)

    async def _commit(self, ops: Sequence[Op]) -> list[Any]:
        try:
            answers = await call(self._connected(self._write), commit, ops)
        except (sqlite3.Error, ValueError, MemoryError) as error:
            # An exception for each of them: it gets the frames of a task.
            return [unavailable(error, self._name) or error for _ in ops]
        self._check_file()
        if self._checkpoints is not None:
            self._checkpoints.look()
        return answers

    async def _finish_checkpoint(self) -> None:
        await self._connected(self._write).execute_fetchall("PRAGMA wal_checkpoint")

    # Reading

    async def fetch(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Read rows, as the last commit has left them."""
        if self.in_memory:
            (rows,) = await self.submit(Script([(sql, values)]))
            return rows
        return await self._fetch(self._read, sql, values)

    async def data_version(self) -> int:
        """Ask for the number that SQLite changes when another connection has committed.

        On the connection that writes our own commits do not change it: https://sqlite.org/pragma.html#pragma_data_version
        """
        ((version,),) = await self._fetch(self._write, "PRAGMA data_version")
        return version

    async def _fetch(
        self, connection: aiosqlite.Connection | None, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[Row]:
        connected = self._connected(connection)
        try:
            rows = await connected.execute_fetchall(sql, values)  # pyright: ignore[reportArgumentType]
            return cast("list[Row]", rows)
        except (sqlite3.Error, ValueError) as error:
            if away := unavailable(error, self._name):
                raise away from error
            raise

    def check_open(self) -> None:
        """Raise ``StoreUnavailable`` unless the database is open, and still where it was opened."""
        self._connected(self._write)

    def _connected(self, connection: aiosqlite.Connection | None) -> aiosqlite.Connection:
        if connection is None:
            raise StoreUnavailable(f"the database {self._name} is not open")
        self._check_file()
        return connection

    def _check_file(self) -> None:
        """Raise if the path does not name the file any more that was opened.

        In WAL mode SQLite goes on writing to a file that was moved or removed, where nobody finds what it stores; with
        other journals it refuses: https://sqlite.org/rescode.html#readonly_dbmoved
        """
        if self._file is not None and file_of(self.path) != self._file:
            raise StoreUnavailable(f"the database {self._name} is unavailable: another file has taken its place")
