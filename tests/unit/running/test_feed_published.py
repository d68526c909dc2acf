"""G6: what is stored here is given to subscribers here as it is, without reading it again, and never out of turn."""

from __future__ import annotations

import asyncio

import pytest
from tests.bounds import PAGE, RECENT
from tests.streams import within
from tests.support import eventually, turns
from tests.unit.running.feed_on_fake_store import FeedOnFakeStore, Reader, event, seqs

from aioruns.abc import NewEvent

pytestmark = pytest.mark.asyncio


async def keeping_up(fake: FeedOnFakeStore, after: int = 0) -> Reader:
    """Return a subscriber that has read everything, and waits."""
    reader = Reader(fake, after)
    await eventually(lambda: len(reader.seen) == len(fake.events) - after)
    await turns(5)
    fake.reads.clear()
    return reader


async def test_what_is_stored_here_is_not_read_by_those_who_keep_up() -> None:
    fake = FeedOnFakeStore(2)
    readers = [await keeping_up(fake) for _ in range(3)]
    for count in (1, PAGE, RECENT):
        fake.store(count)()
        for reader in readers:
            await eventually(lambda reader=reader: len(reader.seen) == len(fake.events))
    await turns(5)
    assert fake.reads == []
    assert all(reader.seen == fake.events for reader in readers)
    fake.end()
    await within(60, asyncio.gather(*(reader.task for reader in readers)))


async def test_what_nobody_watches_is_not_kept() -> None:
    fake = FeedOnFakeStore(2)
    fake.store(3)()
    assert len(fake.feed) == 0
    reader = await keeping_up(fake)
    assert reader.seen == fake.events
    fake.end()
    await within(60, reader.task)


async def test_who_has_not_begun_to_read_is_not_given_what_comes_next_first() -> None:
    fake = FeedOnFakeStore(2)
    fake.gate = asyncio.Event()
    reader = Reader(fake)
    await eventually(lambda: fake.reads)
    fake.store(3)()
    fake.gate.set()
    await reader.has(1, 2, 3, 4, 5)
    fake.end()
    await within(60, reader.task)


@pytest.mark.parametrize("late", [0, 1, 5])
async def test_who_begins_while_the_run_speaks_reads_what_it_missed_and_is_given_the_rest(late: int) -> None:
    fake = FeedOnFakeStore(2)
    fake.gate = asyncio.Event()
    readers = [Reader(fake) for _ in range(3)]
    await eventually(lambda: fake.reads)
    for count in (1, 3, 2):
        fake.store(count)()
        await turns(late)
    fake.gate.set()
    for reader in readers:
        await reader.has(*range(1, 9))
    fake.store()()
    for reader in readers:
        await reader.has(*range(1, 10))
    await turns(5)
    assert fake.reads == [0]
    fake.end()
    await within(60, asyncio.gather(*(reader.task for reader in readers)))


async def test_who_is_far_behind_catches_up_while_the_run_speaks() -> None:
    fake = FeedOnFakeStore(PAGE + 2 * RECENT)
    ahead = await keeping_up(fake, after=PAGE + 2 * RECENT)
    fake.gate = asyncio.Event()
    readers = [Reader(fake) for _ in range(3)]
    while any(len(reader.seen) < len(fake.events) for reader in readers):
        fake.store(3)()  # while each page is read
        await turns(5)
        fake.gate.set()  # for those who read now
        fake.gate.clear()
        await turns(5)
    for reader in (ahead, *readers):
        await eventually(lambda reader=reader: reader.seen and reader.seen[-1] == fake.events[-1])
    assert all(reader.seen == fake.events for reader in readers)
    assert len(fake.reads) == len(set(fake.reads)), "those who stand at the same place read together"
    fake.gate.set()
    fake.end()
    await within(60, asyncio.gather(ahead.task, *(reader.task for reader in readers)))


async def test_G6_behind_what_another_has_stored_what_is_stored_here_waits_for_its_turn() -> None:
    fake = FeedOnFakeStore(2)
    readers = [await keeping_up(fake) for _ in range(3)]
    fake.events.append(event(3))  # by another process: nobody here has heard of it
    fake.store(2)()
    for reader in readers:
        await reader.has(1, 2, 3, 4, 5)
    await turns(5)
    assert fake.reads == [2], "one has read it for all"
    fake.store()()
    for reader in readers:
        await reader.has(1, 2, 3, 4, 5, 6)
    assert fake.reads == [2], "after the reading, they are given again what comes next"
    fake.end()
    await within(60, asyncio.gather(*(reader.task for reader in readers)))


async def test_G6_news_that_came_before_what_it_stands_behind_is_not_forgotten() -> None:
    """A canceller may be told of its commit before the flusher is told of one that came earlier, or of the same."""
    fake = FeedOnFakeStore(2)
    reader = await keeping_up(fake)
    publish = fake.store(2)
    fake.say()
    publish()
    await reader.has(1, 2, 3, 4, 5)
    fake.end()
    await within(60, reader.task)


async def test_news_of_nothing_is_looked_into_once_for_all() -> None:
    fake = FeedOnFakeStore(2)
    readers = [await keeping_up(fake) for _ in range(3)]
    fake.feed.notify_all()
    await turns(20)
    assert fake.reads == [2]
    fake.end()
    await within(60, asyncio.gather(*(reader.task for reader in readers)))


async def test_G6_of_an_append_that_was_stored_in_part_before_each_is_given_its_own_seq() -> None:
    fake = FeedOnFakeStore(2)
    reader = await keeping_up(fake)
    assert fake.run is not None
    first, second, third = (NewEvent(ordinal, 0, "log", f'"{ordinal}"') for ordinal in (1, 2, 3))
    fake.say(2)  # the first and the second, whose answer was lost
    await reader.has(1, 2, 3, 4)
    fake.events.append(event(5, third.data))
    fake.feed.publish(fake.run, [first, second, third], range(5, 6))
    await reader.has(1, 2, 3, 4, 5)
    assert reader.seen[-1].data_json == third.data
    fake.end()
    await within(60, reader.task)


@pytest.mark.parametrize("late", [0, 1, 2, 3, 5])
async def test_G6_what_is_told_while_somebody_reads_is_given_once(late: int) -> None:
    fake = FeedOnFakeStore(2)
    reader = await keeping_up(fake)
    fake.gate = asyncio.Event()
    fake.say()
    await eventually(lambda: fake.reads == [2])
    publications = [fake.store(), fake.store(2)]
    for publish in publications:
        publish()
        await turns(late)
    fake.gate.set()
    await reader.has(1, 2, 3, 4, 5, 6)
    fake.end()
    await within(60, reader.task)
    assert seqs(reader.seen) == list(range(1, 8))


async def test_G6_of_an_append_that_was_stored_before_its_answer_was_lost_subscribers_are_told_all_the_same() -> None:
    fake = FeedOnFakeStore(2)
    assert fake.run is not None
    reader = await keeping_up(fake)
    fake.store(2)  # and its answer is lost
    fake.feed.publish(fake.run, [], range(0))
    await reader.has(1, 2, 3, 4)
    fake.end()
    await within(60, reader.task)


async def test_G10_of_what_is_stored_here_no_more_is_kept_than_of_what_is_read() -> None:
    fake = FeedOnFakeStore(2)
    reader = await keeping_up(fake)
    for count in (RECENT, RECENT, 1):
        fake.store(count)()
        await eventually(lambda: len(reader.seen) == len(fake.events))
    fake.reads.clear()
    late = Reader(fake, after=len(fake.events) - RECENT - 1)
    await eventually(lambda: len(late.seen) == RECENT + 1)
    assert fake.reads == [len(fake.events) - RECENT - 1]
    fake.end()
    await within(60, asyncio.gather(reader.task, late.task))
