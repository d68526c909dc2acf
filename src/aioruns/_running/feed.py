"""Streams events to subscribers: cursors over stored events, which commits wake and which share their reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Final

from aioruns._aio.tasks import until_done
from aioruns._running.state import ManagerState
from aioruns._values.model import Run, RunEvent, from_micros
from aioruns.abc import NewEvent, Store
from aioruns.errors import ManagerClosed, RunNotFound, StoreUnavailable

__all__ = ["EventFeed"]

PAGE: Final = 100
"""Most events in one read, and most that a subscriber holds while its consumer is busy."""
PAGE_CHARACTERS: Final = 256 * 1024
"""Characters of JSON at which a subscriber holds no further event."""
RECENT: Final = 1000
"""Most recent events that are kept for all subscribers of one run; no append here has more."""
RECENT_CHARACTERS: Final = 4 * 1024 * 1024
"""Most characters of JSON in these events together."""

LAST_READS: Final = 1.0
"""Seconds that subscribers have to read what is stored when the manager closes."""


class _Channel:
    """What the subscribers of one run share: its newest events, and whether there may be more."""

    def __init__(self) -> None:
        self.subscribers = 0
        self.version = 0
        self.news = 0  # commits about the run that were announced without their events
        self.seen_news = -1  # ``news`` when a subscriber last read to the end
        self.tail = 0  # the highest ``seq`` that was read or published
        self.ended = False
        self.recent: list[RunEvent] = []
        self.pages: dict[int, asyncio.Future[list[RunEvent]]] = {}  # reads under way, by cursor
        self._characters = 0
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        self.news += 1
        self._wake()

    def _wake(self) -> None:
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
        """Return the recent events after a cursor; none if there are none, or if the first of them is not kept."""
        if not self.recent or not self.recent[0].seq <= seq + 1 <= self.recent[-1].seq:
            return []
        start = seq + 1 - self.recent[0].seq
        return self.recent[start : start + PAGE]

    def has_more_than(self, seq: int) -> bool:
        """Tell whether events after a cursor may be stored; False if a read since the last commit found none."""
        return self.seen_news != self.news or seq < self.tail

    def publish(self, events: list[RunEvent]) -> None:
        """Keep events that have just been stored, and wake the subscribers, who read what is missing before them."""
        if not events:
            self.notify()
            return
        self.extend(events)
        self._wake()

    def extend(self, events: list[RunEvent]) -> None:
        """Add stored events to the recent ones; if there is a gap between them, drop the older ones."""
        if self.recent and events[0].seq > self.recent[-1].seq + 1:
            self._forget(len(self.recent))
        older, newer = [], events
        if self.recent:
            first, last = self.recent[0].seq, self.recent[-1].seq
            older = events[: max(0, first - events[0].seq)] if events[-1].seq >= first - 1 else []
            newer = events[last + 1 - events[0].seq :]
        self.recent[:0] = older
        self.recent += newer
        self._characters += sum(len(event.data_json) for event in chain(older, newer))
        self.tail = max(self.tail, events[-1].seq)
        self._forget(len(self.recent) - RECENT)
        while self._characters > RECENT_CHARACTERS:
            self._forget(1)

    def _forget(self, count: int) -> None:
        if count > 0:
            self._characters -= sum(len(event.data_json) for event in self.recent[:count])
            del self.recent[:count]


def _first_of(events: list[RunEvent]) -> list[RunEvent]:
    """Return the first events, as many as a subscriber may hold while its consumer is busy, but at least one."""
    size = 0
    for count, event in enumerate(events, 1):
        size += len(event.data_json)
        if size >= PAGE_CHARACTERS:
            return events[:count]
    return events


class EventFeed:
    """Streams events, and waits for the ends of runs that execute elsewhere.

    A subscriber is a cursor. It takes recent events from a buffer that all subscribers of its run share, reads older
    ones from the store, in one read with all subscribers at the same place, and then waits. A slow subscriber costs
    nothing, and a late one misses nothing.

    Args:
        store: Where events are read from.
        state: The open manager.
    """

    def __init__(self, store: Store, state: ManagerState) -> None:
        self._store = store
        self._state = state
        self._channels: dict[int, _Channel] = {}
        self._closed = False
        self._reading = 0
        self._quiet = asyncio.Event()  # set when the manager is closed and nobody reads any more

    def __len__(self) -> int:
        """Return how many runs are watched."""
        return len(self._channels)

    def leftovers(self) -> dict[str, object]:
        """Report the runs that are still watched."""
        return {"channels": len(self)}

    def notify(self, run_id: int) -> None:
        """Wake the subscribers of a run: something about it has been committed."""
        if (channel := self._channels.get(run_id)) is not None:
            channel.notify()

    def publish(self, run: Run, said: Sequence[NewEvent], seqs: range) -> None:
        """Give events that have just been stored to the run's subscribers, who need not read them then.

        Args:
            run: The run whose events they are.
            said: The events.
            seqs: The ``seq`` of each event that this commit stored: the last ones of ``said``. The others are older.
        """
        if (channel := self._channels.get(run.id)) is not None:
            new = said[len(said) - len(seqs) :]
            channel.publish(
                [
                    RunEvent(run.id, seq, from_micros(at), kind, data, run.attempt)
                    for seq, (_, at, kind, data) in zip(seqs, new, strict=True)
                ]
            )

    def notify_all(self) -> None:
        """Wake all subscribers: something has been committed, perhaps about their run."""
        for channel in tuple(self._channels.values()):
            channel.notify()

    async def aclose(self) -> None:
        """End every subscriber; one that is waiting first gets what is stored by now, if it reads it at once."""
        self._closed = True
        self.notify_all()
        if self._reading:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_READS):
                    await self._quiet.wait()

    @contextmanager
    def watch(self, run_id: int) -> Generator[_Channel]:
        """Give the channel of a run, which commits about the run wake."""
        channel = self._channels.setdefault(run_id, _Channel())
        channel.subscribers += 1
        self._state.interest.set()
        try:
            yield channel
        finally:
            channel.subscribers -= 1
            if not channel.subscribers:
                self._channels.pop(run_id, None)

    async def stream(self, run_id: int, *, after: int) -> AsyncIterator[RunEvent]:
        """Yield a run's events from ``after + 1`` on, in order, as they are stored; end after the terminal one.

        Cancelling the stream, or leaving the loop early, does no harm.

        Raises:
            RunNotFound: There is no such run, or it has been pruned meanwhile.
            ManagerClosed: The manager was closed before the run ended.
        """
        cursor = after
        with self.watch(run_id) as channel:
            while True:
                events = _first_of(await self._next(channel, run_id, cursor))
                if not events:
                    return
                for event in events:
                    yield event
                    cursor = event.seq
                    if event.terminal:
                        return

    async def _next(self, channel: _Channel, run_id: int, cursor: int) -> list[RunEvent]:
        """Wait for events after a cursor; return none if the run has ended and there are no more."""
        self._reading += 1
        try:
            while True:
                version = channel.version
                events = channel.after(cursor)
                if not events and channel.has_more_than(cursor):
                    if (page := channel.pages.get(cursor)) is not None:
                        await until_done(page)
                        if not (events := page.result()):
                            continue
                    else:
                        events = await self._read(channel, run_id, cursor)
                if events or channel.ended:
                    return events
                if self._closed and channel.version == version:  # nothing more is stored
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
        """Wait until a run of another process has ended, and return its row.

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
                        continue  # the next turn raises ``ManagerClosed``
                    raise
                if run is None:
                    raise RunNotFound(run_id)
                if not run.active:
                    return run
                await channel.wait_newer(version)

    async def _read(self, channel: _Channel, run_id: int, cursor: int) -> list[RunEvent]:
        """Read the events after a cursor, once for all subscribers that stand there; return none if there are none."""
        page = channel.pages[cursor] = asyncio.get_running_loop().create_future()
        events: list[RunEvent] = []
        try:
            news = channel.news
            events = await self._store.read_events(run_id, after=cursor, limit=PAGE)
            if not events and await self._has_ended(run_id):
                # The run's last events may have been committed since the read; after the terminal row, no more come.
                events = await self._store.read_events(run_id, after=cursor, limit=PAGE)
                channel.ended = not events
            channel.ended = channel.ended or bool(events and events[-1].terminal)
            if events:
                channel.extend(events)
            if len(events) < PAGE:
                channel.seen_news = news
                channel.tail = max(channel.tail, cursor)
            return events
        finally:
            del channel.pages[cursor]
            page.set_result(events)  # none if the read failed: then another subscriber tries

    async def _has_ended(self, run_id: int) -> bool:
        run = await self._store.get_run(run_id)
        if run is None:
            raise RunNotFound(run_id)
        return not run.active
