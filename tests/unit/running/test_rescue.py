"""Rescue: what is ended is told, and looking for dead managers goes on whatever happens to the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.bounds import patch_bounds
from tests.support import turns

from aioruns import StoreUnavailable
from aioruns._running.feed import EventFeed
from aioruns._running.rescue import rescue, rescue_periodically
from aioruns._running.state import ManagerState
from aioruns.abc import Store

pytestmark = pytest.mark.asyncio


class Orphans:
    """A store in which each look finds what is given next, and then nothing; an exception is raised.

    Attributes:
        done: Set when everything has been found.
    """

    def __init__(self, *finds: list[int] | BaseException) -> None:
        self.finds = list(finds)
        self.done = asyncio.Event()

    async def rescue_orphans(self, **_: Any) -> list[int]:
        find = self.finds.pop(0) if self.finds else []
        if not self.finds:
            self.done.set()
        if isinstance(find, BaseException):
            raise find
        return find


class Feed(EventFeed):
    """Counts how often everybody was woken."""

    def __init__(self) -> None:
        super().__init__(cast("Store", None), ManagerState())
        self.woken = 0

    def notify_all(self) -> None:
        self.woken += 1
        super().notify_all()


@contextlib.asynccontextmanager
async def looking(orphans: Orphans, feed: Feed) -> AsyncIterator[asyncio.Task[None]]:
    """Rescue from time to time within a block."""
    task = asyncio.create_task(rescue_periodically(cast("Store", orphans), feed))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one look follow the other."""
    patch_bounds(monkeypatch, rescue_interval=0)


async def test_R3_whoever_watches_a_rescued_run_is_woken_and_the_operator_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = Feed()
    await rescue(cast("Store", Orphans([4, 7])), feed)
    assert feed.woken == 1
    assert [(record.levelno, record.args) for record in caplog.records] == [
        (logging.WARNING, (4,)),
        (logging.WARNING, (7,)),
    ]


async def test_G11_event_loop_turns_while_the_operator_is_told_of_many(caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    async def look() -> None:
        while True:
            told.append(len(caplog.records))
            await asyncio.sleep(0)

    looking = asyncio.ensure_future(look())
    await rescue(cast("Store", Orphans(list(range(1, 1001)))), Feed())
    looking.cancel()
    assert len(caplog.records) == 1000
    assert {100, 500, 900} <= set(told)


@pytest.mark.parametrize("torn", [StoreUnavailable("away"), asyncio.CancelledError()], ids=["failed", "cancelled"])
async def test_R3_whoever_watches_is_woken_by_a_rescue_that_was_torn_for_it_may_have_ended_some(
    torn: BaseException,
) -> None:
    feed = Feed()
    with pytest.raises(type(torn)):
        await rescue(cast("Store", Orphans(torn)), feed)
    assert feed.woken == 1


@pytest.mark.usefixtures("at_once")
async def test_G7_the_dead_are_looked_for_again_and_again_also_when_the_store_was_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = Feed()
    orphans = Orphans([], StoreUnavailable("the disk is full"), [1], StoreUnavailable("away"), [2], [])
    async with asyncio.timeout(60), looking(orphans, feed) as task:
        await orphans.done.wait()
        assert not task.done()
    assert feed.woken >= 5
    said = [record.getMessage() for record in caplog.records]
    assert ["1" in said[1], "2" in said[3]] == [True, True]
    assert ["the disk is full" in said[0], "away" in said[2], len(said)] == [True, True, 4]


async def test_between_two_looks_there_is_a_pause() -> None:
    orphans = Orphans([], [])
    async with looking(orphans, Feed()) as task:
        await turns(20)
        assert not task.done()
        assert len(orphans.finds) == 2


@pytest.mark.usefixtures("at_once")
async def test_N3_cancelling_ends_the_looking() -> None:
    orphans = Orphans([], [1], asyncio.CancelledError())
    async with asyncio.timeout(60), looking(orphans, Feed()) as task:
        await asyncio.wait((task,))
        assert task.cancelled()
