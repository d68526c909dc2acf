"""Opening SQLite: one connection that writes and one that reads, and nothing left behind when that fails."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, TypeVarTuple, cast

import aiosqlite

from aioruns._aio.tasks import until_done
from aioruns._aio.threads import in_thread
from aioruns.errors import ConfigurationError, StoreUnavailable

__all__ = ["OLDEST_SQLITE", "call", "check_path", "connect", "disconnect", "file_of", "set_pragma"]

T = TypeVar("T")
Values = TypeVarTuple("Values")

OLDEST_SQLITE = (3, 37)
"""STRICT tables came with it: https://sqlite.org/stricttables.html"""


def check_path(name: str) -> str:
    """Look at what a path names before anything is created; blocking file operations.

    Returns:
        Its one absolute name, whichever link led here.

    Raises:
        ConfigurationError: It is a directory, in no directory, or no regular file.
    """
    try:
        _check_path(Path(name))
        return os.path.realpath(name)
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a NUL in it
        raise ConfigurationError(f"the store {name!r} cannot be used: {error}") from error


def _check_path(path: Path) -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigurationError(f"SQLite 3.37 or newer is needed; Python was built with {sqlite3.sqlite_version}")
    if path.is_dir():
        raise ConfigurationError(f"the store {str(path)!r} is a directory: name a file in it, e.g. {path}/runs.db")
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of the store {str(path)!r} does not exist: create it, or name another")
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"the store {str(path)!r} is not a regular file: name another")
    # What is in it, only SQLite may read: who closes the file lets go of all locks that this process has on it, also
    # those of another manager. https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    if path.is_file() and path.stat().st_size == 1:  # SQLite takes it for empty
        raise ConfigurationError(f"the file {str(path)!r} is not an SQLite database: name another")


def file_of(database: str) -> tuple[int, int]:
    """Identify the file that a path names. It takes a microsecond: no reason to leave the event loop's thread.

    Raises:
        StoreUnavailable: There is none.
    """
    try:
        found = os.stat(database)
    except OSError as error:
        raise StoreUnavailable(f"the database {database} is unavailable: its file is gone ({error})") from error
    return found.st_dev, found.st_ino


CALL: Final = "-- call"
"""In place of a statement: what it binds is a function to call, and the values to call it with."""


class _Connection(sqlite3.Connection):
    """Calls functions on its thread, for which aiosqlite has no verb: many statements in one visit, not one in each."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql is CALL:
            function, *values = parameters
            return cast("sqlite3.Cursor", _Answer(function(self, *values)))
        return super().execute(sql, parameters)


class _Answer:
    """What a function has returned, where aiosqlite expects the rows of a statement."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def fetchall(self) -> Any:
        return self._value


async def call(
    connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection, *Values], T], *values: *Values
) -> T:
    """Call a function with the database, on its thread. Cancelling the wait does not stop it.

    Raises:
        ValueError: The connection is closed.
    """
    return cast("T", await connection.execute_fetchall(CALL, (function, *values)))


async def connect(database: str, *, busy_timeout: float, pragmas: dict[str, str]) -> aiosqlite.Connection:
    """Open a connection in autocommit mode and set it up; on any failure, cancellation included, its thread ends.

    Args:
        database: A path or ``:memory:``.
        busy_timeout: Seconds to wait for another process's lock.
        pragmas: Set in order.
    """
    connection = aiosqlite.connect(
        database, isolation_level=None, timeout=busy_timeout, cached_statements=256, factory=_Connection
    )
    await _begin(connection)
    try:
        for name, value in pragmas.items():
            await set_pragma(connection, name, value, patience=busy_timeout)
        _stop_at_exit(connection)
    except BaseException:
        await until_done(disconnect(connection))
        raise
    return connection


async def _begin(connection: aiosqlite.Connection) -> None:
    """Connect. Cancelling the wait does not tear that; the connection is closed as soon as there is one.

    Torn, aiosqlite would forget a connection that is open already: https://github.com/omnilib/aiosqlite/issues/259
    """
    connecting = asyncio.ensure_future(connection)

    def close_unwanted(_: object) -> None:
        if not connecting.cancelled() and connecting.exception() is None:
            disconnect(connection)

    try:
        await until_done(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(close_unwanted)
        raise
    if connecting.exception() is not None:  # its thread is about to end, and would stumble over a loop that is closed
        await in_thread(connection._thread.join)  # pyright: ignore[reportPrivateUsage]
    connecting.result()


async def set_pragma(connection: aiosqlite.Connection, name: str, value: str, *, patience: float) -> None:
    """Set what SQLite calls a pragma, and wait for other processes as long as ``patience`` seconds."""
    # Changing to WAL does not wait for the lock like other statements: https://sqlite.org/wal.html#sometimes_queries_return_sqlite_busy_in_wal_mode
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            await connection.execute_fetchall(f"PRAGMA {name} = {value}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or loop.time() > deadline:
                raise
            await asyncio.sleep(0.01)


_open: set[aiosqlite.Connection] = set()
_exit_watch = threading.Lock()


def _stop_at_exit(connection: aiosqlite.Connection) -> None:
    """Let the interpreter exit although nobody closes the connection: its thread is no daemon.

    One daemon thread for all connections waits for the main thread to end, and then stops those that are left.
    """
    _open.add(connection)
    if _exit_watch.acquire(blocking=False):  # for good: the first connection starts the thread
        threading.Thread(target=_stop_all_at_exit, name="aioruns-exit", daemon=True).start()


def _stop_all_at_exit() -> None:
    threading.main_thread().join()
    for connection in tuple(_open):
        connection.stop()  # pyright: ignore[reportUnknownMemberType]


def disconnect(connection: aiosqlite.Connection) -> asyncio.Future[None]:
    """Close a connection and end its thread, when it has done what it was asked before; the future tells when.

    Nothing needs to be awaited for that, so that no cancellation can leave a thread behind.
    """
    _open.discard(connection)
    stopped = connection.stop()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return cast("asyncio.Future[None]", stopped)
