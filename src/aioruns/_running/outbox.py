"""Holds what a run has said until the store has taken it: bounded, in order, safe to fill from any thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from aioruns._values.model import now_micros
from aioruns.abc import NewEvent
from aioruns.errors import LeaseLost, StoreUnavailable

log = logging.getLogger("aioruns")

__all__ = ["Budget", "Outbox"]

MAX_EVENTS: Final = 10_000
"""Most unstored events of one run."""
MAX_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of unstored events of one run."""
MAX_TOTAL_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of unstored events of all runs of a manager together."""
_OVERHEAD: Final = 200
"""Bytes that each unstored event counts beside its data, so that the total limits the number of events as well."""


_Said = tuple[int, str, str]
"""The time, kind and data of an event. It gets its ordinal when it is taken."""


_NOTHING: Final[list[_Said]] = []
"""Shared by all outboxes that hold no events; nobody appends to it."""


class Budget:
    """What the outboxes of one manager share: the callback that empties them, its event loop, and a count of bytes.

    Args:
        on_filled: Called in the event loop with the owner of an outbox when there is something to take.
    """

    def __init__(self, on_filled: Callable[[Any], None]) -> None:
        self.on_filled: Callable[[Any], None] = on_filled
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.loop_thread: int = threading.get_ident()
        self.lock: threading.RLock = threading.RLock()  # reentrant: a finalizer may log while its thread holds the lock
        self.changed: threading.Condition = threading.Condition(self.lock)
        self.bytes: int = 0
        self._waiting = 0

    def wait(self) -> None:
        """Block this thread, which holds the lock, until there may be room."""
        self._waiting += 1
        try:
            self.changed.wait()
        finally:
            self._waiting -= 1

    def wake(self) -> None:
        """Wake the threads that wait for room; the caller holds the lock."""
        if self._waiting:
            self.changed.notify_all()


class Outbox:
    """The unstored events of one run.

    Any thread may ``put``; everything else belongs to the event loop. ``take`` returns the same events, with the same
    ordinals, until they are acknowledged, so that a retry after a lost answer stores nothing twice.

    Args:
        budget: Shared by all runs of the manager.

    Attributes:
        owner: The run, from its insert to its end. At other times None: the two would form a reference cycle that only
            the garbage collector could break.
    """

    __slots__ = (
        "_budget",
        "_bytes",
        "_closed",
        "_dropped",
        "_error",
        "_flushes",
        "_late",
        "_lost",
        "_ordinal",
        "_progress",
        "_said",
        "_said_count",
        "_signalled",
        "_stored_count",
        "_taken",
        "_taken_bytes",
        "_taken_count",
        "owner",
    )

    def __init__(self, budget: Budget) -> None:
        self.owner: object = None
        self._budget = budget
        self._said: list[_Said] = _NOTHING
        self._progress: tuple[str | None, _Said] | None = None  # the newest one not taken, and its step
        self._taken: Sequence[NewEvent] = ()
        self._bytes = self._taken_bytes = 0
        self._ordinal = self._dropped = 0
        # A flush waits for a count: everything said up to it has been stored, or was replaced.
        self._said_count = self._taken_count = self._stored_count = 0
        self._flushes: tuple[tuple[int, asyncio.Future[None]], ...] = ()
        self._signalled = self._closed = self._late = False
        self._lost: LeaseLost | None = None
        self._error: Exception | None = None

    def put(self, kind: str, data: str, *, droppable: bool) -> None:
        """Add an event; after the run has ended, ignore it.

        A full outbox drops a droppable event that comes from the event loop's thread, and blocks any other thread until
        there is room.

        Raises:
            StoreUnavailable: The outbox is full and the event is not droppable.
            LeaseLost: Another manager owns the run, and the event is not droppable.
        """
        with self._budget.lock:
            self._put(kind, data, droppable=droppable)

    def put_progress(self, step: str | None, data: str) -> None:
        """Add progress; it replaces progress of the same step that has not been taken."""
        with self._budget.lock:
            if self._progress is not None and self._progress[0] == step:
                self._forget(self._progress[1])
            if (said := self._put("progress", data, droppable=True)) is not None:
                self._progress = (step, said)

    def _put(self, kind: str, data: str, *, droppable: bool) -> _Said | None:
        size = _size(data)
        while not self._closed and not self._has_room(size):
            if threading.get_ident() != self._budget.loop_thread:
                self._budget.wait()
            elif droppable:
                self._dropped += 1
                self._signal()
                return None
            else:
                raise StoreUnavailable(
                    f"{len(self._said)} events wait to be stored: the store is slow or away, or the job never awaits;"
                    " await ctx.flush() now and then"
                )
        if self._closed:
            if self._lost is not None and not droppable:
                raise self._lost
            self._note_late(kind, data)
            return None
        return self._add(kind, data, size)

    def _add(self, kind: str, data: str, size: int) -> _Said:
        said = (now_micros(), kind, data)
        if self._said:
            self._said.append(said)
        else:
            self._said = [said]
        self._said_count += 1
        self._count(size)
        self._signal()
        return said

    def _note_late(self, kind: str, data: str) -> None:
        if not self._late:
            self._late = True
            log.warning("a run has ended, and goes on saying things that are not stored: %s %.200s", kind, data)

    def _has_room(self, size: int) -> bool:
        return (
            len(self._said) + len(self._taken) < MAX_EVENTS
            and self._bytes + size <= MAX_BYTES
            and self._budget.bytes + size <= MAX_TOTAL_BYTES
        )

    def _count(self, size: int) -> None:
        self._bytes += size
        self._budget.bytes += size

    def _forget(self, said: _Said) -> None:
        # Search from the end: behind the newest progress there are only events that were said since.
        for index in range(len(self._said) - 1, -1, -1):
            if self._said[index] is said:
                del self._said[index]
                self._count(-_size(said[2]))
                return

    def _signal(self) -> None:
        if self._signalled:
            return
        self._signalled = True
        if threading.get_ident() == self._budget.loop_thread:
            self._budget.on_filled(self.owner)
        elif not self._budget.loop.is_closed():
            self._budget.loop.call_soon_threadsafe(self._budget.on_filled, self.owner)

    def take(self) -> Sequence[NewEvent]:
        """Return the events to store next, in order; empty if there are none."""
        with self._budget.lock:
            if not self._taken:
                self._take_all()
            return self._taken

    @property
    def closed(self) -> bool:
        """Whether the run has ended; the events that are left are stored with its end."""
        return self._closed

    def take_rest(self) -> Sequence[NewEvent]:
        """Close the outbox and return all unstored events, for the commit that ends the run."""
        with self._budget.lock:
            self._closed = True
            self._take_all()
            self.owner = None
            self._budget.wake()
            return self._taken

    def _take_all(self) -> None:
        if self._dropped:
            notice = f'{{"level":"warning","message":"{self._dropped} events were dropped: the outbox was full"}}'
            self._dropped = 0
            self._add("log", notice, _size(notice))
        if not self._said:
            return
        said, self._said = self._said, _NOTHING
        self._taken_bytes, self._taken_count = self._bytes, self._said_count
        self._progress = None
        events = [NewEvent(ordinal, *each) for ordinal, each in enumerate(said, self._ordinal + 1)]
        self._ordinal += len(events)
        self._taken = [*self._taken, *events]

    def acknowledge(self) -> bool:
        """Note that the taken events are stored; return whether there are more to take."""
        with self._budget.lock:
            self._taken = ()
            self._count(-self._taken_bytes)
            self._taken_bytes = 0
            self._stored_count = self._taken_count
            self._budget.wake()
            more = bool(self._said or self._dropped)
            self._signalled = more  # if there are more, the caller takes them, and ``put`` need not signal
        self._error = None
        self._resolve_flushes()
        return more

    def fail(self, error: Exception) -> None:
        """Make waiting calls of ``flush`` raise an error; the events stay, to be taken again."""
        self._error = error
        self._resolve_flushes()

    def lose(self, error: LeaseLost) -> None:
        """Close the outbox of a run that another manager owns now; waiting calls of ``flush`` raise the error."""
        self._lost = error
        self.take_rest()
        self.fail(error)

    def _resolve_flushes(self) -> None:
        if not self._flushes:
            return
        waiting: list[tuple[int, asyncio.Future[None]]] = []
        for target, future in self._flushes:
            if future.done():
                continue
            if self._stored_count >= target:
                future.set_result(None)
            elif self._error is not None:
                future.set_exception(self._error)
            else:
                waiting.append((target, future))
        self._flushes = tuple(waiting)

    async def flush(self) -> None:
        """Wait until everything said so far is stored. Cancelling the wait changes nothing.

        Raises:
            StoreUnavailable: The store has been away for too long; the events are kept.
            LeaseLost: Another manager owns the run now.
        """
        if self._lost is not None:
            raise self._lost
        if self._stored_count < self._said_count:
            future: asyncio.Future[None] = self._budget.loop.create_future()
            self._flushes += ((self._said_count, future),)
            await future


def _size(data: str) -> int:
    return len(data.encode()) + _OVERHEAD
