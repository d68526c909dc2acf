"""Starts whose callers go away: the section is completed without them, and what it inserted is cancelled."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any, Final

import pytest
from tests.streams import within
from tests.support import eventually, turns
from tests.unit.running.executor_on_fake_store import gives
from tests.unit.running.starter_on_fake_store import StarterOnFakeStore, build, refuse_to_launch, row

from aioruns import Run, StoreUnavailable
from aioruns.abc import NewRun

pytestmark = pytest.mark.asyncio

ABANDONED: Final = (7, "start abandoned", True)
"""How a run is cancelled whose starter went away: unless somebody shares it."""


@pytest.fixture
def complaints() -> list[dict[str, Any]]:
    """What asyncio complains of, an exception that nobody has looked at for instance."""
    return []


def complain(complaints: list[dict[str, Any]]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))


async def leave(caller: asyncio.Task[Any]) -> None:
    """Let the caller of a start go away."""
    caller.cancel()
    await asyncio.wait((caller,))
    assert caller.cancelled()


async def test_S3_a_start_whose_caller_went_away_goes_on_and_its_run_is_cancelled() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start())
    await eventually(lambda: fake.inserts)
    await leave(caller)
    assert fake.busy
    settling = asyncio.create_task(fake.registry.settle())
    await turns(5)
    assert not settling.done()
    fake.gate.set()
    await within(60, settling)
    await eventually(lambda: fake.endings)
    assert (fake.tokens, fake.cancels) == ([1], [ABANDONED])
    [(run_id, ending)] = fake.endings
    assert (run_id, ending.status, ending.cancel_reason) == (7, "cancelled", "start abandoned")
    assert fake.told[0] == "add 7"
    await eventually(lambda: fake.leftovers() == {})


async def test_S3_a_start_whose_caller_goes_away_while_it_waits_for_its_key_leaves_no_row() -> None:
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    coroutine = gives()
    first = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    second = asyncio.create_task(fake.start(coroutine, key="k"))
    third = asyncio.create_task(fake.start(key="k"))
    await turns(5)
    await leave(second)
    fake.gate.set()
    await within(60, asyncio.gather(first, third))
    assert fake.tokens == [1, 2], "it has not even asked for a row"
    assert (fake.told, fake.cancels) == (["add 7", "add 8"], [])
    assert coroutine.cr_frame is None
    await eventually(lambda: fake.starter.leftovers() == {"abandoned": 0})
    assert not fake.busy


async def test_S3_a_key_stays_locked_until_the_section_of_a_caller_who_went_away_is_completed() -> None:
    inserted: list[int] = []

    def insert(new: NewRun) -> tuple[Run, bool]:
        assert 7 in fake.registry or not inserted, "the run that is found is registered"
        inserted.append(new.token)
        return row(new, 7), new.token == inserted[0]

    fake = StarterOnFakeStore(insert, free=9)
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    await leave(caller)
    joining = asyncio.create_task(fake.start(key="k", on_conflict="join"))
    await turns(10)
    assert fake.tokens == [1], "who joins waits for the key"
    fake.gate.set()
    await within(60, joining)
    assert joining.result().id == 7
    assert inserted == [1, 2]


async def test_S3_who_waited_for_the_key_of_a_caller_who_went_away_joins_before_the_run_is_cancelled() -> None:
    order: list[str] = []

    class Noting(StarterOnFakeStore):
        async def insert_run(self, new: NewRun) -> tuple[Run, bool]:
            order.append(f"insert {new.token}")
            return await super().insert_run(new)

        async def request_cancel(self, *args: Any, **options: Any) -> Run:
            order.append("cancel")
            return await super().request_cancel(*args, **options)

    fake = Noting(lambda new: (row(new, 7), new.token == 1), free=9)
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    joining = asyncio.create_task(fake.start(key="k", on_conflict="join"))
    await turns(5)
    await leave(caller)
    fake.gate.set()
    await within(60, joining)
    await eventually(lambda: "cancel" in order)
    assert order == ["insert 1", "insert 2", "cancel"]


async def test_G8_settling_waits_for_starts_that_wait_for_their_key() -> None:
    """Closing settles starts first: one that came to insert later would begin a run that nobody ends."""
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    starts = [asyncio.create_task(fake.start(key="k")) for _ in range(3)]
    await eventually(lambda: fake.inserts)
    await turns(5)
    settling = asyncio.create_task(fake.registry.settle())
    await turns(5)
    fake.gate.set()
    await within(60, settling)
    assert len(fake.inserts) == 3
    await within(60, asyncio.gather(*starts))


async def test_S3_a_run_that_was_only_joined_is_left_alone_when_the_caller_goes_away() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5), False))
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k", on_conflict="join"))
    await eventually(lambda: fake.inserts)
    await leave(caller)
    fake.gate.set()
    await within(60, fake.registry.settle())
    await turns(5)
    assert (fake.told, fake.cancels, fake.leftovers()) == ([], [], {})


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("a fault")])
async def test_S3_an_insert_that_fails_behind_its_caller_leaves_nothing(
    error: Exception, complaints: list[dict[str, Any]]
) -> None:
    complain(complaints)
    fake = StarterOnFakeStore(error)
    fake.gate = asyncio.Event()
    coroutine = gives()
    caller = asyncio.create_task(fake.start(coroutine))
    await eventually(lambda: fake.inserts)
    await leave(caller)
    fake.gate.set()
    await within(60, fake.registry.settle())
    await turns(5)
    assert (fake.told, fake.leftovers()) == ([], {"doubts": 1})
    assert coroutine.cr_frame is None
    del caller  # its exception has a traceback, in which the section's task is kept
    gc.collect()
    assert complaints == [], "nobody is there to look at the error"


async def test_S3_a_run_that_cannot_be_launched_behind_its_caller_is_failed_and_not_cancelled(
    complaints: list[dict[str, Any]],
) -> None:
    complain(complaints)
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start())
    await eventually(lambda: fake.inserts)
    await leave(caller)
    refuse_to_launch(MemoryError("no room"))
    fake.gate.set()
    await eventually(lambda: fake.endings)
    await eventually(lambda: fake.leftovers() == {})
    assert [(run_id, ending.status) for run_id, ending in fake.endings] == [(7, "failed")]
    assert fake.cancels == []
    del caller  # its exception has a traceback, in which the section's task is kept
    gc.collect()
    assert complaints == []


async def test_settling_takes_no_longer_than_it_may() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start())
    await eventually(lambda: fake.inserts)
    await within(60, fake.registry.settle(timeout=0.01))
    assert fake.busy
    fake.gate.set()
    await within(60, caller)


async def test_N1_cancelling_who_waits_for_sections_to_settle_leaves_them_alone() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start())
    await eventually(lambda: fake.inserts)
    settling = asyncio.create_task(fake.registry.settle())
    await turns(3)
    await leave(settling)
    assert fake.busy
    fake.gate.set()
    await within(60, caller)
    assert fake.cancels == []


@pytest.mark.parametrize("number", range(8))
async def test_S3_whenever_a_caller_goes_away_its_start_ends_and_leaves_at_most_a_run_that_is_cancelled(
    number: int, complaints: list[dict[str, Any]]
) -> None:
    """Every await of a start is a place to be cancelled."""
    complain(complaints)
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(key="k"))
    asyncio.get_running_loop().call_later(0, fake.gate.set)
    await turns(number)
    caller.cancel()
    await asyncio.wait((caller,))
    if caller.cancelled() and fake.inserts:
        await eventually(lambda: fake.endings)
        assert fake.cancels == [ABANDONED]
        await eventually(lambda: fake.leftovers() == {})
    assert len(fake.tokens) <= 1
    assert complaints == []
    await within(60, fake.registry.settle())


# The event loop that is torn down


async def test_a_start_that_is_cancelled_before_its_first_step_leaves_nothing() -> None:
    fake = StarterOnFakeStore()
    coroutine = gives()
    request = fake.request(coroutine)
    caller = asyncio.create_task(fake.starter.start(request))
    await leave(caller)
    await turns(5)
    assert (fake.inserts, fake.told, fake.leftovers()) == ([], [], {})
    coroutine.close()  # nothing of ours has seen it


@pytest.mark.parametrize("caller_too", [False, True])
async def test_G1_a_section_that_is_torn_before_its_first_step_or_in_its_first_leaves_nothing_that_nobody_executes(
    *, caller_too: bool
) -> None:
    """Before Python 3.12 the section's task takes its first step a turn later; the teardown may come between."""
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    coroutine = gives()
    caller = asyncio.create_task(fake.start(coroutine, key="k"))
    await turns(1)
    began = bool(fake.inserts)
    assert began is (sys.version_info >= (3, 12))
    fake.section().cancel()  # as the teardown of the event loop does, once
    if caller_too:
        caller.cancel()
    await turns(5)
    fake.gate.set()
    await asyncio.wait((caller,))
    assert caller.cancelled() is (caller_too or not began)
    await eventually(lambda: not fake.busy and not fake.registry)
    assert {new.token for new in fake.inserts} == ({1} if began else set())
    assert [run_id for run_id, _ in fake.endings] == [7] * began
    await eventually(lambda: coroutine.cr_frame is None)
    await within(60, fake.start(key="k"))  # its lock was given back
    assert len(fake.registry) == 1


async def test_G1_a_section_that_is_torn_while_it_waits_for_its_key_leaves_nothing() -> None:
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    coroutine = gives()
    first = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    section = fake.section()
    second = asyncio.create_task(fake.start(coroutine, key="k"))
    await turns(3)
    (waiting,) = fake.registry.sections - {section}
    waiting.cancel()
    await asyncio.wait((second,))
    assert second.cancelled()
    assert coroutine.cr_frame is None
    fake.gate.set()
    await within(60, first)
    await within(60, fake.start(key="k"))
    assert (fake.tokens, fake.told) == ([1, 2], ["add 7", "add 8"])


async def test_G1_a_section_that_is_torn_while_it_inserts_goes_on_and_its_run_is_cancelled() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start(build(3)))
    await eventually(lambda: fake.inserts)
    section = fake.section()
    await leave(caller)
    for _ in range(3):
        section.cancel()
        await turns(5)
    assert not section.done()
    fake.gate.set()
    await asyncio.wait((section,))
    await eventually(lambda: fake.endings)
    assert {new.token for new in fake.inserts} == {1}, "one row, however often it is inserted"
    assert fake.cancels == [ABANDONED]
    assert [(run_id, ending.status) for run_id, ending in fake.endings] == [(7, "cancelled")]
    await eventually(lambda: fake.leftovers() == {})


async def test_G1_a_section_that_is_torn_while_it_inserts_gives_its_caller_the_run() -> None:
    fake = StarterOnFakeStore()
    fake.gate = asyncio.Event()
    caller = asyncio.create_task(fake.start())
    await eventually(lambda: fake.inserts)
    fake.section().cancel()
    await eventually(lambda: len(fake.inserts) == 2)
    fake.gate.set()
    await within(60, caller)
    assert caller.result().id == 7
    assert 7 in fake.registry
    assert fake.cancels == []
