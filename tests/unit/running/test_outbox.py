"""G10: what waits to be stored is bounded, in order, stored once, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Sequence

import pytest
from tests.support import eventually, turns

from aioruns import StoreUnavailable
from aioruns._running import outbox as outbox_module
from aioruns._running.outbox import MAX_BYTES, MAX_EVENTS, MAX_TOTAL_BYTES, Budget, Outbox
from aioruns.abc import NewEvent

pytestmark = pytest.mark.asyncio
KIB = 1024


def make_budget(on_filled: Callable[[], None] = lambda: None) -> Budget:
    return Budget(lambda _: on_filled())


def make_outbox(budget: Budget | None = None, on_filled: Callable[[], None] = lambda: None) -> Outbox:
    return Outbox(budget or make_budget(on_filled))


def say(outbox: Outbox, *texts: object, droppable: bool = True) -> None:
    for text in texts:
        outbox.put("log", str(text), droppable=droppable)


def texts(events: Sequence[NewEvent]) -> list[str]:
    return [event.data for event in events]


def store(outbox: Outbox) -> list[str]:
    stored = texts(outbox.take())
    outbox.acknowledge()
    return stored


def dropped(events: Sequence[NewEvent]) -> str:
    notice = json.loads(events[-1].data)
    assert (events[-1].kind, notice["level"]) == ("log", "warning")
    return notice["message"]


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


async def waiting(budget: Budget) -> None:
    """Wait until a thread waits for room."""
    await eventually(lambda: budget.changed._waiters)  # pyright: ignore[reportAttributeAccessIssue]


# Order and ordinals


async def test_what_is_said_is_taken_in_order_with_ordinals_from_one() -> None:
    outbox = make_outbox()
    say(outbox, "a", "b", "c")
    taken = outbox.take()
    assert texts(taken) == ["a", "b", "c"]
    assert [event.ordinal for event in taken] == [1, 2, 3]
    assert [event.at for event in taken] == sorted(event.at for event in taken)


async def test_what_was_taken_is_taken_again_alike_until_it_is_acknowledged() -> None:
    outbox = make_outbox()
    say(outbox, "a", "b")
    first = list(outbox.take())
    say(outbox, "c")
    assert outbox.take() == first
    assert outbox.acknowledge()
    assert [(event.ordinal, event.data) for event in outbox.take()] == [(3, "c")]
    assert not outbox.acknowledge()
    assert not outbox.take()


async def test_rest_repeats_what_was_taken_with_the_same_ordinals() -> None:
    outbox = make_outbox()
    say(outbox, "a")
    taken = list(outbox.take())
    say(outbox, "b")
    rest = outbox.take_rest()
    assert rest[:1] == taken
    assert [(event.ordinal, event.data) for event in rest] == [(1, "a"), (2, "b")]
    assert outbox.take_rest() == rest


async def test_owner_is_told_once_until_it_has_taken_everything() -> None:
    calls: list[int] = []
    outbox = make_outbox(on_filled=lambda: calls.append(1))
    say(outbox, "a", "b")
    assert len(calls) == 1
    outbox.take()
    say(outbox, "c")
    assert outbox.acknowledge()
    say(outbox, "d")
    assert len(calls) == 1, "who acknowledges with more to come goes on by himself"
    store(outbox)
    say(outbox, "e")
    assert len(calls) == 2


async def test_owner_is_told_in_the_event_loop_by_a_thread() -> None:
    callers: list[int] = []
    outbox = make_outbox(on_filled=lambda: callers.append(threading.get_ident()))
    await asyncio.to_thread(say, outbox, "a")
    await eventually(lambda: callers)
    assert callers == [threading.get_ident()]


async def test_order_of_every_thread_is_kept() -> None:
    outbox = make_outbox()
    threads = [in_thread(lambda name=name: say(outbox, *(f"{name}{n}" for n in range(500)))) for name in "abcd"]
    await eventually(lambda: not any(thread.is_alive() for thread in threads))
    taken = outbox.take()
    assert [event.ordinal for event in taken] == list(range(1, 2001))
    for name in "abcd":
        assert [text for text in texts(taken) if text[0] == name] == [f"{name}{n}" for n in range(500)]


def interrupt_once(monkeypatch: pytest.MonkeyPatch, name: str, interruption: Callable[[], object]) -> None:
    """Let something else run on this very thread, once, in the middle of the outbox: the finalizer of some garbage."""
    original = getattr(outbox_module, name)

    def interrupted(*args: object) -> object:
        monkeypatch.setattr(outbox_module, name, original)
        interruption()
        return original(*args)

    monkeypatch.setattr(outbox_module, name, interrupted)


@pytest.mark.parametrize("place", ["now_micros", "NewEvent"])
async def test_what_a_finalizer_says_in_the_middle_is_kept_in_order(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    outbox = make_outbox()
    interrupt_once(monkeypatch, place, lambda: say(outbox, "from a finalizer"))
    say(outbox, "a", "b")
    taken = list(outbox.take())
    outbox.acknowledge()
    taken += outbox.take()
    assert sorted(texts(taken)) == ["a", "b", "from a finalizer"]
    assert texts(taken).index("a") < texts(taken).index("b")
    assert [event.ordinal for event in taken] == [1, 2, 3]
    outbox.acknowledge()
    async with asyncio.timeout(60):
        await outbox.flush()


# Progress


async def test_progress_of_a_step_is_replaced_by_newer_and_stands_behind_what_was_said_before() -> None:
    outbox = make_outbox()
    outbox.put_progress("a", "1")
    say(outbox, "between")
    outbox.put_progress("a", "2")
    outbox.put_progress("b", "3")
    say(outbox, "behind")
    outbox.put_progress("b", "4")
    assert store(outbox) == ["between", "2", "behind", "4"]


async def test_progress_on_its_way_to_the_store_is_not_replaced() -> None:
    outbox = make_outbox()
    outbox.put_progress("a", "1")
    first = list(outbox.take())
    outbox.put_progress("a", "2")
    assert outbox.take() == first
    outbox.acknowledge()
    assert texts(outbox.take()) == ["2"]


async def test_G10_coalesced_progress_gives_its_room_back() -> None:
    budget = make_budget()
    outbox = make_outbox(budget)
    for number in range(3 * MAX_EVENTS):
        outbox.put_progress(None, f"{number:1000}")
    assert store(outbox) == [f"{3 * MAX_EVENTS - 1:1000}"]
    assert budget.bytes == 0


# Limits


async def test_G10_full_outbox_drops_logs_and_one_event_says_how_many() -> None:
    outbox = make_outbox()
    say(outbox, *range(MAX_EVENTS + 7))
    outbox.put_progress(None, "1")
    taken = outbox.take()
    assert texts(taken[:-1]) == [str(number) for number in range(MAX_EVENTS)]
    assert dropped(taken) == "8 events were dropped: the outbox was full"
    assert [event.ordinal for event in taken] == list(range(1, MAX_EVENTS + 2))


async def test_G10_room_is_there_again_after_the_acknowledgement_and_not_before() -> None:
    outbox = make_outbox()
    say(outbox, *range(MAX_EVENTS))
    outbox.take()
    say(outbox, "too early")
    outbox.acknowledge()
    say(outbox, "in time")
    taken = outbox.take()
    assert texts(taken[:-1]) == ["in time"]
    assert dropped(taken).startswith("1 events")


async def test_G10_what_may_not_be_dropped_is_refused_instead() -> None:
    outbox = make_outbox()
    say(outbox, *range(MAX_EVENTS))
    with pytest.raises(StoreUnavailable, match=r"10000 events wait to be stored.* await ctx\.flush\(\) now and then"):
        say(outbox, "own", droppable=False)
    assert len(store(outbox)) == MAX_EVENTS


async def test_G10_bytes_of_one_run_are_limited() -> None:
    outbox = make_outbox()
    say(outbox, *["x" * KIB * KIB] * 9)
    taken = outbox.take()
    assert sum(len(text) for text in texts(taken)) <= MAX_BYTES
    assert len(taken) - 1 == MAX_BYTES // (KIB * KIB + 200)
    assert dropped(taken).startswith("2 events")


async def test_G10_bytes_are_bytes_and_not_characters() -> None:
    outbox = make_outbox()
    say(outbox, *["🎉" * (256 * KIB)] * 9)
    assert sum(len(text.encode()) for text in store(outbox)) <= MAX_BYTES


async def test_G10_bytes_of_all_runs_together_are_limited_and_come_free() -> None:
    budget = make_budget()
    outboxes = [make_outbox(budget) for _ in range(12)]
    for outbox in outboxes:
        say(outbox, *["x" * KIB * KIB] * 8)
    assert budget.bytes <= MAX_TOTAL_BYTES
    assert dropped(outboxes[-1].take()).startswith("8 events")
    outboxes[0].take()
    outboxes[0].acknowledge()
    say(outboxes[1], "there is room again")
    for outbox in outboxes:
        outbox.take_rest()
        outbox.acknowledge()
    assert budget.bytes == 0


async def test_G10_thread_waits_for_room_and_loses_nothing() -> None:
    outbox = make_outbox()
    thread = in_thread(lambda: say(outbox, *range(3 * MAX_EVENTS), droppable=False))
    stored: list[str] = []

    def take_some() -> bool:
        stored.extend(store(outbox))
        return len(stored) == 3 * MAX_EVENTS

    await eventually(take_some)
    assert stored == [str(number) for number in range(3 * MAX_EVENTS)]
    await eventually(lambda: not thread.is_alive())


async def test_G10_thread_that_waits_goes_on_when_another_run_makes_room() -> None:
    budget = make_budget()
    mine, *others = [make_outbox(budget) for _ in range(11)]
    for outbox in others:
        say(outbox, *["x" * KIB * KIB] * 8)
    thread = in_thread(lambda: say(mine, "mine" * KIB * KIB))
    await waiting(budget)
    store(others[0])
    await eventually(lambda: not thread.is_alive())
    assert store(mine) == ["mine" * KIB * KIB]


async def test_G10_thread_that_waits_goes_on_when_the_run_ends() -> None:
    budget = make_budget()
    outbox = make_outbox(budget)
    say(outbox, *range(MAX_EVENTS))
    thread = in_thread(lambda: say(outbox, "too late"))
    await waiting(budget)
    assert len(outbox.take_rest()) == MAX_EVENTS
    await eventually(lambda: not thread.is_alive())


async def test_P3_what_is_said_after_the_end_is_not_stored_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    outbox = make_outbox()
    say(outbox, "in time")
    assert texts(outbox.take_rest()) == ["in time"]
    with caplog.at_level(logging.WARNING, "aioruns"):
        say(outbox, "late", "later", droppable=False)
        outbox.put_progress(None, "latest")
    assert texts(outbox.take_rest()) == ["in time"]
    assert [record.getMessage() for record in caplog.records] == [
        "a run has ended, and goes on saying things that are not stored: log late"
    ]


# Flush


async def test_flush_returns_at_once_when_nothing_waits() -> None:
    outbox = make_outbox()
    await outbox.flush()
    say(outbox, "a")
    store(outbox)
    await outbox.flush()


async def test_flush_waits_for_what_was_said_before_it_and_no_longer() -> None:
    outbox = make_outbox()
    say(outbox, "a")
    outbox.take()
    flush = asyncio.ensure_future(outbox.flush())
    await turns(1)
    say(outbox, "b")
    later = asyncio.ensure_future(outbox.flush())
    await turns(3)
    assert not flush.done()
    outbox.acknowledge()
    await turns(3)
    assert (flush.done(), later.done()) == (True, False)
    store(outbox)
    await later


@pytest.mark.parametrize("replacement", ["coalesced", "dropped"])
async def test_flush_does_not_wait_for_what_is_never_stored(replacement: str) -> None:
    outbox = make_outbox()
    if replacement == "coalesced":
        outbox.put_progress(None, "1")
        outbox.put_progress(None, "2")
    else:
        say(outbox, *range(MAX_EVENTS + 1))
    flush = asyncio.ensure_future(outbox.flush())
    await turns(1)
    store(outbox)
    await turns(2)
    assert flush.done()


async def test_flush_that_is_cancelled_loses_nothing() -> None:
    outbox = make_outbox()
    say(outbox, "a")
    flush = asyncio.ensure_future(outbox.flush())
    await turns(1)
    flush.cancel()
    await asyncio.wait((flush,))
    assert store(outbox) == ["a"]


async def test_flush_tells_why_nothing_is_stored_and_serves_again_later() -> None:
    outbox = make_outbox()
    say(outbox, "a")
    first = asyncio.ensure_future(outbox.flush())
    await turns(1)
    outbox.fail(StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable, match="away"):
        await first
    second = asyncio.ensure_future(outbox.flush())
    await turns(1)
    assert store(outbox) == ["a"]
    await second


async def test_flush_of_a_run_that_ended_meanwhile_returns_when_its_end_is_stored() -> None:
    outbox = make_outbox()
    say(outbox, "a")
    flush = asyncio.ensure_future(outbox.flush())
    await turns(1)
    outbox.take_rest()
    outbox.acknowledge()
    await flush
