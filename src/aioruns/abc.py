"""The protocol that every store implements; its verbs are about runs, not SQL.

Rules for every verb:

- A verb returns when its effect is durable and visible to every other connection.
- Verbs that write are idempotent. A call that was cancelled or raised may or may not have taken effect; a repeated call
  with equal arguments changes nothing more and gives the lost answer.
- ``StoreUnavailable`` means that the database cannot be reached or written, and that the caller may repeat the call.
- Each transition of a run's status appends its ``status`` event in the same transaction.
- Times are microseconds since 1970, UTC, read from the caller's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from aioruns._values.model import Run, RunCount, RunEvent, RunFilter
from aioruns._values.status import RunStatus

# gc=False: structs of plain values cannot be part of a cycle, so the garbage collector need not track them.

__all__ = ["Ending", "Fence", "NewEvent", "NewRun", "Store"]


class NewEvent(NamedTuple):
    """An event that has no ``seq`` yet.

    ``ordinal`` is the writer's own count, by which the store recognises an event that it has already stored.
    """

    ordinal: int
    at: int
    kind: str
    data: str


class Fence(NamedTuple):
    """Who may write for a run: its manager, in its current attempt. The store refuses writes with another fence.

    Attributes:
        manager_id: The manager that executes the run.
        attempt: The attempt it executes.
    """

    manager_id: str
    attempt: int


class NewRun(Struct, kw_only=True, gc=False):
    """A run to be inserted.

    Attributes:
        manager_id: The manager that will execute it.
        token: Unique among the inserts of this manager: by it a repeated insert finds its row.
        job: Name of the job.
        status: ``running`` if there is capacity, else ``pending``.
        created_at: Now; also the ``started_at`` of a run that is ``running``.
        key: What it is exclusive over, or None.
        idempotency_key: The caller's name for this start, or None.
        join: If a run of the same job holds the key, mark that run as shared in the same transaction.
        timeout: Seconds that one attempt may execute, or None.
        tags: Sorted labels.
        triggered_by: Who or what started it.
        retry_of: Id of the run that it retries, or None.
        arguments_json: Arguments by name, or None.
    """

    manager_id: str
    token: int
    job: str
    status: RunStatus
    created_at: int
    key: str | None = None
    idempotency_key: str | None = None
    join: bool = False
    timeout: float | None = None
    tags: tuple[str, ...] = ()
    triggered_by: str | None = None
    retry_of: int | None = None
    arguments_json: str | None = None


class Ending(Struct, kw_only=True, gc=False):
    """How a run ended.

    Attributes:
        status: A terminal status. A run that is still ``running`` passes through ``cancelling`` to ``cancelled``.
        at: When it ended.
        result_json: What it returned, if it is ``completed``.
        error: What ended it, in one line, if it is not.
        traceback: Where the error came from.
        cancel_requested_at: When its manager first asked it to end, if it is ``cancelled``.
        cancel_reason: Why its manager asked.
        events: Its last events, which are not stored yet.
    """

    status: RunStatus
    at: int
    result_json: str | None = None
    error: str | None = None
    traceback: str | None = None
    cancel_requested_at: int | None = None
    cancel_reason: str | None = None
    events: Sequence[NewEvent] = ()


@runtime_checkable
class Store(Protocol):
    """Keeps runs and their events. One object serves one manager, on one event loop."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date.

        Raises:
            ConfigurationError: There is no database of aioruns and none can be made, or its version is newer.
            StoreUnavailable: The database cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Finish the waiting writes and disconnect; later calls raise ``StoreUnavailable``."""
        ...

    async def acquire_lease(self, manager_id: str, *, at: int) -> None:
        """Insert a manager's row, and prove that it is alive until it lets the lease go or its process dies.

        Args:
            manager_id: A new id, never used before.
            at: Now.
        """
        ...

    async def release_lease(self, manager_id: str) -> None:
        """Let a manager's lease go, and delete its row unless it leaves active runs behind."""
        ...

    def abandon_lease(self, manager_id: str) -> None:
        """Let a manager's lease go while it leaves active runs behind, for others to rescue. Works after ``aclose``."""
        ...

    async def rescue_orphans(self, *, now: Callable[[], int]) -> list[int]:
        """End the active runs of every dead manager as ``interrupted``, and delete its row.

        A manager that is alive, however slow, is left alone. Only one of several rescuers ends a dead manager's runs.

        Args:
            now: Gives the time. Call it when a manager is known to be dead, so that no run ends before its last event.

        Returns:
            Ids of the runs that this call ended.
        """
        ...

    async def insert_run(self, new: NewRun) -> tuple[Run, bool]:
        """Insert a run, unless its idempotency key is known or its key is held.

        Returns:
            The inserted run and True; or False and the run that stands in its way, which is the one with the same
            idempotency key, else the holder of the key. A repeated insert finds its own row while that is active, or if
            it ended before it began.
        """
        ...

    async def claim_run(self, run_id: int, fence: Fence, *, at: int) -> Run | None:
        """Turn a ``pending`` run into ``running``; None if it is no longer ``pending``, or not the fence's."""
        ...

    async def append_events(self, run_id: int, fence: Fence, events: Sequence[NewEvent]) -> range:
        """Append events in order, each ordinal once, with the next ``seq`` numbers; all of them or none.

        Returns:
            The ``seq`` numbers of the events that this call stored. Events that were stored before come first in
            ``events``.

        Raises:
            LeaseLost: The run has ended, or is not the fence's.
        """
        ...

    async def request_cancel(
        self, run_id: int, *, at: int, reason: str | None = None, unless_shared: bool = False
    ) -> Run | None:
        """Request cancel: a ``running`` run becomes ``cancelling``, a ``pending`` one ``cancelled``.

        A run that is ``cancelling`` or has ended stays as it is. If ``cancel_requested_at`` of the answer equals
        ``at``, this request made the change.

        Args:
            run_id: The run.
            at: Now.
            reason: Why, in the words of whoever requests it.
            unless_shared: Leave a run alone that has an idempotency key or has been joined.

        Returns:
            The run as it is stored now, or None if there is none.
        """
        ...

    async def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> Run:
        """End a run: store its last events, its terminal row and ``status`` event in one transaction, and free its key.

        Returns:
            The run as it is stored now.

        Raises:
            LeaseLost: Another manager has ended the run, or it is not the fence's.
        """
        ...

    async def get_run(self, run_id: int) -> Run | None:
        """Read a run."""
        ...

    async def get_active_run(self, key: str) -> Run | None:
        """Read the run that holds a key."""
        ...

    async def get_latest_run(self, key: str) -> Run | None:
        """Read the run with a key and the highest id."""
        ...

    async def list_runs(self, where: RunFilter, *, limit: int, before: int | None, summary: bool = False) -> list[Run]:
        """Read runs, newest first, with ids below ``before``; a summary has no arguments, result or traceback."""
        ...

    async def count_runs(self, *, since: int, width: int, among: int) -> list[RunCount]:
        """Count those of the ``among`` newest runs that were created since a time, grouped as in ``RunCount``.

        Args:
            since: When the first period begins.
            width: Microseconds of a period.
            among: How many runs to look at.

        Returns:
            The counts that are not zero, ordered by period, job, status and duration.
        """
        ...

    async def owned_runs(self, manager_id: str) -> list[Run]:
        """Read the active runs of a manager, after every write that this store was asked for before.

        This includes writes whose callers have been cancelled since.
        """
        ...

    async def changed_runs(self, manager_id: str, run_ids: Sequence[int]) -> dict[int, Run | None]:
        """Read those of some runs that are not ``pending`` or ``running`` under a manager; None if a run is gone.

        If there are none, it only looks ids up and does next to nothing on the event loop.
        """
        ...

    async def read_events(self, run_id: int, *, after: int, limit: int) -> list[RunEvent]:
        """Read events of a run in order, from ``seq`` ``after + 1`` on."""
        ...

    async def prune_runs(self, *, finished_before: int, limit: int, after: int = 0) -> list[int]:
        """Delete runs that ended before a time, with their events: those with the lowest ids above ``after``.

        Other writers wait meanwhile, so one call deletes at least one run but no more than some 10 ms allow, and no
        more than ``limit``.

        Returns:
            The ids of the deleted runs, the highest last; empty if there was none to delete.
        """
        ...

    async def wait_changed(self, *, timeout: float = 1.0) -> bool:
        """Wait until another process may have written since the last call.

        The answer may come about 50 ms late, and it may be a false alarm.

        Args:
            timeout: The most seconds to wait.

        Returns:
            Whether another process may have written.
        """
        ...
