"""Jobs that turn on their own task, run, key, context or manager: each has one outcome, and harms no other run."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.insides import active_runs, idle
from tests.load.hostile_functions import OUTCOMES, Work
from tests.support import Puppet, eventually, statuses, turns

from aioruns import (
    ConfigurationError,
    ManagerClosed,
    Run,
    RunFailed,
    RunManager,
    current_run,
    job,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("quick_close")]


class Bystander:
    """Another run, which must not notice."""

    def __init__(self, manager: RunManager) -> None:
        self._manager = manager
        self._puppet = Puppet()

    async def begin(self) -> None:
        self._handle = await self._manager.start_run(self._puppet.job(1), key="bystander")
        await self._puppet.enters(1)

    async def check(self) -> None:
        self._puppet.end(1, "unharmed")
        assert await self._handle == "unharmed"


@pytest_asyncio.fixture
async def bystander(manager: RunManager) -> AsyncIterator[None]:
    """A run that executes beside the hostile one, and is seen to end well behind it."""
    other = Bystander(manager)
    await other.begin()
    yield
    await other.check()


async def play(manager: RunManager, work: Work, **options: Any) -> Run:
    """Run a function under the key ``k`` to its end; the key is free then, and the next run under it does its work."""

    async def hostile() -> Any:
        return await work(manager)

    async def answer() -> int:
        return 42

    async with asyncio.timeout(60):
        run = await (await manager.start_run(hostile(), key="k", **options)).wait()
        assert manager.current_run_id("k") is None
        assert await (await manager.start_run(answer(), key="k")) == 42
    return run


@pytest.mark.usefixtures("bystander")
@pytest.mark.parametrize("work", OUTCOMES, ids=lambda work: work.__name__)
async def test_G5_a_hostile_function_has_one_outcome_and_harms_no_other_run(manager: RunManager, work: Work) -> None:
    run = await play(manager, work)
    status, said = OUTCOMES[work]
    assert run.status == status
    assert (run.error or run.result_json or "").startswith(said)


async def test_E4_a_callback_on_the_runs_own_task_that_raises_harms_nothing(manager: RunManager) -> None:
    async def leave_a_bad_callback(_: RunManager) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: {}[0])

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    assert (await play(manager, leave_a_bad_callback)).status == "completed"
    await eventually(lambda: complaints)
    assert [type(complaint["exception"]) for complaint in complaints] == [KeyError]


# What waits for ever, until somebody cancels it


async def await_its_own_handle(manager: RunManager) -> None:
    await manager.get_handle(current_run().id)


async def read_its_own_events(manager: RunManager) -> None:
    async for _ in manager.stream_events(current_run().id):
        pass


async def join_itself(manager: RunManager) -> None:
    @job(name="joiner")
    async def again() -> None:
        raise AssertionError("a second run has begun")

    await (await manager.start_run(again(), key="k", on_conflict="join"))


@pytest.mark.parametrize(
    "work", [await_its_own_handle, read_its_own_events, join_itself], ids=lambda work: work.__name__
)
async def test_G3_a_run_that_waits_for_itself_waits_until_it_is_cancelled_or_its_time_is_over(
    manager: RunManager, work: Work
) -> None:
    entered = asyncio.Event()

    @job(name="joiner")
    async def wait_for_itself() -> None:
        entered.set()
        await work(manager)

    async with asyncio.timeout(60):
        handle = await manager.start_run(wait_for_itself(), key="k")
        await entered.wait()
        await turns(20)
        assert (await manager.get_run(handle.id)).status == "running"
        await handle.cancel()
        assert (await handle.wait()).status == "cancelled"

        late = await (await manager.start_run(wait_for_itself(), key="k", timeout=0.05)).wait()
        assert (late.status, late.error) == ("failed", "TimeoutError: the run was still executing after 0.05 s")


# The manager, behind its back


async def test_G8_closing_from_inside_in_an_empty_context_interrupts_the_run_that_closes(database: Path) -> None:
    """A task in an empty context is no part of the run: its close is like anybody's."""
    async with RunManager(database, shutdown_grace=0) as manager:

        async def close() -> None:
            await asyncio.get_running_loop().create_task(manager.aclose(), context=contextvars.Context())

        async with asyncio.timeout(60):
            assert (await (await manager.start_run(close(), key="k")).wait()).status == "interrupted"
        with pytest.raises(ManagerClosed):
            await manager.start_run(turns(1))
    assert statuses(database) == {1: "interrupted"}


async def test_G8_a_run_may_close_another_manager(manager: RunManager, tmp_path: Path) -> None:
    other = RunManager(tmp_path / "other.db")
    await other.open()

    async def close() -> None:
        await other.aclose()

    await (await manager.start_run(close()))
    with pytest.raises(ManagerClosed):
        await other.get_run(1)


async def test_G2_tasks_that_a_run_leaves_behind_are_no_part_of_it(manager: RunManager) -> None:
    """The run has ended and its key is free, whatever its tasks do; what they say is told once, and not stored."""
    left: list[asyncio.Task[None]] = []

    async def go_on() -> None:
        while True:
            current_run().log("info", "still here")
            await asyncio.sleep(0)

    async def leave(_: RunManager) -> None:
        left.append(asyncio.create_task(go_on()))
        await turns(3)

    run = await play(manager, leave)
    seq = [event.seq async for event in manager.stream_events(run.id)][-1]
    await turns(20)
    assert not left[0].done()
    assert [event.seq async for event in manager.stream_events(run.id)][-1] == seq
    left[0].cancel()


@pytest.mark.usefixtures("own_runs")
async def test_R1_what_a_run_held_is_free_when_its_handle_is(manager: RunManager) -> None:
    """An exception keeps the frames that it passed, and they keep what was in them: for as long as the handle."""

    class Huge:
        def __init__(self) -> None:
            self.bytes = bytearray(50_000_000)

    held: list[weakref.ref[Huge]] = []

    async def hold() -> None:
        huge = Huge()
        held.append(weakref.ref(huge))
        raise ValueError(len(huge.bytes))

    handle = await manager.start_run(hold())
    with pytest.raises(RunFailed):
        await handle
    assert held[0]() is not None
    del handle
    await idle(manager)
    await eventually(lambda: active_runs() == 0 and held[0]() is None)


async def test_G10_asking_a_thousand_times_to_cancel_costs_nothing_while_the_grace_lasts(
    manager: RunManager,
) -> None:
    asked = 0

    @job(cancel_grace=0.5)
    async def count() -> None:
        nonlocal asked
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked += 1
                if asked == 2:
                    raise

    handle = await manager.start_run(count())
    await turns(5)
    await asyncio.gather(*(handle.cancel() for _ in range(1_000)))
    await eventually(lambda: asked)
    await turns(20)
    assert asked == 1
    await handle.cancel()
    assert (await handle.wait()).status == "cancelled"


async def test_G11_a_run_begins_also_when_no_thread_can_be_started_any_more(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def answer() -> int:
        return 42

    @job
    def answer_in_thread() -> int:
        return 42

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse_start)
        assert await (await manager.start_run(answer())) == 42
        run = await (await manager.start_run(answer_in_thread())).wait()
    assert (run.status, run.error) == ("failed", "RuntimeError: can't start new thread")
    assert await (await manager.start_run(answer_in_thread())) == 42


async def test_a_def_job_in_a_thread_may_run_an_event_loop_of_its_own(manager: RunManager) -> None:
    @job
    def nested() -> list[str]:
        async def inside() -> list[str]:
            context = current_run()
            context.log("info", "from another event loop")
            refused: list[str] = []
            for call in (lambda: manager.get_run(context.id), context.cancel_event.wait):
                try:
                    await call()
                except (RuntimeError, ConfigurationError) as error:
                    refused.append(type(error).__name__)
            return refused

        return asyncio.run(inside())

    handle = await manager.start_run(nested())
    async with asyncio.timeout(60):
        assert await handle == ["RuntimeError", "ConfigurationError"]
    assert [event.data["message"] for event in await manager.read_events(handle.id) if event.kind == "log"] == [
        "from another event loop"
    ]
