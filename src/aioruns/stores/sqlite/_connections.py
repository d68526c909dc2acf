"""Connections: opened so that nothing is left behind when that fails, called on their threads, and closed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, cast

import aiosqlite

from aioruns._aio.tasks import until_done
from aioruns._aio.threads import in_thread

__all__ = ["call", "connect", "disconnect", "set_pragma"]

T = TypeVar("T")
Values = TypeVarTuple("Values")


async def call(
    connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection, *Values], T], *values: *Values
) -> T:
    """Call a function with the database, on the connection's thread. Cancelling the wait does not stop it.

    Raises:
        ValueError: The connection is closed.
    """

    def visit() -> T:
        return function(connection._conn, *values)  # pyright: ignore[reportPrivateUsage]

    # aiosqlite publishes verbs for single statements only. Each of them goes to the thread through this method.
    done = await connection._execute(visit)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
    return cast("T", done)


async def connect(database: str, *, busy_timeout: float, pragmas: dict[str, str]) -> aiosqlite.Connection:
    """Open a connection in autocommit mode and set it up; on any failure, cancellation included, its thread ends.

    Args:
        database: A path or ``:memory:``.
        busy_timeout: Seconds to wait for another process's lock.
        pragmas: Set in order.
    """
    connection = aiosqlite.connect(database, isolation_level=None, timeout=busy_timeout, cached_statements=256)
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
    """Connect. Cancelling the wait does not tear that: the connection is closed as soon as it is open.

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
