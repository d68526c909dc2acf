"""Where the time of a run goes: microseconds of CPU per run that does nothing, by part, at 100 concurrent."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.benchmarks.scenarios._support import MICRO, Report, Stopwatch, main
from tests.support import now_micros

from aioruns import RunManager, RunStatus, job, redact_secrets
from aioruns._running.live import Attempt, LiveRun
from aioruns._running.outbox import Budget
from aioruns._running.start import check_start
from aioruns.abc import Ending, Fence, NewRun
from aioruns.stores import SQLiteStore
from aioruns.stores._operations import Finish, Insert
from aioruns.stores.sqlite._batch import commit

AT_ONCE: Final = 100
TURNS: Final = 5


@job
async def nothing(number: int) -> int:
    return number


async def whole(path: Path, runs: int) -> float:
    """Return the CPU of started and awaited runs, in seconds each."""
    async with RunManager(path) as manager:

        async def work() -> None:
            for number in range(runs // AT_ONCE):
                await (await manager.start_run(nothing(number)))

        watch = Stopwatch()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return watch.cpu / runs


def new_run(tokens: itertools.count[int]) -> NewRun:
    return NewRun(
        manager_id="m" * 32,
        token=next(tokens),
        job="nothing",
        status=RunStatus.RUNNING,
        created_at=now_micros(),
        arguments_json='{"number":1}',
    )


def ending() -> Ending:
    return Ending(status=RunStatus.COMPLETED, at=now_micros(), result_json="1")


FENCE: Final = Fence("m" * 32, 1)


async def store_alone(path: Path, runs: int) -> float:
    """Return the CPU of a run's two calls of the store: both its threads, and the group commit."""
    store, tokens = SQLiteStore(path), itertools.count(1)
    await store.open()

    async def work() -> None:
        for _ in range(runs // AT_ONCE):
            run, _ = await store.insert_run(new_run(tokens))
            await store.finish_run(run.id, FENCE, ending())

    watch = Stopwatch()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    cpu = watch.cpu / runs
    await store.aclose()
    return cpu


class _Cursor(sqlite3.Cursor):
    """Adds up the time of its statements."""

    seconds = 0.0

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        began = time.thread_time()
        try:
            return super().execute(*statement)
        finally:
            _Cursor.seconds += time.thread_time() - began


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)


async def batches_alone(path: Path, runs: int) -> tuple[float, float]:
    """Return the CPU of the batches, on one thread and with no event loop; and that of their statements."""
    store, tokens = SQLiteStore(path), itertools.count(1)
    await store.open()
    await store.aclose()
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, factory=_Connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    _Cursor.seconds = 0.0
    cpu = 0.0
    ends: list[Finish] = []
    for _ in range(runs // AT_ONCE):
        starts = [Insert(new_run(tokens)) for _ in range(AT_ONCE)]
        began = time.thread_time()
        answers = commit(connection, [*starts, *ends])
        cpu += time.thread_time() - began
        ends = [Finish(run.id, FENCE, ending()) for run, _ in answers[:AT_ONCE]]
    connection.close()
    return cpu / runs, _Cursor.seconds / runs


def each(function: Callable[[], object], times: int = 20_000) -> float:
    began = time.thread_time()
    for _ in range(times):
        function()
    return (time.thread_time() - began) / times


async def checked() -> tuple[float, float]:
    """Return the CPU of making a call, and of checking it: arguments encoded and decoded, the run made."""
    budget, call = Budget(on_filled=lambda _: None), nothing(1)

    def check() -> object:
        request = check_start(
            call,
            {},
            key=None,
            on_conflict="reject",
            idempotency_key=None,
            timeout=None,
            tags=None,
            triggered_by=None,
        )
        return LiveRun(request.work, Attempt(budget=budget, redact=redact_secrets))

    return each(lambda: nothing(1)), each(check)


def measure(report: Report, full: bool, folder: Path) -> None:
    """Measure the parts of a run, alternately, and take medians."""
    runs = 20_000 if full else 4_000
    found: list[tuple[float, ...]] = []
    for turn in range(TURNS):
        batches, statements = asyncio.run(batches_alone(folder / f"batches-{turn}.db", runs))
        store = asyncio.run(store_alone(folder / f"store-{turn}.db", runs))
        all_of_it = asyncio.run(whole(folder / f"whole-{turn}.db", runs))
        call, check = asyncio.run(checked())
        engine = all_of_it - store - call - check
        found.append((call, check, engine, store - batches, batches - statements, statements, all_of_it))
    names = (
        "the call: arguments bound to the job's signature",
        "checked: arguments encoded and decoded, the run's objects made",
        "the engine: section, task, context, result, end, the event loop's share",
        "group commit: futures, the way to the database's thread and back",
        "batches: rows put together, answers made",
        "SQLite: statements, triggers, indexes, the disk's share of CPU",
        "all of it",
    )
    for name, seconds in zip(names, zip(*found, strict=True), strict=True):
        report.figures[f"{name} (µs)"] = median(seconds) * MICRO


if __name__ == "__main__":
    main(measure, "parts")
