"""The executor before a store that is away, or that has given the run to somebody else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.streams import within
from tests.support import eventually, turns
from tests.unit.running.executor_on_fake_store import FENCE, Desk, gives, row, says_and_gives, waits

from aioruns import LeaseLost, Run, StoreUnavailable
from aioruns._running import execute

pytestmark = pytest.mark.asyncio


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "PAUSE", 0.001)
    monkeypatch.setattr(execute, "LONGEST_PAUSE", 0.002)


# From pending to running


async def test_a_pending_run_is_claimed_and_then_told_of_and_begun() -> None:
    seen: list[object] = []

    async def look() -> None:
        seen.append(active.run)

    desk = Desk()
    active = desk.launch(look(), stored=row("pending"))
    await desk.ended(active)
    assert seen == [desk.claimed], "what executes is what was claimed"
    assert desk.calls == [("claim", FENCE), ("finish", FENCE)]
    assert desk.told == ["notify 7", "end 7"]


async def test_C9_a_pending_run_that_somebody_has_ended_never_begins_and_ends_as_it_is_stored() -> None:
    desk = Desk()
    desk.claimed = None
    desk.stored = row("cancelled")
    active = desk.launch(gives(), stored=row("pending"))
    await within(60, active.ended.wait())
    assert desk.calls == [("claim", FENCE), ("get", None)]
    assert active.run is desk.stored
    assert desk.told == ["end 7"]


@pytest.mark.usefixtures("short_pauses")
async def test_G5_who_waits_for_a_run_that_cannot_be_claimed_is_told_so() -> None:
    desk = Desk(*(StoreUnavailable("away") for _ in range(1000)), patience=0)
    active = desk.launch(gives(), stored=row("pending"))
    await within(60, active.ended.wait())
    with pytest.raises(StoreUnavailable, match="away"):
        active.outcome()
    desk.troubles.clear()
    await desk.ended(active)
    assert active.outcome().status == "completed"


@pytest.mark.usefixtures("short_pauses")
async def test_a_pending_run_whose_turn_comes_in_the_teardown_is_not_claimed() -> None:
    desk = Desk()
    desk.stopping = True
    coroutine = gives()
    active = desk.launch(coroutine, stored=row("pending"))
    assert (await desk.ended(active)).status == "interrupted"
    assert desk.calls == [("finish", FENCE)]
    assert coroutine.cr_frame is None


async def test_a_claim_during_the_teardown_begins_nothing_and_is_interrupted() -> None:
    desk = Desk(StoreUnavailable("away"))
    active = desk.launch(waits(), stored=row("pending"))
    await eventually(lambda: len(desk.calls) == 1)
    desk.stopping = True
    assert active.task is not None
    active.task.cancel()
    ending = await desk.ended(active)
    assert ending.status == "interrupted"
    assert active.task.cancelled()


@pytest.mark.usefixtures("short_pauses")
async def test_a_cancellation_during_a_claim_is_passed_on_when_the_work_is_done() -> None:
    desk = Desk(StoreUnavailable("away"))
    active = desk.launch(gives(5), stored=row("pending"))
    await eventually(lambda: len(desk.calls) == 1)
    assert active.task is not None
    active.task.cancel()
    ending = await desk.ended(active)
    assert (ending.status, ending.result_json) == ("completed", "5")
    assert active.task.cancelled()


# Runs of which another manager has taken possession


async def test_G7_a_run_that_belongs_to_another_manager_ends_as_that_one_has_stored_it() -> None:
    desk = Desk(LeaseLost(7))
    active = desk.launch(gives())
    await desk.ended(active)
    assert [verb for verb, _ in desk.calls] == ["finish", "get"]
    assert active.lost
    assert active.run is desk.stored
    assert desk.told == ["end 7"]
    with pytest.raises(LeaseLost) as raised:
        await active.outbox.flush()
    assert raised.value.run_id == 7


async def test_G7_a_run_that_was_taken_and_pruned_ends_with_what_is_known_of_it() -> None:
    desk = Desk(LeaseLost(7))
    desk.stored = None
    active = desk.launch(gives())
    before = active.run
    await desk.ended(active)
    assert active.run is before


@pytest.mark.usefixtures("short_pauses")
async def test_a_cancellation_while_a_lost_run_is_read_is_passed_on() -> None:
    desk = Desk(LeaseLost(7), StoreUnavailable("away"))
    active = desk.launch(gives())
    await eventually(lambda: len(desk.calls) == 2)
    assert active.task is not None
    active.task.cancel()
    await desk.ended(active)
    assert active.task.cancelled()
    assert active.run is desk.stored


@pytest.mark.usefixtures("short_pauses")
async def test_G5_who_waits_for_a_lost_run_is_told_that_its_end_cannot_be_read() -> None:
    desk = Desk(LeaseLost(7), *(StoreUnavailable("away") for _ in range(1000)), patience=0)
    active = desk.launch(gives())
    await within(60, active.ended.wait())
    with pytest.raises(StoreUnavailable, match="away"):
        active.outcome()
    desk.troubles.clear()
    await desk.ended(active)
    assert active.outcome() is desk.stored


# A store that is away


@pytest.mark.usefixtures("short_pauses")
async def test_F2_an_end_is_tried_until_it_is_stored_and_nobody_is_told_before() -> None:
    desk = Desk(*(StoreUnavailable("away") for _ in range(5)))
    active = desk.launch(gives())
    ending = await desk.ended(active)
    assert [verb for verb, _ in desk.calls] == ["finish"] * 6
    assert all(each is ending for each in desk.endings), "the end is decided once"
    assert (desk.told, active.failure) == (["end 7"], None)


async def test_F2_pauses_become_longer_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    wait = asyncio.wait

    async def note_pause(futures: Any, *, timeout: float | None = None, **options: Any) -> Any:
        if timeout is None:
            return await wait(futures, **options)
        pauses.append(timeout)
        return await wait(futures, timeout=0.001, **options)

    desk = Desk(*(StoreUnavailable("away") for _ in range(8)))
    monkeypatch.setattr(asyncio, "wait", note_pause)
    active = desk.launch(gives())
    await within(60, active.ended.wait())
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


@pytest.mark.usefixtures("short_pauses")
async def test_G5_after_a_time_waiters_are_told_and_the_end_is_stored_all_the_same() -> None:
    desk = Desk(*(StoreUnavailable("the disk is full") for _ in range(3)), patience=0)
    finish_run, go_on = desk.finish_run, asyncio.Event()

    async def held(*args: Any) -> Run:
        if len(desk.endings) in (0, 3):
            await within(60, go_on.wait())
            go_on.clear()
        return await finish_run(*args)

    cast("Any", desk).finish_run = held
    active = desk.launch(says_and_gives(1))
    await eventually(lambda: active.function_over)
    flushing = asyncio.ensure_future(active.outbox.flush())
    await turns(2)
    go_on.set()
    await within(60, active.ended.wait())
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        active.outcome()
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await flushing
    assert desk.told == [], "it is not forgotten"
    await eventually(lambda: len(desk.endings) == 3)
    go_on.set()
    assert active.task is not None
    await within(60, active.task)
    assert active.outcome().status == "completed"
    assert desk.told == ["end 7"]


@pytest.mark.usefixtures("short_pauses")
async def test_G5_an_end_that_is_given_up_at_close_is_told_and_forgotten() -> None:
    desk = Desk(*(StoreUnavailable(f"away for the {time}. time") for time in range(1000)))
    active = desk.launch(gives())
    await eventually(lambda: len(desk.calls) > 2)
    assert not active.ended.is_set()
    desk.executor.give_up()
    desk.executor.give_up()
    await desk.ended(active)
    with pytest.raises(StoreUnavailable, match="away for the"):
        active.outcome()
    assert desk.told == ["end 7"]
    assert active.run.status == "running"
    calls = len(desk.calls)
    await turns(10)
    assert len(desk.calls) == calls


@pytest.mark.usefixtures("short_pauses")
async def test_a_coroutine_that_never_begins_is_closed_also_when_its_end_is_given_up() -> None:
    desk = Desk(*(StoreUnavailable("away") for _ in range(1000)))
    coroutine = gives()
    active = desk.active(coroutine)
    active.request_cancel(at=1, reason=None)
    desk.executor.launch(active)
    await eventually(lambda: desk.calls)
    desk.executor.give_up()
    await desk.ended(active)
    assert coroutine.cr_frame is None


async def test_giving_up_ends_a_pause_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "PAUSE", 1000.0)
    monkeypatch.setattr(execute, "LONGEST_PAUSE", 1000.0)
    desk = Desk(*(StoreUnavailable("away") for _ in range(2)))
    active = desk.launch(gives())
    await eventually(lambda: desk.calls)
    await turns(5)
    desk.executor.give_up()
    await desk.ended(active)


@pytest.mark.usefixtures("short_pauses")
async def test_N1_cancelling_the_task_while_the_end_is_stored_is_passed_on_afterwards() -> None:
    desk = Desk(*(StoreUnavailable("away") for _ in range(3)))
    active = desk.launch(gives(5))
    await eventually(lambda: len(desk.calls) == 1)
    assert active.task is not None
    active.task.cancel()
    ending = await desk.ended(active)
    assert (ending.status, active.run.status) == ("completed", "completed")
    assert active.task.cancelled()
