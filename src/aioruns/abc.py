"""The protocol that every store speaks: verbs of this domain, not SQL.

Rules that hold for every verb:

- A verb returns after its effect is durable and visible to every other connection.
- Verbs that write are idempotent: called again with equal arguments after an error or a cancellation whose outcome is
  unknown, they change nothing more and give the answer that was lost. A cancelled call may or may not have happened.
- ``StoreUnavailable`` says that the database could not be reached, and that the call may be repeated.
- Each transition of a run's status appends its ``status`` event in the same transaction.
- Times are microseconds since 1970, UTC, read from the caller's one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from aioruns._values.model import Run, RunCount, RunEvent, RunFilter
from aioruns._values.status import RunStatus

# Structs that hold nothing but plain values are none of the cycle collector's business: gc=False.

__all__ = ["Ending", "Fence", "NewEvent", "NewRun", "Store"]


class NewEvent(NamedTuple):
    """An event that has no ``seq`` yet.

    ``ordinal`` is the writer's own count, so that storing the same event twice stores it once.
    """

    ordinal: int
    at: int
    kind: str
    data: str


class Fence(NamedTuple):
    """Who may write for a run: its manager, in this attempt. A write behind another fence is refused.

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
        token: Unique among the inserts of this manager: an insert that is repeated finds its row by it.
        job: Name of the job.
        status: ``running`` if there is capacity, else ``pending``.
        created_at: Now; also ``started_at`` of a run that is ``running``.
        key: What it is exclusive over, or None.
        idempotency_key: The caller's name for this start, or None.
        join: Where the key is held by a run of the same job, mark that run as shared in the same transaction.
        timeout: Seconds one attempt may execute, or None.
        tags: Sorted labels.
        triggered_by: Who or what started it.
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
        status: A terminal status. For ``cancelled``, a run that is still ``running`` passes through ``cancelling``.
        at: When it ended.
        result_json: What it returned, if it is ``completed``.
        error: One line, if it is not.
        traceback: Where the error came from.
        cancel_requested_at: When its manager first asked it to end, if it is ``cancelled``.
        cancel_reason: Why.
        events: What the run had said and was not stored yet.
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
    """Where runs and their events are kept. One object serves one manager, on one event loop."""

    async def open(self) -> None:
        """Connect, bring the schema up to date.

        Raises:
            ConfigurationError: There is no database of ours and none can be made, or it is of a newer version.
            StoreUnavailable: The database cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Store what is waiting and disconnect; calls that come later raise ``StoreUnavailable``."""
        ...

    async def acquire_lease(self, manager_id: str, *, at: int) -> None:
        """Begin to prove that a manager is alive: from the insert of its row until its process dies, or it lets go.

        Args:
            manager_id: A fresh id, never used again.
            at: Now.
        """
        ...

    async def release_lease(self, manager_id: str) -> None:
        """Let go of a manager; its row goes with it, unless it leaves active runs behind."""
        ...

    def abandon_lease(self, manager_id: str) -> None:
        """Let go of a manager that leaves active runs behind, to be rescued by others. Works after ``aclose``."""
        ...

    async def rescue_orphans(self, *, now: Callable[[], int]) -> list[int]:
        """End the active runs of every manager that is dead as ``interrupted``, and remove its row.

        Managers that are alive, however slow, are left alone. Of several rescuers one gets each manager.

        Args:
            now: Gives the time; asked once a manager is known to be dead, so that no run ends before its last words.

        Returns:
            Ids of the runs that were ended.
        """
        ...

    async def insert_run(self, new: NewRun) -> tuple[Run, bool]:
        """Insert a run, unless its idempotency key is known or its key is held.

        Returns:
            The inserted run and True; or False and the run that stands in its way, which is the one with the same
            idempotency key, else the holder of the key. A repeated insert finds its own row while that is active, and
            also if it was ended before it began.
        """
        ...

    async def claim_run(self, run_id: int, fence: Fence, *, at: int) -> Run | None:
        """Take a run from ``pending`` to ``running``; None if it is ``pending`` no longer, or not the fence's."""
        ...

    async def append_events(self, run_id: int, fence: Fence, events: Sequence[NewEvent]) -> range:
        """Append events in order, each once per ordinal; ``seq`` goes on from the last. All of them or none.

        Returns:
            The ``seq`` of each event that this call stored: those that had been stored before come first in ``events``.

        Raises:
            LeaseLost: The run has ended, or is not the fence's.
        """
        ...

    async def request_cancel(
        self, run_id: int, *, at: int, reason: str | None = None, unless_shared: bool = False
    ) -> Run | None:
        """Record that a run is to end: ``running`` becomes ``cancelling``, ``pending`` becomes ``cancelled``.

        A run that is ``cancelling`` or has ended stays as it is. It was this request that did it if
        ``cancel_requested_at`` of the answer equals ``at``.

        Args:
            run_id: The run.
            at: Now.
            reason: Why, in the words of who asks.
            unless_shared: Leave a run alone that has an idempotency key or has been joined.

        Returns:
            The run as it is stored now, or None if there is none.
        """
        ...

    async def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> Run:
        """End a run: its last events, the terminal row and its ``status`` event in one transaction; its key comes free.

        Returns:
            The run as it is stored now.

        Raises:
            LeaseLost: The run has been ended by another, or is not the fence's.
        """
        ...

    async def get_run(self, run_id: int) -> Run | None:
        """Read a run."""
        ...

    async def get_active_run(self, key: str) -> Run | None:
        """Read the run that holds a key."""
        ...

    async def get_latest_run(self, key: str) -> Run | None:
        """Read the run with a key that has the highest id."""
        ...

    async def list_runs(self, where: RunFilter, *, limit: int, before: int | None, summary: bool = False) -> list[Run]:
        """Read runs, newest first, with ids below ``before``; a summary has no arguments, result or traceback."""
        ...

    async def count_runs(self, *, since: int, width: int, among: int) -> list[RunCount]:
        """Count those of the ``among`` newest runs that were created since a time, by all fields of ``RunCount``.

        Args:
            since: When the first period begins.
            width: Microseconds of a period.
            among: How many runs are looked at.

        Returns:
            The counts that are not zero, by period, job, status and duration.
        """
        ...

    async def owned_runs(self, manager_id: str) -> list[Run]:
        """Read the active runs of a manager, as every write leaves them that this store was asked for before.

        That includes writes whose callers have been cancelled since.
        """
        ...

    async def changed_runs(self, manager_id: str, run_ids: Sequence[int]) -> dict[int, Run | None]:
        """Read those of some runs that are not just ``pending`` or ``running`` under a manager; None if a run is gone.

        Its price is that of looking ids up, and next to nothing on the event loop, if there are none.
        """
        ...

    async def read_events(self, run_id: int, *, after: int, limit: int) -> list[RunEvent]:
        """Read events of a run in order, from ``after + 1`` on."""
        ...

    async def prune_runs(self, *, finished_before: int, limit: int, after: int = 0) -> list[int]:
        """Delete runs that ended before a time, with their events: those with the lowest ids above one, one at least.

        Others wait meanwhile. So it deletes only as many as it can in some 10 ms, and ``limit`` at most.

        Returns:
            The ids of those that are gone, the highest one last; empty if there is none.
        """
        ...

    async def wait_changed(self, *, timeout: float = 1.0) -> bool:
        """Wait until another process may have written since the last call; 50 ms or so late, and at times in vain.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether another process may have written.
        """
        ...
