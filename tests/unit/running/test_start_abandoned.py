"""Starts whose callers go away: the section is completed without them, and what it inserted is cancelled."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import pytest
from tests.streams import within
from tests.support import eventually, turns
from tests.unit.running.executor_on_fake_store import gives
from tests.unit.running.starter_on_fake_store import StarterOnFakeStore, row

from aioruns import Run, StoreUnavailable
from aioruns.abc import NewRun

pytestmark = pytest.mark.asyncio


async def test_S3_a_start_whose_caller_went_away_goes_on_and_its_run_is_cancelled() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start())
    await eventually(lambda: fake.inserts)
    caller.cancel()
    await asyncio.wait((caller,))
    assert caller.cancelled()
    assert fake.busy
    settling = asyncio.create_task(fake.registry.settle())
    await turns(5)
    assert not settling.done()
    fake.gate.set()
    await within(60, settling)
    await eventually(lambda: fake.said[-1] == "cancel 7")
    assert fake.said == ["reserve", "add 7", "launch 7", "cancel 7"]


async def test_S3_a_start_whose_caller_goes_away_while_it_waits_for_its_key_has_inserted_nothing() -> None:
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    coroutine = gives()
    first = asyncio.create_task(fake.start(key="k"))
    second = asyncio.create_task(fake.start(coroutine, key="k"))
    third = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    await turns(5)
    second.cancel()
    await asyncio.wait((second,))
    assert second.cancelled()
    fake.gate.set()
    await within(60, asyncio.gather(first, third))
    assert coroutine.cr_frame is None
    assert len(fake.inserts) == 2
    assert [what for what in fake.said if what != "discard"] == ["reserve", "add 7", "launch 7"] * 2
    await eventually(lambda: not fake.busy)


async def test_S3_a_key_stays_locked_until_the_section_of_a_caller_who_went_away_is_completed() -> None:
    inserted: list[int] = []

    def insert(new: NewRun) -> tuple[Run, bool]:
        assert "add 7" in fake.said or not inserted, "the run that is found is registered"
        inserted.append(new.token)
        return row(new), new.token == inserted[0]

    fake = StarterOnFakeStore(insert, free=9)
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    caller.cancel()
    await asyncio.wait((caller,))
    joining = asyncio.create_task(fake.start(key="k", on_conflict="join"))
    await turns(10)
    assert {new.token for new in fake.inserts} == {1}, "who joins waits for the key"
    fake.gate.set()
    await within(60, joining)
    assert joining.result().id == 7
    assert inserted[-1] == 2


async def test_S3_who_waited_for_the_key_of_a_caller_who_went_away_joins_before_the_run_is_cancelled() -> None:
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    joining = asyncio.create_task(fake.start(key="k", on_conflict="join"))
    await turns(5)
    caller.cancel()
    await asyncio.wait((caller,))
    order: list[str] = []
    insert, cancel = fake.insert_run, fake.cancel_abandoned

    async def note_insert(new: NewRun) -> tuple[Run, bool]:
        order.append(f"insert {new.token}")
        return await insert(new)

    async def note_cancel(run_id: int) -> None:
        order.append("cancel")
        await cancel(run_id)

    cast("Any", fake).insert_run = note_insert
    cast("Any", fake).cancel_abandoned = note_cancel
    fake.gate.set()
    await within(60, joining)
    await eventually(lambda: "cancel" in order)
    assert order == ["insert 2", "cancel"]


async def test_G8_settling_waits_for_starts_that_wait_for_their_key() -> None:
    """Closing settles starts first: one that came to insert later would begin a run that nobody ends."""
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    starts = [asyncio.create_task(fake.start(key="k")) for _ in range(3)]
    await eventually(lambda: fake.inserts)
    settling = asyncio.create_task(fake.registry.settle())
    fake.gate.set()
    await within(60, settling)
    assert len(fake.inserts) == 3
    await within(60, asyncio.gather(*starts))


async def test_S3_a_run_that_was_only_joined_is_left_alone_when_the_caller_goes_away() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5), False))
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k", on_conflict="join"))
    await eventually(lambda: fake.inserts)
    caller.cancel()
    await asyncio.wait((caller,))
    fake.gate.set()
    await within(60, fake.registry.settle())
    await turns(5)
    assert fake.said == ["reserve", "release"]


async def test_S3_an_insert_that_fails_behind_its_caller_leaves_nothing() -> None:
    fake = StarterOnFakeStore(StoreUnavailable("away"))
    fake.gate = asyncio.Event()
    coroutine = gives()
    caller = asyncio.create_task(fake.start(coroutine))
    await eventually(lambda: fake.inserts)
    caller.cancel()
    await asyncio.wait((caller,))
    fake.gate.set()
    await within(60, fake.registry.settle())
    await turns(5)
    assert sorted(fake.said) == ["doubt", "release", "reserve"]
    assert coroutine.cr_frame is None


async def test_settling_takes_no_longer_than_it_may() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start())
    await eventually(lambda: fake.inserts)
    await within(60, fake.registry.settle(timeout=0.01))
    assert fake.busy
    fake.gate.set()
    await within(60, caller)


# The event loop that is torn down


async def test_a_start_that_is_cancelled_before_its_first_step_leaves_nothing() -> None:
    fake = StarterOnFakeStore()
    coroutine = gives()
    caller = asyncio.create_task(fake.starter.start(fake.request(coroutine)))
    caller.cancel()
    await asyncio.wait((caller,))
    await turns(5)
    assert (fake.inserts, fake.said, fake.busy) == ([], [], False)
    coroutine.close()  # nothing of ours has seen it


async def test_G1_a_section_that_is_torn_while_it_inserts_goes_on_and_its_run_is_its_callers() -> None:
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    fake.section().cancel()  # as the teardown of the event loop does
    await eventually(lambda: len(fake.inserts) == 2)
    assert fake.busy
    fake.gate.set()
    assert (await caller).id == 7
    assert fake.said == ["reserve", "add 7", "launch 7"]
    assert not fake.busy
    await within(60, fake.start(key="k"))  # its lock was given back


async def test_G1_a_section_that_is_torn_however_often_goes_on_and_its_abandoned_run_is_cancelled() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    coroutine = gives()
    caller = asyncio.create_task(fake.start(coroutine))
    await eventually(lambda: fake.inserts)
    caller.cancel()
    section = fake.section()
    for _ in range(3):
        section.cancel()
        await eventually(lambda: len(fake.inserts) == 2)
    fake.gate.set()
    await asyncio.wait((caller, section))
    await eventually(lambda: fake.said[-1] == "cancel 7")
    assert {new.token for new in fake.inserts} == {1}, "one row, however often it is inserted"
    frame = coroutine.cr_frame
    coroutine.close()
    assert frame is not None, "the coroutine of a run that executes is its own"
    assert fake.said == ["reserve", "add 7", "launch 7", "cancel 7"]


async def test_S3_a_section_that_is_torn_with_its_caller_leaves_nothing_or_a_cancelled_run() -> None:
    """From Python 3.12 on it has taken its first step by then, and repeats its insert; before, it never will."""
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    coroutine = gives()
    caller = asyncio.create_task(fake.start(coroutine))
    await turns(1)
    fake.section().cancel()
    caller.cancel()
    await asyncio.wait((caller,))
    fake.gate.set()
    await eventually(lambda: not fake.busy)
    await turns(5)
    assert fake.said == ([] if sys.version_info < (3, 12) else ["reserve", "add 7", "launch 7", "cancel 7"])
    assert (coroutine.cr_frame is None) is (sys.version_info < (3, 12))
    coroutine.close()
