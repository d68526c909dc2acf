"""The feed over a store in memory: what subscribers read, when they read it, and what they are spared."""

from __future__ import annotations

import asyncio

import pytest
from tests.streams import collect, opened, within
from tests.support import eventually, turns
from tests.unit.running.feed_on_fake_store import Reader, Shelf, event, seqs

from aioruns._running import feed
from aioruns._running.feed import PAGE, RECENT

pytestmark = pytest.mark.asyncio


# What is read


async def test_a_long_history_is_read_in_pages_and_nothing_is_read_twice() -> None:
    shelf = Shelf(2 * PAGE + 5)
    shelf.end()
    assert seqs(await collect(shelf.stream())) == list(range(1, 2 * PAGE + 7))
    assert shelf.reads == [0, PAGE, 2 * PAGE]
    assert shelf.looks == 0, "the terminal event says that the run has ended"


async def test_a_history_of_just_one_page_is_read_to_its_end() -> None:
    shelf = Shelf(PAGE - 1)
    shelf.end()
    assert len(await collect(shelf.stream())) == PAGE
    assert shelf.reads == [0]


async def test_a_subscriber_that_has_seen_everything_reads_once_for_each_commit() -> None:
    shelf = Shelf(2)
    reader = Reader(shelf)
    await reader.has(1, 2)
    await turns(10)
    assert shelf.reads == [0], "there was less than a page, so there is no more"
    for number in (3, 4, 5):
        shelf.say()
        await reader.has(*range(1, number + 1))
        await turns(10)
    assert shelf.reads == [0, 2, 3, 4]
    shelf.end()
    await within(60, reader.task)
    assert seqs(reader.seen) == [1, 2, 3, 4, 5, 6]


async def test_a_commit_is_read_once_for_all_who_keep_up() -> None:
    shelf = Shelf()
    readers = [Reader(shelf) for _ in range(50)]
    await turns(20)
    before = len(shelf.reads)
    shelf.say(3)
    for reader in readers:
        await reader.has(1, 2, 3)
    assert len(shelf.reads) == before + 1
    shelf.end()
    await within(60, asyncio.gather(*(reader.task for reader in readers)))
    assert all(seqs(reader.seen) == [1, 2, 3, 4] for reader in readers)


async def test_G6_where_who_reads_for_all_goes_away_another_one_reads() -> None:
    shelf = Shelf(2)
    shelf.gate = asyncio.Event()
    first, second, third = (Reader(shelf) for _ in range(3))
    await eventually(lambda: shelf.reads)
    await turns(5)
    assert shelf.reads == [0]
    first.task.cancel()
    await asyncio.wait((first.task,))
    shelf.gate.set()
    for reader in (second, third):
        await reader.has(1, 2)
    assert shelf.reads == [0, 0]
    shelf.end()
    await within(60, asyncio.gather(second.task, third.task))


@pytest.mark.parametrize("gap", [1, 2, RECENT])
async def test_who_catches_up_holds_nobody_up_and_joins_the_others(gap: int) -> None:
    shelf = Shelf(gap + 2 * PAGE)
    ahead = Reader(shelf, after=gap)
    await eventually(lambda: len(ahead.seen) == 2 * PAGE)
    shelf.reads.clear()
    shelf.gate = asyncio.Event()
    behind = Reader(shelf)
    await eventually(lambda: shelf.reads == [0])
    gate, shelf.gate = shelf.gate, None
    shelf.say()
    await eventually(lambda: len(ahead.seen) == 2 * PAGE + 1)
    assert not behind.seen
    gate.set()
    shelf.end()
    await within(60, asyncio.gather(ahead.task, behind.task))
    assert seqs(behind.seen) == list(range(1, gap + 2 * PAGE + 3))


async def test_what_one_has_read_the_next_one_is_given_from_memory() -> None:
    shelf = Shelf(250)
    first = Reader(shelf)
    await eventually(lambda: len(first.seen) == 250)
    await turns(5)
    shelf.reads.clear()
    late = Reader(shelf)
    await eventually(lambda: len(late.seen) == 250)
    middle = Reader(shelf, after=100)
    await eventually(lambda: len(middle.seen) == 150)
    await turns(5)
    assert shelf.reads == []
    shelf.end()
    await within(60, asyncio.gather(first.task, late.task, middle.task))


@pytest.mark.parametrize("over", [False, True])
async def test_G6_who_begins_behind_the_end_hides_nothing_from_who_begins_before_it(*, over: bool) -> None:
    shelf = Shelf(3)
    ahead = Reader(shelf, after=10)
    await eventually(lambda: shelf.reads == [10])
    await turns(5)
    reader = Reader(shelf)
    if over:
        shelf.end()
    await reader.has(*range(1, len(shelf.events) + 1))
    if not over:
        shelf.end()
    await within(60, asyncio.gather(ahead.task, reader.task))
    assert (seqs(ahead.seen), seqs(reader.seen)) == ([], [1, 2, 3, 4])


# Before the run ends


async def test_G6_a_stream_goes_on_after_a_commit_that_came_between_reading_and_waiting() -> None:
    shelf = Shelf()
    shelf.gate = asyncio.Event()
    reader = Reader(shelf)
    await eventually(lambda: shelf.reads)
    shelf.say()
    shelf.gate.set()
    await reader.has(1)
    shelf.end()
    await within(60, reader.task)


async def test_G6_a_commit_in_the_middle_of_a_long_history_hides_nothing_of_it() -> None:
    shelf = Shelf(PAGE + 5)
    async with asyncio.timeout(60), opened(shelf.stream()) as stream:
        seen = [await anext(stream) for _ in range(PAGE)]
        shelf.feed.notify(1)
        seen += [await anext(stream) for _ in range(5)]
    assert seqs(seen) == list(range(1, PAGE + 6))


async def test_G6_the_last_events_are_read_when_they_come_between_reading_and_looking_at_the_row() -> None:
    shelf = Shelf(1)
    shelf.gate = asyncio.Event()
    reader = Reader(shelf, after=1)
    await eventually(lambda: shelf.reads)
    shelf.end()
    shelf.gate.set()
    await within(60, reader.task)
    assert seqs(reader.seen) == [2]


async def test_a_subscriber_behind_the_end_gets_nothing_and_ends() -> None:
    shelf = Shelf(1)
    shelf.end()
    for after in (2, 3, 1000):
        assert await collect(shelf.stream(after)) == []


async def test_nobody_reads_again_for_a_run_whose_end_has_been_found() -> None:
    shelf = Shelf(1)
    shelf.end()
    async with opened(shelf.stream()) as stream:
        assert (await anext(stream)).seq == 1  # it keeps the channel
        reads = len(shelf.reads)
        for _ in range(3):
            assert await collect(shelf.stream(2)) == []
        assert len(shelf.reads) == reads


async def test_G6_an_idle_subscriber_looks_at_nothing() -> None:
    shelf = Shelf(1)
    reader = Reader(shelf)
    await reader.has(1)
    await turns(10)
    reads, looks = len(shelf.reads), shelf.looks
    await turns(50)
    assert (len(shelf.reads), shelf.looks) == (reads, looks)
    shelf.feed.notify_all()
    await turns(10)
    assert len(shelf.reads) == reads + 1
    shelf.end()
    await within(60, reader.task)


async def test_L6_a_commit_of_another_run_wakes_nobody() -> None:
    shelf = Shelf(1)
    reader = Reader(shelf)
    await reader.has(1)
    await turns(10)
    reads = len(shelf.reads)
    shelf.feed.notify(2)
    await turns(10)
    assert len(shelf.reads) == reads
    shelf.end()
    await within(60, reader.task)


# What is kept for all


async def everything_is_kept(shelf: Shelf, *, after: int) -> bool:
    """Tell whether a subscriber is given the rest of a stream without reading."""
    reads = len(shelf.reads)
    reader = Reader(shelf, after)
    await eventually(lambda: len(reader.seen) == len(shelf.events) - after)
    assert seqs(reader.seen) == list(range(after + 1, len(shelf.events) + 1))
    reader.task.cancel()
    await asyncio.wait((reader.task,))
    return len(shelf.reads) == reads


async def test_G6_a_subscriber_that_jumps_over_a_single_event_leaves_no_gap_for_the_others() -> None:
    shelf = Shelf(3)
    reader = Reader(shelf)
    await reader.has(1, 2, 3)
    await turns(5)
    for _ in range(2):
        shelf.events.append(event(len(shelf.events) + 1))
    ahead = Reader(shelf, after=4)  # it reads before the other one is woken
    shelf.feed.notify_all()
    await ahead.has(5)
    await reader.has(1, 2, 3, 4, 5)
    shelf.end()
    await within(60, asyncio.gather(reader.task, ahead.task))
    assert seqs(reader.seen) == [1, 2, 3, 4, 5, 6]


async def test_G6_subscribers_that_begin_at_once_at_different_places_are_given_no_event_twice() -> None:
    shelf = Shelf(7)
    shelf.gate = asyncio.Event()
    ahead, behind = Reader(shelf, after=4), Reader(shelf)
    await eventually(lambda: shelf.reads == [4, 0])
    shelf.gate.set()
    await ahead.has(5, 6, 7)
    await behind.has(1, 2, 3, 4, 5, 6, 7)
    await turns(5)
    for after in (4, 5, 6):
        assert await everything_is_kept(shelf, after=after)
    shelf.end()
    await within(60, asyncio.gather(ahead.task, behind.task))
    assert (seqs(ahead.seen), seqs(behind.seen)) == ([5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8])


async def test_G10_just_as_many_events_are_kept_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RECENT", 3)
    shelf = Shelf()
    reader = Reader(shelf)
    await turns(5)
    shelf.say(5)
    await reader.has(1, 2, 3, 4, 5)
    await turns(5)
    assert await everything_is_kept(shelf, after=2)
    assert not await everything_is_kept(shelf, after=1)
    reader.task.cancel()
    await asyncio.wait((reader.task,))


async def test_G10_just_as_much_is_kept_as_may_be_also_after_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RECENT_CHARACTERS", 100)
    shelf = Shelf()
    shelf.say(10, data_json='"' + 48 * "x" + '"')
    reader = Reader(shelf, after=4)
    await reader.has(5, 6, 7, 8, 9, 10)
    await turns(5)
    assert await everything_is_kept(shelf, after=8)
    assert not await everything_is_kept(shelf, after=7)
    for _ in range(3):
        shelf.events.append(event(len(shelf.events) + 1, '"' + 48 * "x" + '"'))
    ahead = Reader(shelf, after=11)  # it reads before the other one is woken
    shelf.feed.notify_all()
    await ahead.has(12, 13)
    await turns(5)
    assert await everything_is_kept(shelf, after=11)
    shelf.end()
    await within(60, asyncio.gather(reader.task, ahead.task))
    assert seqs(reader.seen) == list(range(5, 15))


async def test_G6_what_is_too_long_to_be_kept_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RECENT_CHARACTERS", 0)
    shelf = Shelf(3)
    first = Reader(shelf)
    await first.has(1, 2, 3)
    await turns(5)
    late = Reader(shelf, after=1)
    await late.has(2, 3)
    shelf.end()
    await within(60, asyncio.gather(first.task, late.task))


async def test_G10_a_subscriber_is_given_a_page_at_once_and_no_more() -> None:
    shelf = Shelf(3 * PAGE)
    reader = Reader(shelf)
    await eventually(lambda: len(reader.seen) == 3 * PAGE)
    with shelf.feed.watch(1) as channel:
        assert seqs(channel.after(0)) == list(range(1, PAGE + 1))
    shelf.end()
    await within(60, reader.task)


async def test_G10_a_subscriber_holds_no_more_of_a_page_than_a_bound_and_misses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "PAGE_CHARACTERS", 30)
    monkeypatch.setattr(feed, "RECENT_CHARACTERS", 0)  # what is let go has to be read again
    shelf = Shelf()
    shelf.say(7, data_json='"ten char"')
    reader = Reader(shelf)
    await reader.has(1, 2, 3, 4, 5, 6, 7)
    assert shelf.reads[:3] == [0, 3, 6]
    shelf.end()
    await within(60, reader.task)
    assert seqs(reader.seen) == list(range(1, 9))
