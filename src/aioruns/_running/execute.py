"""Executes runs: launches them, calls their functions, and stores how they end, whatever happens."""

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
"""Seconds before a store that was away is called again; doubled each time, up to ``LONGEST_PAUSE``."""
LONGEST_PAUSE: Final = 2.0


class Executor:
    """Executes runs, each in a task of its own, and stores how they end.

    Args:
        store: Stores how they end.
        state: The open manager.
        registry: The runs that execute or wait here; the executor removes each when it has ended.
        capacity: The slots; the executor gives a run's slot back when the run has ended.
        feed: Wakes the subscribers of runs.
        blocking: Watches for functions that block the event loop.
        redact: Removes from errors what must not be shown.
        patience: Seconds that the store may be away before whoever waits for a run is told.
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
        self._launched: dict[asyncio.Task[None], LiveRun] = {}  # tasks before their first step
        self._given_up: asyncio.Future[None] = self._loop.create_future()

    # Beginning

    def begin(self, live: LiveRun) -> None:
        """Launch a run that has just been inserted, or put it in line if it has no slot.

        Raises:
            ManagerClosed: The manager closed before the store answered the insert.
        """
        self._check_open()
        if live.has_slot:
            self._launch(live)
        else:
            self._launch_all(self._capacity.enqueue(live))

    def _check_open(self) -> None:
        if self._state.closed:
            raise ManagerClosed("the manager was closed before the run began")

    def _launch_all(self, lives: Iterable[LiveRun]) -> None:
        """Launch runs that waited in line. One that cannot be launched fails, without harm to the others."""
        for live in lives:
            try:
                self._launch(live)
            except Exception as error:  # noqa: BLE001 - concerns this run, not the one that made room for it
                self.end_unbegun(live, error)

    def _launch(self, live: LiveRun) -> None:
        """Create the task that executes a run, in a context that has nothing but the variables of ``context_vars``."""
        self._check_open()
        context = contextvars.Context()
        for variable, value in live.values:
            context.run(variable.set, value)
        attempt = live.attempt
        attempt.enter(Phase.LAUNCHED)
        task = create_task(self._execute(live), name=f"aioruns-run-{live.run.id}", context=context)
        if attempt.phase is Phase.LAUNCHED:  # not eager: an eager task has taken its first step, or even its last
            attempt.task = task
            self._launched[task] = live
            task.add_done_callback(self._end_unentered)
        self._blocking.wake()

    def discard(self, live: LiveRun) -> None:
        """Drop a run that was not inserted: discard its work, and free its slot or its place in line."""
        live.work.discard()
        self._launch_all(self._capacity.release(live))

    def _end_unentered(self, task: asyncio.Task[None]) -> None:
        """End a run whose task was cancelled before its first step: such a task never reaches its own clean-up."""
        live = self._launched.pop(task)
        if not live.attempt.over:
            self.end_unbegun(live, asyncio.CancelledError())

    def end_unbegun(self, live: LiveRun, error: BaseException) -> None:
        """End a run whose function will never begin; ``live.ended`` is set once that is stored or cannot be."""
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
        if attempt.over:  # something ended it between its launch and this step
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
            attempt.cancel_event.set()  # too late to begin: the closing may have asked all runs to end already
        try:
            await self._call(live)
        except Outlasted:
            return
        if self._pid != os.getpid():
            _leave_fork(attempt.error)
        cancellation = await self._finish(live) or cancellation
        del live, attempt  # an error's traceback, which may outlive this task, would keep them through this frame
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
        """Call the function and note its outcome. Any exception is an outcome, and does not leave this method.

        Raises:
            Outlasted: The function's thread outlasts the event loop, so there is no outcome.
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
        except BaseException as error:  # noqa: BLE001 - SystemExit too is an outcome, and must not leave this task
            attempt.error = without_own_frames(error)
        attempt.end()
        del live, attempt  # an error's traceback, which may outlive this task, would keep them through this frame

    # Ending

    async def _finish(self, live: LiveRun) -> asyncio.CancelledError | None:
        """Store how a run ended, then tell everybody. Cancelling the task does not stop this.

        Returns:
            The cancellation that arrived meanwhile, or None.
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
        """Let go of a run that somebody else has ended."""
        live.attempt.outbox.lose(LeaseLost(live.run.id))
        run, cancellation = await self._persist(live, partial(self._store.get_run, live.run.id))
        if live.failure is not None and (run is None or run.active):
            self._drop(live)
        else:
            self._conclude(live, run or live.run)
        return cancellation

    def withdraw(self, live: LiveRun, run: Run) -> None:
        """Let go of a run that was waiting here when its row was ended."""
        live.attempt.outbox.take_rest()
        self._conclude(live, run)

    def _conclude(self, live: LiveRun, run: Run) -> None:
        """Note that a run's end is stored, and tell everybody, without an await in between."""
        live.run = run
        live.failure = None
        live.attempt.outbox.acknowledge()
        self._drop(live)
        live.ended.set()

    def _drop(self, live: LiveRun) -> None:
        """Forget a run and let the next one begin. If the end is not stored, whoever waits for it already knows why."""
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
        """Call a verb until the store answers or is given up. If that takes long, tell whoever waits for the run.

        Returns:
            The answer, or None if the store was given up; and the cancellation that arrived meanwhile, or None.
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
        """Report the launches and ends under way."""
        return {"ends": len(self._ends), "launched": len(self._launched)}


def _leave_fork(error: BaseException | None) -> NoReturn:
    """End a child process that the function forked, and in which the function has ended.

    Nothing else can go on there: the child's event loop is a copy that shares its wake-ups with the parent's.
    """
    code = error.code if isinstance(error, SystemExit) else None
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
