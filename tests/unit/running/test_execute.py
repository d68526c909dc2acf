"""The executor: how a function's end is classified, and what of it is stored."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.streams import within
from tests.support import eventually, now_micros, turns
from tests.unit.running.executor_on_fake_store import (
    ENDED,
    FENCE,
    ExecutorOnFakeStore,
    gives,
    raises,
    row,
    said,
    says_and_gives,
    task_of,
    thread_of,
    waits,
)

from aioruns import StoreUnavailable, job
from aioruns._running.live import Phase, Why

pytestmark = pytest.mark.asyncio


# What is stored


async def test_an_end_is_stored_with_the_result_and_what_was_said_last_and_then_told() -> None:
    fake = ExecutorOnFakeStore()
    live = fake.launch(says_and_gives([1]))
    ending = await fake.ended(live)
    assert (ending.status, ending.result_json, ending.error, ending.traceback) == ("completed", "[1]", None, None)
    assert (ending.cancel_requested_at, ending.cancel_reason) == (None, None)
    assert abs(ending.at - now_micros()) < 60_000_000
    assert "hello" in said(ending)
    assert fake.calls == [("finish", FENCE)]
    assert fake.told == ENDED
    assert (live.run.status, live.attempt.over, live.outcome()) == ("completed", True, live.run)
    assert not task_of(live).cancelled()


async def test_the_task_of_a_run_has_its_id_in_its_name_and_so_has_its_thread() -> None:
    @job
    def name_of_thread() -> str:
        return threading.current_thread().name

    async def name_of_task() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    fake = ExecutorOnFakeStore()
    for call in (name_of_task(), name_of_thread()):
        ending = await fake.ended(fake.launch(call))
        assert ending.result_json == '"aioruns-run-7"'


async def test_G9_a_run_has_the_variables_it_was_given_and_no_others() -> None:
    given, other = contextvars.ContextVar("given", default="-"), contextvars.ContextVar("other", default="-")
    given.set("theirs")
    other.set("theirs")

    async def look() -> list[str]:
        return [given.get(), other.get()]

    fake = ExecutorOnFakeStore()
    ending = await fake.ended(fake.launch(look(), values=[(given, "ours")]))
    assert ending.result_json == '["ours","-"]'


async def test_E2_a_failure_is_stored_with_its_traceback() -> None:
    fake = ExecutorOnFakeStore()
    ending = await fake.ended(fake.launch(raises(ValueError("no such thing"))))
    assert (ending.status, ending.error) == ("failed", "ValueError: no such thing")
    assert "in raises" in str(ending.traceback)
    assert ending.result_json is None


async def test_E3_what_a_function_raised_is_redacted_by_the_managers_own_rule_wherever_it_is_shown() -> None:
    def redact(text: str) -> str:
        return text.replace("hunter2", "***")

    async def tells(cancelled: bool) -> None:
        try:
            await asyncio.sleep(0)
            if cancelled:
                await asyncio.Event().wait()
        finally:
            raise ValueError("my password is hunter2")

    fake = ExecutorOnFakeStore(redact=redact)
    ending = await fake.ended(fake.launch(tells(False)))
    assert ending.error == "ValueError: my password is ***"
    assert "hunter2" not in str(ending.traceback)
    assert "in tells" in str(ending.traceback)
    live = fake.launch(tells(True))
    await turns(3)
    live.request_cancel(at=1, reason=None)
    warning = said(await fake.ended(live))
    assert "ValueError: my password is ***" in warning
    assert "in tells" in warning
    assert "hunter2" not in warning


async def test_a_result_that_cannot_be_stored_is_named_and_fails_the_run() -> None:
    fake = ExecutorOnFakeStore()
    live = fake.launch(gives(object()))
    ending = await fake.ended(live)
    assert (ending.status, ending.result_json) == ("failed", None)
    assert "the result of run 7" in str(ending.error)
    assert live.attempt.error is not None


async def test_N3_a_cancellation_that_nobody_asked_for_fails_the_run_and_says_so() -> None:
    fake = ExecutorOnFakeStore()
    live = fake.launch(waits())
    await turns(3)
    task_of(live).cancel()
    ending = await fake.ended(live)
    assert ending.status == "failed"
    assert ending.error == "CancelledError: the task was cancelled, and not through cancel_run"
    assert "in waits" in str(ending.traceback)


async def test_C5_a_cancel_is_stored_with_its_time_and_reason_and_without_an_error() -> None:
    fake = ExecutorOnFakeStore()
    live = fake.launch(waits())
    await turns(3)
    live.request_cancel(at=123, reason="enough")
    ending = await fake.ended(live)
    assert (ending.status, ending.error, ending.traceback) == ("cancelled", None, None)
    assert (ending.cancel_requested_at, ending.cancel_reason) == (123, "enough")
    assert said(ending) == ""


async def test_what_a_cancelled_function_raised_instead_is_kept_as_a_warning() -> None:
    async def breaks() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("in the clean-up")

    fake = ExecutorOnFakeStore()
    live = fake.launch(breaks())
    await turns(3)
    live.request_cancel(at=123, reason=None)
    ending = await fake.ended(live)
    assert (ending.status, ending.error, ending.traceback) == ("cancelled", None, None)
    (event,) = ending.events
    assert event.kind == "log"
    assert '"level":"warning"' in event.data
    assert "asked to end, the function raised KeyError: 'in the clean-up'" in event.data
    assert "in breaks" in event.data


@pytest.mark.parametrize("how", ["interrupted", "torn"])
async def test_G8_an_end_by_closing_is_interrupted_and_says_so(how: str) -> None:
    fake = ExecutorOnFakeStore()
    live = fake.launch(waits())
    await turns(3)
    if how == "interrupted":
        live.attempt.ask_to_end(Why.CLOSING)
    else:
        fake.state.keeper = keeper = asyncio.create_task(waits())
        keeper.cancel()  # the teardown of the event loop cancels all tasks in one turn
        task_of(live).cancel()
    ending = await fake.ended(live)
    assert (ending.status, ending.error) == ("interrupted", "the manager was closed before the run ended")
    assert ending.traceback is None


async def test_an_error_of_its_own_while_the_manager_stops_is_the_runs_failure() -> None:
    fake = ExecutorOnFakeStore()

    async def work() -> None:
        fake.state.closing = True
        raise ValueError("mine")

    ending = await fake.ended(fake.launch(work()))
    assert (ending.status, ending.error) == ("failed", "ValueError: mine")


async def test_G8_a_run_whose_row_comes_back_while_the_manager_stops_does_not_begin() -> None:
    """All runs may have been asked to end by then, and nobody would ask this one."""
    fake = ExecutorOnFakeStore()
    fake.state.closing = True
    ending = await fake.ended(fake.launch(raises(ValueError("it has begun"))))
    assert (ending.status, ending.error) == ("interrupted", "the manager was closed before the run ended")


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_time_out_names_the_time_and_keeps_where_the_function_was(swallows: bool) -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if swallows:
                raise KeyError("in the clean-up") from None
            raise

    fake = ExecutorOnFakeStore()
    live = fake.launch(work(), stored=row(timeout=0.01))
    ending = await fake.ended(live)
    assert (ending.status, ending.error) == ("failed", "TimeoutError: the run was still executing after 0.01 s")
    assert "in work" in str(ending.traceback)
    assert isinstance(live.attempt.error, TimeoutError)
    assert isinstance(live.attempt.error.__cause__, KeyError) is swallows


async def test_E5_an_exception_that_leaves_no_way_out_of_the_task_fails_the_run() -> None:
    fake = ExecutorOnFakeStore()
    ending = await fake.ended(fake.launch(raises(GeneratorExit())))
    assert (ending.status, ending.error) == ("failed", "RuntimeError: the function raised GeneratorExit")


# Runs that never begin


async def test_a_run_that_was_asked_to_end_before_it_began_never_begins() -> None:
    entered: list[str] = []

    async def never() -> None:
        entered.append("entered")

    fake = ExecutorOnFakeStore()
    live = fake.live(never())
    live.request_cancel(at=1, reason=None)
    fake.executor.begin(live)
    assert (await fake.ended(live)).status == "cancelled"
    assert entered == []


async def test_N1_a_run_whose_task_is_cancelled_before_its_first_step_ends() -> None:
    fake = ExecutorOnFakeStore(StoreUnavailable("away"))
    live = fake.launch(waits())
    task_of(live).cancel()
    await eventually(lambda: fake.calls)
    live.request_cancel(at=1, reason="too late")
    assert live.cancel_requested_at is None
    ending = await fake.ended(live)
    assert ending.status == "failed"
    assert task_of(live).cancelled()
    assert fake.told == ENDED


async def test_N1_a_run_that_was_ended_is_left_alone_when_its_task_is_cancelled_before_its_first_step() -> None:
    fake = ExecutorOnFakeStore()
    live = fake.launch(gives())
    fake.executor.withdraw(live, row("cancelled"))
    task_of(live).cancel()
    await asyncio.wait((task_of(live),))
    await turns(5)
    assert fake.calls == []
    assert fake.told == ENDED


@pytest.mark.parametrize("number", range(3))
async def test_R1_of_a_task_that_takes_its_first_step_nothing_is_kept_but_the_run(number: int) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    fake = ExecutorOnFakeStore()
    live = fake.launch(gives())
    assert fake.executor.leftovers()["launched"] == 1
    await turns(number)
    task_of(live).cancel()
    await fake.ended(live)
    await turns(2)
    assert fake.leftovers() == {}
    assert fake.told == ENDED
    assert complaints == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@pytest.mark.parametrize("call", [gives, lambda: says_and_gives(1), waits], ids=["gives", "says", "waits"])
async def test_R1_of_an_eager_task_nothing_is_kept_but_the_run(call: Callable[[], Any]) -> None:
    fake = ExecutorOnFakeStore()
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    live = fake.launch(call())
    assert live.attempt.phase in (Phase.EXECUTING, Phase.OVER)
    assert fake.executor.leftovers()["launched"] == 0
    live.request_cancel(at=1, reason=None)
    await fake.ended(live)
    assert fake.told == ENDED


async def test_a_run_that_was_ended_between_its_launch_and_its_first_step_is_left_alone() -> None:
    fake = ExecutorOnFakeStore()
    live = fake.launch(waits())
    fake.executor.withdraw(live, row("cancelled"))
    await within(60, task_of(live))
    assert fake.calls == []
    assert fake.told == ENDED


# Threads


async def test_G8_a_thread_that_outlasts_its_event_loop_ends_nothing() -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    @job
    def stays() -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(timeout=60)

    fake = ExecutorOnFakeStore()
    live = fake.launch(stays())
    thread = await eventually(lambda: thread_of(live))
    task_of(live).cancel()
    await turns(5)
    assert live.attempt.cancel_event.is_set()
    assert not task_of(live).done(), "the thread may still end in time"
    fake.executor.give_up()
    await within(60, asyncio.wait((task_of(live),)))
    assert not live.attempt.over
    assert (fake.calls, fake.told) == ([], [])
    gate.set()
    await within(60, thread.ended)


async def test_a_thread_that_ends_in_time_ends_its_run_although_its_task_was_cancelled() -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    @job
    def stays() -> int:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(timeout=60)
        return 5

    fake = ExecutorOnFakeStore()
    live = fake.launch(stays())
    await eventually(lambda: thread_of(live))
    task_of(live).cancel()
    await turns(5)
    gate.set()
    ending = await fake.ended(live)
    assert (ending.status, ending.result_json) == ("completed", "5")


async def test_giving_up_does_not_leave_a_thread_that_nobody_tears(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    @job
    def stays() -> int:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(timeout=60)
        return 5

    fake = ExecutorOnFakeStore()
    live = fake.launch(stays())
    await eventually(lambda: thread_of(live))
    fake.executor.give_up()
    waits_begun = 0
    wait = asyncio.wait

    async def count(*args: Any, **options: Any) -> Any:
        nonlocal waits_begun
        waits_begun += 1
        return await wait(*args, **options)

    monkeypatch.setattr(asyncio, "wait", count)
    await turns(20)
    assert waits_begun == 0, "the thread is waited for, not polled"
    gate.set()
    assert (await fake.ended(live)).status == "completed"
