"""A run that executes or waits in this process: its row, its work, and its attempt, which goes through phases."""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aioruns._aio.events import CancelEvent, LazyEvent
from aioruns._jobs.context import RunContext
from aioruns._jobs.work import Work
from aioruns._running.outbox import Budget, Outbox
from aioruns._running.runners import Runner
from aioruns._values.model import Run
from aioruns._values.redaction import Redact
from aioruns._values.status import RunStatus
from aioruns.abc import Fence
from aioruns.errors import ManagerClosed, StoreUnavailable

__all__ = ["NEXT", "Attempt", "LiveRun", "Phase", "Why"]

REPORT_AFTER: Final = 2.0
"""Seconds that a function has to end, once asked, before its stack is reported."""


class Phase(enum.StrEnum):
    """How far an attempt has come in this process."""

    WAITING = "waiting"
    """The attempt has no task: the run's row is being inserted, or the run waits for a slot."""
    LAUNCHED = "launched"
    """Its task has not taken its first step. Nobody cancels the task, which would never reach its clean-up."""
    EXECUTING = "executing"
    """Its task claims the run if the run had to wait, then calls the function."""
    OVER = "over"
    """Its function has ended, or will never begin. The executor finishes what follows, and nobody cancels it."""


NEXT: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.WAITING: frozenset({Phase.LAUNCHED, Phase.OVER}),
    Phase.LAUNCHED: frozenset({Phase.EXECUTING, Phase.OVER}),
    Phase.EXECUTING: frozenset({Phase.OVER}),
    Phase.OVER: frozenset(),
}
"""Every allowed change of phase."""


class Why(enum.Enum):
    """Why a function is asked to end."""

    CANCELLED = "somebody cancelled the run"
    TIMED_OUT = "the time of the attempt is over"
    CLOSING = "its manager stops"
    LOST = "the run belongs to another manager now"


class Attempt:
    """One attempt at executing a run.

    It belongs to the event loop; other threads may only fill its outbox and set its cancel event.

    Attributes:
        cancel_event: Set when anybody asks the function to end.
        outbox: What the function has said and the store has not taken.
        context: What ``current_run()`` returns.
        phase: How far the attempt has come.
        asked: Why the function was asked to end, in the order of asking.
        task: The task that executes the attempt; kept here so that it is not garbage-collected.
        runner: Calls the function, once the attempt executes.
        result: What the function returned.
        error: What the function raised.
    """

    __slots__ = (
        "_grace", "_limit", "_report", "asked", "cancel_event", "context", "error", "outbox", "phase", "result",
        "runner", "task",
    )  # fmt: skip

    def __init__(self, *, budget: Budget, redact: Redact) -> None:
        self.cancel_event: CancelEvent = CancelEvent()
        self.outbox: Outbox = Outbox(budget)
        self.context: RunContext = RunContext(
            0, key=None, attempt=1, cancel_event=self.cancel_event, sink=self.outbox, redact=redact
        )
        self.phase: Phase = Phase.WAITING
        self.asked: tuple[Why, ...] = ()
        self.task: asyncio.Task[None] | None = None
        self.runner: Runner | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._report: asyncio.TimerHandle | None = None

    @property
    def over(self) -> bool:
        """Whether the function has ended, or will never begin."""
        return self.phase is Phase.OVER

    def enter(self, phase: Phase) -> None:
        """Move to another phase.

        Raises:
            RuntimeError: ``NEXT`` does not allow the change.
        """
        if phase not in NEXT[self.phase]:
            raise RuntimeError(f"an attempt that is {self.phase} cannot become {phase}")
        self.phase = phase

    def start_clock(self, seconds: float | None, *, grace: float) -> None:
        """Ask the function to end after ``seconds``, if not None; it then has ``grace`` seconds."""
        if seconds is not None:
            self._limit = _later(seconds, self.ask_to_end, Why.TIMED_OUT, grace)

    def ask_to_end(self, why: Why, grace: float = 0) -> None:
        """Ask the function to end: set its event, and cancel its task after ``grace`` seconds.

        Asking again cancels the task again: a function may have swallowed the first cancellation.
        """
        self.asked += (why,)
        if self.over:
            return
        self.cancel_event.set()
        if not grace:
            self._cancel()
        elif self._grace is None:  # asking again does not shorten the grace
            self._grace = _later(grace, self._cancel)
        if self._report is None:
            self._report = _later(REPORT_AFTER + grace, self.report_stack)

    def _cancel(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if self.phase is Phase.EXECUTING and self.runner is not None:
            self.runner.cancel()

    def report_stack(self) -> None:
        """Write the function's stack to the run's log, if it still executes."""
        if self.phase is Phase.EXECUTING:
            self.context.write_line(
                "warning", "asked to end, the function still executes; its stack is attached", trace=self.stack()
            )

    def stack(self) -> str:
        """Format the function's stack."""
        return "" if self.runner is None else self.runner.stack()

    def end(self) -> None:
        """Note that the function has ended or will never begin, and cancel the timers."""
        if not self.over:
            self.enter(Phase.OVER)
        for timer in (self._limit, self._grace, self._report):
            if timer is not None:
                timer.cancel()


class LiveRun:
    """A run that executes or waits in this process. It belongs to the event loop.

    Args:
        work: What the run executes.
        attempt: The attempt at executing it.
        values: Context variables that were copied from the starter, with their values.

    Attributes:
        run: The row as last seen, once it has been inserted.
        inserted: Whether it has been.
        abandoned: Whether the start was cancelled before it returned.
        has_slot: Whether the run counts towards ``max_running``.
        cancel_requested_at: When somebody first asked to cancel the run; microseconds.
        cancel_reason: The reason that was given then.
        ended: Set when there is nothing more to wait for: the end is stored, or ``failure`` says why it is not.
        failure: Why the end is not stored so far.
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
        """Note the row that was inserted for the run."""
        self.run = run
        self.inserted = True
        self.attempt.outbox.owner = self
        context = self.attempt.context
        context.id, context.key, context.attempt, context.owner = run.id, run.key, run.attempt, run.manager_id

    @property
    def fence(self) -> Fence:
        """What allows this manager to write for the run."""
        return Fence(self.run.manager_id, self.run.attempt)

    @property
    def waits(self) -> bool:
        """Whether the row is ``pending`` and the run's task has not begun to claim it."""
        return self.run.status is RunStatus.PENDING and self.attempt.phase in (Phase.WAITING, Phase.LAUNCHED)

    def request_cancel(self, *, at: int, reason: str | None) -> None:
        """Ask the function to end, because somebody cancels the run. Asking again cancels the task again."""
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
        """Return the row, once ``ended`` is set.

        Raises:
            StoreUnavailable: The end could not be stored so far.
            ManagerClosed: The function still executes, and the manager has closed.
        """
        if self.failure is not None:
            raise type(self.failure)(str(self.failure)) from self.failure
        return self.run


def _later(seconds: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
    """Call back in an empty context, because a timer must not keep a run's context alive."""
    return asyncio.get_running_loop().call_later(seconds, callback, *args, context=contextvars.Context())
