"""Slots: never more runs than there are slots, first in first out, and no slot is ever lost."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from aioruns._running.capacity import Capacity


class Bench:
    """A ``Capacity`` and what it has launched."""

    def __init__(self, max_running: int | None) -> None:
        self.launched: list[int] = []
        self.unfit: set[int] = set()
        self.failed: dict[int, BaseException] = {}
        self.capacity = Capacity(max_running, launch=self._launch, fail=self._fail)

    def _launch(self, active: Any) -> None:
        assert active.has_slot
        if active.run.id in self.unfit:
            raise MemoryError("no room for a task")
        self.launched.append(active.run.id)

    def _fail(self, active: Any, error: BaseException) -> None:
        self.failed[active.run.id] = error

    def enqueue(self, run_id: int) -> Any:
        active = SimpleNamespace(run=SimpleNamespace(id=run_id), has_slot=False)
        self.capacity.enqueue(active)  # pyright: ignore[reportArgumentType]
        return active


def test_without_a_limit_there_is_always_a_slot() -> None:
    capacity = Bench(None).capacity
    assert all(capacity.reserve() for _ in range(1000))


def test_there_are_as_many_slots_as_asked_for() -> None:
    capacity = Bench(2).capacity
    assert [capacity.reserve() for _ in range(3)] == [True, True, False]


def test_a_slot_given_back_goes_to_the_run_that_has_waited_longest() -> None:
    bench = Bench(1)
    assert [bench.capacity.reserve() for _ in range(3)] == [True, False, False]
    bench.enqueue(2)
    bench.enqueue(3)
    assert bench.launched == []
    bench.capacity.release()
    assert bench.launched == [2]
    bench.capacity.release()
    assert bench.launched == [2, 3]
    bench.capacity.release()
    assert bench.capacity.reserve()


def test_nobody_overtakes_a_run_that_waits() -> None:
    bench = Bench(1)
    bench.capacity.reserve()
    bench.capacity.reserve()
    bench.capacity.release()
    assert not bench.capacity.reserve(), "a run that was refused a slot is not in line yet, and comes first"
    bench.enqueue(2)
    assert bench.launched == [2]
    bench.enqueue(3)
    assert bench.launched == [2]
    bench.capacity.release()
    assert bench.launched == [2, 3]


def test_a_slot_freed_before_the_run_is_in_line_is_taken_when_it_comes() -> None:
    bench = Bench(1)
    bench.capacity.reserve()
    assert not bench.capacity.reserve()
    bench.capacity.release()
    assert bench.enqueue(2).has_slot
    assert bench.launched == [2]


def test_a_run_that_is_not_inserted_holds_nobody_up() -> None:
    bench = Bench(1)
    bench.capacity.reserve()
    assert not bench.capacity.reserve()
    bench.capacity.release()
    bench.capacity.withdraw()
    assert bench.capacity.reserve()


def test_C9_a_discarded_run_is_never_launched() -> None:
    bench = Bench(1)
    for _ in range(3):
        bench.capacity.reserve()
    waiting = bench.enqueue(2)
    bench.enqueue(3)
    bench.capacity.discard(waiting)
    bench.capacity.discard(waiting)
    bench.capacity.release()
    assert bench.launched == [3]


def test_S2_a_launch_that_fails_is_the_fault_of_that_run_alone() -> None:
    bench = Bench(1)
    bench.unfit.add(2)
    for _ in range(3):
        bench.capacity.reserve()
    for run_id in (2, 3):
        bench.enqueue(run_id)
    bench.capacity.release()
    assert repr(bench.failed) == "{2: MemoryError('no room for a task')}"
    bench.capacity.release()  # of the run that has failed
    assert bench.launched == [3]


@pytest.mark.parametrize("seed", range(20))
def test_R1_no_slot_is_lost_and_none_given_twice_whatever_happens(seed: int) -> None:
    choose, bench = random.Random(seed), Bench(3)
    announced, waiting, running, known = 0, {}, 0, 0
    order: list[int] = []
    for step in range(300):
        act = choose.choice(["reserve", "enqueue", "withdraw", "discard", "release"])
        if act == "reserve":
            got = bench.capacity.reserve()
            running, announced = running + got, announced + (not got)
        elif act == "enqueue" and announced:
            announced -= 1
            order.append(step)
            waiting[step] = bench.enqueue(step)
        elif act == "withdraw" and announced:
            announced -= 1
            bench.capacity.withdraw()
        elif act == "discard" and waiting:
            bench.capacity.discard(waiting.pop(gone := choose.choice(list(waiting))))
            order.remove(gone)
        elif act == "release" and running:
            running -= 1
            bench.capacity.release()
        for run_id in bench.launched[known:]:
            known += 1
            running += 1
            del waiting[run_id]
        assert running <= 3
        assert not waiting or running == 3, "a slot is free although somebody waits"
    assert bench.launched == [run_id for run_id in order if run_id not in waiting]
