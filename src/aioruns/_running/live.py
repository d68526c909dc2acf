"""A run that this process executes, as plain state, and the ways to ask it to end."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Final

from aioruns._aio.events import CancelEvent, LazyEvent
from aioruns._aio.threads import Thread
from aioruns._jobs.context import RunContext
from aioruns._jobs.work import Work
from aioruns._running.outbox import Budget, Outbox
from aioruns._values.model import Run
from aioruns._values.redaction import Redact, is_own_frame
from aioruns._values.status import RunStatus
from aioruns.abc import Fence
from aioruns.errors import ManagerClosed, StoreUnavailable

__all__ = ["ActiveRun"]

REPORT_AFTER: Final = 2.0
"""Seconds after which a function that was asked to end and has not is reported with its stack."""


def _frames(awaited: Any) -> Iterator[FrameType]:
    """Follow what a suspended coroutine awaits, down to where it stands; ``Task.get_stack`` gives only the first."""
    while awaited is not None:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                if not is_own_frame(frame):
                    yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
                break
        else:
            return


class ActiveRun:
    """A run that this process executes.

    Belongs to the event loop; only its outbox may be filled from other threads.

    Attributes:
        run: The row as it was last seen.
        work: What is to be done.
        values: Context variables that were copied from the starter.
        cancel_event: Set when the function is asked to end, whoever asks.
        outbox: What the run has said and is not stored.
        context: What ``current_run()`` gives.
        task: The task that executes it; kept here so that it is not garbage-collected.
        entered: Whether that task has begun: cancelled before, it would never reach its own clean-up.
        function_over: Whether the function has ended, or never will begin.
        thread: The thread of a ``def`` job.
        has_slot: Whether it counts towards ``max_running``.
        cancel_requested_at: When somebody first asked to cancel it; microseconds.
        cancel_reason: Why.
        timed_out: Its time is over.
        interrupting: Its manager stops.
        lost: It belongs to this manager no longer.
        ended: Set when there is nothing more to wait for: it is stored as ended, or ``failure`` says why not.
        failure: Why the end could not be stored so far.
        result: What the function returned.
        error: What it raised.
    """

    __slots__ = (
        "__weakref__", "_grace", "_limit", "_report", "cancel_event", "cancel_reason", "cancel_requested_at", "context",
        "ended", "entered", "error", "failure", "function_over", "has_slot", "interrupting", "lost", "outbox", "result",
        "run", "task", "thread", "timed_out", "values", "work",
    )  # fmt: skip

    run: Run

    def __init__(
        self,
        work: Work,
        *,
        budget: Budget,
        redact: Redact,
        values: Sequence[tuple[contextvars.ContextVar[Any], Any]],
    ) -> None:
        self.work: Work = work
        self.values: Sequence[tuple[contextvars.ContextVar[Any], Any]] = values
        self.cancel_event: CancelEvent = CancelEvent()
        self.outbox: Outbox = Outbox(budget)
        self.context: RunContext = RunContext(
            0, key=None, attempt=1, cancel_event=self.cancel_event, sink=self.outbox, redact=redact
        )
        self.task: asyncio.Task[None] | None = None
        self.thread: Thread | None = None
        self.entered: bool = False
        self.function_over: bool = False
        self.has_slot: bool = False
        self.cancel_requested_at: int | None = None
        self.cancel_reason: str | None = None
        self.timed_out: bool = False
        self.interrupting: bool = False
        self.lost: bool = False
        self.ended: LazyEvent = LazyEvent()
        self.failure: StoreUnavailable | ManagerClosed | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._report: asyncio.TimerHandle | None = None

    def attach(self, run: Run) -> None:
        """Note the row that was inserted for it."""
        self.run = run
        self.outbox.owner = self
        self.context.id = run.id
        self.context.key = run.key
        self.context.attempt = run.attempt
        self.context.owner = run.manager_id

    def is_attached(self, run_id: int) -> bool:
        """Whether this is the run with that id; without a row, it is none."""
        return self.context.id == run_id

    def outcome(self) -> Run:
        """Return the row of a run that has ended.

        Raises:
            StoreUnavailable: The end could not be stored so far.
            ManagerClosed: The function still executes, and the manager has closed.
        """
        if self.failure is not None:
            raise type(self.failure)(str(self.failure)) from self.failure
        return self.run

    def give_up(self, failure: StoreUnavailable | ManagerClosed) -> None:
        """Tell those who wait for the end that it is not stored at present, and why."""
        self.failure = failure
        self.ended.set()

    @property
    def fence(self) -> Fence:
        """What allows this manager to write for it."""
        return Fence(self.run.manager_id, self.run.attempt)

    @property
    def waits(self) -> bool:
        """Whether it waits for capacity."""
        return self.run.status is RunStatus.PENDING and not self.entered

    def request_cancel(self, *, at: int, reason: str | None) -> None:
        """Ask the function to end because a user said so. Asking again cancels the task again."""
        if self.function_over:
            return
        if self.cancel_requested_at is None:
            self.cancel_requested_at = at
            self.cancel_reason = reason
        self._ask_to_end(grace=self.work.cancel_grace)

    def interrupt(self) -> None:
        """Ask the function to end because its manager stops."""
        self.interrupting = True
        self._ask_to_end(grace=0)

    def lose(self) -> None:
        """Ask the function to end because the run belongs to another manager now."""
        self.lost = True
        self._ask_to_end(grace=0)

    def start_timeout(self) -> None:
        """Start the clock of an attempt."""
        if self.run.timeout is not None:
            self._limit = asyncio.get_running_loop().call_later(
                self.run.timeout, self._time_out, context=contextvars.Context()
            )

    def _time_out(self) -> None:
        self.timed_out = True
        self._ask_to_end(grace=self.work.cancel_grace)

    def _ask_to_end(self, *, grace: float) -> None:
        if self.function_over:
            return
        self.cancel_event.set()
        loop = asyncio.get_running_loop()
        if not grace:
            self._cancel_task()
        elif self._grace is None:  # asked again meanwhile, it has no less time
            self._grace = loop.call_later(grace, self._cancel_task, context=contextvars.Context())
        if self._report is None:
            self._report = loop.call_later(REPORT_AFTER + grace, self.report_stack, context=contextvars.Context())

    def _cancel_task(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        # Before it is entered, the event alone tells it not to begin; a thread can only be asked.
        if self.entered and not self.function_over and self.work.is_async and self.task is not None:
            self.task.cancel()

    def report_stack(self) -> None:
        """Say in the run's log where the function is, if it still executes."""
        if not self.function_over and self.entered:
            self.context.write_line(
                "warning", "asked to end, the function still executes; its stack is attached", trace=self.stack()
            )

    def stack(self) -> str:
        """Format where the function is now."""
        if self.thread is not None:
            frame = sys._current_frames().get(self.thread.ident or 0)  # pyright: ignore[reportPrivateUsage]
            return "".join(traceback.format_stack(frame)) if frame is not None else ""
        chain = _frames(self.task.get_coro()) if self.task is not None else ()
        return "".join(traceback.StackSummary.extract((frame, frame.f_lineno) for frame in chain).format())

    def end_function(self) -> None:
        """Note that the function has ended, or never will begin: nothing is to be asked of it any more."""
        self.function_over = True
        for timer in (self._limit, self._grace, self._report):
            if timer is not None:
                timer.cancel()
