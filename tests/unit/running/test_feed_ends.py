"""The feed over a store in memory: how streams end when the store, the run or the manager goes away."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any, cast

import pytest
from tests.streams import collect, collect_into, opened, within
from tests.support import eventually, turns
from tests.unit.running.feed_on_fake_store import FeedOnFakeStore, Reader, seqs

from aioruns import ManagerClosed, Run, RunEvent, RunNotFound, StoreUnavailable
from aioruns._running import feed

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let closing wait for reads for longer than a test may take, so that waiting for the wrong ones is noticed."""
    monkeypatch.setattr(feed, "LAST_READS", 600)


async def test_a_store_that_is_away_ends_the_stream_with_its_own_error() -> None:
    fake = FeedOnFakeStore(1)
    fake.error = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable, match=r"^the disk is full$"):
        await collect(fake.stream())
    fake.error = None
    fake.end()
    assert seqs(await collect(fake.stream())) == [1, 2]


async def test_G8_a_store_that_closes_under_a_reader_is_told_as_the_closing_of_the_manager() -> None:
    fake = FeedOnFakeStore(1)
    reader = Reader(fake)
    await reader.has(1)
    fake.error = StoreUnavailable("the store is closed")
    await fake.feed.aclose()
    with pytest.raises(ManagerClosed, match=r"the manager was closed .* run 1 ") as raised:
        await reader.task
    assert raised.value.__suppress_context__


async def test_ruling_13_a_run_that_is_pruned_under_a_reader_is_not_found() -> None:
    fake = FeedOnFakeStore(1)
    reader = Reader(fake)
    await reader.has(1)
    fake.run = None
    fake.feed.notify(1)
    with pytest.raises(RunNotFound) as raised:
        await reader.task
    assert raised.value.run_id == 1


async def test_G8_closing_ends_who_waits_and_takes_no_longer_than_they_do() -> None:
    fake = FeedOnFakeStore(1)
    readers = [Reader(fake) for _ in range(3)]
    for reader in readers:
        await reader.has(1)
    await within(60, fake.feed.aclose())
    for reader in readers:
        with pytest.raises(ManagerClosed, match=r"the manager was closed .* run 1 "):
            await reader.task
    assert len(fake.feed) == 0


async def test_G8_closing_waits_until_those_who_read_have_what_is_stored() -> None:
    fake = FeedOnFakeStore(1)
    reader = Reader(fake)
    await reader.has(1)
    fake.gate = asyncio.Event()
    fake.say()
    await eventually(lambda: fake.reads[-1] == 1)
    closing = asyncio.create_task(fake.feed.aclose())
    await turns(20)
    assert not closing.done()
    fake.gate.set()
    await within(60, closing)
    with pytest.raises(ManagerClosed):
        await reader.task
    assert seqs(reader.seen) == [1, 2]


async def test_G8_closing_waits_for_each_of_those_who_read() -> None:
    fake = FeedOnFakeStore(7)
    ahead = Reader(fake, after=5)
    await ahead.has(6, 7)
    await turns(5)
    own, fake.gate = asyncio.Event(), asyncio.Event()
    others, reads = fake.gate, len(fake.reads)
    behind = Reader(fake)
    await eventually(lambda: len(fake.reads) == reads + 1)
    fake.gate = own
    fake.say()
    await eventually(lambda: len(fake.reads) == reads + 2)
    closing = asyncio.create_task(fake.feed.aclose())
    await turns(5)
    own.set()
    with pytest.raises(ManagerClosed):
        await ahead.task
    await turns(20)
    assert not closing.done(), "one of them still reads"
    others.set()
    await within(60, closing)
    with pytest.raises(ManagerClosed):
        await behind.task
    assert (seqs(ahead.seen), seqs(behind.seen)) == ([6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8])


async def test_G8_closing_does_not_wait_for_a_subscriber_that_reads_nothing() -> None:
    fake = FeedOnFakeStore(3)
    async with opened(fake.stream()) as stream:
        assert (await anext(stream)).seq == 1
        await within(60, fake.feed.aclose())


async def test_G8_closing_does_not_wait_for_ever_for_a_store_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "LAST_READS", 0.05)
    fake = FeedOnFakeStore(1)
    fake.gate = asyncio.Event()
    reader = Reader(fake)
    await eventually(lambda: fake.reads)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await within(60, fake.feed.aclose())
    assert loop.time() - began >= 0.04
    reader.task.cancel()
    await asyncio.wait((reader.task,))


async def test_G8_a_stream_that_begins_after_the_close_gives_what_is_stored() -> None:
    fake = FeedOnFakeStore(1)
    await fake.feed.aclose()
    seen: list[RunEvent] = []
    with pytest.raises(ManagerClosed):
        await collect_into(seen, fake.stream())
    assert seqs(seen) == [1]
    fake.end()
    assert seqs(await collect(fake.stream())) == [1, 2]


async def test_R1_nothing_is_kept_of_a_run_that_nobody_watches_any_more() -> None:
    fake = FeedOnFakeStore(1)
    readers = [Reader(fake), Reader(fake)]
    for reader in readers:
        await reader.has(1)
    assert len(fake.feed) == 1
    readers[0].task.cancel()
    await asyncio.wait((readers[0].task,))
    assert len(fake.feed) == 1
    fake.say()
    await readers[1].has(1, 2)
    readers[1].task.cancel()
    await asyncio.wait((readers[1].task,))
    assert len(fake.feed) == 0


async def test_whoever_begins_to_watch_a_run_makes_the_manager_watch_the_store() -> None:
    fake = FeedOnFakeStore()
    with contextlib.ExitStack() as watching:
        for run_id, watched in ((1, 1), (1, 1), (2, 2)):
            fake.state.interest.clear()
            watching.enter_context(fake.feed.watch(run_id))
            assert fake.state.interest.is_set()
            assert len(fake.feed) == watched
    assert len(fake.feed) == 0


# Waiting for a run that executes elsewhere


async def test_an_end_elsewhere_is_waited_for_and_found() -> None:
    fake = FeedOnFakeStore()
    waiting = asyncio.create_task(fake.feed.wait_ended(1))
    await turns(10)
    fake.feed.notify(1)
    await turns(10)
    assert not waiting.done()
    assert fake.looks == 2, "the row is looked at after a commit, and not otherwise"
    fake.end()
    await within(60, waiting)
    assert waiting.result() is fake.run
    assert len(fake.feed) == 0


async def test_an_end_elsewhere_that_comes_between_looking_and_waiting_is_found() -> None:
    fake = FeedOnFakeStore()
    get_run = fake.get_run

    async def end_meanwhile(run_id: int) -> Run | None:
        run = await get_run(run_id)
        if fake.looks == 1:
            fake.end()
        return run

    cast("Any", fake).get_run = end_meanwhile
    async with asyncio.timeout(60):
        run = await fake.feed.wait_ended(1)
    assert run.status == "completed"


async def test_an_unknown_run_is_not_waited_for() -> None:
    fake = FeedOnFakeStore()
    fake.run = None
    with pytest.raises(RunNotFound) as raised:
        await fake.feed.wait_ended(1)
    assert raised.value.run_id == 1


async def test_G8_closing_ends_the_wait_for_a_run_elsewhere() -> None:
    fake = FeedOnFakeStore()
    waiting = asyncio.create_task(fake.feed.wait_ended(1))
    await turns(10)
    await within(60, fake.feed.aclose())
    with pytest.raises(ManagerClosed, match=re.escape("the manager was closed while run 1 was being waited for")):
        await waiting
