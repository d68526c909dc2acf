"""SQLite's locks belong to the process: nothing that another manager of it does may let go of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.fault.database import OpenManager
from tests.support import rows

from aioruns import ConfigurationError, RunManager, job

pytestmark = pytest.mark.asyncio


@job
async def build() -> None:
    return


def visit(database: Path) -> int:
    """Open the database in another process and close it, as a shell does; return how many runs it has seen."""
    look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM runs').fetchone()[0])"
    return int(subprocess.check_output([sys.executable, "-c", look, str(database)]))


@pytest.mark.parametrize("other", ["opened and closed", "open", "refused"])
async def test_G1_what_a_manager_acknowledges_is_seen_whoever_else_opens_the_file(
    open_manager: OpenManager, database: Path, other: str
) -> None:
    """https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_"""
    manager = await open_manager()
    await (await manager.start_run(build()))
    if other == "open":
        await open_manager()
    elif other == "refused":
        await refuse(database)
    else:
        async with RunManager(database):
            pass
    assert visit(database) == 1  # the last to close a file removes its log: this process is not the last
    assert Path(f"{database}-wal").exists()
    await (await manager.start_run(build()))
    assert visit(database) == 2
    assert len(rows(database)) == 2


async def refuse(database: Path) -> None:
    """Open a manager that finds a newer schema than it knows, and gives up."""
    from aioruns.stores.sqlite import _schema

    newest, _schema.NEWEST = _schema.NEWEST, _schema.NEWEST - 1
    try:
        with pytest.raises(ConfigurationError, match="upgrade aioruns"):
            await RunManager(database).open()
    finally:
        _schema.NEWEST = newest
