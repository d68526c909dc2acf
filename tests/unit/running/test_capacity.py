"""Slots: never more runs than there are slots, first in first out, and no slot is ever lost."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from aioruns._running.capacity import Capacity
from aioruns._running.live import LiveRun


def new_run() -> LiveRun:
    """Make a run; capacity looks neither at its work nor at its attempt."""
    return LiveRun(cast("Any", None), cast("Any", None))


def reserve(capacity: Capacity, count: int) -> list[LiveRun]:
    runs = [new_run() for _ in range(count)]
    for live in runs:
        assert capacity.reserve(live) is live.has_slot
    return runs


def slots(*runs: LiveRun) -> list[bool]:
    return [live.has_slot for live in runs]


NOTHING = {"line": 0, "slots": False}


def test_without_a_limit_there_is_always_a_slot() -> None:
    capacity = Capacity(None)
    assert all(slots(*reserve(capacity, 1000)))


def test_there_are_as_many_slots_as_asked_for() -> None:
    assert slots(*reserve(Capacity(2), 3)) == [True, True, False]


def test_a_slot_given_back_goes_to_the_run_that_has_waited_longest() -> None:
    capacity = Capacity(1)
    first, second, third = reserve(capacity, 3)
    assert slots(first, second, third) == [True, False, False]
    assert capacity.enqueue(second) == []
    assert capacity.enqueue(third) == []
    assert capacity.release(first) == [second]
    assert slots(first, second, third) == [False, True, False]
    assert capacity.release(second) == [third]
    assert capacity.release(third) == []
    assert capacity.leftovers() == NOTHING
    assert capacity.reserve(new_run())


def test_nobody_overtakes_a_run_that_waits() -> None:
    capacity = Capacity(1)
    first, second = reserve(capacity, 2)
    assert capacity.release(first) == []
    third = new_run()
    assert not capacity.reserve(third), "a run that was refused a slot is not in line yet, and comes first"
    assert capacity.enqueue(second) == [second]
    assert capacity.enqueue(third) == []
    assert capacity.release(second) == [third]


def test_a_run_in_line_is_launched_when_the_slot_was_freed_before_it_came() -> None:
    capacity = Capacity(1)
    first, second = reserve(capacity, 2)
    assert capacity.release(first) == []
    assert capacity.enqueue(second) == [second]
    assert second.has_slot


def test_of_two_runs_that_were_refused_a_slot_whoever_is_inserted_first_is_launched_first() -> None:
    capacity = Capacity(1)
    first, second, third = reserve(capacity, 3)
    assert capacity.release(first) == []
    assert capacity.enqueue(third) == [third]
    assert capacity.enqueue(second) == []
    assert capacity.release(third) == [second]


@pytest.mark.parametrize("how", ["discard", "release"])
def test_a_run_that_is_not_inserted_holds_nobody_up(how: str) -> None:
    capacity = Capacity(1)
    first, second = reserve(capacity, 2)
    assert capacity.release(first) == []
    assert not getattr(capacity, how)(second)
    assert capacity.leftovers() == NOTHING
    assert capacity.reserve(new_run())


def test_a_run_that_has_reserved_nothing_gives_nothing_back() -> None:
    capacity = Capacity(1)
    (first,) = reserve(capacity, 1)
    assert capacity.release(new_run()) == []
    assert not capacity.reserve(new_run()), "the slot is still the first run's"
    assert first.has_slot


def test_a_slot_is_given_back_once() -> None:
    capacity = Capacity(1)
    (first,) = reserve(capacity, 1)
    assert capacity.release(first) == []
    assert capacity.release(first) == []
    assert slots(*reserve(capacity, 2)) == [True, False]


def test_discarding_a_run_that_has_a_slot_leaves_it_its_slot() -> None:
    capacity = Capacity(1)
    (first,) = reserve(capacity, 1)
    capacity.discard(first)
    assert first.has_slot
    assert not capacity.reserve(new_run())


@pytest.mark.parametrize("how", ["discard", "release"])
def test_C9_a_run_that_left_the_line_is_never_launched(how: str) -> None:
    capacity = Capacity(1)
    first, second, third = reserve(capacity, 3)
    for live in (second, third):
        capacity.enqueue(live)
    for _ in range(2):
        assert not getattr(capacity, how)(second)
    assert capacity.release(first) == [third]
    assert slots(first, second, third) == [False, False, True]


def test_several_free_slots_go_to_several_runs_at_once() -> None:
    capacity = Capacity(2)
    first, second, third, fourth = reserve(capacity, 4)
    for live in (first, second):
        assert capacity.release(live) == []
    assert capacity.enqueue(third) == [third]
    assert capacity.enqueue(fourth) == [fourth]


@pytest.mark.parametrize("seed", range(20))
def test_R1_no_slot_is_lost_and_none_given_twice_whatever_happens(seed: int) -> None:
    choose, capacity = random.Random(seed), Capacity(3)
    announced: list[LiveRun] = []
    line: list[LiveRun] = []
    running: list[LiveRun] = []

    def launch(runs: list[LiveRun]) -> None:
        for live in runs:
            assert live is line.pop(0), "first in, first out"
            running.append(live)

    for _ in range(300):
        act = choose.choice(["reserve", "enqueue", "withdraw", "discard", "leave", "release"])
        if act == "reserve":
            live = new_run()
            (running if capacity.reserve(live) else announced).append(live)
        elif act == "enqueue" and announced:
            line.append(live := announced.pop(choose.randrange(len(announced))))
            launch(capacity.enqueue(live))
        elif act == "withdraw" and announced:
            launch(capacity.release(announced.pop(choose.randrange(len(announced)))))
        elif act == "discard" and line:
            capacity.discard(line.pop(choose.randrange(len(line))))
        elif act == "leave" and line:
            launch(capacity.release(line.pop(choose.randrange(len(line)))))
        elif act == "release" and running:
            launch(capacity.release(running.pop(choose.randrange(len(running)))))
        assert all(live.has_slot for live in running)
        assert not any(live.has_slot for live in (*line, *announced))
        assert len(running) <= 3
        assert not line or len(running) == 3, "a slot is free although somebody waits"
        assert capacity.leftovers() == {"line": len(line) + len(announced), "slots": bool(running)}
