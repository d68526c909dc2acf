"""The start section over a store in memory: what it asks of the store, of capacity and of those who execute."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.streams import within
from tests.support import eventually, now_micros, turns
from tests.unit.running.executor_on_fake_store import gives
from tests.unit.running.starter_on_fake_store import NOW, StarterOnFakeStore, row

from aioruns import ConfigurationError, RunConflict, RunStatus, StoreUnavailable
from aioruns._running.live import LiveRun
from aioruns.abc import NewRun

pytestmark = pytest.mark.asyncio


async def test_everything_a_start_says_is_inserted() -> None:
    fake = StarterOnFakeStore()
    run = await fake.start(
        key="k", on_conflict="join", idempotency_key="i", timeout=5, tags=["b", "a"], triggered_by="somebody"
    )
    (new,) = fake.inserts
    assert abs(new.created_at - now_micros()) < 60_000_000
    assert new == NewRun(
        manager_id="manager", token=1, job="build", status=RunStatus.RUNNING, created_at=new.created_at, key="k",
        idempotency_key="i", join=True, timeout=5, tags=("a", "b"), triggered_by="somebody",
        arguments_json='{"number":3}',
    )  # fmt: skip
    assert run.id == 7


async def test_a_start_that_says_nothing_inserts_nothing_more() -> None:
    fake = StarterOnFakeStore()
    await fake.start()
    (new,) = fake.inserts
    assert (new.key, new.idempotency_key, new.join, new.timeout, new.tags, new.triggered_by) == (
        None, None, False, None, (), None,
    )  # fmt: skip


async def test_each_insert_has_a_token_of_its_own() -> None:
    fake = StarterOnFakeStore(free=2)
    await fake.start()
    await fake.start()
    assert [new.token for new in fake.inserts] == [1, 2]


async def test_S1_a_run_with_a_slot_is_registered_and_launched() -> None:
    fake = StarterOnFakeStore()
    assert (await fake.start()).status == "running"
    assert fake.said == ["reserve", "add 7", "launch 7"]


async def test_a_run_without_a_slot_is_inserted_as_pending_registered_and_put_in_line() -> None:
    fake = StarterOnFakeStore(free=0)
    assert (await fake.start()).status == "pending"
    assert fake.said == ["reserve", "add 7", "enqueue 7"]


@pytest.mark.parametrize(("free", "gives_back"), [(1, "release"), (0, "discard")])
async def test_X1_a_start_that_meets_the_holder_of_its_key_gives_back_what_it_reserved(
    free: int, gives_back: str
) -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5, status=RunStatus.RUNNING), False), free=free)
    coroutine = gives()
    with pytest.raises(RunConflict) as raised:
        await fake.start(coroutine, key="k")
    assert (raised.value.key, raised.value.active_run_id) == ("k", 5)
    assert fake.said == ["reserve", gives_back]
    assert coroutine.cr_frame is None, "a coroutine that will never begin is closed"


async def test_joining_gives_the_run_of_the_other_start() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5), False))
    assert (await fake.start(key="k", on_conflict="join")).id == 5
    assert fake.said == ["reserve", "release"]


async def test_an_idempotency_key_of_another_job_is_refused() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5, job="other"), False))
    with pytest.raises(ConfigurationError, match="belongs to run 5 of job 'other'"):
        await fake.start(idempotency_key="i")


async def test_G1_a_run_that_somebody_cancelled_before_its_insert_was_answered_is_not_begun() -> None:
    ended = {"status": RunStatus.CANCELLED, "finished_at": NOW}
    fake = StarterOnFakeStore(lambda new: (row(new, **ended), True))
    coroutine = gives()
    assert (await fake.start(coroutine)).status == "cancelled"
    assert fake.said == ["reserve", "release"]
    assert coroutine.cr_frame is None


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("a fault"), GeneratorExit("closed")])
async def test_G1_an_insert_without_an_answer_gives_back_the_slot_and_is_doubted(error: BaseException) -> None:
    fake = StarterOnFakeStore(error)
    coroutine = gives()
    with pytest.raises(type(error), match=str(error)):
        await fake.start(coroutine, key="k")
    assert sorted(fake.said) == ["doubt", "release", "reserve"]
    assert coroutine.cr_frame is None
    assert not fake.busy


async def test_S2_a_run_that_cannot_be_launched_is_failed_and_the_starter_gets_the_original_error() -> None:
    fake = StarterOnFakeStore()
    fake.trouble = trouble = MemoryError("no room")
    with pytest.raises(MemoryError) as raised:
        await fake.start(key="k")
    assert raised.value is trouble
    assert fake.said == ["reserve", "add 7", "fail 7"]


async def test_S2_the_error_comes_when_the_failure_is_stored_and_the_key_is_not_held_until_then() -> None:
    fake = StarterOnFakeStore(free=2)
    fake.trouble = MemoryError("no room")
    ended: list[LiveRun] = []
    cast("Any", fake).end_unbegun = lambda live, _: ended.append(live)
    failing = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: ended)
    await turns(5)
    assert not failing.done()
    fake.trouble = None
    await within(60, fake.start(key="k"))
    ended[0].ended.set()
    with pytest.raises(MemoryError):
        await failing


async def test_starts_under_one_key_insert_one_after_the_other_and_others_beside_them() -> None:
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    starts = [asyncio.create_task(fake.start(key=key)) for key in ("a", "a", "b", None, None)]
    await turns(10)
    assert [new.key for new in fake.inserts] == ["a", "b", None, None]
    assert fake.busy
    fake.gate.set()
    await within(60, asyncio.gather(*starts))
    assert [new.key for new in fake.inserts] == ["a", "b", None, None, "a"]
    assert not fake.busy


# Callers that go away
