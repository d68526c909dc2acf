"""Executing runs: launch, call the function, and store how it ended whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, NoReturn, TypeVar

from aioruns._aio.tasks import OwnedTasks, create_task, insist
from aioruns._jobs.context import enter_context
from aioruns._running.blocking import BlockWatch
from aioruns._running.capacity import Capacity
from aioruns._running.feed import EventFeed
from aioruns._running.live import LiveRun, Phase, Why
from aioruns._running.outcome import decide, without_own_frames
from aioruns._running.registry import Registry
from aioruns._running.runners import CoroutineRunner, Outlasted, Runner, ThreadRunner
from aioruns._running.state import ManagerState
from aioruns._values.model import Run, now_micros
from aioruns._values.redaction import Redact
from aioruns._values.status import RunStatus
from aioruns.abc import Store
from aioruns.errors import LeaseLost, ManagerClosed, StoreUnavailable

__all__ = ["Executor"]

T = TypeVar("T")

log = logging.getLogger("aioruns")

PAUSE: Final = 0.05
"""Seconds until a store that was away is tried again; doubled up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE: Final = 2.0


class Executor:
    """Executes runs, each in a task of its own, and stores how they end.

    Args:
        store: Where their ends go.
        state: The open manager.
        registry: The runs that execute or wait here; a run that has ended leaves it.
        capacity: Who may execute at once; a run that has ended makes room.
        feed: The subscribers of runs.
        blocking: Watches for functions that block the event loop.
        redact: Takes out of errors what must not be shown.
        patience: Seconds for which the store may be away before those who wait are told.
    """

    def __init__(
        self,
        store: Store,
        state: ManagerState,
        registry: Registry,
        capacity: Capacity,
        feed: EventFeed,
        blocking: BlockWatch,
        *,
        redact: Redact,
        patience: float,
    ) -> None:
        self._store = store
        self._state = state
        self._registry = registry
        self._capacity = capacity
        self._feed = feed
        self._blocking = blocking
        self._redact = redact
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._ends = OwnedTasks()
        self._launched: dict[asyncio.Task[None], LiveRun] = {}  # their tasks have not taken their first step
        self._given_up: asyncio.Future[None] = self._loop.create_future()

    # Beginning

    def begin(self, live: LiveRun) -> None:
        """Launch a run that has just been inserted if it has a slot, else let it wait in line.

        Raises:
            ManagerClosed: The manager has closed: the answer to the insert came late.
        """
        if live.has_slot:
            self._launch(live)
        else:
            self._launch_all(self._capacity.enqueue(live))

    def _launch_all(self, lives: Iterable[LiveRun]) -> None:
        """Launch runs that have waited in line; one that cannot be launched fails alone."""
        for live in lives:
            try:
                self._launch(live)
            except Exception as error:  # noqa: BLE001 - the fault of this run, not of the one that made room for it
                self.end_unbegun(live, error)

    def _launch(self, live: LiveRun) -> None:
        """Create the task that executes a run, in a clean context but for the variables that were asked for."""
        if self._state.closed:
            raise ManagerClosed("the manager was closed before the run began")
        context = contextvars.Context()
        for variable, value in live.values:
            context.run(variable.set, value)
        attempt = live.attempt
        attempt.enter(Phase.LAUNCHED)
        task = create_task(self._execute(live), name=f"aioruns-run-{live.run.id}", context=context)
        if attempt.phase is Phase.LAUNCHED:  # the usual task; an eager one has taken its first step, or all of them
            attempt.task = task
            self._launched[task] = live
            task.add_done_callback(self._end_unentered)
        self._blocking.wake()

    def discard(self, live: LiveRun) -> None:
        """Forget a run that was not inserted: its work never begins, and its slot or place in line comes free."""
        live.work.discard()
        self._launch_all(self._capacity.release(live))

    def _end_unentered(self, task: asyncio.Task[None]) -> None:
        """End a run whose task was cancelled before its first step: such a task never reaches its own clean-up."""
        live = self._launched.pop(task)
        if not live.attempt.over:
            self.end_unbegun(live, asyncio.CancelledError())

    def end_unbegun(self, live: LiveRun, error: BaseException) -> None:
        """End a run whose function will never begin; ``live.ended`` tells when that is stored, or cannot be."""
        live.attempt.error = error
        live.attempt.end()
        self._ends.create(self._finish(live))

    # Executing

    async def _execute(self, live: LiveRun) -> None:
        attempt = live.attempt
        task = attempt.task
        if task is None:
            task = attempt.task = asyncio.current_task()
        elif self._launched.pop(task, None):
            task.remove_done_callback(self._end_unentered)
        if attempt.over:  # it was ended after its launch and before this step
            return
        assert task is not None
        attempt.enter(Phase.EXECUTING)
        attempt.runner = self._runner(live, task)
        cancellation: asyncio.CancelledError | None = None
        if live.run.status is RunStatus.PENDING and not self._state.stopping:
            claimed, cancellation = await self._persist(live, partial(self._claim, live))
            if claimed is None:
                await self._leave(live)
                return
            live.run = claimed
            self._feed.notify(claimed.id)
        if self._state.stopping:
            attempt.cancel_event.set()  # too late to begin: whoever closes may have asked all runs to end already
        try:
            await self._call(live)
        except Outlasted:
            return
        if self._pid != os.getpid():
            _leave_fork(attempt.error)
        cancellation = await self._finish(live) or cancellation
        del live, attempt  # an error's traceback may outlive us, and reach this frame through those of the function
        if cancellation is not None:
            raise cancellation

    def _runner(self, live: LiveRun, task: asyncio.Task[None]) -> Runner:
        if live.work.is_async:
            return CoroutineRunner(task)
        name, event = f"aioruns-run-{live.run.id}", live.attempt.cancel_event
        return ThreadRunner(name, cancel_event=event, given_up=self._given_up)

    async def _claim(self, live: LiveRun) -> Run | None:
        return await self._store.claim_run(live.run.id, live.fence, at=now_micros())

    async def _call(self, live: LiveRun) -> None:
        """Call the function and note what comes out: any exception at all is its outcome, and does not leave here.

        Raises:
            Outlasted: The function is a thread that outlasts the event loop; it is not over.
        """
        attempt = live.attempt
        assert attempt.runner is not None
        try:
            if attempt.cancel_event.is_set():
                live.work.discard()
                raise asyncio.CancelledError
            enter_context(attempt.context)
            attempt.start_clock(live.run.timeout, grace=live.work.cancel_grace)
            attempt.result = await attempt.runner.run(live.work)
        except Outlasted:
            raise
        except GeneratorExit:
            # The loop is gone and the interpreter closes the coroutine: nothing can be awaited any more.
            if not self._loop.is_running():
                raise
            attempt.error = RuntimeError("the function raised GeneratorExit")
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it is the outcome, not this task's to raise
            attempt.error = without_own_frames(error)
        attempt.end()
        del live, attempt  # an error's traceback may outlive us, and reach this frame through those of the function

    # Ending

    async def _finish(self, live: LiveRun) -> asyncio.CancelledError | None:
        """Store how a run ended, then tell everybody. Cancelling the task does not stop it.

        Returns:
            The cancellation that came meanwhile.
        """
        final = decide(live, stopping=self._state.stopping, redact=self._redact)
        finish_run = partial(self._store.finish_run, live.run.id, live.fence, final)
        try:
            run, cancellation = await self._persist(live, finish_run)
        except LeaseLost:
            live.attempt.ask_to_end(Why.LOST)
            return await self._leave(live)
        if run is None:
            self._drop(live)
        else:
            self._conclude(live, run)
        return cancellation

    async def _leave(self, live: LiveRun) -> asyncio.CancelledError | None:
        """Let go of a run that has been ended by somebody else."""
        live.attempt.outbox.lose(LeaseLost(live.run.id))
        run, cancellation = await self._persist(live, partial(self._store.get_run, live.run.id))
        if live.failure is not None and (run is None or run.active):
            self._drop(live)
        else:
            self._conclude(live, run or live.run)
        return cancellation

    def withdraw(self, live: LiveRun, run: Run) -> None:
        """End a run here that the store has ended while it waited."""
        live.attempt.outbox.take_rest()
        self._conclude(live, run)

    def _conclude(self, live: LiveRun, run: Run) -> None:
        """Note that a run is stored as ended, and tell everybody; without an await, so that nothing comes between."""
        live.run = run
        live.failure = None
        live.attempt.outbox.acknowledge()
        self._drop(live)
        live.ended.set()

    def _drop(self, live: LiveRun) -> None:
        """Forget a run, let the next one begin; if the end is not stored, those who wait have been told why."""
        live.work.discard()
        live.attempt.end()
        self._feed.notify(live.run.id)
        self._registry.remove(live)
        self._launch_all(self._capacity.release(live))
        if self._state.left_behind and not self._registry:
            self._store.abandon_lease(self._state.manager_id)

    async def _persist(
        self, live: LiveRun, verb: Callable[[], Awaitable[T]]
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
                if self._given_up.done() or self._loop.time() - began >= self._patience:
                    # The end cannot be stored at present; the outcome stays in memory.
                    live.attempt.outbox.fail(error)
                    live.give_up(error)
                if self._given_up.done():
                    return None, cancellation
            try:
                await asyncio.wait((self._given_up,), timeout=pause)
            except asyncio.CancelledError as error:
                cancellation = error
            pause = min(2 * pause, LONGEST_PAUSE)

    def give_up(self) -> None:
        """Stop trying to reach the store: it is about to be closed."""
        if not self._given_up.done():
            self._given_up.set_result(None)

    def leftovers(self) -> dict[str, object]:
        """Tell what is still under way."""
        return {"ends": len(self._ends), "launched": len(self._launched)}


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
