"""A run that executes or waits in this process: its row, its work, and the attempt that is under way."""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from typing import Any

from aioruns._aio.events import LazyEvent
from aioruns._jobs.work import Work
from aioruns._running.attempt import Attempt, Phase, Why
from aioruns._values.model import Run
from aioruns._values.status import RunStatus
from aioruns.abc import Fence
from aioruns.errors import ManagerClosed, StoreUnavailable

__all__ = ["LiveRun"]


class LiveRun:
    """A run that executes or waits in this process. It belongs to the event loop.

    Args:
        work: What is to be done.
        attempt: The attempt at doing it.
        values: Context variables that were copied from the starter.

    Attributes:
        run: The row as it was last seen, once there is one.
        inserted: Whether there is.
        abandoned: Its starter went away before it had an answer.
        has_slot: Whether it counts towards ``max_running``.
        cancel_requested_at: When somebody first asked to cancel it; microseconds.
        cancel_reason: Why.
        ended: Set when there is nothing more to wait for: the end is stored, or ``failure`` says why it is not.
        failure: Why the end could not be stored so far.
    """

    __slots__ = (
        "__weakref__", "abandoned", "attempt", "cancel_reason", "cancel_requested_at", "ended", "failure", "has_slot",
        "inserted", "run", "values", "work",
    )  # fmt: skip

    run: Run

    def __init__(
        self, work: Work, attempt: Attempt, values: Sequence[tuple[contextvars.ContextVar[Any], Any]] = ()
    ) -> None:
        self.work: Work = work
        self.attempt: Attempt = attempt
        self.values: Sequence[tuple[contextvars.ContextVar[Any], Any]] = values
        self.inserted: bool = False
        self.abandoned: bool = False
        self.has_slot: bool = False
        self.cancel_requested_at: int | None = None
        self.cancel_reason: str | None = None
        self.ended: LazyEvent = LazyEvent()
        self.failure: StoreUnavailable | ManagerClosed | None = None

    def attach(self, run: Run) -> None:
        """Note the row that was inserted for it."""
        self.run = run
        self.inserted = True
        self.attempt.outbox.owner = self
        context = self.attempt.context
        context.id, context.key, context.attempt, context.owner = run.id, run.key, run.attempt, run.manager_id

    @property
    def fence(self) -> Fence:
        """What allows this manager to write for it."""
        return Fence(self.run.manager_id, self.run.attempt)

    @property
    def waits(self) -> bool:
        """Whether its row is ``pending`` and nobody has begun to claim it."""
        return self.run.status is RunStatus.PENDING and self.attempt.phase in (Phase.WAITING, Phase.LAUNCHED)

    def request_cancel(self, *, at: int, reason: str | None) -> None:
        """Ask the function to end because a user said so. Asking again cancels the task again."""
        if self.attempt.over:
            return
        if self.cancel_requested_at is None:
            self.cancel_requested_at = at
            self.cancel_reason = reason
        self.attempt.ask_to_end(Why.CANCELLED, grace=self.work.cancel_grace)

    def give_up(self, failure: StoreUnavailable | ManagerClosed) -> None:
        """Tell those who wait for the end that it is not stored at present, and why."""
        self.failure = failure
        self.ended.set()

    def outcome(self) -> Run:
        """Return the row of a run that has ended.

        Raises:
            StoreUnavailable: The end could not be stored so far.
            ManagerClosed: The function still executes, and the manager has closed.
        """
        if self.failure is not None:
            raise type(self.failure)(str(self.failure)) from self.failure
        return self.run
