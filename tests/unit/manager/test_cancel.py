"""Cancelling: intent is recorded, the function really ends, and only then the run is cancelled."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bounds import patch_bounds
from tests.insides import REGISTER
from tests.support import Puppet, eventually, hold_call, rows, statuses, turns

from aioruns import (
    Run,
    RunAlreadyFinished,
    RunCancelled,
    RunConflict,
    RunHandle,
    RunManager,
    RunNotFound,
    current_run,
    job,
)
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


@pytest.fixture
def report_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a function that does not end be reported at once."""
    patch_bounds(monkeypatch, report_after=0.01)


async def warnings_of(manager: RunManager, handle: RunHandle[Any]) -> list[dict[str, Any]]:
    events = await manager.read_events(handle.id)
    return [event.data for event in events if event.kind == "log" and event.data["level"] == "warning"]


async def test_C1_cancelling_one_run_never_touches_another(manager: RunManager, database: Path) -> None:
    puppet = Puppet()
    handles = [await manager.start_run(puppet.job(part), key=f"k{part}") for part in range(5)]
    await puppet.enters(4)
    await handles[2].cancel()
    await handles[2].wait()
    await turns(20)
    assert statuses(database) == {1: "running", 2: "running", 3: "cancelled", 4: "running", 5: "running"}
    assert puppet.asked == [2]
    assert [manager.current_run_id(f"k{part}") for part in range(5)] == [1, 2, None, 4, 5]


async def test_C2_two_runs_of_one_job_never_exchange_ids_logs_or_signals(manager: RunManager) -> None:
    may_look = asyncio.Event()

    @job
    async def tell(name: str) -> tuple[int, str | None, bool]:
        await may_look.wait()
        ctx = current_run()
        ctx.log("info", name)
        return ctx.id, ctx.key, ctx.cancel_requested

    handles = {name: await manager.start_run(tell(name), key=name) for name in ("a", "b", "c")}
    await turns(5)
    await handles["b"].cancel()
    may_look.set()
    for name in ("a", "c"):
        assert await handles[name] == (handles[name].id, name, False)
        events = await manager.read_events(handles[name].id)
        assert [event.data["message"] for event in events if event.kind == "log"] == [name]
        assert {event.run_id for event in events} == {handles[name].id}
    assert (await handles["b"].wait()).status == "cancelled"


async def test_C4_a_function_that_returns_after_the_request_is_completed(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.stubborn(1))
    await puppet.enters(1)
    await handle.cancel(reason="please")
    puppet.end(1, "finished work")
    assert await handle == "finished work"
    run = await handle.wait()
    assert (run.status, run.error, run.cancel_reason) == ("completed", None, "please")
    assert run.cancel_requested_at is not None


async def test_C5_a_cooperative_cancel_is_cancelled_with_a_null_error(manager: RunManager, database: Path) -> None:
    entered: list[int] = []

    @job
    async def cooperates() -> None:
        ctx = current_run()
        entered.append(ctx.id)
        await ctx.cancel_event.wait()
        ctx.raise_if_cancelled()

    @job
    def cooperates_in_a_thread() -> None:
        ctx = current_run()
        entered.append(ctx.id)
        assert ctx.wait_cancelled(timeout=60)
        ctx.raise_if_cancelled()

    for call in (cooperates(), cooperates_in_a_thread()):
        handle = await manager.start_run(call)
        await eventually(lambda handle=handle: handle.id in entered)
        assert (await handle.cancel(reason="enough")).status == "cancelling"
        with pytest.raises(RunCancelled, match="was cancelled: enough"):
            await handle
    for row in rows(database):
        assert (row["status"], row["error"], row["traceback"], row["result"]) == ("cancelled", None, None, None)
        assert row["cancel_requested_at"] <= row["finished_at"]


@pytest.mark.parametrize("kind", ["job", "stubborn", "threaded"])
async def test_C5_a_run_that_is_cancelled_before_its_function_was_entered_never_enters_it(
    manager: RunManager, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name = REGISTER
    register, cancels = getattr(place, name), list[asyncio.Task[Run]]()

    def register_and_cancel(registry: Any, live: Any) -> None:
        register(registry, live)
        cancels.append(asyncio.create_task(manager.cancel_run(live.run.id, reason="at once")))

    monkeypatch.setattr(place, name, register_and_cancel)
    puppet = Puppet()
    handle = await manager.start_run(getattr(puppet, kind)(1))
    assert (await cancels[0]).status in ("cancelling", "cancelled")  # whichever is stored by then
    run = await handle.wait()
    assert (run.status, run.cancel_reason, run.error) == ("cancelled", "at once", None)
    assert [event.data["status"] async for event in handle.events()] == ["running", "cancelling", "cancelled"]
    assert puppet.entered == []


async def test_C6_cancel_interrupts_a_pending_await(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    run = await manager.cancel_run(handle.id)
    assert run.status == "cancelling"
    assert (await handle.wait()).status == "cancelled"
    assert puppet.asked == [1]


async def test_C7_what_was_done_before_the_cancel_is_not_kept_as_a_result(manager: RunManager, database: Path) -> None:
    @job
    async def gathers() -> list[int]:
        found = [1, 2]
        await asyncio.get_running_loop().create_future()
        return found

    handle = await manager.start_run(gathers())
    await turns(5)
    await handle.cancel()
    run = await handle.wait()
    assert (run.status, run.result, rows(database)[0]["result"]) == ("cancelled", None, None)


async def test_an_error_raised_after_the_request_is_kept_as_a_warning(manager: RunManager) -> None:
    @job
    async def cleans_up_badly() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise OSError("the disk is gone")

    handle = await manager.start_run(cleans_up_badly())
    await turns(5)
    await handle.cancel()
    run = await handle.wait()
    assert (run.status, run.error) == ("cancelled", None)
    [warning] = await warnings_of(manager, handle)
    assert "OSError: the disk is gone" in warning["message"]
    assert "cleans_up_badly" in warning["traceback"]


@pytest.mark.parametrize("kind", ["stubborn", "threaded"])
@pytest.mark.usefixtures("report_soon")
async def test_C8_N5_a_function_that_does_not_end_stays_cancelling_and_keeps_its_key(
    manager: RunManager, database: Path, kind: str
) -> None:
    puppet = Puppet()
    play = getattr(puppet, kind)
    handle = await manager.start_run(play(1), key="k")
    await puppet.enters(1)
    assert (await handle.cancel()).status == "cancelling"

    [warning] = await eventually(lambda: warnings_of(manager, handle))
    assert "asked to end, the function still executes" in warning["message"]
    assert statuses(database) == {handle.id: "cancelling"}
    assert manager.current_run_id("k") == handle.id
    with pytest.raises(RunConflict) as refusal:
        await manager.start_run(puppet.job(2), key="k")
    assert refusal.value.active_run_id == handle.id

    puppet.end(1, "the truth")
    assert await handle == "the truth"
    assert (await handle.wait()).status == "completed"
    puppet.end(2, "next")
    assert await (await manager.start_run(puppet.job(2), key="k")) == "next"


@pytest.mark.parametrize("kind", ["stubborn", "threaded"])
@pytest.mark.usefixtures("report_soon")
async def test_C8_the_stack_of_a_function_that_does_not_end_shows_where_it_is(manager: RunManager, kind: str) -> None:
    puppet = Puppet()
    handle = await manager.start_run(getattr(puppet, kind)(1))
    await puppet.enters(1)
    await handle.cancel()
    [warning] = await eventually(lambda: warnings_of(manager, handle))
    puppet.end(1)
    await handle
    assert "_play_" in warning["traceback"]
    assert "PATIENCE" in warning["traceback"], "the line at which it waits"


@pytest.mark.parametrize("kind", ["stubborn", "threaded"])
async def test_C8_a_function_that_does_not_end_and_then_raises_is_cancelled(manager: RunManager, kind: str) -> None:
    puppet = Puppet()
    handle = await manager.start_run(getattr(puppet, kind)(1))
    await puppet.enters(1)
    await handle.cancel()
    puppet.fail(1, ValueError("at last"))
    with pytest.raises(RunCancelled):
        await handle
    [warning] = await warnings_of(manager, handle)
    assert "ValueError: at last" in warning["message"]


async def test_C8_asking_again_cancels_the_task_again(manager: RunManager) -> None:
    asked = 0

    @job
    async def gives_in_at_the_third() -> None:
        nonlocal asked
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                asked += 1
                if asked == 3:
                    raise

    handle = await manager.start_run(gives_in_at_the_third())
    await turns(5)
    for number in (1, 2, 3):
        run = await handle.cancel(reason=f"request {number}")
        await eventually(lambda number=number: asked == number)
    assert run.cancel_reason == "request 1"
    assert (await handle.wait()).cancel_reason == "request 1"


async def test_C9_a_run_cancelled_while_pending_never_runs(open_manager: Open, database: Path) -> None:
    manager, puppet = await open_manager(max_running=1), Puppet()
    first = await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2), key="k")
    waiter = asyncio.create_task(second.wait())
    await turns(3)
    run = await second.cancel(reason="not needed")
    assert (run.status, run.started_at, run.error) == ("cancelled", None, None)
    assert run.finished_at is not None
    assert await waiter == run
    assert manager.current_run_id("k") is None
    puppet.end(1)
    await first
    third = await manager.start_run(puppet.job(3), key="k")
    puppet.end(3, "runs")
    assert await third == "runs"
    assert puppet.entered == [1, 3]
    assert statuses(database)[2] == "cancelled"


async def test_C9_a_pending_bare_coroutine_that_is_cancelled_is_closed(open_manager: Open) -> None:
    async def work() -> None:
        raise AssertionError("never called")

    manager = await open_manager(max_running=1)
    await manager.start_run(Puppet().job(1))
    coroutine = work()
    handle = await manager.start_run(coroutine)
    await handle.cancel()
    assert coroutine.cr_frame is None


async def test_C9_another_manager_cancels_a_pending_run(open_manager: Open) -> None:
    manager, other, puppet = await open_manager(max_running=1), await open_manager(), Puppet()
    await manager.start_run(puppet.job(1))
    second = await manager.start_run(puppet.job(2), key="k")
    assert (await other.cancel_run(second.id)).status == "cancelled"
    assert (await second.wait(timeout=60)).started_at is None
    assert manager.current_run_id("k") is None


async def test_T3_updated_not_found_and_wrong_state_are_told_apart(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    assert (await manager.cancel_run(handle.id)).status == "cancelling"
    await handle.wait()
    with pytest.raises(RunAlreadyFinished):
        await manager.cancel_run(handle.id)
    with pytest.raises(RunNotFound):
        await manager.cancel_run(handle.id + 1)


async def test_A3_cancelling_a_finished_run_is_told_as_such(manager: RunManager) -> None:
    puppet = Puppet()
    puppet.end(1, "done")
    handle = await manager.start_run(puppet.job(1))
    await handle
    with pytest.raises(RunAlreadyFinished, match=r"run 1 \(puppet\) has already finished: it is completed") as refusal:
        await handle.cancel(reason="late")
    assert refusal.value.run == await manager.get_run(handle.id)
    assert refusal.value.run.cancel_reason is None


async def test_X3_another_manager_on_the_file_reaches_the_live_run(open_manager: Open) -> None:
    """A manager per request must lose neither cancels nor logs."""
    manager, other, puppet = await open_manager(), await open_manager(), Puppet()
    handle = await manager.start_run(puppet.job(1), key="k")
    await puppet.enters(1)
    found = await other.get_active_run("k")
    assert found is not None
    elsewhere = other.get_handle(found.id)

    async def read() -> list[str]:
        return [event.data["status"] async for event in elsewhere.events()]

    reader, waiter = asyncio.create_task(read()), asyncio.create_task(elsewhere.wait())
    await turns(5)
    assert (await elsewhere.cancel(reason="from a request")).status == "cancelling"
    assert (await handle.wait()).cancel_reason == "from a request"
    assert (await waiter).status == "cancelled"
    assert await reader == ["running", "cancelling", "cancelled"]


async def test_a_run_may_cancel_itself(manager: RunManager) -> None:
    @job
    async def cancels_itself() -> None:
        await manager.cancel_run(current_run().id, reason="had enough")
        await asyncio.get_running_loop().create_future()

    run = await (await manager.start_run(cancels_itself())).wait(timeout=60)
    assert (run.status, run.cancel_reason) == ("cancelled", "had enough")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_a_run_may_cancel_itself_in_the_first_step_of_an_eager_task(manager: RunManager) -> None:
    @job
    async def cancels_itself() -> None:
        await manager.cancel_run(current_run().id)
        await asyncio.get_running_loop().create_future()

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    handle = await manager.start_run(cancels_itself())
    assert (await handle.wait(timeout=60)).status == "cancelled"


async def test_a_caller_that_is_cancelled_does_not_take_its_request_back(open_manager: Open, database: Path) -> None:
    store, puppet = SQLiteStore(database), Puppet()
    manager, other = await open_manager(), await open_manager(store)
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    gate = hold_call(store, "request_cancel")
    caller = asyncio.create_task(other.cancel_run(handle.id, reason="asked"))
    await gate.reached.wait()
    caller.cancel()
    await asyncio.wait((caller,))
    gate.open()
    run = await handle.wait(timeout=60)
    assert caller.cancelled()
    assert (run.status, run.cancel_reason) == ("cancelled", "asked")


async def test_a_reason_is_stored_safe_to_show(manager: RunManager) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    run = await handle.cancel(reason="see\n/home/somebody/secret.txt\x00 and \ud800" + "x" * 5000)
    assert run.cancel_reason is not None
    assert "somebody" not in run.cancel_reason
    assert not set(run.cancel_reason) & {"\n", "\x00"}
    assert len(run.cancel_reason.encode()) <= 1024


async def test_a_thread_is_asked_and_never_taken_for_ended(manager: RunManager, database: Path) -> None:
    inside, may_end = threading.Event(), threading.Event()

    @job
    def works() -> str:
        inside.set()
        may_end.wait(60)
        return "worked" if current_run().cancel_requested else "was never asked"

    handle = await manager.start_run(works(), key="k")
    await eventually(inside.is_set)
    for _ in range(3):
        await handle.cancel()
        await turns(10)
        assert statuses(database) == {1: "cancelling"}
    may_end.set()
    assert await handle == "worked"
