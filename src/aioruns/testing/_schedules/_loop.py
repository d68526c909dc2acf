"""``ShuffledEventLoop``: ready callbacks in a seeded order, and time that passes only when nothing is ready."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import heapq
import itertools
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple, cast
from weakref import WeakKeyDictionary

from aioruns.testing._schedules._order import Race, Source
from aioruns.testing._schedules._outcome import Outcome
from aioruns.testing._schedules._plain import PlainEventLoop
from aioruns.testing._schedules._waiting import Deadlock, describe

__all__ = ["ShuffledEventLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

AT_ONCE: Final = 1_000_000
"""The most callbacks to run while time stands still; a program that needs more goes round in circles."""


class _Ready(NamedTuple):
    """A ready callback; they sort in the order in which they run."""

    place: float
    number: int
    handle: asyncio.Handle
    source: Source
    task: asyncio.Task[Any] | None


class _Timer(NamedTuple):
    """A callback with a time; they sort in the order in which they are due."""

    due: float
    number: int
    handle: asyncio.TimerHandle


class ShuffledEventLoop(PlainEventLoop):
    """An event loop for tests: it runs ready callbacks in an order drawn from a seed.

    The same program with the same seed runs in the same order, in every process. The loop draws these orders:

    - **Tasks** go on in any order, however they were created or woken. Some are quick and some are slow.
    - **Timers** that are due at the same time fire in any order.
    - **Other callbacks** keep the order that asyncio promises for ``call_soon`` if the same task or the same thread has
      scheduled them; others may come between them.

    ``time()`` is virtual: it starts at 0, stands still while anything is ready, and then jumps to the next timer. A
    program that sleeps for an hour takes no longer than one that does not.

    There is no I/O: no sockets, pipes, signals or subprocesses. ``run_in_executor(None, …)``, and so
    ``asyncio.to_thread``, calls the function on the event loop, in a turn of its own. If you give an executor, the loop
    uses it, and time stands still until it has answered. The loop does not wait for other threads; see ``threadless``.

    Args:
        seed: Determines the order.
        time_limit: Virtual seconds after which a program that has not ended counts as a deadlock.

    Attributes:
        on_step: Called before each callback with the name of its task or function, for a trace; None at first.
    """

    def __init__(self, seed: int = 0, *, time_limit: float = 600.0) -> None:
        super().__init__()
        self.on_step: Callable[[str], object] | None = None
        self._time = 0.0
        self._time_limit = time_limit
        self._race = Race(seed)
        self._place = 0.0
        self._source = self._race.source()  # of the running callback, and so of those that it schedules
        self._sources: WeakKeyDictionary[asyncio.Task[Any], Source] = WeakKeyDictionary()
        self._awaits: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._cancels: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._numbers = itertools.count()
        self._ready: list[_Ready] = []
        self._timers: list[_Timer] = []
        self._ran_at_once = 0
        self._from_threads: queue.SimpleQueue[asyncio.Handle] = queue.SimpleQueue()
        self._threads = self._race.source()
        self._executing = 0
        self._thread: int | None = None
        self._stopping = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<ShuffledEventLoop at {self._time:g} s{', closed' if self._closed else ''}>"

    # Running

    def run_forever(self) -> None:
        """See asyncio.

        Raises:
            Deadlock: Nothing is ready, no timer is set and no executor is busy; or the time limit has passed.
        """
        self._check_closed()
        if self.is_running() or asyncio._get_running_loop() is not None:  # pyright: ignore[reportPrivateUsage]
            raise RuntimeError("an event loop is running already")
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self.note_asyncgen, finalizer=self.finalize_asyncgen)
        asyncio._set_running_loop(self)  # pyright: ignore[reportPrivateUsage]
        self._thread = threading.get_ident()
        try:
            while not self._stopping:
                self._take_from_threads()
                if not self._ready:
                    self._wait()
                self._step()
            for _ in tuple(self._ready):  # like asyncio, first run what was ready when the loop was stopped
                self._step()
        finally:
            self._stopping = False
            self._thread = None
            asyncio._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]
            sys.set_asyncgen_hooks(*hooks)

    def run_until_complete(self, future: Any) -> Any:
        """See asyncio.

        Raises:
            Deadlock: The future can never complete.
        """
        self._check_closed()
        is_new = not asyncio.isfuture(future)
        main: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)

        def stop(_: object) -> None:
            self.stop()

        main.add_done_callback(stop)
        try:
            self.run_forever()
        except BaseException:
            if is_new and main.done() and not main.cancelled():
                main.exception()  # the caller gets it, so asyncio need not log it
            raise
        finally:
            main.remove_done_callback(stop)
        if not main.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return main.result()

    def stop(self) -> None:
        """See asyncio."""
        self._stopping = True

    def is_running(self) -> bool:
        """See asyncio."""
        return self._thread is not None

    def is_closed(self) -> bool:
        """See asyncio."""
        return self._closed

    def close(self) -> None:
        """See asyncio."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    def _check_closed(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")

    def _step(self) -> None:
        """Run the next callback."""
        self._place, _, handle, self._source, task = heapq.heappop(self._ready)
        if handle.cancelled():
            return
        if self.on_step is not None:
            self.on_step(_name(handle) if task is None else task.get_name())
        handle._run()  # pyright: ignore[reportPrivateUsage]
        if task is not None and not task.done():
            awaits = self._awaits[task] = self.awaits(task) + 1
            if awaits == self._cancels.get(task):
                task.cancel()
        self._ran_at_once += 1
        if self._ran_at_once > AT_ONCE:
            raise self._deadlock(f"{AT_ONCE:,} callbacks have run while time stood still, and there are more")

    def _take_from_threads(self) -> None:
        while not self._from_threads.empty():
            self._enqueue(self._from_threads.get(), self._threads, in_turn=True)

    def _wait(self) -> None:
        """Let time pass until something is ready."""
        while self._timers and self._timers[0].handle.cancelled():
            heapq.heappop(self._timers)
        if self._executing:
            self._enqueue(self._from_threads.get(), self._threads, in_turn=True)
        elif not self._timers:
            raise self._deadlock("nothing is ready, and no timer is set")
        elif self._timers[0].due > self._time_limit:
            raise self._deadlock(f"{self._time_limit:g} s of virtual time are over")
        else:
            self._ran_at_once = 0
            due = self._timers[0].due
            while self._timers and self._timers[0].due == due:
                timer = heapq.heappop(self._timers).handle
                self._time = max(self._time, timer.when())
                self._enqueue(timer, self._race.source())

    def _deadlock(self, what: str) -> Deadlock:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: self._source_of(task).number)
        return Deadlock(f"{what}; these tasks wait:\n{describe(tasks)}")

    # Scheduling

    def time(self) -> float:
        """Return the virtual time, in seconds since the event loop was made."""
        return self._time

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """See asyncio; for the order, see the class."""
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context)
        task = _task_of(callback)
        if task is None:
            self._enqueue(handle, self._source, in_turn=True)
        else:
            self._enqueue(handle, self._source_of(task), task=task)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """See asyncio. Callbacks from other threads keep their order; the seed does not decide when they come."""
        if self._thread == threading.get_ident():
            return self.call_soon(callback, *args, context=context)
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context)
        self._from_threads.put(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio; the delay is virtual."""
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio; the time is virtual."""
        self._check_closed()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        due = round(when, 6)  # equal sums of decimal fractions may differ in their last digits
        if due <= self._time:
            self._enqueue(handle, self._race.source())
        else:
            heapq.heappush(self._timers, _Timer(due, next(self._numbers), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Ignore that a timer was cancelled: it is dropped when it is due."""

    def new_source(self) -> Source:
        """Make a source whose callbacks keep their order among each other, like those of a thread."""
        return self._race.source()

    def call_in_turn(self, source: Source, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Schedule a callback after those that the same source has scheduled before."""
        self._check_closed()
        self._enqueue(asyncio.Handle(callback, args, self), source, in_turn=True)

    def _enqueue(
        self, handle: asyncio.Handle, source: Source, *, in_turn: bool = False, task: asyncio.Task[Any] | None = None
    ) -> None:
        place = source.place(self._place, in_turn=in_turn)
        heapq.heappush(self._ready, _Ready(place, next(self._numbers), handle, source, task))

    def _source_of(self, task: asyncio.Task[Any]) -> Source:
        source = self._sources.get(task)
        if source is None:
            source = self._sources[task] = self._race.source()
        return source

    # Cancelling at an await

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """See asyncio. Each event loop numbers unnamed tasks anew, so that they have the same names in each replay."""
        task = super().create_task(coro, **options)
        if getattr(coro, "cr_suspended", False):  # an eager task has taken its first step
            self._awaits[task] = 1
        return task

    def awaits(self, task: asyncio.Task[Any]) -> int:
        """Return how many times a task has waited so far: how often it has yielded to the event loop."""
        return self._awaits.get(task, 0)

    def cancel_at(self, task: asyncio.Task[Any], number: int) -> None:
        """Cancel a task when it waits for the ``number``-th time; with 0, before its first step.

        Nothing happens if the task ends before.

        Raises:
            ValueError: The task has already waited more often.
        """
        if number < self.awaits(task):
            raise ValueError(f"{task.get_name()} has waited {self.awaits(task)} times already")
        if number == self.awaits(task):
            task.cancel()
        else:
            self._cancels[task] = number

    # Threads

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call a function on the event loop, in a turn of its own; or in an executor, if you give one."""
        self._check_closed()
        if executor is not None:
            return self._execute(executor, functools.partial(func, *args))
        source, answer = self.new_source(), self.create_future()

        def call() -> None:
            if not answer.cancelled():
                self.call_in_turn(source, Outcome(functools.partial(func, *args)).tell, answer)

        self.call_in_turn(source, call)
        return answer

    def _execute(self, executor: Executor, call: Callable[[], T]) -> asyncio.Future[T]:
        answer = asyncio.wrap_future(executor.submit(call), loop=self)
        self._executing += 1

        def note(_: object) -> None:
            self._executing -= 1

        answer.add_done_callback(note)
        return answer

    def set_default_executor(self, executor: Executor) -> None:
        """Not supported: without an executor, the event loop calls functions itself."""
        raise NotImplementedError("a ShuffledEventLoop has no default executor: give yours to run_in_executor")

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """See asyncio; there is no default executor."""


def _task_of(callback: object) -> asyncio.Task[Any] | None:
    """Return the task that a callback resumes, or None; ``call_soon(task.cancel)`` is an ordinary callback."""
    owner = getattr(callback, "__self__", None)
    if not isinstance(owner, asyncio.Task) or hasattr(asyncio.Task, getattr(callback, "__name__", "")):
        return None
    return cast("asyncio.Task[Any]", owner)


def _name(handle: asyncio.Handle) -> str:
    callback: Any = handle._callback  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUnknownMemberType]
    while isinstance(callback, functools.partial):
        callback = callback.func
    return getattr(callback, "__qualname__", type(callback).__qualname__)
