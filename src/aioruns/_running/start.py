"""Starts runs: checks all that can be wrong, then, in the start section, stores the row and creates the task."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from aioruns._aio.tasks import OwnedTasks, create_task, insist, until_done
from aioruns._jobs.job import Job, JobCall
from aioruns._jobs.work import Work, work_of
from aioruns._running.cancel import Canceller
from aioruns._running.capacity import Capacity
from aioruns._running.execute import Executor
from aioruns._running.live import Attempt, LiveRun
from aioruns._running.outbox import Budget
from aioruns._running.registry import Registry
from aioruns._running.state import ManagerState
from aioruns._running.watch import Watcher
from aioruns._values.checks import check_seconds, check_tags, check_text
from aioruns._values.model import Run, now_micros
from aioruns._values.redaction import Redact
from aioruns._values.status import RunStatus
from aioruns.abc import NewRun, Store
from aioruns.errors import ConfigurationError, RunConflict

__all__ = ["StartRequest", "Starter", "check_start"]


class StartRequest(Struct, kw_only=True):
    """A start that has passed every check.

    Attributes:
        work: What the run executes.
        timeout: Seconds one attempt may execute, or None.
        retry_of: Id of the run that this one repeats, or None.
    """

    work: Work
    key: str | None
    on_conflict: Literal["reject", "join"]
    idempotency_key: str | None
    timeout: float | None
    tags: tuple[str, ...]
    triggered_by: str | None
    retry_of: int | None

    def check_shared(self, run: Run) -> None:
        """Accept an existing run in place of a new one, or raise why it cannot be shared.

        Raises:
            RunConflict: The run holds the key, and cannot be joined.
            ConfigurationError: The idempotency key belongs to another job.
        """
        same_job = run.job == self.work.name
        if self.idempotency_key is not None and run.idempotency_key == self.idempotency_key:
            if not same_job:
                raise ConfigurationError(
                    f"the idempotency key {self.idempotency_key!r} belongs to run {run.id} of job {run.job!r}:"
                    " use another key for another job"
                )
        elif self.on_conflict != "join" or not same_job:
            raise RunConflict(self.key or "", run.id)


def check_start(
    call: object,
    jobs: Mapping[str, Job[..., Any]],
    *,
    key: str | None = None,
    on_conflict: Literal["reject", "join"] = "reject",
    idempotency_key: str | None = None,
    timeout: float | None = None,
    tags: Iterable[str] | None = None,
    triggered_by: str | None = None,
    retry_of: int | None = None,
) -> StartRequest:
    """Check everything that can be wrong with a start.

    Args:
        call: The job's call or the coroutine to run.
        jobs: The manager's jobs by name.
        key: As for ``RunManager.start_run``, like the rest.
        on_conflict: What to do if the key is held.
        idempotency_key: Name of this start.
        timeout: Seconds one attempt may execute.
        tags: Labels.
        triggered_by: Who or what starts it.
        retry_of: Id of the run that the new one repeats.

    Raises:
        ConfigurationError: A parameter makes no sense, or cannot be stored.
    """
    if on_conflict not in ("reject", "join"):
        raise ConfigurationError(f"on_conflict={on_conflict!r} is unknown; use 'reject' or 'join'")
    if on_conflict == "join" and key is None:
        raise ConfigurationError("on_conflict='join' needs a key: without one there is no run to join")
    for what, name in (("key", key), ("idempotency_key", idempotency_key), ("triggered_by", triggered_by)):
        if name is not None:
            check_text(name, what=what)
    seconds = check_seconds(timeout, what="timeout")
    labels = check_tags(tags)
    if isinstance(call, JobCall):
        job = call.job
        if jobs.get(job.name, job) is not job:
            raise ConfigurationError(f"the name {job.name!r} belongs to another job of this manager: give one a name=")
    work = work_of(call)  # pyright: ignore[reportUnknownArgumentType]
    if seconds is None:
        seconds = work.timeout
    return StartRequest(
        work=work,
        key=key,
        on_conflict=on_conflict,
        idempotency_key=idempotency_key,
        timeout=None if seconds == math.inf else seconds,
        tags=labels,
        triggered_by=triggered_by,
        retry_of=retry_of,
    )


class Starter:
    """Starts runs, each in a section that its caller cannot interrupt.

    Args:
        store: Stores the rows; its unique index decides who holds a key.
        state: The open manager, which will execute the runs.
        registry: Where runs are registered.
        capacity: The slots for runs that execute.
        executor: Begins runs.
        canceller: Cancels the runs of abandoned starts.
        watcher: Looks for rows that a failed insert may have left.
        budget: What the outboxes of the runs share.
        redact: Removes from what runs say what must not be shown.
        context_vars: Context variables that are copied from the starter into its run.
    """

    def __init__(
        self,
        store: Store,
        state: ManagerState,
        registry: Registry,
        capacity: Capacity,
        executor: Executor,
        canceller: Canceller,
        watcher: Watcher,
        *,
        budget: Budget,
        redact: Redact,
        context_vars: Sequence[ContextVar[Any]],
    ) -> None:
        self._store = store
        self._state = state
        self._registry = registry
        self._capacity = capacity
        self._executor = executor
        self._canceller = canceller
        self._watcher = watcher
        self._budget = budget
        self._redact = redact
        self._context_vars = context_vars
        self._tokens = itertools.count(1)
        self._abandoned = OwnedTasks()

    async def start(self, request: StartRequest) -> tuple[Run, LiveRun | None]:
        """Start a run, or find the one to join; return its row, and the run if it executes or waits here.

        If the caller is cancelled, the section goes on without it, and the run that it has inserted is cancelled.

        Raises:
            RunConflict: The key is held by another run.
            ConfigurationError: The idempotency key belongs to another job.
            StoreUnavailable: The row could not be inserted.
        """
        attempt = Attempt(budget=self._budget, redact=self._redact)
        live = LiveRun(request.work, attempt, self._copied_values())
        section = create_task(self._section(live, request), name="aioruns-start", eager=True)
        if not section.done():  # an eager task whose store has answered at once
            self._registry.sections.add(section)
        section.add_done_callback(partial(self._leave, live))
        try:
            await until_done(section)
        except asyncio.CancelledError:
            live.abandoned = True
            self._abandoned.create(self._cancel_abandoned(live, section))
            raise
        if live.inserted and section.exception() is not None:
            await live.ended.wait()  # until its failure is stored, or cannot be at present
        answer = section.result()
        assert answer is not None
        run, inserted = answer
        if not inserted:
            request.check_shared(run)
        return run, live if live.inserted else self._registry.get(run.id)

    async def _section(self, live: LiveRun, request: StartRequest) -> tuple[Run, bool] | None:
        """Insert the row, register the run and create its task; return None if the caller has gone before the insert.

        A task of the manager's own executes this, because neither a shield nor a scope of anyio protects from every way
        of cancelling. Only the teardown of the event loop cancels that task.
        """
        try:
            async with self._registry.key_lock(request.key):
                if live.abandoned:
                    return None
                status = RunStatus.RUNNING if self._capacity.reserve(live) else RunStatus.PENDING
                (run, inserted), _ = await insist(partial(self._store.insert_run, self._row(request, status)))
                # No await from here on: whoever reads the row finds the run registered.
                if inserted and run.active:  # not active if an answer was lost and somebody ended it meanwhile
                    live.attach(run)
                    self._registry.add(live)  # from here on, cancel reaches it, and its key has a current id
                    self._executor.begin(live)  # creates its task, or puts it in line
                return run, inserted
        except BaseException as error:
            if live.inserted:
                self._executor.end_unbegun(live, error)
            else:
                self._watcher.suspect()  # the row may have been stored all the same
            raise
        finally:
            if not live.inserted:
                self._executor.discard(live)

    def _leave(self, live: LiveRun, section: asyncio.Task[Any]) -> None:
        """Note that a section has ended; its error is its caller's, and nobody need complain if there is none."""
        self._registry.sections.discard(section)
        if section.cancelled():  # perhaps before its first step, by the teardown of the event loop
            live.work.discard()
        else:
            section.exception()

    async def _cancel_abandoned(self, live: LiveRun, section: asyncio.Task[Any]) -> None:
        """Cancel the run of an abandoned start, once its section is over; others may have joined the run by then."""
        await until_done(section)
        if live.inserted and section.exception() is None:
            await self._canceller.cancel_abandoned(live.run.id)

    def _copied_values(self) -> list[tuple[ContextVar[Any], Any]]:
        """Copy the values of ``context_vars`` from the context of the caller."""
        if not self._context_vars:
            return []
        here = copy_context()
        return [(variable, here[variable]) for variable in self._context_vars if variable in here]

    def _row(self, request: StartRequest, status: RunStatus) -> NewRun:
        return NewRun(
            manager_id=self._state.manager_id,
            token=next(self._tokens),
            job=request.work.name,
            status=status,
            created_at=now_micros(),  # read late, when the last run of its key has ended
            key=request.key,
            idempotency_key=request.idempotency_key,
            join=request.on_conflict == "join",
            timeout=request.timeout,
            tags=request.tags,
            triggered_by=request.triggered_by,
            retry_of=request.retry_of,
            arguments_json=request.work.arguments_json,
        )

    def leftovers(self) -> dict[str, object]:
        """Report the abandoned starts under way."""
        return {"abandoned": len(self._abandoned)}
