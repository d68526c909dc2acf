"""G6, L1–L6: every subscriber sees 1, 2, 3, … of its run and then the end, and what it has seen is stored."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support import Gate, eventually, hold_answer, hold_call, rows, statuses, turns

from aioruns import (
    ConfigurationError,
    ManagerClosed,
    RunEvent,
    RunHandle,
    RunManager,
    RunNotFound,
    StoreUnavailable,
    current_run,
)
from aioruns._events import PAGE, RECENT
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio
OpenManager = Callable[..., Awaitable[RunManager]]


async def collect(stream: AsyncIterator[RunEvent]) -> list[RunEvent]:
    return [event async for event in stream]


async def collect_into(seen: list[RunEvent], stream: AsyncIterator[RunEvent]) -> None:
    async for event in stream:
        seen.append(event)  # noqa: PERF401 - what has been seen counts when the stream raises


async def within(seconds: float, awaitable: Awaitable[object]) -> None:
    async with asyncio.timeout(seconds):
        await awaitable


def opened(stream: AsyncIterator[RunEvent]) -> aclosing[Any]:
    """Close a stream at the end of a block, as those do who leave one early."""
    return aclosing(cast("Any", stream))


def check_whole(events: Iterable[RunEvent], run_id: int, *, after: int = 0) -> None:
    """Check that a stream has no gap, no double, no event of another run, and one end, which is last."""
    events = list(events)
    assert [event.seq for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert {event.run_id for event in events} == {run_id}
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]


async def talk(lines: int, *, pause: Callable[[int], Awaitable[object]] | None = None) -> None:
    """Log lines; every hundred of them are stored before the next one is said."""
    context = current_run()
    for number in range(lines):
        context.log("info", f"{context.id}: {number}")
        if number % 100 == 99:
            await context.flush()
        if pause is not None:
            await pause(number)


async def finished(manager: RunManager, lines: int) -> int:
    """Run something that says a number of lines; return the run's id."""
    handle = await manager.start_run(talk(lines))
    await handle
    return handle.id


class Waiter:
    """A run that executes until it is told to end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.error: Exception | None = None
        self.stubborn = False

    async def work(self) -> None:
        self.begun.set()
        while not self.end.is_set():
            try:
                await self.end.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        if self.error is not None:
            raise self.error

    async def start(self, manager: RunManager) -> RunHandle[None]:
        handle = await manager.start_run(self.work())
        await self.begun.wait()
        return handle


# Who sees what


async def test_L1_every_subscriber_sees_every_event_in_order_whenever_it_comes(
    manager: RunManager, database: Path
) -> None:
    half, ended = asyncio.Event(), asyncio.Event()

    async def note_half(number: int) -> None:
        if number == 700:
            half.set()

    async def read_early() -> list[RunEvent]:
        seen: list[RunEvent] = []
        async for event in manager.stream_events(handle.id):
            stored = rows(database, "SELECT kind FROM events WHERE run_id = ? AND seq = ?", handle.id, event.seq)
            assert [row["kind"] for row in stored] == [event.kind], "what has been seen is stored"
            seen.append(event)
        return seen

    async def read_slowly() -> list[RunEvent]:
        seen: list[RunEvent] = []
        async for event in manager.stream_events(handle.id):
            seen.append(event)
            await ended.wait()
        return seen

    async def read_late() -> list[RunEvent]:
        await half.wait()
        return await collect(manager.stream_events(handle.id))

    handle = await manager.start_run(talk(1400, pause=note_half))
    readers = [asyncio.create_task(read()) for read in (read_early, read_slowly, read_late)]
    await handle
    ended.set()
    streams = [await reader for reader in readers] + [await collect(handle.events())]
    for events in streams:
        check_whole(events, handle.id)
        assert events == streams[0]
    lines = [event.data["message"] for event in streams[0] if event.kind == "log"]
    assert lines == [f"{handle.id}: {number}" for number in range(1400)]


async def test_L1_two_hundred_subscribers_that_come_one_by_one_see_the_same(manager: RunManager) -> None:
    handle = await manager.start_run(talk(300, pause=lambda _: turns(2)))
    readers: list[asyncio.Task[list[RunEvent]]] = []
    for _ in range(200):
        readers.append(asyncio.create_task(collect(handle.events())))
        await turns(2)
    streams = await asyncio.gather(*readers)
    check_whole(streams[0], handle.id)
    assert len(streams[0]) == 302
    assert all(events == streams[0] for events in streams)


async def test_L1_L6_subscribers_of_several_runs_at_once_see_their_own_run_only(manager: RunManager) -> None:
    handles = [await manager.start_run(talk(120, pause=lambda _: turns(1))) for _ in range(6)]
    readers = [asyncio.create_task(collect(handle.events())) for _ in range(3) for handle in handles]
    for handle, reader in zip(handles * 3, readers, strict=True):
        events = await reader
        check_whole(events, handle.id)
        lines = [event.data["message"] for event in events if event.kind == "log"]
        assert lines == [f"{handle.id}: {number}" for number in range(120)]


async def test_L2_subscriber_that_never_reads_neither_blocks_the_run_nor_costs_memory(manager: RunManager) -> None:
    handle = await manager.start_run(talk(20_000))
    async with opened(handle.events()) as stream:
        first = await anext(stream)
        await handle
        gc.collect()
        assert sum(isinstance(thing, RunEvent) for thing in gc.get_objects()) <= PAGE + RECENT + 1
        check_whole([first] + [event async for event in stream], handle.id)


async def test_L3_late_subscriber_gets_the_history_and_the_end_from_any_manager(open_manager: OpenManager) -> None:
    first = await open_manager()
    run_id = await finished(first, 3)
    await first.aclose()
    events = await collect((await open_manager()).stream_events(run_id))
    check_whole(events, run_id)
    assert [event.kind for event in events] == ["status", "log", "log", "log", "status"]


async def test_subscribers_share_one_read_of_what_is_new(open_manager: OpenManager, database: Path) -> None:
    store, waiter = SQLiteStore(database), Waiter()
    manager = await open_manager(store)
    handle = await waiter.start(manager)
    reads: list[int] = []
    original = store.read_events

    async def counted(run_id: int, *, after: int, limit: int) -> list[RunEvent]:
        reads.append(after)
        return await original(run_id, after=after, limit=limit)

    store.read_events = counted
    readers = [asyncio.create_task(collect(handle.events())) for _ in range(100)]
    await eventually(lambda: len(reads) >= 2)
    await turns(200)
    reads.clear()
    waiter.end.set()
    for reader in readers:
        check_whole(await reader, handle.id)
    assert len(reads) <= 3, "a hundred readers of one commit"


async def test_G6_event_that_is_stored_while_a_subscriber_finds_nothing_is_not_missed(
    open_manager: OpenManager, database: Path
) -> None:
    store, waiter, gate = SQLiteStore(database), Waiter(), Gate()
    hold_call(store, "wait_changed")  # nobody is woken by chance
    manager = await open_manager(store)
    again = asyncio.Event()

    async def work() -> None:
        await waiter.work()
        current_run().log("info", "while nothing was found")
        await current_run().flush()
        again.set()
        await asyncio.Event().wait()

    handle = await manager.start_run(work())
    original = store.read_events

    async def held(run_id: int, *, after: int, limit: int) -> list[RunEvent]:
        events = await original(run_id, after=after, limit=limit)
        if not events:
            await gate.pass_through()
        return events

    store.read_events = held
    seen: list[RunEvent] = []
    reader = asyncio.create_task(collect_into(seen, handle.events(after=1)))
    await gate.reached.wait()
    waiter.end.set()
    await again.wait()
    gate.open()
    await eventually(lambda: len(seen) == 1, timeout=1)
    await handle.cancel()
    await reader
    check_whole(seen, handle.id, after=1)


# The end


async def test_L4_subscriber_that_comes_at_any_turn_of_the_end_gets_one_end(manager: RunManager) -> None:
    for count in range(41):
        waiter = Waiter()
        handle = await waiter.start(manager)
        waiter.end.set()
        await turns(count)
        check_whole(await collect(handle.events()), handle.id)


@pytest.mark.parametrize("hold", [hold_call, hold_answer])
async def test_L4_subscriber_that_comes_beside_the_last_commit_gets_one_end(
    open_manager: OpenManager, database: Path, hold: Callable[[SQLiteStore, str], Gate]
) -> None:
    store, waiter = SQLiteStore(database), Waiter()
    manager = await open_manager(store)
    handle = await waiter.start(manager)
    early = asyncio.create_task(collect(handle.events()))
    gate = hold(store, "finish_run")
    waiter.end.set()
    await gate.reached.wait()
    late = asyncio.create_task(collect(handle.events()))
    await turns(50)
    gate.open()
    for reader in (early, late):
        check_whole(await reader, handle.id)


@pytest.mark.parametrize("outcome", ["completed", "failed", "cancelled", "interrupted"])
async def test_L5_status_is_readable_when_the_end_arrives(
    open_manager: OpenManager, database: Path, outcome: str
) -> None:
    here, elsewhere, waiter = await open_manager(), await open_manager(), Waiter()
    handle = await waiter.start(here)

    async def read(manager: RunManager) -> None:
        *_, last = await collect(manager.stream_events(handle.id))
        assert (last.terminal, last.data["status"]) == (True, outcome)
        assert statuses(database)[handle.id] == outcome
        assert (await elsewhere.get_run(handle.id)).status == outcome

    readers = [asyncio.create_task(read(manager)) for manager in (here, elsewhere)]
    if outcome == "cancelled":
        await handle.cancel()
    elif outcome == "interrupted":
        await here.aclose()
    else:
        waiter.error = ValueError() if outcome == "failed" else None
        waiter.end.set()
    await asyncio.gather(*readers)


@pytest.mark.parametrize("status", ["cancelling", "running"])
async def test_G6_status_of_a_function_that_says_nothing_is_seen_live(
    open_manager: OpenManager, database: Path, status: str
) -> None:
    store, first, second = SQLiteStore(database), Waiter(), Waiter()
    hold_call(store, "wait_changed")  # nobody is woken by chance
    manager = await open_manager(store, max_running=1)
    running = await first.start(manager)
    handle = running if status == "cancelling" else await manager.start_run(second.work())
    first.stubborn = True
    seen: list[RunEvent] = []
    reader = asyncio.create_task(collect_into(seen, handle.events()))
    await eventually(lambda: len(seen) == 1)
    if status == "cancelling":
        await handle.cancel()
    else:
        first.end.set()
    try:
        await eventually(lambda: [event for event in seen if event.data == {"status": status}], timeout=1)
    finally:
        first.end.set()
        second.end.set()
        await reader


# Resuming


async def test_G6_stream_resumes_behind_any_event(manager: RunManager) -> None:
    run_id = await finished(manager, 8)
    whole = await collect(manager.stream_events(run_id))
    for seen in range(len(whole)):
        assert await collect(manager.stream_events(run_id, after=seen)) == whole[seen:]
    for beyond in (len(whole), len(whole) + 1, 10**12, 10**30):
        assert await collect(manager.stream_events(run_id, after=beyond)) == []


async def test_G6_stream_that_resumes_behind_the_end_ends_although_others_still_read(
    open_manager: OpenManager, database: Path
) -> None:
    store = SQLiteStore(database)
    hold_call(store, "wait_changed")  # nobody is woken by chance
    manager = await open_manager(store)
    run_id = await finished(manager, 8)
    async with opened(manager.stream_events(run_id)) as slow:
        await anext(slow)
        whole = await collect(manager.stream_events(run_id))
        for beyond in (len(whole), 10**6):
            await within(1, collect(manager.stream_events(run_id, after=beyond)))


async def test_G6_subscriber_that_asks_for_the_future_gets_it_or_the_end(manager: RunManager) -> None:
    waiter = Waiter()
    handle = await waiter.start(manager)
    readers = {after: asyncio.create_task(collect(handle.events(after))) for after in (0, 1, 2, 9)}
    await turns(20)
    waiter.end.set()
    for after, reader in readers.items():
        assert [event.seq for event in await reader] == list(range(after + 1, 3))


async def test_G6_stream_is_gapless_across_reconnects_while_the_run_goes_on(manager: RunManager) -> None:
    handle = await manager.start_run(talk(500, pause=lambda _: turns(1)))
    seen: list[RunEvent] = []
    while not seen or not seen[-1].terminal:
        async with opened(handle.events(after=len(seen))) as stream:
            async for event in stream:
                seen.append(event)
                if len(seen) % 37 == 0:
                    break
    check_whole(seen, handle.id)


# Other processes


async def test_G6_run_of_another_manager_is_seen_live_to_its_end(open_manager: OpenManager) -> None:
    here, there = await open_manager(), await open_manager()
    waiter = Waiter()

    async def work() -> None:
        current_run().log("info", "a")
        await waiter.work()
        current_run().log("info", "b")

    handle = await there.start_run(work())
    seen: list[RunEvent] = []
    reader = asyncio.create_task(collect_into(seen, here.stream_events(handle.id)))
    await eventually(lambda: len(seen) == 2)
    waiter.end.set()
    await reader
    check_whole(seen, handle.id)
    assert len(seen) == 4


async def test_G6_status_events_of_other_managers_stand_in_the_same_sequence(open_manager: OpenManager) -> None:
    here, there = await open_manager(), await open_manager()

    async def work() -> None:
        try:
            await talk(100_000, pause=lambda _: turns(1))
        finally:
            await talk(20)

    handle = await here.start_run(work())
    readers = [asyncio.create_task(collect(manager.stream_events(handle.id))) for manager in (here, there)]

    async def has_said_much() -> bool:
        return len(await here.read_events(handle.id)) > 100

    await eventually(has_said_much)
    await there.cancel_run(handle.id)
    streams = [await reader for reader in readers]
    check_whole(streams[0], handle.id)
    assert streams[0] == streams[1]
    assert [event.data["status"] for event in streams[0] if event.kind == "status"] == [
        "running",
        "cancelling",
        "cancelled",
    ]


# Ends before the end


async def test_closing_ends_subscribers_of_own_runs_with_their_end(open_manager: OpenManager) -> None:
    manager = await open_manager()
    handle = await Waiter().start(manager)
    readers = [asyncio.create_task(collect(handle.events())) for _ in range(3)]
    await turns(20)
    await manager.aclose()
    for reader in readers:
        check_whole(await reader, handle.id)


async def test_closing_ends_subscribers_of_runs_that_go_on_elsewhere(open_manager: OpenManager) -> None:
    here, there = await open_manager(), await open_manager()
    handle = await Waiter().start(there)
    reader = asyncio.create_task(collect(here.stream_events(handle.id)))
    stream = here.stream_events(handle.id)
    assert (await anext(stream)).seq == 1
    await here.aclose()
    with pytest.raises(ManagerClosed, match=f"closed while the events of run {handle.id} were being read"):
        await reader
    with pytest.raises(ManagerClosed):
        await anext(stream)
    with pytest.raises(ManagerClosed):
        here.stream_events(handle.id)


async def test_run_pruned_under_a_reader_ends_its_stream_with_an_error(manager: RunManager) -> None:
    run_id = await finished(manager, 2 * PAGE)
    stream = manager.stream_events(run_id)
    seen = [await anext(stream)]
    assert await manager.prune(older_than=timedelta(0)) == 1
    with pytest.raises(RunNotFound):
        await collect_into(seen, stream)
    assert [event.seq for event in seen] == list(range(1, PAGE + 1))


@pytest.mark.parametrize("beyond", [False, True])
async def test_run_pruned_under_a_reader_that_catches_up_ends_its_stream_with_an_error(
    manager: RunManager, beyond: bool
) -> None:
    run_id = await finished(manager, PAGE + RECENT + 100)
    stream = manager.stream_events(run_id)
    await anext(stream)
    check_whole(await collect(manager.stream_events(run_id)), run_id)
    if beyond:  # somebody has seen that there is nothing behind the end
        await within(1, collect(manager.stream_events(run_id, after=10**6)))
    await manager.prune(older_than=timedelta(0))
    with pytest.raises(RunNotFound):
        await within(1, collect(stream))


async def test_unknown_run_is_not_found(manager: RunManager) -> None:
    for run_id in (1, 0, -1, 2**62, 2**70):
        with pytest.raises(RunNotFound):
            await collect(manager.stream_events(run_id))
        with pytest.raises(RunNotFound):
            await manager.read_events(run_id)


async def test_input_that_makes_no_sense_is_refused(manager: RunManager) -> None:
    run_id: Any
    for run_id in ("1", None, 1.0, True):
        with pytest.raises(ConfigurationError, match="a run's id is a whole number"):
            manager.stream_events(run_id)
    with pytest.raises(ConfigurationError, match="after is the seq of the last event"):
        manager.stream_events(1, after=-1)
    for limit in (0, -1, 1001):
        with pytest.raises(ConfigurationError, match="limit must be between 1 and 1000"):
            await manager.read_events(1, limit=limit)


async def test_events_are_read_in_pages(manager: RunManager) -> None:
    run_id = await finished(manager, 8)
    pages: list[list[RunEvent]] = []
    while not pages or pages[-1]:
        pages.append(await manager.read_events(run_id, after=sum(map(len, pages)), limit=4))
    assert [len(page) for page in pages] == [4, 4, 2, 0]
    check_whole(sum(pages, []), run_id)


# Subscribers that fail


async def test_E4_subscriber_that_raises_harms_nobody(manager: RunManager) -> None:
    handle = await manager.start_run(talk(200, pause=lambda _: turns(1)))

    async def read_and_fail() -> None:
        async with opened(handle.events()) as stream:
            async for event in stream:
                if event.seq == 20:
                    raise ValueError("a bug of the reader")

    failing, reading = asyncio.create_task(read_and_fail()), asyncio.create_task(collect(handle.events()))
    with pytest.raises(ValueError, match="a bug of the reader"):
        await failing
    check_whole(await reading, handle.id)


async def test_E4_subscriber_that_is_cancelled_while_it_reads_for_all_harms_nobody(
    open_manager: OpenManager, database: Path
) -> None:
    store, waiter = SQLiteStore(database), Waiter()
    manager = await open_manager(store)
    handle = await waiter.start(manager)
    gate = hold_call(store, "read_events")
    first, second = (asyncio.create_task(collect(handle.events())) for _ in range(2))
    await gate.reached.wait()
    first.cancel()
    await asyncio.wait((first,))
    gate.open()
    waiter.end.set()
    check_whole(await second, handle.id)


async def test_store_that_is_away_ends_a_stream_which_can_be_resumed(
    open_manager: OpenManager, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(database)
    manager = await open_manager(store)
    run_id = await finished(manager, PAGE)
    stream, seen = manager.stream_events(run_id), []

    async def away(*args: object, **options: object) -> list[RunEvent]:
        raise StoreUnavailable("away")

    seen.append(await anext(stream))
    with monkeypatch.context() as patch:
        patch.setattr(store, "read_events", away)
        with pytest.raises(StoreUnavailable):
            await collect_into(seen, stream)
    check_whole(seen + await collect(manager.stream_events(run_id, after=len(seen))), run_id)


async def test_R1_nothing_is_kept_of_subscribers_that_left(manager: RunManager) -> None:
    waiter = Waiter()
    handle = await waiter.start(manager)
    assert manager._engine is not None
    async for _ in handle.events():
        break
    reader = asyncio.create_task(collect(handle.events()))
    await turns(20)
    assert len(manager._engine.feed) == 1
    waiter.end.set()
    await reader
    gc.collect()
    await eventually(lambda: manager._engine is not None and not len(manager._engine.feed))
