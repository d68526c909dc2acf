# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a type checker knows of the public API. Checked, never run; a wrong use that is not found is an error too."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, assert_type

import aioruns
from aioruns import (
    ConfigurationError,
    Job,
    JobCall,
    LeaseLost,
    ManagerClosed,
    Progress,
    Run,
    RunAlreadyFinished,
    RunCancelled,
    RunConflict,
    RunContext,
    RunCount,
    RunError,
    RunEvent,
    RunFailed,
    RunFilter,
    RunHandle,
    RunInterrupted,
    RunManager,
    RunNotFound,
    RunStatus,
    StoreUnavailable,
    current_run,
    job,
    redact_secrets,
)
from aioruns.abc import Ending, Fence, NewEvent, NewRun, Store
from aioruns.stores import SQLiteStore, open_store


@dataclass
class Report:
    pages: int


# Jobs


@job
async def build(project_id: int, scope: str = "full") -> Report:
    return Report(project_id)


@job
def convert(path: Path) -> list[str]:
    return [path.name]


@job(name="build-all", timeout=60, cancel_grace=5)
async def build_all(*project_ids: int) -> None:
    return


@job(name="convert-all")
def convert_all(*, limit: int | None = None) -> dict[str, int]:
    return {}


class Tools:
    @staticmethod
    @job
    async def tidy(folder: str) -> bool:
        return bool(folder)


async def bare(text: str) -> bytes:
    return text.encode()


def a_call_is_typed_by_its_job() -> None:
    assert_type(build(3), JobCall[Report])
    assert_type(build(3, scope="new"), JobCall[Report])
    assert_type(convert(Path()), JobCall[list[str]])
    assert_type(build_all(1, 2), JobCall[None])
    assert_type(convert_all(limit=3), JobCall[dict[str, int]])
    assert_type(Tools.tidy("a"), JobCall[bool])
    assert_type(build.name, str)
    assert_type(build.timeout, float | None)
    assert_type(build.cancel_grace, float)

    build()  # pyright: ignore[reportCallIssue]
    build("3")  # pyright: ignore[reportArgumentType]
    build(3, extent="new")  # pyright: ignore[reportCallIssue]
    convert(3)  # pyright: ignore[reportArgumentType]
    job(timeout="long")  # pyright: ignore[reportArgumentType]


def a_job_can_be_handed_on(jobs: Iterable[Job[..., Any]], one: Job[[int], str]) -> None:
    RunManager(jobs=jobs)
    RunManager(jobs=[build, convert, build_all, convert_all, Tools.tidy])
    assert_type(one(3), JobCall[str])


async def a_call_can_be_awaited_here_and_now() -> None:
    assert_type(await build(3), Report)
    assert_type(await convert(Path()), list[str])
    assert_type(await build_all(), None)
    assert_type(await convert_all(), dict[str, int])


# The manager


async def a_manager_is_opened_and_closed(variable: contextvars.ContextVar[str]) -> None:
    manager = RunManager(
        "runs.db",
        jobs=[build],
        max_running=4,
        shutdown_grace=5,
        redact=redact_secrets,
        context_vars=[variable],
        store_timeout=10,
    )
    assert_type(await manager.open(), None)
    assert_type(await manager.aclose(), None)
    async with RunManager() as opened:
        assert_type(opened, RunManager)
    RunManager(Path("runs.db"), redact=lambda text: text.lower())
    RunManager(SQLiteStore("runs.db", synchronous="normal", busy_timeout=1.5))

    RunManager(3)  # pyright: ignore[reportArgumentType]
    RunManager("runs.db", 4)  # pyright: ignore[reportCallIssue]
    RunManager(jobs=[bare])  # pyright: ignore[reportArgumentType]


async def a_handle_is_typed_by_what_was_started(manager: RunManager) -> None:
    handle = await manager.start_run(build(3), key="project:3")
    assert_type(handle, RunHandle[Report])
    assert_type(await handle, Report)
    assert_type(await manager.start_run(convert(Path())), RunHandle[list[str]])
    assert_type(await (await manager.start_run(bare("a"))), bytes)
    assert_type(await (await manager.start_run(build_all(1))), None)
    await manager.start_run(
        build(3),
        key="project:3",
        on_conflict="join",
        idempotency_key="nightly-2024-05-06",
        timeout=3600,
        tags=["nightly"],
        triggered_by="cron",
    )

    await manager.start_run(build)  # pyright: ignore[reportArgumentType]
    await manager.start_run(3)  # pyright: ignore[reportArgumentType]
    await manager.start_run(build(3), on_conflict="wait")  # pyright: ignore[reportArgumentType]
    await manager.start_run(build(3), "project:3")  # pyright: ignore[reportCallIssue]


async def a_run_is_started_once_more(manager: RunManager) -> None:
    assert_type(await manager.retry_run(3), RunHandle[Any])
    assert_type(await manager.retry_run(3, triggered_by="someone"), RunHandle[Any])

    await manager.retry_run(3, key="project:3")  # pyright: ignore[reportCallIssue]


async def a_handle_knows_its_run(handle: RunHandle[int]) -> None:
    assert_type(handle.id, int)
    assert_type(await handle, int)
    assert_type(handle.inserted, Run | None)
    assert_type(await handle.wait(), Run)
    assert_type(await handle.wait(timeout=3), Run)
    assert_type(await handle.cancel(), Run)
    assert_type(await handle.cancel(reason="too slow"), Run)
    assert_type(await handle.cancel("too slow"), Run)
    async for event in handle.events(after=3):
        assert_type(event, RunEvent)
    await a_handle_is_covariant(handle)


async def a_handle_is_covariant(handle: RunHandle[object]) -> None:
    assert_type(await handle, object)


async def runs_are_looked_up(manager: RunManager) -> None:
    assert_type(await manager.cancel_run(3), Run)
    assert_type(await manager.cancel_run(3, reason="too slow"), Run)
    assert_type(await manager.get_run(3), Run)
    assert_type(await manager.get_active_run("project:3"), Run | None)
    assert_type(await manager.get_current_or_latest_run("project:3"), Run | None)
    assert_type(await manager.list_runs(), list[Run])
    assert_type(await manager.list_runs(RunFilter(status="failed"), limit=10, before=3), list[Run])
    assert_type(await manager.list_runs(summary=True), list[Run])
    assert_type(await manager.wait_run(3, timeout=1.5), Run)
    assert_type(await manager.count_runs(since=datetime.now(UTC), width=timedelta(hours=1)), list[RunCount])
    assert_type(manager.get_handle(3), RunHandle[Any])
    assert_type(manager.get_job("build"), Job[..., Any])
    assert_type(manager.jobs, Mapping[str, Job[..., Any]])
    assert_type(manager.current_run_id(), int | None)
    assert_type(manager.current_run_id("project:3"), int | None)
    assert_type(await manager.prune(older_than=timedelta(days=30)), int)

    await manager.count_runs(since=0, width=timedelta(hours=1))  # pyright: ignore[reportArgumentType]
    manager.jobs["build"] = build  # pyright: ignore[reportIndexIssue]
    await manager.get_run("3")  # pyright: ignore[reportArgumentType]
    await manager.prune(older_than=30)  # pyright: ignore[reportArgumentType]


async def events_are_streamed_and_read(manager: RunManager) -> None:
    stream: AsyncIterator[RunEvent] = manager.stream_events(3, after=7)
    async for event in stream:
        assert_type(event, RunEvent)
    assert_type([event.seq async for event in manager.stream_events(3)], list[int])
    assert_type(await manager.read_events(3, after=7, limit=10), list[RunEvent])


# Inside a run


async def a_run_sees_itself(letters: AsyncIterator[str]) -> None:
    context = current_run()
    assert_type(context, RunContext)
    assert_type(context.id, int)
    assert_type(context.key, str | None)
    assert_type(context.attempt, int)
    assert_type(context.cancel_requested, bool)
    assert_type(context.cancel_event.is_set(), bool)
    assert_type(await context.cancel_event.wait(), Literal[True])
    assert_type(context.wait_cancelled(1.5), bool)
    assert_type(context.raise_if_cancelled(), None)
    assert_type(context.set_progress(1, 2.5, step="extract", message="page 1"), None)
    for number in context.track(range(3), step="extract"):
        assert_type(number, int)
    async for letter in context.track(letters):
        assert_type(letter, str)
    assert_type(context.emit("page", {"number": 1}), None)
    assert_type(context.log("info", "a line", pages=3), None)
    assert_type(context.log(logging.INFO, "a line"), None)
    assert_type(context.logger, logging.Logger)
    assert_type(await context.flush(), None)

    context.set_progress("1")  # pyright: ignore[reportArgumentType]
    context.set_progress(1, 2, "extract")  # pyright: ignore[reportCallIssue]


# Values


def a_run_is_a_frozen_value(run: Run, event: RunEvent, progress: Progress) -> None:
    assert_type(run.id, int)
    assert_type(run.job, str)
    assert_type(run.status, RunStatus)
    assert_type(run.status == "failed", bool)
    assert_type(run.key, str | None)
    assert_type(run.attempt, int)
    assert_type(run.timeout, float | None)
    assert_type(run.tags, tuple[str, ...])
    assert_type(run.retry_of, int | None)
    assert_type(run.error, str | None)
    assert_type(run.traceback, str | None)
    assert_type(run.created_at, datetime)
    assert_type(run.started_at, datetime | None)
    assert_type(run.finished_at, datetime | None)
    assert_type(run.cancel_reason, str | None)
    assert_type(run.progress, Progress | None)
    assert_type(run.active, bool)
    assert_type(run.arguments, dict[str, Any] | None)
    assert_type(run.result, Any)

    assert_type(event.run_id, int)
    assert_type(event.seq, int)
    assert_type(event.at, datetime)
    assert_type(event.kind, str)
    assert_type(event.data, Any)
    assert_type(event.terminal, bool)

    assert_type(progress.current, float)
    assert_type(progress.total, float | None)
    assert_type(progress.step, str | None)

    run.status = RunStatus.FAILED  # pyright: ignore[reportAttributeAccessIssue]
    event.seq = 3  # pyright: ignore[reportAttributeAccessIssue]
    progress.current = 3  # pyright: ignore[reportAttributeAccessIssue]


def a_count_is_a_frozen_value(count: RunCount) -> None:
    assert_type(count.start, datetime)
    assert_type(count.job, str)
    assert_type(count.status, RunStatus)
    assert_type(count.longer_than, float | None)
    assert_type(count.runs, int)

    count.runs = 3  # pyright: ignore[reportAttributeAccessIssue]


def a_filter_takes_what_is_natural() -> None:
    RunFilter()
    RunFilter(status="failed")
    RunFilter(status=RunStatus.FAILED)
    RunFilter(status=["failed", RunStatus.RUNNING], job=build.name, key="project:3", tags={"nightly"})
    RunFilter(triggered_by="cron", created_after=datetime.now(UTC), created_before=datetime.now(UTC))
    assert_type(RunFilter(status="failed").statuses, tuple[RunStatus, ...])

    RunFilter("failed")  # pyright: ignore[reportCallIssue]
    RunFilter(created_after=3)  # pyright: ignore[reportArgumentType]


# Errors


def errors_carry_their_ids(
    found: RunNotFound, conflict: RunConflict, lost: LeaseLost, finished: RunAlreadyFinished
) -> None:
    assert_type(found.run_id, int)
    assert_type(conflict.key, str)
    assert_type(conflict.active_run_id, int)
    assert_type(lost.run_id, int)
    assert_type(finished.run, Run)


async def ends_are_told_apart(handle: RunHandle[int]) -> int | str:
    try:
        return await handle
    except RunCancelled as error:
        return error.run.cancel_reason or "no reason"
    except (RunFailed, RunInterrupted) as error:
        assert_type(error.run, Run)
        return error.run.error or "no error"
    except (ManagerClosed, StoreUnavailable, ConfigurationError) as error:
        base: RunError = error
        return str(base)


# Stores


def a_store_is_found_or_written_by_others(own: Store) -> None:
    store: Store = SQLiteStore("runs.db")
    assert_type(open_store("sqlite:///runs.db"), Store)
    RunManager(own)
    RunManager(store)


async def a_store_speaks_of_runs(store: Store, new: NewRun, ending: Ending, event: NewEvent) -> None:
    run, inserted = await store.insert_run(new)
    assert_type(run, Run)
    assert_type(inserted, bool)
    fence = Fence(run.manager_id, run.attempt)
    assert_type(await store.append_events(run.id, fence, [event]), range)
    assert_type(await store.finish_run(run.id, fence, ending), Run)


assert_type(aioruns.__all__, list[str])
