"""The executor before a store that is away, or that has given the run to somebody else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.streams import within
from tests.support import eventually, turns
from tests.unit.running.executor_on_fake_store import (
    ENDED,
    FENCE,
    ExecutorOnFakeStore,
    gives,
    row,
    says_and_gives,
    task_of,
    waits,
)

from aioruns import LeaseLost, Run, StoreUnavailable
from aioruns._running import execute
from aioruns._running.live import Why

pytestmark = pytest.mark.asyncio


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "PAUSE", 0.001)
    monkeypatch.setattr(execute, "LONGEST_PAUSE", 0.002)


# From pending to running


async def test_a_pending_run_is_claimed_and_then_told_of_and_begun() -> None:
    seen: list[object] = []

    async def look() -> None:
        seen.append(live.run)

    fake = ExecutorOnFakeStore()
    live = fake.launch(look(), stored=row("pending"))
    await fake.ended(live)
    assert seen == [fake.claimed], "what executes is what was claimed"
    assert fake.calls == [("claim", FENCE), ("finish", FENCE)]
    assert fake.told == ["notify 7", *ENDED]


async def test_C9_a_pending_run_that_somebody_has_ended_never_begins_and_ends_as_it_is_stored() -> None:
    fake = ExecutorOnFakeStore()
    fake.claimed = None
    fake.stored = row("cancelled")
    live = fake.launch(gives(), stored=row("pending"))
    await within(60, live.ended.wait())
    assert fake.calls == [("claim", FENCE), ("get", None)]
    assert live.run is fake.stored
    assert fake.told == ENDED


@pytest.mark.usefixtures("short_pauses")
async def test_G5_who_waits_for_a_run_that_cannot_be_claimed_is_told_so() -> None:
    fake = ExecutorOnFakeStore(*(StoreUnavailable("away") for _ in range(1000)), patience=0)
    live = fake.launch(gives(), stored=row("pending"))
    await within(60, live.ended.wait())
    with pytest.raises(StoreUnavailable, match="away"):
        live.outcome()
    fake.troubles.clear()
    await fake.ended(live)
    assert live.outcome().status == "completed"


@pytest.mark.usefixtures("short_pauses")
async def test_a_pending_run_whose_turn_comes_in_the_teardown_is_not_claimed() -> None:
    fake = ExecutorOnFakeStore()
    fake.state.closing = True
    coroutine = gives()
    live = fake.launch(coroutine, stored=row("pending"))
    assert (await fake.ended(live)).status == "interrupted"
    assert fake.calls == [("finish", FENCE)]
    assert coroutine.cr_frame is None


async def test_a_claim_during_the_teardown_begins_nothing_and_is_interrupted() -> None:
    fake = ExecutorOnFakeStore(StoreUnavailable("away"))
    live = fake.launch(waits(), stored=row("pending"))
    await eventually(lambda: len(fake.calls) == 1)
    fake.state.closing = True
    task_of(live).cancel()
    ending = await fake.ended(live)
    assert ending.status == "interrupted"
    assert task_of(live).cancelled()


@pytest.mark.usefixtures("short_pauses")
async def test_a_cancellation_during_a_claim_is_passed_on_when_the_work_is_done() -> None:
    fake = ExecutorOnFakeStore(StoreUnavailable("away"))
    live = fake.launch(gives(5), stored=row("pending"))
    await eventually(lambda: len(fake.calls) == 1)
    task_of(live).cancel()
    ending = await fake.ended(live)
    assert (ending.status, ending.result_json) == ("completed", "5")
    assert task_of(live).cancelled()


# Runs of which another manager has taken possession


async def test_G7_a_run_that_belongs_to_another_manager_ends_as_that_one_has_stored_it() -> None:
    fake = ExecutorOnFakeStore(LeaseLost(7))
    live = fake.launch(gives())
    await fake.ended(live)
    assert [verb for verb, _ in fake.calls] == ["finish", "get"]
    assert Why.LOST in live.attempt.asked
    assert live.run is fake.stored
    assert fake.told == ENDED
    with pytest.raises(LeaseLost) as raised:
        await live.attempt.outbox.flush()
    assert raised.value.run_id == 7


async def test_G7_a_run_that_was_taken_and_pruned_ends_with_what_is_known_of_it() -> None:
    fake = ExecutorOnFakeStore(LeaseLost(7))
    fake.stored = None
    live = fake.launch(gives())
    before = live.run
    await fake.ended(live)
    assert live.run is before


@pytest.mark.usefixtures("short_pauses")
async def test_a_cancellation_while_a_lost_run_is_read_is_passed_on() -> None:
    fake = ExecutorOnFakeStore(LeaseLost(7), StoreUnavailable("away"))
    live = fake.launch(gives())
    await eventually(lambda: len(fake.calls) == 2)
    task_of(live).cancel()
    await fake.ended(live)
    assert task_of(live).cancelled()
    assert live.run is fake.stored


@pytest.mark.usefixtures("short_pauses")
async def test_G5_who_waits_for_a_lost_run_is_told_that_its_end_cannot_be_read() -> None:
    fake = ExecutorOnFakeStore(LeaseLost(7), *(StoreUnavailable("away") for _ in range(1000)), patience=0)
    live = fake.launch(gives())
    await within(60, live.ended.wait())
    with pytest.raises(StoreUnavailable, match="away"):
        live.outcome()
    fake.troubles.clear()
    await fake.ended(live)
    assert live.outcome() is fake.stored


# A store that is away


@pytest.mark.usefixtures("short_pauses")
async def test_F2_an_end_is_tried_until_it_is_stored_and_nobody_is_told_before() -> None:
    fake = ExecutorOnFakeStore(*(StoreUnavailable("away") for _ in range(5)))
    live = fake.launch(gives())
    ending = await fake.ended(live)
    assert [verb for verb, _ in fake.calls] == ["finish"] * 6
    assert all(each is ending for each in fake.endings), "the end is decided once"
    assert (fake.told, live.failure) == (ENDED, None)


async def test_F2_pauses_become_longer_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    wait = asyncio.wait

    async def note_pause(futures: Any, *, timeout: float | None = None, **options: Any) -> Any:
        if timeout is None:
            return await wait(futures, **options)
        pauses.append(timeout)
        return await wait(futures, timeout=0.001, **options)

    fake = ExecutorOnFakeStore(*(StoreUnavailable("away") for _ in range(8)))
    monkeypatch.setattr(asyncio, "wait", note_pause)
    live = fake.launch(gives())
    await within(60, live.ended.wait())
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


@pytest.mark.usefixtures("short_pauses")
async def test_G5_after_a_time_waiters_are_told_and_the_end_is_stored_all_the_same() -> None:
    fake = ExecutorOnFakeStore(*(StoreUnavailable("the disk is full") for _ in range(3)), patience=0)
    finish_run, go_on = fake.finish_run, asyncio.Event()

    async def held(*args: Any) -> Run:
        if len(fake.endings) in (0, 3):
            await within(60, go_on.wait())
            go_on.clear()
        return await finish_run(*args)

    cast("Any", fake).finish_run = held
    live = fake.launch(says_and_gives(1))
    await eventually(lambda: live.attempt.over)
    flushing = asyncio.ensure_future(live.attempt.outbox.flush())
    await turns(2)
    go_on.set()
    await within(60, live.ended.wait())
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        live.outcome()
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await flushing
    assert fake.told == [], "it is not forgotten"
    await eventually(lambda: len(fake.endings) == 3)
    go_on.set()
    await within(60, task_of(live))
    assert live.outcome().status == "completed"
    assert fake.told == ENDED


@pytest.mark.usefixtures("short_pauses")
async def test_G5_an_end_that_is_given_up_at_close_is_told_and_forgotten() -> None:
    fake = ExecutorOnFakeStore(*(StoreUnavailable(f"away for the {time}. time") for time in range(1000)))
    live = fake.launch(gives())
    await eventually(lambda: len(fake.calls) > 2)
    assert not live.ended.is_set()
    fake.executor.give_up()
    fake.executor.give_up()
    await fake.ended(live)
    with pytest.raises(StoreUnavailable, match="away for the"):
        live.outcome()
    assert fake.told == ENDED
    assert live.run.status == "running"
    calls = len(fake.calls)
    await turns(10)
    assert len(fake.calls) == calls


@pytest.mark.usefixtures("short_pauses")
async def test_a_coroutine_that_never_begins_is_closed_also_when_its_end_is_given_up() -> None:
    fake = ExecutorOnFakeStore(*(StoreUnavailable("away") for _ in range(1000)))
    coroutine = gives()
    live = fake.live(coroutine)
    live.request_cancel(at=1, reason=None)
    fake.executor.begin(live)
    await eventually(lambda: fake.calls)
    fake.executor.give_up()
    await fake.ended(live)
    assert coroutine.cr_frame is None


async def test_giving_up_ends_a_pause_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "PAUSE", 1000.0)
    monkeypatch.setattr(execute, "LONGEST_PAUSE", 1000.0)
    fake = ExecutorOnFakeStore(*(StoreUnavailable("away") for _ in range(2)))
    live = fake.launch(gives())
    await eventually(lambda: fake.calls)
    await turns(5)
    fake.executor.give_up()
    await fake.ended(live)


@pytest.mark.usefixtures("short_pauses")
async def test_N1_cancelling_the_task_while_the_end_is_stored_is_passed_on_afterwards() -> None:
    fake = ExecutorOnFakeStore(*(StoreUnavailable("away") for _ in range(3)))
    live = fake.launch(gives(5))
    await eventually(lambda: len(fake.calls) == 1)
    task_of(live).cancel()
    ending = await fake.ended(live)
    assert (ending.status, live.run.status) == ("completed", "completed")
    assert task_of(live).cancelled()
