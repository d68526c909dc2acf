"""The roles of an open manager, wired together: how they begin, work on, and end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, copy_context
from typing import Any, Final

import anyio

from aioruns._aio.tasks import OwnedTasks, insist
from aioruns._jobs import capture
from aioruns._jobs.work import Work
from aioruns._running.blocking import BlockWatch
from aioruns._running.cancel import Canceller
from aioruns._running.capacity import Capacity
from aioruns._running.execute import Executor
from aioruns._running.feed import EventFeed
from aioruns._running.flush import Flusher
from aioruns._running.live import ActiveRun
from aioruns._running.outbox import Budget
from aioruns._running.patience import bounded
from aioruns._running.read import Reader
from aioruns._running.registry import Registry
from aioruns._running.rescue import rescue, rescue_periodically
from aioruns._running.start import Starter
from aioruns._running.watch import Watcher
from aioruns._values.model import Run
from aioruns._values.redaction import Redact
from aioruns._values.status import RunStatus
from aioruns._values.times import now_micros
from aioruns.abc import Store
from aioruns.errors import ManagerClosed, RunError, StoreUnavailable

__all__ = ["Engine"]

log = logging.getLogger("aioruns")

CLOSE_BOUND: Final = 5.0
"""Seconds for functions to end after they were asked to, when the manager is closed."""
STUCK_BOUND: Final = 1.0
"""Seconds to record that a function does not end."""
TEARDOWN_BOUND: Final = 1.5
"""The same when the event loop is torn down; less than the store's writer goes on for."""
AT_ONCE: Final = 100
"""Runs that are asked to end in one turn of the event loop."""


class Engine:
    """An open manager.

    Args:
        store: Where everything is kept; opened and closed here.
        max_running: How many runs may execute at once, or None.
        redact: Takes out of errors what must not be shown.
        context_vars: Context variables that are copied from the starter into its run.
        patience: Seconds for which the store may be away before waiters are told.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_running: int | None,
        redact: Redact,
        context_vars: Sequence[ContextVar[Any]],
        patience: float,
    ) -> None:
        store = self.store = bounded(store, patience=patience)
        self.loop = asyncio.get_running_loop()
        self.manager_id = uuid.uuid4().hex
        self.registry = Registry()
        self.feed = EventFeed(store, on_watched=self._look_out)
        self.closing = False
        self.closed = False
        self._capturing = False
        self._left_behind = False  # functions that do not end outlast the manager, and keep its lease
        self._keeper: asyncio.Task[None] | None = None
        self._rescuer: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[Any] | None = None
        self._close_lock = asyncio.Lock()
        self._tasks = OwnedTasks()
        self._redact = redact
        self._context_vars = context_vars
        self._executor = Executor(
            store,
            redact=redact,
            patience=patience,
            stopping=lambda: self.stopping,
            notify=self.feed.notify,
            on_end=self._forget,
        )
        self._blocking = BlockWatch(self.registry)
        self._capacity = Capacity(max_running, launch=self._launch, fail=self._end_unspawned)
        self._flusher = Flusher(store, publish=self.feed.publish, patience=patience)
        self.canceller = Canceller(
            store,
            self.manager_id,
            self.registry,
            settle=self._settle,
            withdraw=self._withdraw,
            notify=self.feed.notify,
            redact=redact,
            stopping=lambda: self.stopping,
        )
        self._watcher = Watcher(
            store,
            self.manager_id,
            self.registry,
            watched=lambda: bool(len(self.feed)),
            notify_all=self.feed.notify_all,
            apply=self.canceller.apply,
            withdraw=self._withdraw,
            starting=lambda: self.starter.busy,
            settle=self._settle,
        )
        self.starter = Starter(
            store,
            self.manager_id,
            self.registry,
            self._capacity,
            launch=self._launch,
            fail=self._end_unspawned,
            cancel_abandoned=self.canceller.cancel_abandoned,
            on_doubt=self._watcher.suspect,
        )
        self.reader = Reader(
            store,
            self.manager_id,
            self.registry,
            settle=self._settle,
            wait_elsewhere=self.feed.wait_ended,
        )
        self.budget = Budget(on_filled=self._flusher.start)

    async def open(self) -> None:
        """Open the store, prove to be alive, rescue what dead processes left, and begin to watch.

        Raises:
            ConfigurationError: The store cannot be what it is said to be.
            StoreUnavailable: The store cannot be reached.
        """
        opened = self.loop.create_future()
        self._keeper = self._tasks.create(self._keep(opened))
        await opened

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        """Open, then watch until closed. Cancelled by anybody else, the event loop is being torn down: close then.

        All in one task: one that began when all is open might be cancelled before its first step, and never close.
        """
        try:
            await self._open()
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            raise
        if not opened.done():
            opened.set_result(None)
        try:
            # A task of its own: a call that `_patience` gives up cancels its task, and that is no teardown of the loop.
            await self._tasks.create(self._watcher.watch())
        except asyncio.CancelledError:
            if not self.closed:
                await self.close(grace=0, torn=True)
                warnings.warn("a RunManager was not closed before its event loop", ResourceWarning, stacklevel=2)
            raise

    async def _open(self) -> None:
        try:
            await self.store.open()
            await self.store.acquire_lease(self.manager_id, at=now_micros())
            await rescue(self.store, self.feed.notify_all)
            anyio.get_cancelled_exc_class()  # loads what anyio loads late: at close there may be no descriptor left
            self._blocking.start()
        except BaseException:
            self.closed = True
            self.store.abandon_lease(self.manager_id)
            with anyio.move_on_after(CLOSE_BOUND):
                await self.store.aclose()
            raise
        capture.install()
        self._capturing = True
        self._rescuer = self._tasks.create(rescue_periodically(self.store, self.feed.notify_all))

    @property
    def stopping(self) -> bool:
        """Whether the manager is past draining, or the event loop is being torn down."""
        # Loop teardown cancels every task before any of them goes on: whoever asks here first gets the right answer.
        return self.closing or (self._keeper is not None and self._keeper.cancelling() > 0)

    def prepare(self, work: Work) -> ActiveRun:
        """Make a run, without a row as yet, that is being started in this context."""
        here: Mapping[ContextVar[Any], Any] = copy_context() if self._context_vars else {}
        values = tuple((variable, here[variable]) for variable in self._context_vars if variable in here)
        return ActiveRun(work, budget=self.budget, redact=self._redact, values=values)

    def _launch(self, active: ActiveRun) -> None:
        if self.closed:  # the answer to an insert came late
            raise ManagerClosed("the manager was closed before the run began")
        self._executor.launch(active)
        self._watcher.wake()
        self._blocking.wake()

    def _look_out(self) -> None:
        self._watcher.wake()

    async def _settle(self) -> None:
        await self.starter.settle()

    def _withdraw(self, active: ActiveRun, run: Run) -> None:
        """End a run here that the store has ended while it waited."""
        self._capacity.discard(active)
        active.outbox.take_rest()
        self._executor.conclude(active, run)

    def _forget(self, active: ActiveRun) -> None:
        """Publish that a run is over, free its key, let the next one begin."""
        self.feed.notify(active.run.id)
        self.registry.remove(active)
        if active.has_slot:
            active.has_slot = False
            self._capacity.release()
        if self._left_behind and not self.registry:
            self.store.abandon_lease(self.manager_id)

    async def close(self, *, grace: float, torn: bool = False) -> None:
        """Let runs drain, then end them, then end everything else. Bounded; a second call waits for the first.

        Args:
            grace: Seconds for runs to end by themselves.
            torn: Whether the event loop is being torn down: then its tasks have been cancelled already.
        """
        bound = TEARDOWN_BOUND if torn else CLOSE_BOUND
        async with self._close_lock:
            if self.closed:
                return
            self._closer = asyncio.current_task()
            await self.starter.settle(timeout=bound)
            await self.registry.wait_until_none(lambda _: True, timeout=grace)
            self.closing = True
            await self._interrupt_all(torn=torn)
            await self.registry.wait_until_none(lambda _: True, timeout=bound)
            await asyncio.gather(*map(self._record_stuck, self._stuck()))
            with contextlib.suppress(StoreUnavailable), anyio.move_on_after(bound):
                await self._watcher.resolve_doubts()
            self._watcher.trust()  # from here on, rows that are not registered may be of runs that did execute
            self._executor.give_up()
            await self.registry.wait_until_none(lambda active: active.function_over, timeout=bound)
            self.closed = True
            _, cancellation = await insist(lambda: self._let_go(bound))
            if cancellation is not None:
                raise cancellation

    async def _interrupt_all(self, *, torn: bool) -> None:
        """Ask all runs to end, a few in each turn of the event loop, which has to let each of them end, too."""
        # Those that wait for capacity first: else they would be given what the others leave.
        for number, active in enumerate(sorted(self.registry, key=lambda active: active.task is not None), 1):
            self._interrupt(active, torn=torn)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _interrupt(self, active: ActiveRun, *, torn: bool) -> None:
        if active.task is not None:
            if not (torn and active.task.cancelling()):  # asked already: its clean-up must not be torn
                active.interrupt()
        elif not active.function_over:
            self._capacity.discard(active)
            active.interrupting = True
            self._end_unspawned(active, asyncio.CancelledError())

    async def _let_go(self, bound: float) -> None:
        """End everything but runs; may be called again when a teardown of the event loop has cancelled it."""
        self._blocking.stop()
        await self.feed.aclose()
        await self._end_background()
        self._left_behind = bool(self.registry)
        try:
            if self._left_behind:
                self._outlast()
            else:
                await self._release_lease(bound)
            with anyio.move_on_after(bound) as closing:
                await self.store.aclose()
            if closing.cancelled_caught:
                log.warning("the store did not close in time: what waits for it may not be stored")
        finally:
            if self._capturing:
                self._capturing = False
                capture.uninstall()

    def _end_unspawned(self, active: ActiveRun, error: BaseException) -> None:
        """End a run whose function will never begin."""
        active.error = error
        active.end_function()
        self._tasks.create(self._executor.finish(active))

    async def _record_stuck(self, active: ActiveRun) -> None:
        """Say of a function that does not end that it was asked to; its row and its key stay until it does."""
        log.warning("run %s still executes although its manager closes:\n%s", active.run.id, active.stack())
        active.report_stack()
        with contextlib.suppress(RunError), anyio.move_on_after(STUCK_BOUND):
            await self.store.request_cancel(active.run.id, at=now_micros(), reason="the manager was closed")
            await active.outbox.flush()
        active.outbox.take_rest()  # nobody stores any more what it says: its thread must not wait for that

    async def _end_background(self) -> None:
        for task in (self._rescuer, self._keeper):
            if task is not None and task is not self._closer:
                task.cancel()
                await asyncio.wait((task,), timeout=STUCK_BOUND)

    def _stuck(self) -> list[ActiveRun]:
        """Return the runs whose functions execute; of the others here, the store has not taken the beginning or end."""
        return [a for a in self.registry if not a.function_over and a.run.status is not RunStatus.PENDING]

    def _outlast(self) -> None:
        """Keep the lease until the functions that go on have ended: of threads, even after the event loop has."""
        stuck = self._stuck()
        for active in stuck:
            active.give_up(ManagerClosed(f"run {active.run.id} still executes, and its manager has closed"))
        threads = [active.thread for active in stuck if active.thread is not None]

        def wait() -> None:
            for thread in threads:
                thread.join()
            self.store.abandon_lease(self.manager_id)

        if threads and len(threads) == len(stuck):
            threading.Thread(target=wait, name="aioruns-lease", daemon=True).start()

    async def _release_lease(self, bound: float) -> None:
        with contextlib.suppress(StoreUnavailable), anyio.move_on_after(bound):
            await self.store.release_lease(self.manager_id)
            return
        self.store.abandon_lease(self.manager_id)  # then the row stays, and the next manager cleans up
