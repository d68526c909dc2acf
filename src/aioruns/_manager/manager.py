"""``RunManager``: the verbs that an application uses."""

from __future__ import annotations

import contextvars
import inspect
import math
import os
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar

from aioruns._jobs.arguments import call_again
from aioruns._jobs.job import Job, JobCall, jobs_by_name
from aioruns._manager.engine import Settings
from aioruns._manager.handle import RunHandle
from aioruns._manager.opening import Lifespan
from aioruns._running.live import LiveRun
from aioruns._running.prune import prune
from aioruns._running.read import check_periods
from aioruns._running.start import check_start
from aioruns._values.checks import check_after, check_id, check_limit, check_seconds, check_text
from aioruns._values.model import Run, RunCount, RunEvent, RunFilter
from aioruns._values.redaction import Redact, redact_secrets
from aioruns.abc import Store
from aioruns.errors import ConfigurationError

__all__ = ["RunManager"]

T = TypeVar("T")


class RunManager:
    """Starts, cancels, reads and watches runs. An application process opens one manager.

    Open it with ``async with``, or with ``open`` and ``aclose``, which may be called in different tasks of one event
    loop. Await its methods on that loop; on another, they raise ``RuntimeError``. Methods raise ``ManagerClosed`` while
    the manager is not open, and ``StoreUnavailable`` if the store cannot be read or written.

    Args:
        store: A path, ``sqlite:///…``, or a ``Store``.
        jobs: Jobs that can be looked up by name; no two may have the same name.
        max_running: How many runs may execute here at once; more wait as ``pending``, first in, first out.
        shutdown_grace: Seconds that ``aclose`` lets runs go on.
        redact: Removes from stored errors, reasons and tracebacks what must not be shown.
        context_vars: The only context variables that are copied from the starter into its run.
        store_timeout: Seconds that the store may be away before whoever waits for a run's end is told.

    Raises:
        ConfigurationError: A parameter makes no sense.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Store = "runs.db",
        *,
        jobs: Iterable[Job[..., Any]] = (),
        max_running: int | None = None,
        shutdown_grace: float = 10.0,
        redact: Redact = redact_secrets,
        context_vars: Iterable[contextvars.ContextVar[Any]] = (),
        store_timeout: float = 30.0,
    ) -> None:
        from aioruns.stores import open_store  # modules that only declare jobs need no database

        if max_running is not None and (type(max_running) is not int or max_running < 1):
            raise ConfigurationError(f"max_running must be a whole number of at least 1, or None; not {max_running!r}")
        self._jobs = jobs_by_name(jobs)
        self._lifespan = Lifespan(
            Settings(
                store=open_store(store),
                max_running=max_running,
                shutdown_grace=check_seconds(shutdown_grace, what="shutdown_grace", zero=True) or 0.0,
                redact=redact,
                context_vars=tuple(context_vars),
                patience=check_seconds(store_timeout, what="store_timeout", zero=True) or 0.0,
            )
        )

    # Opening and closing

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Open the store and rescue the runs of dead processes. A call that is cancelled leaves nothing open.

        Raises:
            ConfigurationError: The store is no database of ours, or of a newer version.
            StoreUnavailable: The store cannot be reached.
            ManagerClosed: This manager has been opened before; make a new one.
        """
        await self._lifespan.open()

    async def aclose(self) -> None:
        """Refuse new starts, let runs drain for ``shutdown_grace`` seconds, interrupt the others, close the store.

        Bounded; a second call waits for the first. Cancelling the call does not stop the closing.

        Raises:
            RuntimeError: The call came from inside one of this manager's runs, and would wait for that run.
        """
        await self._lifespan.aclose()

    # Starting and cancelling

    async def start_run(
        self,
        call: JobCall[T] | Coroutine[Any, Any, T],
        *,
        key: str | None = None,
        on_conflict: Literal["reject", "join"] = "reject",
        idempotency_key: str | None = None,
        timeout: float | None = None,
        tags: Iterable[str] | None = None,
        triggered_by: str | None = None,
    ) -> RunHandle[T]:
        """Start a run and return as soon as its row is stored.

        If the caller is cancelled, the start is completed all the same, and the run that it inserted is cancelled with
        the reason ``"start abandoned"``, unless the run has an idempotency key or another start has joined it.

        Args:
            call: A call of a job, ``build(3)``, or a bare coroutine object, which is closed if it is never run.
            key: What the run is exclusive over: at most one active run holds a key, in all processes.
            on_conflict: If a run holds the key, ``reject`` raises; ``join`` returns its handle if the job is the same.
            idempotency_key: Name of this start: a second start under it returns the first one's run, finished or not.
            timeout: Seconds one attempt may execute; None for the job's own, ``math.inf`` for no limit.
            tags: Labels to find the run by.
            triggered_by: Who or what starts the run.

        Raises:
            RunConflict: Another run holds the key.
            ConfigurationError: A parameter makes no sense or cannot be stored; nothing has been written.
        """
        return await self._start(
            call,
            key=key,
            on_conflict=on_conflict,
            idempotency_key=idempotency_key,
            timeout=timeout,
            tags=tags,
            triggered_by=triggered_by,
        )

    async def retry_run(self, run_id: int, *, triggered_by: str | None = None) -> RunHandle[Any]:
        """Repeat a run that has ended: start a new run of its job, with its arguments, key, timeout and tags.

        A cancelled call does the same as one of ``start_run``.

        Args:
            run_id: The run that has ended; ``retry_of`` of the new run is this id.
            triggered_by: Who or what starts the new run.

        Raises:
            RunNotFound: There is no such run.
            RunConflict: Another run holds its key.
            ConfigurationError: The run is active or was a bare coroutine; or its job is not in ``jobs`` or refuses its
                arguments.
        """
        run = await self.get_run(run_id)
        if run.active:
            raise ConfigurationError(f"run {run.id} is {run.status}: it can be started once more when it has ended")
        return await self._start(
            call_again(run, self.get_job),
            key=run.key,
            timeout=math.inf if run.timeout is None else run.timeout,
            tags=run.tags,
            triggered_by=triggered_by,
            retry_of=run.id,
        )

    async def _start(self, call: Any, **options: Any) -> RunHandle[Any]:
        try:
            engine = self._lifespan.to_start()
            request = check_start(call, self._jobs, **options)
        except BaseException:
            if inspect.iscoroutine(call) and inspect.getcoroutinestate(call) == inspect.CORO_CREATED:
                call.close()
            raise
        run, live = await engine.starter.start(request)
        return RunHandle(self, run.id, live=live, work=request.work, inserted=run)

    async def cancel_run(self, run_id: int, *, reason: str | None = None) -> Run:
        """Request that a run end, in whichever process it executes.

        A ``pending`` run is ``cancelled`` at once. Any other is ``cancelling`` until its function has ended:
        ``cancel_event`` is set, and the task is cancelled after the job's ``cancel_grace``. Asking again cancels the
        task again. Cancelling this call does not withdraw the request.

        Args:
            run_id: The run.
            reason: Why; stored, and shown to whoever awaits the run.

        Returns:
            The run as stored after the request.

        Raises:
            RunNotFound: There is no such run.
            RunAlreadyFinished: The run had ended before.
            StoreUnavailable: The request could not be stored; a function that executes here was asked to end anyway.
        """
        return await self._lifespan.to_ask().canceller.cancel(check_id(run_id), reason=reason)

    # Looking

    async def get_run(self, run_id: int) -> Run:
        """Read a run.

        Raises:
            RunNotFound: There is no such run.
        """
        return await self._lifespan.to_ask().reader.get(check_id(run_id))

    async def get_active_run(self, key: str) -> Run | None:
        """Read the run that holds a key; return None if there is none."""
        return await self._lifespan.to_ask().reader.holder(check_text(key, what="key"))

    async def get_current_or_latest_run(self, key: str) -> Run | None:
        """Read the run that holds a key, or else the newest run with that key; return None if there is none."""
        return await self._lifespan.to_ask().reader.holder_or_latest(check_text(key, what="key"))

    async def list_runs(
        self, where: RunFilter | None = None, *, limit: int = 50, before: int | None = None, summary: bool = False
    ) -> list[Run]:
        """Read runs, newest first.

        Args:
            where: Which runs; all of them by default.
            limit: How many at most, up to 1,000.
            before: Only runs with a lower id than this; for the next page, the id of the last run of this one.
            summary: Leave out what may be large: arguments, results and tracebacks are None then.

        Raises:
            ConfigurationError: The limit is out of bounds.
        """
        size = check_limit(limit)
        return await self._lifespan.to_ask().reader.page(
            where or RunFilter(), limit=size, before=before, summary=summary
        )

    async def count_runs(self, *, since: datetime, width: timedelta, among: int = 20_000) -> list[RunCount]:
        """Count the newest runs by the period in which they were created, job, status, and how long they took.

        Args:
            since: An aware time, at which the first period begins; runs created earlier are not counted.
            width: The length of a period.
            among: How many of the newest runs to count at most, up to 1,000,000; this bounds the cost.

        Returns:
            The counts that are not zero, by period and job.

        Raises:
            ConfigurationError: ``since`` is naive, or ``width`` or ``among`` is out of bounds.
        """
        start, micros = check_periods(since, width, among)
        return await self._lifespan.to_ask().store.count_runs(since=start, width=micros, among=among)

    def current_run_id(self, key: str | None = None) -> int | None:
        """Look up in memory the id of the run that executes or waits here under a key; without a key, of the newest."""
        return self._lifespan.to_look().registry.current_id(key)

    def get_handle(self, run_id: int) -> RunHandle[Any]:
        """Return a handle of a run, wherever it executes; the call does not check that the run exists."""
        live = self._lifespan.to_look().registry.get(check_id(run_id))
        return RunHandle(self, run_id, live=live, work=None if live is None else live.work)

    @property
    def jobs(self) -> Mapping[str, Job[..., Any]]:
        """The manager's jobs by name."""
        return MappingProxyType(self._jobs)

    def get_job(self, name: str) -> Job[..., Any]:
        """Find one of the manager's ``jobs`` by name.

        Raises:
            ConfigurationError: No job has that name.
        """
        job = self._jobs.get(name)
        if job is None:
            known = ", ".join(sorted(self._jobs)) or "none"
            raise ConfigurationError(f"no job is called {name!r}; known jobs: {known}. Name it in RunManager(jobs=[…])")
        return job

    # Waiting and events

    async def wait_run(self, run_id: int, timeout: float | None = None) -> Run:
        """Wait until a run has ended, in whichever process it executes, and return it as stored.

        Args:
            run_id: The run.
            timeout: Seconds to wait at most; None for no limit.

        Raises:
            RunNotFound: There is no such run.
            TimeoutError: The run has not ended in time, and goes on.
            StoreUnavailable: The end of the run could not be stored so far, or the store cannot be read.
            ManagerClosed: The manager was closed first.
        """
        return await self._wait(check_id(run_id), None, check_seconds(timeout, what="timeout", zero=True))

    def _wait(self, run_id: int, live: LiveRun | None, seconds: float | None) -> Awaitable[Run]:
        return self._lifespan.to_ask().reader.wait(run_id, live, seconds)

    def stream_events(self, run_id: int, after: int = 0) -> AsyncIterator[RunEvent]:
        """Stream a run's events: first those already stored, then each as it is stored, until the run has ended.

        ``seq`` has no gaps, for any subscriber. Cancelling the stream, or leaving the loop early, does no harm.

        Args:
            run_id: The run, in whichever process it executes.
            after: Only events with a higher ``seq`` than this, the last one that was seen.

        Raises:
            RunNotFound: There is no such run, or it has been pruned meanwhile.
            StoreUnavailable: The store cannot be read; go on later with ``after``.
            ManagerClosed: The manager was closed before the run ended.
        """
        return self._lifespan.to_ask().feed.stream(check_id(run_id), after=check_after(after))

    async def read_events(self, run_id: int, after: int = 0, limit: int = 500) -> list[RunEvent]:
        """Read a page of a run's events, in order.

        Args:
            run_id: The run.
            after: Only events with a higher ``seq``.
            limit: How many at most, up to 1,000.

        Raises:
            RunNotFound: There is no such run.
        """
        page = check_after(after), check_limit(limit)
        return await self._lifespan.to_ask().reader.events(check_id(run_id), *page)

    async def prune(self, *, older_than: timedelta) -> int:
        """Delete runs that ended longer ago than this, with their events; return how many.

        A call that is cancelled has deleted some of them.

        Raises:
            ConfigurationError: ``older_than`` is negative.
        """
        engine = self._lifespan.to_ask()
        return await prune(engine.store, older_than, engine.feed)
