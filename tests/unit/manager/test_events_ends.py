"""G6, G8, E4: streams of other processes' runs, streams that end before the run does, subscribers that fail."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.bounds import PAGE, RECENT, RECENT_CHARACTERS
from tests.insides import subscribers_ended, watched_runs
from tests.streams import OpenManager, Waiter, check_whole, collect, collect_into, finished, opened, talk, within
from tests.support import eventually, hold_answer, hold_call, turns

from aioruns import (
    ConfigurationError,
    ManagerClosed,
    RunEvent,
    RunManager,
    RunNotFound,
    StoreUnavailable,
    current_run,
)
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio


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


async def test_L3_reader_that_looks_just_before_the_end_gets_it_although_the_manager_closes(
    open_manager: OpenManager, database: Path
) -> None:
    store, waiter = SQLiteStore(database), Waiter()
    manager = await open_manager(store)
    handle = await waiter.start(manager)
    gate = hold_answer(store, "get_run", only_first=True)
    reader = asyncio.create_task(collect(manager.stream_events(handle.id)))
    await gate.reached.wait()  # it has found nothing new, and a run that has not ended
    waiter.end.set()
    await handle
    closing = asyncio.create_task(manager.aclose())
    await eventually(lambda: subscribers_ended(manager))
    gate.open()
    check_whole(await reader, handle.id)
    await closing


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
        await within(60, collect(manager.stream_events(run_id, after=10**6)))
    await manager.prune(older_than=timedelta(0))
    with pytest.raises(RunNotFound):
        await within(60, collect(stream))


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
    with pytest.raises(ConfigurationError, match="after must be the seq of the last event"):
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
    async for _ in handle.events():
        break
    reader = asyncio.create_task(collect(handle.events()))
    await turns(20)
    assert watched_runs(manager) == 1
    waiter.end.set()
    await reader
    gc.collect()
    await eventually(lambda: not watched_runs(manager))


async def test_G10_what_subscribers_hold_is_bounded_by_its_size_too(manager: RunManager) -> None:
    """Large events: what is kept for all is a few megabytes, and one who stops reading holds a page."""
    text, count = "x" * 60_000, 300

    async def emit() -> None:
        context = current_run()
        for _ in range(count):
            context.emit("large", text)
            await context.flush()

    handle = await manager.start_run(emit())
    async with opened(manager.stream_events(handle.id)) as stalled:
        await anext(stalled)
        events = await collect(manager.stream_events(handle.id))
        check_whole(events, handle.id)
        assert len(events) == count + 2
        del events
        gc.collect()
        held = sum(len(thing.data_json) for thing in gc.get_objects() if isinstance(thing, RunEvent))
        assert held <= RECENT_CHARACTERS + (PAGE + 1) * (len(text) + 2)
