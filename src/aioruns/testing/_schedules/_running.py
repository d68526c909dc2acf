"""``run_schedule`` and ``run_schedules``: run a scenario under one seed, and under many."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from aioruns.testing._schedules._loop import ShuffledEventLoop
from aioruns.testing._schedules._threadless import threadless
from aioruns.testing._schedules._waiting import Deadlock

__all__ = ["Scenario", "run_schedule", "run_schedules"]

T = TypeVar("T")
Scenario = Callable[[random.Random], Coroutine[Any, Any, T]]


def run_schedule(scenario: Scenario[T], seed: int) -> T:
    """Run a scenario without threads in the order of a seed, and return what it returns.

    Args:
        scenario: Called with random numbers of the same seed.
        seed: Determines the order.

    Raises:
        Deadlock: The scenario can never end.
        Exception: Whatever the scenario, or a callback of the event loop, raised.
    """
    unhandled: list[dict[str, Any]] = []

    def note(_: object, context: dict[str, Any]) -> None:
        unhandled.append(context)

    loop = ShuffledEventLoop(seed)
    loop.set_exception_handler(note)
    collecting = gc.isenabled()
    gc.disable()  # it would run finalizers at moments that the seed does not decide
    try:
        with threadless(), asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                result = runner.run(scenario(random.Random(seed)))
            except BaseException:
                with contextlib.suppress(Deadlock):  # the scenario's clean-up may fail for the same reason
                    runner.close()
                raise
    finally:
        if collecting:
            gc.enable()
    for context in unhandled:
        raise context.get("exception") or RuntimeError(context["message"])
    return result


def run_schedules(scenario: Scenario[object], seeds: Iterable[int]) -> int:
    """Run a scenario under many seeds, and return the number of seeds.

    Raises:
        Exception: The first failure, with a note that names the seed and the line that replays it.
    """
    count = 0
    for seed in seeds:
        try:
            run_schedule(scenario, seed)
        except BaseException as error:
            name = getattr(scenario, "__name__", repr(scenario))
            error.add_note(f"This was schedule {seed}. It is replayed by: run_schedule({name}, {seed})")
            raise
        count += 1
    return count
