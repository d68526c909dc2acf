"""A thousand subscribers on one run, of whom some never read: the others miss nothing, the run does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.load.measure import MIB, resident
from tests.streams import OpenManager, collect, opened
from tests.support import eventually

from aioruns import RunEvent, RunHandle, current_run, job
from aioruns.stores import SQLiteStore

pytestmark = [pytest.mark.asyncio, pytest.mark.proof, pytest.mark.timeout(600)]

BATCH = 50
"""Events that the run says before it lets the store take them; so a number of events is a number of commits."""


class CountingStore(SQLiteStore):
    """Counts the pages of events that are read, and the commits of events."""

    reads = 0
    appends = 0

    async def read_events(self, *args: Any, **kwargs: Any) -> list[RunEvent]:
        self.reads += 1
        return await super().read_events(*args, **kwargs)

    async def append_events(self, *args: Any, **kwargs: Any) -> Any:
        self.appends += 1
        return await super().append_events(*args, **kwargs)


class Reader:
    """A subscriber that checks each event as it comes, and keeps none."""

    def __init__(self) -> None:
        self.seq = 0
        self.terminal = False

    async def read(self, stream: AsyncIterator[RunEvent]) -> None:
        async for event in stream:
            assert event.seq == self.seq + 1
            assert not self.terminal
            self.seq, self.terminal = event.seq, event.terminal


class Talker:
    """A run that says numbers when it is told to; ``took`` counts the turns of the event loop that it needed."""

    def __init__(self, events: int, padding: str = "") -> None:
        self.go = asyncio.Event()
        self.job = job(name="talker")(self._talk)
        self._events = events
        self._padding = padding

    async def _talk(self) -> None:
        await self.go.wait()
        context = current_run()
        for number in range(self._events):
            context.emit("number", [number, self._padding])
            if number % BATCH == BATCH - 1:
                await context.flush()


async def stop_at_once(stack: AsyncExitStack, handle: RunHandle[None]) -> None:
    """Be a subscriber that takes one event, keeps its stream, and never reads again."""
    stream = await stack.enter_async_context(opened(handle.events()))
    assert (await anext(stream)).seq == 1


async def test_G6_of_a_thousand_subscribers_those_who_read_get_every_event_and_one_read_serves_them_all(
    open_manager: OpenManager, database: Any, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    events = scale(quick=1_000, full=5_000, soak=50_000)
    readers, idlers = scale(quick=270, full=900, soak=4_500), scale(quick=30, full=100, soak=500)
    tally("events that subscribers took", events * readers)
    store, talker = CountingStore(database), Talker(events)
    manager = await open_manager(store)
    handle = await manager.start_run(talker.job())
    crowd = [Reader() for _ in range(readers)]
    before = resident()
    async with AsyncExitStack() as stack:
        for _ in range(idlers):
            await stop_at_once(stack, handle)
        reading = [asyncio.create_task(reader.read(handle.events())) for reader in crowd]
        await eventually(lambda: all(reader.seq == 1 for reader in crowd))
        store.reads = store.appends = 0
        talker.go.set()
        assert (await handle.wait()).status == "completed"
        await asyncio.gather(*reading)

        assert {(reader.seq, reader.terminal) for reader in crowd} == {(events + 2, True)}
        # Not one read for each subscriber and commit: a commit is read by the first, and found by the others.
        assert store.appends >= events // BATCH
        assert store.reads <= 2 * store.appends + 20
        assert resident() - before < 64 * MIB


async def test_G6_how_often_the_store_is_read_does_not_grow_with_the_subscribers(
    open_manager: OpenManager, database: Any
) -> None:
    reads: list[int] = []
    store = CountingStore(database)
    manager = await open_manager(store)
    for subscribers in (1, 100):
        talker = Talker(10 * BATCH)
        handle = await manager.start_run(talker.job())
        crowd = [Reader() for _ in range(subscribers)]
        reading = [asyncio.create_task(reader.read(handle.events())) for reader in crowd]
        await eventually(lambda crowd=crowd: all(reader.seq == 1 for reader in crowd))
        store.reads = 0
        talker.go.set()
        await asyncio.gather(*reading)
        reads.append(store.reads)
    one, hundred = reads
    assert hundred <= 2 * one + 10


async def test_G6_of_what_is_stored_here_nothing_is_read_again_for_those_who_keep_up(
    open_manager: OpenManager, database: Any
) -> None:
    store = CountingStore(database)
    talker = Talker(10 * BATCH)
    manager = await open_manager(store)
    handle = await manager.start_run(talker.job())
    crowd = [Reader() for _ in range(100)]
    reading = [asyncio.create_task(reader.read(handle.events())) for reader in crowd]
    await eventually(lambda: all(reader.seq == 1 for reader in crowd))
    store.reads = store.appends = 0
    talker.go.set()
    await asyncio.gather(*reading)
    assert store.appends >= 10
    assert store.reads <= 4, "the end, and when another process may have written"


async def test_G6_a_subscriber_that_stopped_reading_goes_on_where_it_was_however_much_came_meanwhile(
    open_manager: OpenManager, database: Any
) -> None:
    talker = Talker(3_000)
    manager = await open_manager(database)
    handle = await manager.start_run(talker.job())
    async with opened(handle.events()) as stream:
        assert (await anext(stream)).seq == 1
        talker.go.set()
        await handle
        assert [event.seq for event in await collect(stream)] == list(range(2, 3_003))


async def test_G6_a_subscriber_that_never_reads_keeps_no_more_than_a_page_of_large_events(
    open_manager: OpenManager, database: Any
) -> None:
    """Events of 60 kB, and subscribers that stopped at different places of the stream."""
    talker = Talker(1_000, padding="x" * 60_000)
    manager = await open_manager(database)
    handle = await manager.start_run(talker.job())
    talker.go.set()
    await handle
    before = resident()
    async with AsyncExitStack() as stack:
        for place in range(0, 1_000, 100):
            stream = await stack.enter_async_context(opened(handle.events(after=place)))
            assert (await anext(stream)).seq == place + 1
        assert resident() - before < 64 * MIB


async def test_G10_a_watched_run_keeps_no_more_than_a_few_megabytes_of_events_that_are_large_in_memory(
    open_manager: OpenManager, database: Any
) -> None:
    """60 kB of JSON may be 1.2 MB of Python."""

    @job
    async def emit_nested() -> None:
        context = current_run()
        for _ in range(200):
            context.emit("nested", [[]] * 20_000)
            await context.flush()

    manager = await open_manager(database)
    before, peak = resident(), 0
    handle = await manager.start_run(emit_nested())
    async for _ in handle.events():
        peak = max(peak, resident())
    assert peak - before < 96 * MIB
