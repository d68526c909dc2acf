"""APScheduler 4, a pre-release: jobs of a scheduler with its SQLAlchemy data store on aiosqlite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from apscheduler import AsyncScheduler  # pyright: ignore[reportMissingImports]
from apscheduler.datastores.sqlalchemy import SQLAlchemyDataStore  # pyright: ignore[reportMissingImports]
from sqlalchemy.ext.asyncio import create_async_engine  # pyright: ignore[reportMissingImports]
from tests.benchmarks.work import Opened, body, main, synchronous


@asynccontextmanager
async def scheduler(folder: Path) -> AsyncIterator[Opened]:
    """Open a scheduler that works in the background; its other settings are the default ones."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'apscheduler.db'}")
    async with engine.connect() as connection:
        level = (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one()
    async with AsyncScheduler(SQLAlchemyDataStore(engine)) as scheduler:
        await scheduler.configure_task("work", func=body)
        await scheduler.start_in_background()

        async def result(job: object) -> int:
            return (await scheduler.get_job_result(job)).return_value

        async def start(number: int, seconds: float) -> Awaitable[int]:
            job = await scheduler.add_job("work", args=(number, seconds), result_expiration_time=timedelta(hours=1))
            return result(job)

        yield Opened(start, synchronous(level))


if __name__ == "__main__":
    main(scheduler)
