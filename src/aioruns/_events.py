"""Subscribers of runs: cursors over stored events, woken by commits, sharing one read of what is new."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final

from aioruns._model import Run, RunEvent
from aioruns.abc import Store
from aioruns.errors import ManagerClosed, RunNotFound, StoreUnavailable

__all__ = ["EventFeed"]

PAGE: Final = 100
"""Events that are read at once, and that a subscriber holds while it reads nothing."""
RECENT: Final = 1000
"""Events of one watched run that are kept for all its subscribers."""
RECENT_CHARACTERS: Final = 4 * 1024 * 1024
"""How long the JSON of these events may be, altogether."""

LAST_READS: Final = 1.0
"""Seconds for subscribers to read what is stored when the manager is closed."""


class _Channel:
    """What the subscribers of one run share: the newest events that one has read, and the news that there are more."""

    def __init__(self) -> None:
        self.subscribers = 0
        self.version = 0
        self.seen_version = -1  # the version at which somebody has read up to ``tail``, and there was nothing behind it
        self.tail = 0
        self.ended = False
        self.recent: deque[RunEvent] = deque()
        self._characters = 0
        self.reading = asyncio.Lock()
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        self.version += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_newer(self, version: int) -> None:
        if self.version == version:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def after(self, seq: int) -> list[RunEvent]:
        """Return the recent events behind a cursor; empty if there are none, or if the first of them is not kept."""
        if not self.recent or not self.recent[0].seq <= seq + 1 <= self.recent[-1].seq:
            return []
        start = seq + 1 - self.recent[0].seq
        return list(islice(self.recent, start, start + PAGE))

    def extend(self, events: list[RunEvent]) -> None:
        """Keep events that somebody has read, where they go on from what is kept."""
        if self.recent and events and events[0].seq > self.recent[-1].seq + 1:
            self.recent.clear()
            self._characters = 0
        newest = self.recent[-1].seq if self.recent else 0
        for event in events:
            if event.seq > newest:
                self.recent.append(event)
                self._characters += len(event.data_json)
        while len(self.recent) > RECENT or self._characters > RECENT_CHARACTERS:
            self._characters -= len(self.recent.popleft().data_json)


class EventFeed:
    """Streams of events, and waiting for runs that execute elsewhere.

    A subscriber is a cursor: it takes what is recent from a buffer that all subscribers of its run share, reads what is
    older from the store, then waits. A slow one costs nothing, a late one misses nothing.

    Args:
        store: Where events are read.
        on_watched: Called when somebody begins to watch a run.
    """

    def __init__(self, store: Store, *, on_watched: Callable[[], None]) -> None:
        self._store = store
        self._on_watched = on_watched
        self._channels: dict[int, _Channel] = {}
        self._closed = False
        self._reading = 0
        self._quiet = asyncio.Event()  # nobody reads any more, and the manager is closed

    def __len__(self) -> int:
        """How many runs are watched."""
        return len(self._channels)

    def notify(self, run_id: int) -> None:
        """Wake who watches a run: something about it has been committed."""
        if (channel := self._channels.get(run_id)) is not None:
            channel.notify()

    def notify_all(self) -> None:
        """Wake everybody: another process has committed something."""
        for channel in tuple(self._channels.values()):
            channel.notify()

    async def aclose(self) -> None:
        """End every subscriber; one that was waiting gets what is stored by now, if it takes it at once."""
        self._closed = True
        self.notify_all()
        if self._reading:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_READS):
                    await self._quiet.wait()

    @contextmanager
    def watch(self, run_id: int) -> Generator[_Channel]:
        """Be woken by commits about a run."""
        channel = self._channels.setdefault(run_id, _Channel())
        channel.subscribers += 1
        self._on_watched()
        try:
            yield channel
        finally:
            channel.subscribers -= 1
            if not channel.subscribers:
                self._channels.pop(run_id, None)

    async def stream(self, run_id: int, *, after: int) -> AsyncIterator[RunEvent]:
        """Give a run's events from ``after + 1`` on, in order, as they are stored; end behind the terminal one.

        Cancelling it, or leaving the loop, costs nothing.

        Raises:
            RunNotFound: There is no such run, or it has been pruned meanwhile.
            ManagerClosed: The manager was closed before the run ended.
        """
        cursor = after
        with self.watch(run_id) as channel:
            while True:
                events = await self._next(channel, run_id, cursor)
                if not events:
                    return
                for event in events:
                    yield event
                    cursor = event.seq
                    if event.terminal:
                        return

    async def _next(self, channel: _Channel, run_id: int, cursor: int) -> list[RunEvent]:
        """Wait for events behind a cursor; empty if the run has ended and there are none."""
        self._reading += 1
        try:
            while True:
                version = channel.version
                events = channel.after(cursor) or await self._read(channel, run_id, cursor)
                if events or channel.ended:
                    return events
                if self._closed and channel.version == version:  # what was read is all there is
                    raise ManagerClosed(f"the manager was closed while the events of run {run_id} were being read")
                await channel.wait_newer(version)
        except StoreUnavailable:
            if self._closed:
                raise ManagerClosed(
                    f"the manager was closed while the events of run {run_id} were being read"
                ) from None
            raise
        finally:
            self._reading -= 1
            if self._closed and not self._reading:
                self._quiet.set()

    async def wait_ended(self, run_id: int) -> Run:
        """Wait until a run has ended that executes in another process, and return its row.

        Raises:
            RunNotFound: There is no such run, or it has been pruned meanwhile.
            ManagerClosed: The manager was closed before the run ended.
        """
        with self.watch(run_id) as channel:
            while True:
                if self._closed:
                    raise ManagerClosed(f"the manager was closed while run {run_id} was being waited for")
                version = channel.version
                try:
                    run = await self._store.get_run(run_id)
                except StoreUnavailable:
                    if self._closed:
                        continue  # to say so
                    raise
                if run is None:
                    raise RunNotFound(run_id)
                if not run.active:
                    return run
                await channel.wait_newer(version)

    async def _read(self, channel: _Channel, run_id: int, cursor: int) -> list[RunEvent]:
        """Read behind a cursor, once for all who stand there; empty if there is nothing yet, or nothing any more."""
        alone = channel.recent and cursor + 1 < channel.recent[0].seq  # catching up: others need not wait for it
        if alone and (events := await self._store.read_events(run_id, after=cursor, limit=PAGE)):
            return events
        async with channel.reading:
            if events := channel.after(cursor):
                return events
            if channel.seen_version == channel.version and cursor >= channel.tail:
                return []
            version = channel.version
            events = await self._store.read_events(run_id, after=cursor, limit=PAGE)
            if not events and await self._has_ended(run_id):
                # Its last events may have been committed since the read; after the terminal row, no more come.
                events = await self._store.read_events(run_id, after=cursor, limit=PAGE)
                channel.ended = not events
            channel.ended = channel.ended or bool(events and events[-1].terminal)
            channel.extend(events)
            if len(events) < PAGE:
                channel.seen_version = version
                channel.tail = events[-1].seq if events else cursor
            return events

    async def _has_ended(self, run_id: int) -> bool:
        run = await self._store.get_run(run_id)
        if run is None:
            raise RunNotFound(run_id)
        return not run.active
