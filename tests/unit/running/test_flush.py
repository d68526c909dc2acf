"""F1, G7, G10: what runs say is stored once, whatever the store answers, and nobody waits for a lost run."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from tests.support import eventually, turns

from aioruns import LeaseLost, Run, RunManager, RunStatus, StoreUnavailable, current_run, job, redact_secrets
from aioruns._jobs.work import work_of
from aioruns._running.feed import EventFeed
from aioruns._running.flush import LARGEST, Flusher
from aioruns._running.live import Attempt, LiveRun, Why
from aioruns._running.outbox import MAX_EVENTS, Outbox
from aioruns._running.state import ManagerState
from aioruns.abc import Fence, NewEvent, Store
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio


@job
async def talk() -> None: ...


def say(outbox: Outbox, *texts: object, droppable: bool = True) -> None:
    for text in texts:
        outbox.put("log", str(text), droppable=droppable)


def texts(events: Sequence[NewEvent]) -> list[str]:
    return [event.data for event in events]


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


class Journal:
    """A store that keeps events as stores do: each ordinal once; ``answers`` are raised, one a call, after storing."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.events: list[NewEvent] = []
        self.calls = 0
        self.sizes: list[int] = []

    async def append_events(self, run_id: int, fence: Fence, events: Sequence[NewEvent]) -> range:
        assert (run_id, fence) == (3, Fence("manager", 1))
        self.calls += 1
        self.sizes.append(len(events))
        await turns(1)
        known = self.events[-1].ordinal if self.events else 0
        self.events += [event for event in events if event.ordinal > known]
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        return range(known + 1, len(self.events) + 1)


class SlowJournal(Journal):
    """Stores at once, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers_now = asyncio.Event()

    async def append_events(self, run_id: int, fence: Fence, events: Sequence[NewEvent]) -> range:
        seqs = await super().append_events(run_id, fence, events)
        await self.answers_now.wait()
        return seqs


class NotingFeed(EventFeed):
    """A feed that notes whose events it was given."""

    def __init__(self) -> None:
        super().__init__(cast("Store", None), ManagerState())
        self.published: list[int] = []

    def publish(self, run: Run, said: Sequence[NewEvent], seqs: range) -> None:
        self.published.append(run.id)
        super().publish(run, said, seqs)


class Talker:
    """A run, and the flusher that stores what it says in a journal.

    Attributes:
        outbox: What the run has said.
        notified: Whose events the subscribers were given.
    """

    def __init__(self, journal: Journal, *, patience: float = 30.0) -> None:
        feed = NotingFeed()
        self.notified = feed.published
        self.flusher = Flusher(cast("Store", journal), feed, patience=patience)
        self.live = LiveRun(work_of(talk()), Attempt(budget=self.flusher.budget, redact=redact_secrets))
        self.live.attach(
            Run(id=3, job="job", status=RunStatus.RUNNING, manager_id="manager", created_at=datetime.now(UTC))
        )
        self.outbox = self.live.attempt.outbox

    @property
    def lost(self) -> bool:
        return Why.LOST in self.live.attempt.asked


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioruns._running.flush.PAUSE", 0.0)


async def test_what_is_said_is_stored_and_told() -> None:
    journal = Journal()
    talker = Talker(journal)
    say(talker.outbox, "a", "b")
    await talker.outbox.flush()
    say(talker.outbox, "c")
    await talker.outbox.flush()
    assert (texts(journal.events), talker.notified) == (["a", "b", "c"], [3, 3])


async def test_G6_nothing_is_told_before_the_store_has_answered() -> None:
    journal = SlowJournal()
    talker = Talker(journal)
    say(talker.outbox, "a")
    await eventually(lambda: journal.events)
    await turns(5)
    assert talker.notified == []
    journal.answers_now.set()
    await talker.outbox.flush()
    assert talker.notified == [3]


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("fails", range(5))
async def test_what_is_much_is_stored_in_parts_each_event_once(fails: int) -> None:
    journal = Journal(*[None] * fails, StoreUnavailable("was it stored?"))
    talker = Talker(journal)
    say(talker.outbox, *range(2 * LARGEST + 1))
    await talker.outbox.flush()
    assert texts(journal.events) == [str(number) for number in range(2 * LARGEST + 1)]
    assert max(journal.sizes) == LARGEST
    assert len(talker.notified) == journal.calls - (fails < 3)
    assert not talker.outbox.take()


async def test_of_what_is_much_the_rest_is_left_to_the_end_if_that_comes_first() -> None:
    journal = SlowJournal()
    talker = Talker(journal)
    say(talker.outbox, *range(3 * LARGEST))
    await eventually(lambda: journal.calls == 1)
    rest = talker.outbox.take_rest()
    journal.answers_now.set()
    await turns(10)
    assert journal.calls == 1
    assert texts(rest) == [str(number) for number in range(3 * LARGEST)]


@pytest.mark.usefixtures("no_pause")
async def test_lost_acknowledgement_stores_nothing_twice() -> None:
    journal = Journal(StoreUnavailable("was it stored?"), StoreUnavailable("who knows?"))
    talker = Talker(journal)
    say(talker.outbox, "a")
    flush = asyncio.ensure_future(talker.outbox.flush())
    await turns(1)
    say(talker.outbox, "b")
    await flush
    await talker.outbox.flush()
    assert texts(journal.events) == ["a", "b"]
    assert journal.calls == 4


@pytest.mark.usefixtures("no_pause")
async def test_lost_acknowledgement_of_a_real_store_stores_nothing_twice(
    open_manager: Callable[..., Awaitable[RunManager]], database: Path
) -> None:
    real = SQLiteStore(database)
    original, calls = real.append_events, itertools.count()

    async def lose_every_other_answer(run_id: int, fence: Fence, events: Sequence[NewEvent]) -> range:
        seqs = await original(run_id, fence, events)
        if next(calls) % 2 == 0:
            raise StoreUnavailable("was it stored?")
        return seqs

    async def work() -> None:
        for number in range(100):
            current_run().emit("own", number)
            await turns(number % 3)
        await current_run().flush()

    real.append_events = lose_every_other_answer
    handle = await (await open_manager(real)).start_run(work())
    await handle
    assert [event.data async for event in handle.events() if event.kind == "own"] == list(range(100))


@pytest.mark.usefixtures("no_pause")
async def test_F1_flush_fails_while_the_store_is_away_and_everything_is_stored_when_it_is_back() -> None:
    journal = Journal(*[StoreUnavailable("away")] * 3)
    talker = Talker(journal, patience=0)
    say(talker.outbox, "a")
    with pytest.raises(StoreUnavailable, match="away"):
        await talker.outbox.flush()
    say(talker.outbox, "b")
    await eventually(lambda: texts(journal.events) == ["a", "b"] and not talker.outbox.take())
    await talker.outbox.flush()


async def test_G7_lost_run_is_told_and_stores_nothing_more() -> None:
    journal = Journal(LeaseLost(3))
    talker = Talker(journal)
    say(talker.outbox, "a")
    with pytest.raises(LeaseLost):
        await talker.outbox.flush()
    await eventually(lambda: talker.lost)
    assert talker.live.attempt.cancel_event.is_set()
    assert journal.calls == 1


async def test_G7_flush_of_a_lost_run_never_hangs() -> None:
    talker = Talker(Journal(LeaseLost(3)))
    say(talker.outbox, "a")
    with pytest.raises(LeaseLost):
        await talker.outbox.flush()
    say(talker.outbox, "b")
    async with asyncio.timeout(60):
        with pytest.raises(LeaseLost):
            await talker.outbox.flush()


async def test_G7_thread_of_a_lost_run_does_not_wait_for_room() -> None:
    talker = Talker(Journal(LeaseLost(3)))
    thread = in_thread(lambda: say(talker.outbox, *range(2 * MAX_EVENTS)))
    try:
        await eventually(lambda: talker.lost)
        await eventually(lambda: not thread.is_alive(), timeout=60)
    finally:
        talker.outbox.take_rest()
