"""Opening SQLite: one connection that writes and one that reads, and nothing left behind when that fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import weakref
from pathlib import Path

import aiosqlite

from aioruns.errors import ConfigurationError

__all__ = ["OLDEST_SQLITE", "check_path", "connect", "disconnect"]

OLDEST_SQLITE = (3, 37)
"""STRICT tables came with it: https://sqlite.org/stricttables.html"""


def check_path(path: Path) -> None:
    """Look at what a path names before anything is created; blocking file operations.

    Raises:
        ConfigurationError: It is a directory, in no directory, or a file that is no SQLite database.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigurationError(f"SQLite 3.37 or newer is needed; Python was built with {sqlite3.sqlite_version}")
    if path.is_dir():
        raise ConfigurationError(f"the store {str(path)!r} is a directory: name a file in it, e.g. {path}/runs.db")
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of the store {str(path)!r} does not exist: create it, or name another")
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"the store {str(path)!r} is not a regular file: name another")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(16)
        if head and head != b"SQLite format 3\0":
            raise ConfigurationError(f"the file {str(path)!r} is not an SQLite database: name another")


async def connect(database: str, *, busy_timeout: float, pragmas: dict[str, str]) -> aiosqlite.Connection:
    """Open a connection in autocommit mode and set it up; on any failure, cancellation included, its thread ends.

    Args:
        database: A path or ``:memory:``.
        busy_timeout: Seconds to wait for another process's lock.
        pragmas: Set in order.
    """
    connection = aiosqlite.connect(database, isolation_level=None, timeout=busy_timeout, cached_statements=256)
    try:
        await connection
        for name, value in pragmas.items():
            await _set(connection, name, value, patience=busy_timeout)
        _stop_at_exit(connection)
    except BaseException:
        connection.stop()  # pyright: ignore[reportUnknownMemberType]
        raise
    return connection


async def _set(connection: aiosqlite.Connection, name: str, value: str, *, patience: float) -> None:
    # Changing to WAL does not wait for the lock like other statements: https://sqlite.org/wal.html#sometimes_queries_return_sqlite_busy_in_wal_mode
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            await connection.execute_fetchall(f"PRAGMA {name} = {value}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or loop.time() > deadline:
                raise
            await asyncio.sleep(0.01)


_open: weakref.WeakSet[aiosqlite.Connection] = weakref.WeakSet()
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


async def disconnect(connection: aiosqlite.Connection) -> None:
    """Close a connection and end its thread."""
    _open.discard(connection)
    await connection.close()
