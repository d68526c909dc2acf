"""Pruning: all that is old goes, in transactions that are short, whatever belongs to a run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from aioruns._running.feed import EventFeed
from aioruns._running.prune import BATCH, prune
from aioruns._running.state import ManagerState
from aioruns.abc import Store

pytestmark = pytest.mark.asyncio


class History:
    """A store of old runs that deletes a few at once."""

    def __init__(self, runs: int, *, at_once: int) -> None:
        self.ids = list(range(1, runs + 1))
        self.at_once = at_once
        self.last = 0
        self.pieces: list[int] = []

    async def prune_runs(self, *, finished_before: int, limit: int, after: int) -> list[int]:
        assert finished_before > 0
        assert limit == BATCH
        assert after == self.last, "what was there before is not looked at again"
        gone, self.ids = self.ids[: self.at_once], self.ids[self.at_once :]
        self.last = gone[-1] if gone else after
        self.pieces.append(len(gone))
        return gone


class Feed(EventFeed):
    """Counts how often everybody was woken."""

    def __init__(self) -> None:
        super().__init__(cast("Store", None), ManagerState())
        self.woken = 0

    def notify_all(self) -> None:
        self.woken += 1
        super().notify_all()


@pytest.mark.parametrize(("runs", "pieces"), [(0, [0]), (3, [3, 0]), (20, [7, 7, 6, 0])])
async def test_it_goes_on_until_nothing_old_is_left(runs: int, pieces: list[int]) -> None:
    history, feed = History(runs, at_once=7), Feed()
    assert await prune(cast("Store", history), timedelta(days=1), feed) == runs
    assert history.pieces == pieces
    assert feed.woken == 1


async def test_whoever_reads_is_woken_when_pruning_is_torn() -> None:
    class Torn:
        async def prune_runs(self, **_: Any) -> list[int]:
            raise asyncio.CancelledError

    feed = Feed()
    with pytest.raises(asyncio.CancelledError):
        await prune(cast("Store", Torn()), timedelta(0), feed)
    assert feed.woken == 1
