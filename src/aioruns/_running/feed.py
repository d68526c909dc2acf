"""Subscribers of runs: cursors over stored events, woken by commits, sharing one read of what is new."""

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
"""Events that are read at once, and that a subscriber holds while it reads nothing."""
PAGE_CHARACTERS: Final = 256 * 1024
"""How long the JSON of what it holds may be, unless it is a single event."""
RECENT: Final = 1000
"""Events of one watched run that are kept for all its subscribers: no append here has more."""
RECENT_CHARACTERS: Final = 4 * 1024 * 1024
"""How long the JSON of these events may be, altogether."""

LAST_READS: Final = 1.0
"""Seconds for subscribers to read what is stored when the manager is closed."""


class _Channel:
    """What the subscribers of one run share: its newest events, and the news that there are more."""

    def __init__(self) -> None:
        self.subscribers = 0
        self.version = 0
        self.news = 0  # commits that were heard of, and whose events were not given along
        self.seen_news = -1  # how many of them there were when somebody read to the end
        self.tail = 0  # how far somebody has read, or was given
        self.ended = False
        self.recent: list[RunEvent] = []
        self.pages: dict[int, asyncio.Future[list[RunEvent]]] = {}  # that are being read, by the cursor before them
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
        """Return the recent events behind a cursor; empty if there are none, or if the first of them is not kept."""
        if not self.recent or not self.recent[0].seq <= seq + 1 <= self.recent[-1].seq:
            return []
        start = seq + 1 - self.recent[0].seq
        return self.recent[start : start + PAGE]

    def has_more_than(self, seq: int) -> bool:
        """Tell whether there may be events behind a cursor; if not, no commit has been heard of since that was seen."""
        return self.seen_news != self.news or seq < self.tail

    def publish(self, events: list[RunEvent]) -> None:
        """Keep events that have just been stored, and wake who waits; what is missing before them is read."""
        if not events:
            self.notify()
            return
        self.extend(events)
        self._wake()

    def extend(self, events: list[RunEvent]) -> None:
        """Keep events that are stored and touch what is kept; behind a gap, begin anew."""
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
    """Return as many events as a subscriber that does not read may keep alive, one at least."""
    size = 0
    for count, event in enumerate(events, 1):
        size += len(event.data_json)
        if size >= PAGE_CHARACTERS:
            return events[:count]
    return events


class EventFeed:
    """Streams of events, and waiting for runs that execute elsewhere.

    A subscriber is a cursor: it takes what is recent from a buffer that all subscribers of its run share, reads what is
    older from the store, together with those who stand at the same place, then waits. A slow one costs nothing, a late
    one misses nothing.

    Args:
        store: Where events are read.
        state: The open manager.
    """

    def __init__(self, store: Store, state: ManagerState) -> None:
        self._store = store
        self._state = state
        self._channels: dict[int, _Channel] = {}
        self._closed = False
        self._reading = 0
        self._quiet = asyncio.Event()  # nobody reads any more, and the manager is closed

    def __len__(self) -> int:
        """How many runs are watched."""
        return len(self._channels)

    def leftovers(self) -> dict[str, object]:
        """Tell what is still remembered."""
        return {"channels": len(self)}

    def notify(self, run_id: int) -> None:
        """Wake who watches a run: something about it has been committed."""
        if (channel := self._channels.get(run_id)) is not None:
            channel.notify()

    def publish(self, run: Run, said: Sequence[NewEvent], seqs: range) -> None:
        """Give what has just been stored to who watches a run: it need not be read again.

        Args:
            run: Whose events they are.
            said: The events.
            seqs: What the last of them got, by this commit; the others, if any, were stored before.
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
        self._state.interest.set()
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
                events = _first_of(await self._next(channel, run_id, cursor))
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
        page = channel.pages[cursor] = asyncio.get_running_loop().create_future()
        events: list[RunEvent] = []
        try:
            news = channel.news
            events = await self._store.read_events(run_id, after=cursor, limit=PAGE)
            if not events and await self._has_ended(run_id):
                # Its last events may have been committed since the read; after the terminal row, no more come.
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
            page.set_result(events)  # none, if that failed: then the next one tries

    async def _has_ended(self, run_id: int) -> bool:
        run = await self._store.get_run(run_id)
        if run is None:
            raise RunNotFound(run_id)
        return not run.active
