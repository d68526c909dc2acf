"""DBOS on SQLite: an asynchronous workflow, started and awaited through its handle, with the default settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dbos import DBOS  # pyright: ignore[reportMissingImports]
from sqlalchemy import event  # pyright: ignore[reportMissingImports]
from sqlalchemy.engine import Engine  # pyright: ignore[reportMissingImports]
from tests.benchmarks.work import Opened, body, main, synchronous

levels: set[int] = set()


@event.listens_for(Engine, "connect")
def _note_level(connection: Any, _record: object) -> None:
    levels.update(*connection.execute("PRAGMA synchronous"))


@asynccontextmanager
async def workflows(folder: Path) -> AsyncIterator[Opened]:
    """Launch DBOS with a system database in a folder."""
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": f"sqlite:///{folder / 'dbos.db'}",
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    workflow = DBOS.workflow()(body)
    DBOS.launch()

    async def start(number: int, seconds: float) -> Awaitable[int]:
        handle = await DBOS.start_workflow_async(workflow, number, seconds)
        return handle.get_result()

    try:
        yield Opened(start, ", ".join(map(synchronous, levels)))
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main(workflows)
