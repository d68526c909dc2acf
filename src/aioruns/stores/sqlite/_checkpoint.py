"""Checkpoints: the write-ahead log moves into the database, and the writer hardly waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aioruns._aio.tasks import create_task, until_done
from aioruns._aio.threads import in_thread
from aioruns.errors import StoreUnavailable

__all__ = ["LIMIT", "Checkpoints", "checkpoint"]

LIMIT: Final = 8 << 20
"""Bytes that the log may have before it is moved, and to which SQLite cuts it back when it begins anew."""
TOO_LONG: Final = 16 * LIMIT
"""Bytes from which on everybody is made to wait for a moment, so that the log can begin anew."""
MOMENT: Final = 0.1
"""Seconds of that."""


def checkpoint(database: str, mode: str) -> bool:
    """Move the log into the database, through a connection of its own; it blocks for as long as the disk takes.

    Args:
        database: Absolute path of the database file.
        mode: ``PASSIVE``, which disturbs nobody, or another of https://sqlite.org/pragma.html#pragma_wal_checkpoint

    Returns:
        Whether all has been moved that was there when it began.

    Raises:
        sqlite3.Error: It cannot be done now.
    """
    file = f"{Path(database).as_uri()}?mode=rw"  # not created if it is gone
    with contextlib.closing(sqlite3.connect(file, uri=True, timeout=MOMENT, isolation_level=None)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()  # what has not been read yet has no log
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # meanwhile much is committed
        busy, length, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()  # and now, little
    return not busy and length == moved


class Checkpoints:
    """Keeps the log short.

    SQLite writes the log from its beginning again once all of it has been moved and nobody reads from it. Under load
    that never happens by itself: while the log is being moved, more is committed. So most of it is moved on a thread,
    beside the writer, and the writer itself moves the few pages that came meanwhile, between two commits.

    Nothing here wakes up by itself: it is commits that make the log longer.

    Args:
        database: Absolute path of the database file.
        finish: Moves what is left, between two commits.
    """

    def __init__(self, database: str, *, finish: Callable[[], Awaitable[object]]) -> None:
        self._database = database
        self._log = f"{database}-wal"
        self._finish = finish
        self._due = LIMIT
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin a checkpoint if the log has become long; to be called after each commit, and takes a microsecond."""
        try:
            length = os.stat(self._log).st_size
        except OSError:  # somebody has removed it, and the next commit says so
            return
        if length <= LIMIT:  # it has begun anew
            self._due = LIMIT
        if length > self._due and (self._task is None or self._task.done()):
            self._due = length + length // 4  # if it does not work, then not again at once
            self._task = create_task(self._move("PASSIVE" if length < TOO_LONG else "RESTART"))

    async def _move(self, mode: str) -> None:
        # What fails here is tried again when the log has grown; if the disk is full, whoever commits hears of it.
        # RuntimeError: no thread can be started; ValueError: the connection is closed.
        with contextlib.suppress(sqlite3.Error, StoreUnavailable, RuntimeError, ValueError):
            if await in_thread(checkpoint, self._database, mode):
                await self._finish()

    async def aclose(self) -> None:
        """Wait for a checkpoint that is under way."""
        if self._task is not None:
            await until_done(self._task)
