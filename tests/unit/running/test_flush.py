"""F1, G7, G10: what runs say is stored once, whatever the store answers, and nobody waits for a lost run."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import eventually, turns

from aioruns import LeaseLost, RunManager, StoreUnavailable, current_run
from aioruns._running.flush import LARGEST, Flusher
from aioruns._running.live import Why
from aioruns._running.outbox import MAX_EVENTS, Budget, Outbox
from aioruns.abc import Fence, NewEvent
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio


def make_budget(on_filled: Callable[[], None] = lambda: None) -> Budget:
    return Budget(lambda _: on_filled())


def make_outbox(budget: Budget | None = None, on_filled: Callable[[], None] = lambda: None) -> Outbox:
    return Outbox(budget or make_budget(on_filled))


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

    async def append_events(self, run_id: int, fence: object, events: Sequence[NewEvent]) -> None:
        self.calls += 1
        self.sizes.append(len(events))
        await turns(1)
        known = self.events[-1].ordinal if self.events else 0
        self.events += [event for event in events if event.ordinal > known]
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer


class SlowJournal(Journal):
    """Stores at once, and answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers_now = asyncio.Event()

    async def append_events(self, run_id: int, fence: object, events: Sequence[NewEvent]) -> None:
        await super().append_events(run_id, fence, events)
        await self.answers_now.wait()


def make_run(journal: Journal, *, patience: float = 30.0) -> Any:
    """Make as much of an active run as the flusher sees, wired to a flusher."""
    notified: list[int] = []
    feed: Any = SimpleNamespace(publish=lambda run, said, seqs: notified.append(run.id))
    flusher = Flusher(journal, feed, patience=patience)  # pyright: ignore[reportArgumentType]
    outbox = make_outbox(on_filled=lambda: flusher.start(active))
    asked: list[Why] = []
    attempt = SimpleNamespace(outbox=outbox, asked=asked, ask_to_end=asked.append)
    active: Any = SimpleNamespace(
        run=SimpleNamespace(id=3), fence="fence", notified=notified, attempt=attempt, outbox=outbox
    )
    return active


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioruns._running.flush.PAUSE", 0.0)


async def test_what_is_said_is_stored_and_told() -> None:
    journal = Journal()
    active = make_run(journal)
    say(active.outbox, "a", "b")
    await active.outbox.flush()
    say(active.outbox, "c")
    await active.outbox.flush()
    assert (texts(journal.events), active.notified) == (["a", "b", "c"], [3, 3])


async def test_G6_nothing_is_told_before_the_store_has_answered() -> None:
    journal = SlowJournal()
    active = make_run(journal)
    say(active.outbox, "a")
    await eventually(lambda: journal.events)
    await turns(5)
    assert active.notified == []
    journal.answers_now.set()
    await active.outbox.flush()
    assert active.notified == [3]


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("fails", range(5))
async def test_what_is_much_is_stored_in_parts_each_event_once(fails: int) -> None:
    journal = Journal(*[None] * fails, StoreUnavailable("was it stored?"))
    active = make_run(journal)
    say(active.outbox, *range(2 * LARGEST + 1))
    await active.outbox.flush()
    assert texts(journal.events) == [str(number) for number in range(2 * LARGEST + 1)]
    assert max(journal.sizes) == LARGEST
    assert len(active.notified) == journal.calls - (fails < 3)
    assert not active.outbox.take()


async def test_of_what_is_much_the_rest_is_left_to_the_end_if_that_comes_first() -> None:
    journal = SlowJournal()
    active = make_run(journal)
    say(active.outbox, *range(3 * LARGEST))
    await eventually(lambda: journal.calls == 1)
    rest = active.outbox.take_rest()
    journal.answers_now.set()
    await turns(10)
    assert journal.calls == 1
    assert texts(rest) == [str(number) for number in range(3 * LARGEST)]


@pytest.mark.usefixtures("no_pause")
async def test_lost_acknowledgement_stores_nothing_twice() -> None:
    journal = Journal(StoreUnavailable("was it stored?"), StoreUnavailable("who knows?"))
    active = make_run(journal)
    say(active.outbox, "a")
    flush = asyncio.ensure_future(active.outbox.flush())
    await turns(1)
    say(active.outbox, "b")
    await flush
    await active.outbox.flush()
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
    active = make_run(journal, patience=0)
    say(active.outbox, "a")
    with pytest.raises(StoreUnavailable, match="away"):
        await active.outbox.flush()
    say(active.outbox, "b")
    await eventually(lambda: texts(journal.events) == ["a", "b"] and not active.outbox.take())
    await active.outbox.flush()


async def test_G7_lost_run_is_told_and_stores_nothing_more() -> None:
    journal = Journal(LeaseLost(3))
    active = make_run(journal)
    say(active.outbox, "a")
    with pytest.raises(LeaseLost):
        await active.outbox.flush()
    await eventually(lambda: active.attempt.asked == [Why.LOST])
    assert journal.calls == 1


async def test_G7_flush_of_a_lost_run_never_hangs() -> None:
    active = make_run(Journal(LeaseLost(3)))
    say(active.outbox, "a")
    with pytest.raises(LeaseLost):
        await active.outbox.flush()
    say(active.outbox, "b")
    async with asyncio.timeout(60):
        with pytest.raises(LeaseLost):
            await active.outbox.flush()


async def test_G7_thread_of_a_lost_run_does_not_wait_for_room() -> None:
    active = make_run(Journal(LeaseLost(3)))
    thread = in_thread(lambda: say(active.outbox, *range(2 * MAX_EVENTS)))
    try:
        await eventually(lambda: active.attempt.asked == [Why.LOST])
        await eventually(lambda: not thread.is_alive(), timeout=60)
    finally:
        active.outbox.take_rest()
