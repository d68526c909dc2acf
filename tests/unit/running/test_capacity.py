"""Slots: never more runs than there are slots, first in first out, and no slot is ever lost."""

from __future__ import annotations

import random
from typing import Any

import pytest

from aioruns._running.capacity import Capacity


class Bench:
    """A ``Capacity`` and the runs that it has said to launch."""

    def __init__(self, max_running: int | None) -> None:
        self.launched: list[int] = []
        self.lives: dict[int, Any] = {}
        self.capacity = Capacity(max_running)

    def live(self, run_id: int) -> Any:
        return self.lives.setdefault(run_id, _Live(run_id))

    def reserve(self, run_id: int) -> bool:
        got = self.capacity.reserve(self.live(run_id))
        assert self.live(run_id).has_slot is got
        return got

    def enqueue(self, run_id: int) -> Any:
        self._launch(self.capacity.enqueue(self.live(run_id)))
        return self.live(run_id)

    def release(self, run_id: int) -> None:
        self._launch(self.capacity.release(self.live(run_id)))

    def _launch(self, lives: list[Any]) -> None:
        assert all(live.has_slot for live in lives)
        self.launched += [live.run_id for live in lives]


class _Live:
    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        self.has_slot = False


def test_without_a_limit_there_is_always_a_slot() -> None:
    bench = Bench(None)
    assert all(bench.reserve(run_id) for run_id in range(1000))


def test_there_are_as_many_slots_as_asked_for() -> None:
    bench = Bench(2)
    assert [bench.reserve(run_id) for run_id in range(3)] == [True, True, False]


def test_a_slot_given_back_goes_to_the_run_that_has_waited_longest() -> None:
    bench = Bench(1)
    assert [bench.reserve(run_id) for run_id in (1, 2, 3)] == [True, False, False]
    bench.enqueue(2)
    bench.enqueue(3)
    assert bench.launched == []
    bench.release(1)
    assert bench.launched == [2]
    bench.release(2)
    assert bench.launched == [2, 3]
    bench.release(3)
    assert bench.reserve(4)


def test_nobody_overtakes_a_run_that_waits() -> None:
    bench = Bench(1)
    bench.reserve(1)
    bench.reserve(2)
    bench.release(1)
    assert not bench.reserve(3), "a run that was refused a slot is not in line yet, and comes first"
    bench.enqueue(2)
    assert bench.launched == [2]
    bench.enqueue(3)
    assert bench.launched == [2]
    bench.release(2)
    assert bench.launched == [2, 3]


def test_a_slot_freed_before_the_run_is_in_line_is_taken_when_it_comes() -> None:
    bench = Bench(1)
    bench.reserve(1)
    assert not bench.reserve(2)
    bench.release(1)
    assert bench.enqueue(2).has_slot
    assert bench.launched == [2]


def test_a_run_that_is_not_inserted_holds_nobody_up() -> None:
    bench = Bench(1)
    bench.reserve(1)
    assert not bench.reserve(2)
    bench.release(1)
    bench.release(2)
    assert bench.reserve(3)


def test_C9_a_discarded_run_is_never_launched() -> None:
    bench = Bench(1)
    for run_id in (1, 2, 3):
        bench.reserve(run_id)
    waiting = bench.enqueue(2)
    bench.enqueue(3)
    bench.capacity.discard(waiting)
    bench.capacity.discard(waiting)
    bench.release(1)
    assert bench.launched == [3]


@pytest.mark.parametrize("seed", range(20))
def test_R1_no_slot_is_lost_and_none_given_twice_whatever_happens(seed: int) -> None:
    choose, bench = random.Random(seed), Bench(3)
    announced: list[int] = []
    waiting: list[int] = []
    running: set[int] = set()
    known = 0
    order: list[int] = []
    for step in range(300):
        act = choose.choice(["reserve", "enqueue", "withdraw", "discard", "release"])
        if act == "reserve":
            (running.add if bench.reserve(step) else announced.append)(step)
        elif act == "enqueue" and announced:
            run_id = announced.pop(choose.randrange(len(announced)))
            order.append(run_id)
            waiting.append(run_id)
            bench.enqueue(run_id)
        elif act == "withdraw" and announced:
            bench.release(announced.pop(choose.randrange(len(announced))))
        elif act == "discard" and waiting:
            gone = waiting.pop(choose.randrange(len(waiting)))
            bench.capacity.discard(bench.live(gone))
            order.remove(gone)
        elif act == "release" and running:
            run_id = choose.choice(sorted(running))
            running.discard(run_id)
            bench.release(run_id)
        for run_id in bench.launched[known:]:
            known += 1
            running.add(run_id)
            waiting.remove(run_id)
        assert len(running) <= 3
        assert not waiting or len(running) == 3, "a slot is free although somebody waits"
    assert bench.launched == [run_id for run_id in order if run_id not in waiting]
    for run_id in (*announced, *waiting, *running):
        bench.capacity.discard(bench.live(run_id))
        bench.capacity.release(bench.live(run_id))
    assert not any(bench.capacity.leftovers().values())
