"""G6, L1–L6: every subscriber sees 1, 2, 3, … of its run and then the end, and what it has seen is stored."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bounds import PAGE, RECENT, patch_bounds
from tests.streams import (
    OpenManager,
    Waiter,
    check_whole,
    collect,
    collect_into,
    finished,
    open_undisturbed,
    opened,
    talk,
    within,
)
from tests.support import Gate, eventually, hold_answer, hold_call, rows, statuses, turns

from aioruns import (
    RunEvent,
    RunManager,
    current_run,
)
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio


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
    manager = await open_undisturbed(open_manager, store)
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
    await eventually(lambda: len(seen) == 1, timeout=60)
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
    open_manager: OpenManager, database: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    patch_bounds(monkeypatch, report_after=60.0)  # that would be an event of its own
    store, first, second = SQLiteStore(database), Waiter(), Waiter()
    manager = await open_undisturbed(open_manager, store, max_running=1)
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
        await eventually(lambda: [event for event in seen if event.data == {"status": status}], timeout=60)
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
    manager = await open_undisturbed(open_manager, store)
    run_id = await finished(manager, 8)
    async with opened(manager.stream_events(run_id)) as slow:
        await anext(slow)
        whole = await collect(manager.stream_events(run_id))
        for beyond in (len(whole), 10**6):
            await within(60, collect(manager.stream_events(run_id, after=beyond)))


async def test_G6_subscriber_that_jumps_ahead_leaves_no_gap_for_the_others(manager: RunManager) -> None:
    run_id = await finished(manager, 3 * PAGE)
    async with opened(manager.stream_events(run_id)) as slow:
        seen = [await anext(slow)]
        check_whole(await collect(manager.stream_events(run_id, after=2 * PAGE)), run_id, after=2 * PAGE)
        await collect_into(seen, slow)
    check_whole(seen, run_id)


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
