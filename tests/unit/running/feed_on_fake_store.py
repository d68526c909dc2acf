"""A feed of events that reads a fake store, and subscribers of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import cast

from tests.streams import collect_into
from tests.support import eventually

from aioruns import Run, RunEvent, RunStatus
from aioruns._running.feed import EventFeed
from aioruns._running.state import ManagerState
from aioruns._values.model import to_micros
from aioruns.abc import NewEvent, Store

__all__ = ["FeedOnFakeStore", "Reader", "event", "seqs"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(seq: int, data_json: str = "{}", *, kind: str = "log") -> RunEvent:
    return RunEvent(run_id=1, seq=seq, at=NOW, kind=kind, data_json=data_json)


class FeedOnFakeStore:
    """A feed, and the store that it reads: the events of run 1, in memory.

    Attributes:
        reads: What was asked for: the cursor of each read.
        looks: How often the row was read.
        error: What reading events raises.
        gate: What the answers of reads wait for.
    """

    def __init__(self, count: int = 0) -> None:
        self.events = [event(seq) for seq in range(1, count + 1)]
        self.run: Run | None = Run(id=1, job="job", status=RunStatus.RUNNING, created_at=NOW)
        self.reads: list[int] = []
        self.looks = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.state = ManagerState()
        self.feed = EventFeed(cast("Store", self), self.state)

    def say(self, count: int = 1, data_json: str = "{}") -> None:
        """Store events, and tell the feed."""
        last = len(self.events)
        self.events += [event(seq, data_json) for seq in range(last + 1, last + 1 + count)]
        self.feed.notify(1)

    def store(self, count: int = 1) -> Callable[[], None]:
        """Store what the owner here says; return what tells the feed."""
        assert self.run is not None
        seqs = range(len(self.events) + 1, len(self.events) + 1 + count)
        self.events += map(event, seqs)
        said = [NewEvent(ordinal, to_micros(NOW, what="now"), "log", "{}") for ordinal in seqs]
        return partial(self.feed.publish, self.run, said, seqs)

    def end(self) -> None:
        """Store the end, and tell the feed."""
        assert self.run is not None
        self.run = Run(id=1, job="job", status=RunStatus.COMPLETED, created_at=NOW, finished_at=NOW)
        self.events.append(event(len(self.events) + 1, '{"status": "completed"}', kind="status"))
        self.feed.notify(1)

    async def read_events(self, run_id: int, *, after: int, limit: int) -> list[RunEvent]:
        assert run_id == 1
        self.reads.append(after)
        if self.error is not None:
            raise self.error
        page = [each for each in self.events if each.seq > after][:limit]
        if self.gate is not None:
            await self.gate.wait()
        return page

    async def get_run(self, run_id: int) -> Run | None:
        assert run_id == 1
        self.looks += 1
        await asyncio.sleep(0)
        return self.run

    def stream(self, after: int = 0) -> AsyncIterator[RunEvent]:
        return self.feed.stream(1, after=after)


class Reader:
    """A subscriber that keeps up.

    Attributes:
        seen: The events that it has taken.
        task: Ends with the stream.
    """

    def __init__(self, fake: FeedOnFakeStore, after: int = 0) -> None:
        self.seen: list[RunEvent] = []
        self.task = asyncio.create_task(collect_into(self.seen, fake.stream(after)))

    async def has(self, *seqs: int) -> None:
        await eventually(lambda: tuple(each.seq for each in self.seen) == seqs)


def seqs(events: list[RunEvent]) -> list[int]:
    return [each.seq for each in events]
