"""What the tests of a database that is away share."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiosqlite
import pytest
from tests.support import rows

from aioruns import RunManager, RunStatus, StoreUnavailable
from aioruns.abc import NewRun
from aioruns.stores import SQLiteStore

__all__ = [
    "NOW", "OpenManager", "check_sound", "connection_of", "locked", "new", "opened", "see_commits_fail", "stream",
]  # fmt: skip

OpenManager = Callable[..., Awaitable[RunManager]]
NOW: Final = 1_760_000_000_000_000

LOCKER = textwrap.dedent("""
    import sqlite3, sys

    connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    connection.execute("COMMIT")
    connection.close()
    print("released", flush=True)
    sys.stdin.readline()
""")


@contextlib.asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """Let another process lock the database."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCKER, str(database), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"locked\n"
        yield
        process.stdin.write(b"\n")
        assert await process.stdout.readline() == b"released\n"
    finally:
        process.stdin.close()
        await process.wait()


@contextlib.asynccontextmanager
async def opened(store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


def connection_of(store: SQLiteStore) -> aiosqlite.Connection:
    """The connection that writes."""
    assert store._database._write is not None
    return store._database._write


def check_sound(database: Path) -> None:
    """Check that SQLite finds nothing wrong with the file."""
    assert [row["integrity_check"] for row in rows(database, "PRAGMA integrity_check")] == ["ok"]
    assert rows(database, "PRAGMA foreign_key_check") == []


async def see_commits_fail(store: SQLiteStore) -> None:
    """Wait until what runs have handed in just now could not be stored."""
    for _ in range(2):  # the first takes long enough for everybody to come, and the second stands behind them
        with pytest.raises(StoreUnavailable):
            await store.request_cancel(99, at=NOW)


def new(token: int, **fields: Any) -> NewRun:
    values: dict[str, Any] = {"status": RunStatus.RUNNING, "job": "build", "created_at": NOW, **fields}
    return NewRun(manager_id="m", token=token, **values)


def stream(database: Path, run_id: int) -> list[str]:
    """Read what happened to a run, past the library: statuses and kinds of events, numbered without a gap."""
    sql = "SELECT seq, kind, json_extract(data, '$.status') AS status FROM events WHERE run_id = ? ORDER BY seq"
    found = rows(database, sql, run_id)
    assert [row["seq"] for row in found] == list(range(1, len(found) + 1))
    return [row["status"] or row["kind"] for row in found]
