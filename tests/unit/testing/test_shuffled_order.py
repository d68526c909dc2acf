"""The order that is drawn from a seed: what is shuffled, what is not, and that a seed always gives the same."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aioruns.testing import ShuffledEventLoop


def run(main: Coroutine[Any, Any, Any], seed: int = 0, **options: Any) -> Any:
    with asyncio.Runner(loop_factory=lambda: ShuffledEventLoop(seed, **options)) as runner:
        return runner.run(main)


def here() -> ShuffledEventLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShuffledEventLoop)
    return loop


def orders(program: Callable[[list[str]], Coroutine[Any, Any, Any]], seeds: int = 300) -> set[str]:
    """Run a program under many seeds, and give the orders in which it said things."""
    found: set[str] = set()
    for seed in range(seeds):
        said: list[str] = []
        run(program(said), seed)
        found.add("".join(said))
    return found


PERMUTATIONS = {"".join(order) for order in itertools.permutations("abc")}


def test_new_tasks_begin_in_every_order() -> None:
    async def program(said: list[str]) -> None:
        async def say(what: str) -> None:
            said.append(what)

        await asyncio.gather(*map(say, "abc"))

    assert orders(program) == PERMUTATIONS


def test_woken_tasks_go_on_in_every_order() -> None:
    async def program(said: list[str]) -> None:
        event = asyncio.Event()

        async def say(what: str) -> None:
            await event.wait()
            said.append(what)

        async with asyncio.TaskGroup() as tasks:
            for what in "abc":
                tasks.create_task(say(what))
            await asyncio.sleep(1)
            event.set()

    assert orders(program) == PERMUTATIONS


def test_timers_that_are_due_at_once_fire_in_every_order() -> None:
    async def program(said: list[str]) -> None:
        for what, delay in (("a", 0.3), ("b", 0.1 + 0.2), ("c", 0.3)):
            here().call_later(delay, said.append, what)
        await asyncio.sleep(1)

    assert orders(program) == PERMUTATIONS


def test_callbacks_that_one_task_schedules_keep_their_order() -> None:
    async def program(said: list[str]) -> None:
        async def schedule(*what: str) -> None:
            for one in what:
                here().call_soon(said.append, one)

        await asyncio.gather(schedule("a", "b"), schedule("x", "y"))
        await asyncio.sleep(1)

    assert orders(program) == {"abxy", "axby", "axyb", "xaby", "xayb", "xyab"}


def test_a_task_may_stand_still_while_another_takes_many_turns() -> None:
    async def program(said: list[str]) -> None:
        async def turn(times: int, what: str) -> None:
            for _ in range(times):
                await asyncio.sleep(0)
            said.append(what)

        await asyncio.gather(turn(50, "a"), turn(1, "b"))

    assert orders(program) == {"ab", "ba"}


def test_callbacks_of_a_thread_keep_their_order() -> None:
    async def program(said: list[str]) -> None:
        loop = here()

        def schedule() -> None:
            for what in "abc":
                loop.call_soon_threadsafe(said.append, what)

        with ThreadPoolExecutor() as executor:
            await loop.run_in_executor(executor, schedule)
        await asyncio.sleep(1)

    assert orders(program, seeds=20) == {"abc"}


def test_functions_for_threads_are_called_in_turns_of_their_own() -> None:
    async def program(said: list[str]) -> None:
        def fail() -> None:
            raise LookupError("as asked")

        async def call(what: str) -> None:
            assert await asyncio.to_thread(lambda: said.append(what) or what) == what

        await asyncio.gather(*map(call, "abc"))
        with pytest.raises(LookupError, match="as asked"):
            await here().run_in_executor(None, fail)
        cancelled = here().run_in_executor(None, said.append, "never")
        cancelled.cancel()

    assert orders(program) == PERMUTATIONS


PROGRAM = """
import asyncio, sys
import pytest

from aioruns.testing import ShuffledEventLoop

def trace(seed):
    said = []
    async def work(number):
        try:
            for turn in range(number % 4):
                await asyncio.sleep(turn / 10)
                said.append(f"{number}.{turn}")
            await asyncio.sleep(9)
        finally:
            said.append(f"{number} ends")
    async def main():
        asyncio.get_running_loop().on_step = said.append
        tasks = {asyncio.create_task(work(number)) for number in range(20)}
        await asyncio.sleep(0.2)
        for task in tasks:  # in the order of addresses, which differs from process to process
            task.cancel()
        await asyncio.wait(tasks)
    with asyncio.Runner(loop_factory=lambda: ShuffledEventLoop(seed)) as runner:
        runner.run(main())
    return " ".join(said)

for seed in range(20):
    print(trace(seed))
"""


def test_a_seed_gives_the_same_order_in_every_process() -> None:
    def traces(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
        ).stdout

    first = traces("1")
    assert len(set(first.splitlines())) == 20
    assert traces("2") == first
