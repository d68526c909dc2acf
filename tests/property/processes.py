"""Processes in miniature: a manager each, on its own event loop; they take turns on one thread, and may be killed.

Only what a killed process leaves behind is imitated: a file without its lock, and connections that are gone. Tests that
kill real processes are in ``tests/fault``; here one costs milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, ClassVar, TypeVar

import aiosqlite
import pytest
from tests.insides import die_with_process

from aioruns import RunManager
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite import _liveness, _watch
from aioruns.stores.sqlite._connections import disconnect
from aioruns.stores.sqlite._lease import Lease

__all__ = ["Process", "World", "make_quick"]

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which something will not happen any more."""


class World:
    """All processes, and the time that they share. Nothing happens in them unless somebody here waits."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.skipped = 0.0
        self.stirred = threading.Event()

    def skip(self, seconds: float) -> None:
        """Let time pass for every timer, without waiting for it."""
        self.skipped += seconds
        self.stirred.set()

    def turn(self) -> None:
        """Let every event loop turn once; if there was nothing to do, wait until there is, for a moment at most."""
        if not self.stirred.wait(0.001):
            self.stirred.set()  # a timer may be due
        self.stirred.clear()
        for process in tuple(self.processes):
            process.step()

    def until(self, unmet: Callable[[], object]) -> None:
        """Let the loops turn until nothing is unmet any more.

        Raises:
            AssertionError: Something still is after a long time; the message says what.
        """
        deadline = time.monotonic() + PATIENCE
        while what := unmet():
            assert time.monotonic() < deadline, what
            self.turn()

    def close(self) -> None:
        """Kill what is left, so that a test that failed leaves no threads behind."""
        for process in tuple(self.processes):
            process.kill()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that turns when it is told to, and says when there is something to do."""

    def __init__(self, world: World) -> None:
        self._world = world
        super().__init__()

    def time(self) -> float:
        return super().time() + self._world.skipped

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        if (
            self.is_closed()
        ):  # the garbage collector ends a coroutine of a killed process: there, nothing happens any more
            return asyncio.Handle(callback, args, self, context)
        self._world.stirred.set()
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        self._world.stirred.set()
        return handle

    def turn(self) -> None:
        super().call_soon(self.stop)
        self.run_forever()


class Process:
    """A process with one manager.

    Attributes:
        number: What tells it from others.
        store: Where its manager keeps its runs.
        leases: The locks that were made here.
    """

    stepping: ClassVar[Process]
    """The one whose loop turns."""

    def __init__(self, world: World, database: str, *, number: int, max_running: int | None) -> None:
        self._world = world
        self.number = number
        self.loop = _Loop(world)
        self.leases: list[Lease] = []
        self.store = SQLiteStore(database, synchronous="normal")
        self.manager = RunManager(
            self.store,
            max_running=max_running,
            shutdown_grace=0,
            store_timeout=1e7,  # longer than the time that is skipped
        )
        world.processes.append(self)

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """Stop the process for a while; it is alive."""
        self._world.processes.remove(self)
        try:
            yield
        finally:
            self._world.processes.append(self)

    def step(self) -> None:
        Process.stepping = self
        self.loop.turn()

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return self.loop.create_task(coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Let a coroutine run to its end, while the other processes go on."""
        task = self.spawn(coroutine)
        self._world.until(lambda: not task.done() and f"still waiting in {task}")
        return task.result()

    def retire(self) -> None:
        """Let the process exit, when nothing is left to do there."""
        self._world.until(lambda: asyncio.all_tasks(self.loop))
        self._world.processes.remove(self)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self._end_workers()
        self.loop.close()

    def kill(self) -> None:
        """End the process as the kernel would: none of its code runs any more; then its connections and locks go."""
        self._world.processes.remove(self)
        asyncio.run(
            _drop([each for each in (self.store._database._write, self.store._database._read) if each is not None])
        )
        self._end_workers()
        for lease in self.leases:
            lease.abandon()
        die_with_process(self.manager)
        self._forget_quietly()

    def _end_workers(self) -> None:
        """Let anyio's threads end what they are at, and then end; the task to whose end they listen never does."""
        for thread in threading.enumerate():
            if getattr(thread, "loop", None) is self.loop:
                thread.queue.put_nowait(None)  # pyright: ignore[reportAttributeAccessIssue]
                thread.join()

    def _forget_quietly(self) -> None:
        """Give the garbage collector nothing to do later, nor Python a reason to warn."""
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]
            coroutine = task.get_coro()
            assert inspect.iscoroutine(coroutine)
            with contextlib.suppress(Exception, asyncio.CancelledError):  # its clean-up can do nothing any more
                coroutine.close()
        self.loop.close()


async def _drop(connections: list[aiosqlite.Connection]) -> None:
    """Close connections behind the statement that they are at, and without what was not committed."""
    for connection in connections:
        # Closing would do it, but for a cursor that somebody still holds: https://sqlite.org/c3ref/close.html
        await connection.rollback()
        stopped = disconnect(connection)
        await stopped
        connection._thread.join()


class _TrackedLease(Lease):
    """A lock that belongs to the process that made it."""

    def __init__(self, database: str, manager_id: str) -> None:
        super().__init__(database, manager_id)
        Process.stepping.leases.append(self)


def make_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes look at the database at once, and know whose locks are whose."""
    monkeypatch.setattr(_watch, "POLL", 0.001)
    monkeypatch.setattr(_liveness, "Lease", _TrackedLease)
