"""An event loop like any other, but for its time, its deadlocks, its threads, and cancels at a chosen await."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from aioruns.testing import Deadlock, ShuffledEventLoop
from aioruns.testing._schedules import _loop


def run(main: Coroutine[Any, Any, Any], seed: int = 0, **options: Any) -> Any:
    with asyncio.Runner(loop_factory=lambda: ShuffledEventLoop(seed, **options)) as runner:
        return runner.run(main)


def here() -> ShuffledEventLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShuffledEventLoop)
    return loop


def test_time_passes_when_nothing_is_ready() -> None:
    async def main() -> None:
        loop = here()
        assert loop.time() == 0
        await asyncio.sleep(3600)
        assert loop.time() == 3600
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.Event().wait()
        assert loop.time() == 3600.1
        for _ in range(1000):
            await asyncio.sleep(0)
        assert loop.time() == 3600.1

    run(main(), time_limit=10_000)


def test_a_timer_that_is_cancelled_does_not_fire() -> None:
    async def main() -> None:
        loop = here()
        fired: list[int] = []
        loop.call_later(1, fired.append, 1).cancel()
        timer = loop.call_later(2, fired.append, 2)
        loop.call_at(-5, fired.append, 3)
        await asyncio.sleep(1)
        timer.cancel()
        await asyncio.sleep(5)
        assert fired == [3]

    run(main())


def test_a_deadlock_tells_where_each_task_waits() -> None:
    async def wait_for_ever(lock: asyncio.Lock) -> None:
        async with lock:
            pass

    async def main() -> None:
        lock = asyncio.Lock()
        await lock.acquire()
        task = asyncio.create_task(wait_for_ever(lock), name="the second")
        await task

    with pytest.raises(Deadlock) as caught:
        run(main())
    what, first, second = str(caught.value).splitlines()
    assert what == "nothing is ready, and no timer is set; these tasks wait:"
    assert first.startswith("  Task-1 in test_a_deadlock_tells_where_each_task_waits.<locals>.main, at ")
    assert first.endswith(": await task")
    assert second.startswith("  the second in test_a_deadlock_tells_where_each_task_waits.<locals>.wait_for_ever, at ")
    assert second.endswith(": async with lock:")


def test_what_takes_longer_than_the_limit_of_time_is_a_deadlock() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(1)

    with pytest.raises(Deadlock, match=r"(?s)20 s of virtual time are over.*await asyncio.sleep\(1\)"):
        run(main(), time_limit=20)


def test_going_round_in_circles_is_a_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    monkeypatch.setattr(_loop, "AT_ONCE", 1000)
    with pytest.raises(Deadlock, match="1,000 callbacks have run while time stood still"):
        run(main())


@pytest.mark.parametrize("number", range(6))
def test_a_task_is_cancelled_at_exactly_its_nth_await(number: int) -> None:
    reached = [0]

    async def inner() -> None:
        for turn in (2, 3):
            await asyncio.sleep(0)
            reached.append(turn)

    async def outer() -> None:
        await asyncio.sleep(5)
        reached.append(1)
        await inner()
        await asyncio.create_task(asyncio.sleep(0))
        reached.append(4)

    async def main() -> None:
        task = asyncio.create_task(outer())
        here().cancel_at(task, number)
        await asyncio.wait((task,))
        assert task.cancelled() == (number <= 4)
        assert here().awaits(task) == min(number, 4)
        assert reached == list(range(max(1, min(number, 5))))
        with pytest.raises(ValueError, match="has waited"):
            here().cancel_at(task, -1)

    for seed in range(5):
        del reached[1:]
        run(main(), seed)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("number", range(1, 4))
def test_an_eager_task_is_cancelled_at_exactly_its_nth_await(number: int) -> None:
    async def wait() -> None:
        for _ in range(2):
            await asyncio.sleep(0)

    async def main() -> None:
        here().set_task_factory(vars(asyncio)["eager_task_factory"])
        task = here().create_task(wait())
        assert here().awaits(task) == 1
        here().cancel_at(task, number)
        await asyncio.wait((task,))
        assert task.cancelled() == (number <= 2)
        assert here().awaits(task) == min(number, 2)

    run(main())


def test_a_task_that_waits_for_the_nth_time_is_cancelled_there() -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(5))
        await asyncio.sleep(1)
        here().cancel_at(task, 1)
        await asyncio.wait((task,))
        assert task.cancelled()
        assert here().time() == 1

    run(main())


def test_time_stands_still_while_an_executor_is_at_work() -> None:
    async def main() -> None:
        loop = here()
        with ThreadPoolExecutor() as executor:
            async with asyncio.timeout(0.001):
                assert await loop.run_in_executor(executor, sum, range(1_000_000)) == 499999500000
        assert loop.time() == 0

    run(main())


def test_a_default_executor_cannot_be_set() -> None:
    async def main() -> None:
        with ThreadPoolExecutor() as executor, pytest.raises(NotImplementedError):
            here().set_default_executor(executor)

    run(main())


async def forever(ended: list[str], name: str) -> AsyncIterator[int]:
    try:
        for number in itertools.count():
            yield number
    finally:
        await asyncio.sleep(0)
        ended.append(name)


def test_asynchronous_generators_are_closed_when_dropped_and_at_the_end() -> None:
    ended: list[str] = []
    kept = []

    async def main() -> None:
        async for _ in forever(ended, "dropped"):
            break
        await asyncio.sleep(1)
        assert ended == ["dropped"]
        kept.append(forever(ended, "kept"))
        await anext(kept[0])

    run(main())
    assert ended == ["dropped", "kept"]


def test_an_error_in_a_callback_goes_to_the_exception_handler(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop = here()
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)
        assert "ZeroDivisionError" in caplog.text
        seen: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: seen.append(context))
        assert loop.get_exception_handler() is not None
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)
        assert isinstance(seen[0]["exception"], ZeroDivisionError)
        loop.set_exception_handler(lambda _, context: context["nothing"])
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)
        assert "Unhandled error in exception handler" in caplog.text

    run(main())


def test_a_task_factory_makes_the_tasks() -> None:
    made: list[asyncio.Task[Any]] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(asyncio.Task(coro, loop=loop, **options))
        return made[-1]

    async def main() -> None:
        here().set_task_factory(factory)
        assert here().get_task_factory() is factory
        task = here().create_task(asyncio.sleep(0), name="given")
        assert made == [task]
        assert task.get_name() == "given"
        await task

    run(main())


def test_it_is_closed_and_runs_as_any_event_loop() -> None:
    loop = ShuffledEventLoop()
    assert not loop.is_running()

    async def main() -> str:
        assert loop.is_running()
        with pytest.raises(RuntimeError, match="running"):
            loop.run_forever()
        with pytest.raises(RuntimeError, match="running"):
            loop.close()
        return "done"

    assert loop.run_until_complete(main()) == "done"
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(loop.create_future())
    loop.set_debug(True)
    assert loop.get_debug()
    loop.close()
    assert loop.is_closed()
    assert repr(loop) == "<ShuffledEventLoop at 0 s, closed>"
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)
    coroutine = main()
    with pytest.raises(RuntimeError, match="closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_what_leaves_a_task_as_a_base_exception_leaves_the_event_loop() -> None:
    async def main() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(main())


def test_a_stopped_event_loop_runs_what_was_ready_first() -> None:
    for seed in range(50):
        loop, ran = ShuffledEventLoop(seed), list[int]()
        for number in range(5):
            loop.call_later(0, ran.append, number)
        loop.stop()
        loop.run_forever()
        assert sorted(ran) == [0, 1, 2, 3, 4]
        loop.close()


def test_locks_are_fair_and_queues_are_in_order() -> None:
    async def main() -> None:
        lock, queue = asyncio.Lock(), asyncio.Queue[int](maxsize=2)
        waiting: list[int] = []
        served: list[int] = []

        async def acquire(number: int) -> None:
            waiting.append(number)
            async with lock:
                served.append(number)
                await asyncio.sleep(0)

        async def put() -> None:
            for number in range(9):
                await queue.put(number)

        async with asyncio.TaskGroup() as tasks:
            await lock.acquire()
            for number in range(9):
                tasks.create_task(acquire(number))
            tasks.create_task(put())
            assert [await queue.get() for _ in range(9)] == list(range(9))
            await asyncio.sleep(1)
            lock.release()
        assert served == waiting

    for seed in range(100):
        run(main(), seed)


def test_scopes_of_anyio_work() -> None:
    async def main() -> None:
        cleaned: list[int] = []

        async def work(number: int) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1)
                cleaned.append(number)

        with anyio.move_on_after(5) as scope:
            async with anyio.create_task_group() as tasks:
                for number in range(3):
                    tasks.start_soon(work, number)
        assert scope.cancelled_caught
        assert sorted(cleaned) == [0, 1, 2]
        assert here().time() == 6

    for seed in range(100):
        run(main(), seed)


def test_a_trace_names_tasks_and_functions() -> None:
    steps: list[str] = []

    async def main() -> None:
        here().on_step = steps.append
        await asyncio.create_task(asyncio.sleep(1), name="sleeper")
        here().on_step = None
        await asyncio.sleep(1)

    run(main())
    assert steps == ["sleeper", "_set_result_unless_cancelled", "sleeper", "Task-1"]
