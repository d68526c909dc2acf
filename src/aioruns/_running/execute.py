"""One attempt of one run: begin, wait for the function, say how it ended, store that whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from aioruns._aio.tasks import OwnedTasks, create_task, insist
from aioruns._aio.threads import start_thread
from aioruns._jobs.context import enter_context
from aioruns._running.live import ActiveRun
from aioruns._values.json import NotStorable, encode
from aioruns._values.model import Run
from aioruns._values.redaction import Redact, describe, skip_own_frames
from aioruns._values.status import RunStatus, ending
from aioruns._values.times import now_micros
from aioruns.abc import Ending, Store
from aioruns.errors import LeaseLost, StoreUnavailable

__all__ = ["Executor"]

T = TypeVar("T")

log = logging.getLogger("aioruns")

PAUSE: Final = 0.05
"""Seconds until a store that was away is tried again; doubled up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE: Final = 2.0


class _Outlasted(Exception):
    """A thread outlasts the event loop that waits for it."""


class Executor:
    """Executes runs.

    Args:
        store: Where their ends go.
        redact: Takes out of errors what must not be shown.
        patience: Seconds for which the store may be away before waiters are told.
        stopping: Tells whether the manager stops, or the event loop is being torn down.
        notify: Called with a run's id when it has been taken from pending to running.
        on_end: Called when a run is over here, stored or not: nothing is left but to forget it.
    """

    def __init__(
        self,
        store: Store,
        *,
        redact: Redact,
        patience: float,
        stopping: Callable[[], bool],
        notify: Callable[[int], None],
        on_end: Callable[[ActiveRun], None],
    ) -> None:
        self._store = store
        self._redact = redact
        self._patience = patience
        self._stopping = stopping
        self._notify = notify
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._rest = OwnedTasks()
        self._launched: dict[asyncio.Task[None], ActiveRun] = {}  # their tasks have not taken their first step
        self._given_up: asyncio.Future[None] = self._loop.create_future()

    def launch(self, active: ActiveRun) -> None:
        """Create the task that executes a run, in a clean context but for the variables that were asked for."""
        context = contextvars.Context()
        for variable, value in active.values:
            context.run(variable.set, value)
        task = create_task(self._execute(active), name=f"aioruns-run-{active.run.id}", context=context)
        if not active.entered:  # the usual task; an eager one has taken its first step, or all of them
            active.task = task
            self._launched[task] = active
            task.add_done_callback(self._end_unentered)

    def _end_unentered(self, task: asyncio.Task[None]) -> None:
        """End a run whose task was cancelled before its first step: such a task never reaches its own clean-up."""
        active = self._launched.pop(task)
        if not active.function_over:
            active.error = asyncio.CancelledError()
            active.end_function()
            self._rest.create(self.finish(active))

    def give_up(self) -> None:
        """Stop trying to reach the store: it is about to be closed."""
        if not self._given_up.done():
            self._given_up.set_result(None)

    async def _execute(self, active: ActiveRun) -> None:
        if active.task is None:
            active.task = asyncio.current_task()
        elif self._launched.pop(active.task, None):
            active.task.remove_done_callback(self._end_unentered)
        active.entered = True
        if active.function_over:  # it was ended while it waited, after its launch and before this step
            return
        cancellation: asyncio.CancelledError | None = None
        if active.run.status is RunStatus.PENDING and not self._stopping():
            run, cancellation = await self._persist(active, partial(self._claim, active))
            if run is None:
                await self.leave(active)
                return
            active.run = run
            self._notify(run.id)
        if self._stopping():
            active.cancel_event.set()  # too late to begin: whoever closes may have asked all runs to end already
        await self._call(active)
        if not active.function_over:
            return
        cancellation = await self.finish(active) or cancellation
        del active  # an error's traceback may outlive us, and reach this frame through those of the function
        if cancellation is not None:
            raise cancellation

    async def _claim(self, active: ActiveRun) -> Run | None:
        return await self._store.claim_run(active.run.id, active.fence, at=now_micros())

    async def _call(self, active: ActiveRun) -> None:
        """Call the function and note what comes out: any exception at all is its outcome, and does not leave here.

        The function is over afterwards, unless it is a thread that outlasts the event loop.
        """
        try:
            if active.cancel_event.is_set():
                active.work.discard()
                raise asyncio.CancelledError
            enter_context(active.context)
            active.start_timeout()
            active.result = await (active.work.begin() if active.work.is_async else self._call_in_thread(active))
        except _Outlasted:
            return
        except GeneratorExit:
            # The loop is gone and the interpreter closes the coroutine: nothing can be awaited any more.
            if not active.outbox.loop_runs:
                raise
            active.error = RuntimeError("the function raised GeneratorExit")
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it is the outcome, not this task's to raise
            active.error = _without_own_frames(error)
        if os.getpid() != self._pid:
            _leave_fork(active.error)
        active.end_function()
        del active  # an error's traceback may outlive us, and reach this frame through those of the function

    async def _call_in_thread(self, active: ActiveRun) -> Any:
        """Call the function in a thread, which is not taken for ended while it runs, and can only be asked to end."""
        active.thread = start_thread(active.work.begin, name=f"aioruns-run-{active.run.id}")
        ended = active.thread.ended
        torn = False
        while not ended.done():
            try:
                await asyncio.wait((ended, self._given_up) if torn else (ended,), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                torn = True  # nobody else cancels this task: the event loop is going away
                active.cancel_event.set()
            if torn and self._given_up.done() and not ended.done():
                raise _Outlasted
        return active.thread.outcome()

    async def finish(self, active: ActiveRun) -> asyncio.CancelledError | None:
        """Store how a run ended, then tell everybody. Cancelling the task does not stop it.

        Returns:
            The cancellation that came meanwhile.
        """
        final = self._ending(active)
        try:
            run, cancellation = await self._persist(
                active, partial(self._store.finish_run, active.run.id, active.fence, final)
            )
        except LeaseLost:
            active.lost = True
            return await self.leave(active)
        if run is None:
            self._drop(active)
        else:
            self.conclude(active, run)
        return cancellation

    def conclude(self, active: ActiveRun, run: Run) -> None:
        """Note that a run is stored as ended, and tell everybody; without an await, so that nothing comes between."""
        active.run = run
        active.failure = None
        active.outbox.acknowledge()
        active.work.discard()
        active.end_function()
        self._on_end(active)
        active.ended.set()

    async def leave(self, active: ActiveRun) -> asyncio.CancelledError | None:
        """Let go of a run that has been ended by somebody else."""
        active.outbox.lose(LeaseLost(active.run.id))
        run, cancellation = await self._persist(active, partial(self._store.get_run, active.run.id))
        if active.failure is not None and (run is None or run.active):
            self._drop(active)
        else:
            self.conclude(active, run or active.run)
        return cancellation

    def _drop(self, active: ActiveRun) -> None:
        """Forget a run whose end is not stored: the store was given up, and those who wait have been told."""
        active.work.discard()
        active.end_function()
        self._on_end(active)

    async def _persist(
        self, active: ActiveRun, verb: Callable[[], Awaitable[T]]
    ) -> tuple[T | None, asyncio.CancelledError | None]:
        """Call a verb until the store has answered, or is given up; those who wait for the run are told in between.

        Returns:
            The answer, None if the store was given up; and the cancellation that came meanwhile.
        """
        began = self._loop.time()
        pause = PAUSE
        cancellation: asyncio.CancelledError | None = None
        while True:
            try:
                answer, cancelled = await insist(verb)
                return answer, cancelled or cancellation
            except LeaseLost:
                raise
            except StoreUnavailable as error:
                if self._given_up.done():
                    self._tell(active, error)
                    return None, cancellation
                if self._loop.time() - began >= self._patience:
                    self._tell(active, error)
            try:
                await asyncio.wait((self._given_up,), timeout=pause)
            except asyncio.CancelledError as error:
                cancellation = error
            pause = min(2 * pause, LONGEST_PAUSE)

    @staticmethod
    def _tell(active: ActiveRun, failure: StoreUnavailable) -> None:
        """Tell those who wait that the end of the run cannot be stored at present; the outcome stays in memory."""
        active.outbox.fail(failure)
        active.give_up(failure)

    def _ending(self, active: ActiveRun) -> Ending:
        """Decide how the run ended, whatever its function returned or raised: code of these values runs meanwhile."""
        for _ in range(2):  # once more, since a second interrupt from the keyboard may have been what was raised
            try:
                return self._decide(active)
            except BaseException:  # noqa: BLE001
                continue
        # What was raised is not shown: showing it may raise again.
        log.warning("run %s ended with a value or an exception that cannot be looked at", active.run.id)
        active.error = RuntimeError("the function ended with a value or an exception that cannot be looked at")
        return self._decide(active)

    def _decide(self, active: ActiveRun) -> Ending:
        result_json: str | None = None
        error = active.error
        if error is None:
            try:
                result_json = encode(active.result, what=f"the result of run {active.run.id}")
            except NotStorable as not_storable:
                error = active.error = _without_own_frames(not_storable)
        status = ending(
            returned=error is None,
            cancel_requested=active.cancel_requested_at is not None,
            interrupting=active.interrupting or (isinstance(error, asyncio.CancelledError) and self._stopping()),
        )
        if error is not None and active.timed_out and status is RunStatus.FAILED:
            error = active.error = _timeout_error(active, error)
        message, trace = self._described(active, status, error)
        return Ending(
            status=status,
            at=now_micros(),
            result_json=result_json,
            error=message,
            traceback=trace,
            cancel_requested_at=active.cancel_requested_at,
            cancel_reason=active.cancel_reason,
            events=active.outbox.take_rest(),
        )

    def _described(
        self, active: ActiveRun, status: RunStatus, error: BaseException | None
    ) -> tuple[str | None, str | None]:
        if error is None:
            return None, None
        if status is RunStatus.FAILED:
            message, trace = describe(error, self._redact)
            if isinstance(error, asyncio.CancelledError):
                message = "CancelledError: the task was cancelled, and not through cancel_run"
            return message, trace
        if not isinstance(error, asyncio.CancelledError):
            # Asked to end, it raised something else: not why the run ended, but worth keeping.
            message, trace = describe(error, self._redact)
            active.context.write_line("warning", f"asked to end, the function raised {message}", trace=trace)
        return (None if status is RunStatus.CANCELLED else "the manager was closed before the run ended"), None


def _without_own_frames(error: BaseException) -> BaseException:
    """Take our frames from the traceback of an exception that is being handled: they hold the run, which keeps it."""
    # Not by its own attributes: an exception may have others in their place.
    return BaseException.with_traceback(error, skip_own_frames(sys.exc_info()[2]))


def _leave_fork(error: BaseException | None) -> NoReturn:
    """End a child process that the function has forked, and that has left the function.

    All else in it is a copy of its parent's: an event loop that shares its wake-ups with the parent's, and no way out.
    """
    code = error.code if isinstance(error, SystemExit) else None
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _timeout_error(active: ActiveRun, error: BaseException) -> BaseException:
    late = TimeoutError(f"the run was still executing after {active.run.timeout:g} s")
    late.__cause__ = error if not isinstance(error, asyncio.CancelledError) else None
    return late.with_traceback(error.__traceback__)
