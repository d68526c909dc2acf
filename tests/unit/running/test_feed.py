"""The feed over a store in memory: what subscribers read, when they read it, and what they are spared."""

from __future__ import annotations

import asyncio

import pytest
from tests.streams import collect, opened, within
from tests.support import eventually, turns
from tests.unit.running.feed_on_fake_store import FeedOnFakeStore, Reader, event, seqs

from aioruns._running import feed
from aioruns._running.feed import PAGE, RECENT

pytestmark = pytest.mark.asyncio


# What is read


async def test_a_long_history_is_read_in_pages_and_nothing_is_read_twice() -> None:
    fake = FeedOnFakeStore(2 * PAGE + 5)
    fake.end()
    assert seqs(await collect(fake.stream())) == list(range(1, 2 * PAGE + 7))
    assert fake.reads == [0, PAGE, 2 * PAGE]
    assert fake.looks == 0, "the terminal event says that the run has ended"


async def test_a_history_of_just_one_page_is_read_to_its_end() -> None:
    fake = FeedOnFakeStore(PAGE - 1)
    fake.end()
    assert len(await collect(fake.stream())) == PAGE
    assert fake.reads == [0]


async def test_a_subscriber_that_has_seen_everything_reads_once_for_each_commit() -> None:
    fake = FeedOnFakeStore(2)
    reader = Reader(fake)
    await reader.has(1, 2)
    await turns(10)
    assert fake.reads == [0], "there was less than a page, so there is no more"
    for number in (3, 4, 5):
        fake.say()
        await reader.has(*range(1, number + 1))
        await turns(10)
    assert fake.reads == [0, 2, 3, 4]
    fake.end()
    await within(60, reader.task)
    assert seqs(reader.seen) == [1, 2, 3, 4, 5, 6]


async def test_a_commit_is_read_once_for_all_who_keep_up() -> None:
    fake = FeedOnFakeStore()
    readers = [Reader(fake) for _ in range(50)]
    await turns(20)
    before = len(fake.reads)
    fake.say(3)
    for reader in readers:
        await reader.has(1, 2, 3)
    assert len(fake.reads) == before + 1
    fake.end()
    await within(60, asyncio.gather(*(reader.task for reader in readers)))
    assert all(seqs(reader.seen) == [1, 2, 3, 4] for reader in readers)


async def test_G6_where_who_reads_for_all_goes_away_another_one_reads() -> None:
    fake = FeedOnFakeStore(2)
    fake.gate = asyncio.Event()
    first, second, third = (Reader(fake) for _ in range(3))
    await eventually(lambda: fake.reads)
    await turns(5)
    assert fake.reads == [0]
    first.task.cancel()
    await asyncio.wait((first.task,))
    fake.gate.set()
    for reader in (second, third):
        await reader.has(1, 2)
    assert fake.reads == [0, 0]
    fake.end()
    await within(60, asyncio.gather(second.task, third.task))


@pytest.mark.parametrize("gap", [1, 2, RECENT])
async def test_who_catches_up_holds_nobody_up_and_joins_the_others(gap: int) -> None:
    fake = FeedOnFakeStore(gap + 2 * PAGE)
    ahead = Reader(fake, after=gap)
    await eventually(lambda: len(ahead.seen) == 2 * PAGE)
    fake.reads.clear()
    fake.gate = asyncio.Event()
    behind = Reader(fake)
    await eventually(lambda: fake.reads == [0])
    gate, fake.gate = fake.gate, None
    fake.say()
    await eventually(lambda: len(ahead.seen) == 2 * PAGE + 1)
    assert not behind.seen
    gate.set()
    fake.end()
    await within(60, asyncio.gather(ahead.task, behind.task))
    assert seqs(behind.seen) == list(range(1, gap + 2 * PAGE + 3))


async def test_what_one_has_read_the_next_one_is_given_from_memory() -> None:
    fake = FeedOnFakeStore(250)
    first = Reader(fake)
    await eventually(lambda: len(first.seen) == 250)
    await turns(5)
    fake.reads.clear()
    late = Reader(fake)
    await eventually(lambda: len(late.seen) == 250)
    middle = Reader(fake, after=100)
    await eventually(lambda: len(middle.seen) == 150)
    await turns(5)
    assert fake.reads == []
    fake.end()
    await within(60, asyncio.gather(first.task, late.task, middle.task))


@pytest.mark.parametrize("over", [False, True])
async def test_G6_who_begins_behind_the_end_hides_nothing_from_who_begins_before_it(*, over: bool) -> None:
    fake = FeedOnFakeStore(3)
    ahead = Reader(fake, after=10)
    await eventually(lambda: fake.reads == [10])
    await turns(5)
    reader = Reader(fake)
    if over:
        fake.end()
    await reader.has(*range(1, len(fake.events) + 1))
    if not over:
        fake.end()
    await within(60, asyncio.gather(ahead.task, reader.task))
    assert (seqs(ahead.seen), seqs(reader.seen)) == ([], [1, 2, 3, 4])


# Before the run ends


async def test_G6_a_stream_goes_on_after_a_commit_that_came_between_reading_and_waiting() -> None:
    fake = FeedOnFakeStore()
    fake.gate = asyncio.Event()
    reader = Reader(fake)
    await eventually(lambda: fake.reads)
    fake.say()
    fake.gate.set()
    await reader.has(1)
    fake.end()
    await within(60, reader.task)


async def test_G6_a_commit_in_the_middle_of_a_long_history_hides_nothing_of_it() -> None:
    fake = FeedOnFakeStore(PAGE + 5)
    async with asyncio.timeout(60), opened(fake.stream()) as stream:
        seen = [await anext(stream) for _ in range(PAGE)]
        fake.feed.notify(1)
        seen += [await anext(stream) for _ in range(5)]
    assert seqs(seen) == list(range(1, PAGE + 6))


async def test_G6_the_last_events_are_read_when_they_come_between_reading_and_looking_at_the_row() -> None:
    fake = FeedOnFakeStore(1)
    fake.gate = asyncio.Event()
    reader = Reader(fake, after=1)
    await eventually(lambda: fake.reads)
    fake.end()
    fake.gate.set()
    await within(60, reader.task)
    assert seqs(reader.seen) == [2]


async def test_a_subscriber_behind_the_end_gets_nothing_and_ends() -> None:
    fake = FeedOnFakeStore(1)
    fake.end()
    for after in (2, 3, 1000):
        assert await collect(fake.stream(after)) == []


async def test_nobody_reads_again_for_a_run_whose_end_has_been_found() -> None:
    fake = FeedOnFakeStore(1)
    fake.end()
    async with opened(fake.stream()) as stream:
        assert (await anext(stream)).seq == 1  # it keeps the channel
        reads = len(fake.reads)
        for _ in range(3):
            assert await collect(fake.stream(2)) == []
        assert len(fake.reads) == reads


async def test_G6_an_idle_subscriber_looks_at_nothing() -> None:
    fake = FeedOnFakeStore(1)
    reader = Reader(fake)
    await reader.has(1)
    await turns(10)
    reads, looks = len(fake.reads), fake.looks
    await turns(50)
    assert (len(fake.reads), fake.looks) == (reads, looks)
    fake.feed.notify_all()
    await turns(10)
    assert len(fake.reads) == reads + 1
    fake.end()
    await within(60, reader.task)


async def test_L6_a_commit_of_another_run_wakes_nobody() -> None:
    fake = FeedOnFakeStore(1)
    reader = Reader(fake)
    await reader.has(1)
    await turns(10)
    reads = len(fake.reads)
    fake.feed.notify(2)
    await turns(10)
    assert len(fake.reads) == reads
    fake.end()
    await within(60, reader.task)


# What is kept for all


async def everything_is_kept(fake: FeedOnFakeStore, *, after: int) -> bool:
    """Tell whether a subscriber is given the rest of a stream without reading."""
    reads = len(fake.reads)
    reader = Reader(fake, after)
    await eventually(lambda: len(reader.seen) == len(fake.events) - after)
    assert seqs(reader.seen) == list(range(after + 1, len(fake.events) + 1))
    reader.task.cancel()
    await asyncio.wait((reader.task,))
    return len(fake.reads) == reads


async def test_G6_a_subscriber_that_jumps_over_a_single_event_leaves_no_gap_for_the_others() -> None:
    fake = FeedOnFakeStore(3)
    reader = Reader(fake)
    await reader.has(1, 2, 3)
    await turns(5)
    for _ in range(2):
        fake.events.append(event(len(fake.events) + 1))
    ahead = Reader(fake, after=4)  # it reads before the other one is woken
    fake.feed.notify_all()
    await ahead.has(5)
    await reader.has(1, 2, 3, 4, 5)
    fake.end()
    await within(60, asyncio.gather(reader.task, ahead.task))
    assert seqs(reader.seen) == [1, 2, 3, 4, 5, 6]


async def test_G6_subscribers_that_begin_at_once_at_different_places_are_given_no_event_twice() -> None:
    fake = FeedOnFakeStore(7)
    fake.gate = asyncio.Event()
    ahead, behind = Reader(fake, after=4), Reader(fake)
    await eventually(lambda: fake.reads == [4, 0])
    fake.gate.set()
    await ahead.has(5, 6, 7)
    await behind.has(1, 2, 3, 4, 5, 6, 7)
    await turns(5)
    for after in (4, 5, 6):
        assert await everything_is_kept(fake, after=after)
    fake.end()
    await within(60, asyncio.gather(ahead.task, behind.task))
    assert (seqs(ahead.seen), seqs(behind.seen)) == ([5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8])


async def test_G10_just_as_many_events_are_kept_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RECENT", 3)
    fake = FeedOnFakeStore()
    reader = Reader(fake)
    await turns(5)
    fake.say(5)
    await reader.has(1, 2, 3, 4, 5)
    await turns(5)
    assert await everything_is_kept(fake, after=2)
    assert not await everything_is_kept(fake, after=1)
    reader.task.cancel()
    await asyncio.wait((reader.task,))


async def test_G10_just_as_much_is_kept_as_may_be_also_after_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RECENT_CHARACTERS", 100)
    fake = FeedOnFakeStore()
    fake.say(10, data_json='"' + 48 * "x" + '"')
    reader = Reader(fake, after=4)
    await reader.has(5, 6, 7, 8, 9, 10)
    await turns(5)
    assert await everything_is_kept(fake, after=8)
    assert not await everything_is_kept(fake, after=7)
    for _ in range(3):
        fake.events.append(event(len(fake.events) + 1, '"' + 48 * "x" + '"'))
    ahead = Reader(fake, after=11)  # it reads before the other one is woken
    fake.feed.notify_all()
    await ahead.has(12, 13)
    await turns(5)
    assert await everything_is_kept(fake, after=11)
    fake.end()
    await within(60, asyncio.gather(reader.task, ahead.task))
    assert seqs(reader.seen) == list(range(5, 15))


async def test_G6_what_is_too_long_to_be_kept_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RECENT_CHARACTERS", 0)
    fake = FeedOnFakeStore(3)
    first = Reader(fake)
    await first.has(1, 2, 3)
    await turns(5)
    late = Reader(fake, after=1)
    await late.has(2, 3)
    fake.end()
    await within(60, asyncio.gather(first.task, late.task))


async def test_G10_a_subscriber_is_given_a_page_at_once_and_no_more() -> None:
    fake = FeedOnFakeStore(3 * PAGE)
    reader = Reader(fake)
    await eventually(lambda: len(reader.seen) == 3 * PAGE)
    with fake.feed.watch(1) as channel:
        assert seqs(channel.after(0)) == list(range(1, PAGE + 1))
    fake.end()
    await within(60, reader.task)


async def test_G10_a_subscriber_holds_no_more_of_a_page_than_a_bound_and_misses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "PAGE_CHARACTERS", 30)
    monkeypatch.setattr(feed, "RECENT_CHARACTERS", 0)  # what is let go has to be read again
    fake = FeedOnFakeStore()
    fake.say(7, data_json='"ten char"')
    reader = Reader(fake)
    await reader.has(1, 2, 3, 4, 5, 6, 7)
    assert fake.reads[:3] == [0, 3, 6]
    fake.end()
    await within(60, reader.task)
    assert seqs(reader.seen) == list(range(1, 9))
