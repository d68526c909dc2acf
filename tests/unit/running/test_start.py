"""The start section on a fake store: what it asks of the store, of capacity and of those who execute."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from tests.streams import within
from tests.support import eventually, now_micros, turns
from tests.unit.running.executor_on_fake_store import gives
from tests.unit.running.starter_on_fake_store import NOW, StarterOnFakeStore, refuse_to_launch, row

from aioruns import ConfigurationError, ManagerClosed, Run, RunConflict, RunStatus, StoreUnavailable
from aioruns._running.live import Phase
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
    assert fake.tokens == [1, 2]


async def test_S1_a_run_with_a_slot_is_registered_and_launched() -> None:
    fake = StarterOnFakeStore()
    assert (await fake.start(key="k")).status == "running"
    assert (fake.told, fake.registry.current_id("k")) == (["add 7"], 7)
    live = fake.live()
    assert live.has_slot
    assert live.run.id == live.attempt.context.id == 7
    await eventually(lambda: live.attempt.phase is Phase.EXECUTING)


async def test_S1_whoever_reads_the_row_finds_the_run_registered() -> None:
    """The task of the section takes no turn between the answer and the registration."""
    found: list[tuple[bool, Phase]] = []

    def insert(new: NewRun) -> tuple[Run, bool]:
        asyncio.get_running_loop().call_soon(lambda: found.append((7 in fake.registry, fake.live().attempt.phase)))
        return row(new), True

    fake = StarterOnFakeStore(insert)
    await fake.start()
    await eventually(lambda: found)
    assert found == [(True, Phase.LAUNCHED)]


async def test_a_start_gives_the_run_that_executes_here() -> None:
    fake = StarterOnFakeStore()
    run, live = await fake.starter.start(fake.request())
    assert live is fake.live()
    assert fake.live().run is run


async def test_a_run_without_a_slot_is_inserted_as_pending_registered_and_put_in_line() -> None:
    fake = StarterOnFakeStore(free=0)
    assert (await fake.start()).status == "pending"
    assert fake.told == ["add 7"]
    await turns(5)
    live = fake.live()
    assert (live.has_slot, live.waits, live.attempt.phase) == (False, True, Phase.WAITING)
    assert fake.capacity.leftovers() == {"line": 1, "slots": False}
    fake.executor.withdraw(live, row(fake.inserts[0], status=RunStatus.CANCELLED, finished_at=NOW))
    assert fake.leftovers() == {}


@pytest.mark.parametrize("free", [1, 0])
async def test_X1_a_start_that_meets_the_holder_of_its_key_gives_back_what_it_reserved(free: int) -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5, status=RunStatus.RUNNING), False), free=free)
    coroutine = gives()
    with pytest.raises(RunConflict) as raised:
        await fake.start(coroutine, key="k")
    assert (raised.value.key, raised.value.active_run_id) == ("k", 5)
    assert [new.status for new in fake.inserts] == [RunStatus.RUNNING if free else RunStatus.PENDING]
    assert (fake.told, fake.leftovers()) == ([], {})
    assert coroutine.cr_frame is None, "a coroutine that will never begin is closed"


async def test_what_a_start_that_conflicts_gives_back_goes_to_the_run_that_waits() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new), new.token != 1))
    fake.gate = asyncio.Event()
    conflicting = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: fake.inserts)
    waiting = asyncio.create_task(fake.start())
    await eventually(lambda: len(fake.inserts) == 2)
    assert fake.inserts[1].status is RunStatus.PENDING
    fake.gate.set()
    with pytest.raises(RunConflict):
        await conflicting
    await within(60, waiting)
    live = fake.live(8)
    assert live.has_slot
    assert live.attempt.phase in (Phase.LAUNCHED, Phase.EXECUTING)


async def test_joining_gives_the_run_of_the_other_start() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5), False))
    assert (await fake.start(key="k", on_conflict="join")).id == 5
    assert (fake.told, fake.leftovers()) == ([], {})


async def test_joining_a_run_that_executes_here_gives_that_run() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 7), new.token == 1), free=9)
    _, first = await fake.starter.start(fake.request(key="k"))
    run, joined = await fake.starter.start(fake.request(key="k", on_conflict="join"))
    assert run.id == 7
    assert joined is first is fake.live()


async def test_an_idempotency_key_of_another_job_is_refused() -> None:
    fake = StarterOnFakeStore(lambda new: (row(new, 5, job="other"), False))
    with pytest.raises(ConfigurationError, match="belongs to run 5 of job 'other'"):
        await fake.start(idempotency_key="i")
    assert fake.leftovers() == {}


async def test_G1_a_run_that_somebody_cancelled_before_its_insert_was_answered_is_not_begun() -> None:
    ended = {"status": RunStatus.CANCELLED, "finished_at": NOW}
    fake = StarterOnFakeStore(lambda new: (row(new, **ended), True))
    coroutine = gives()
    assert (await fake.start(coroutine)).status == "cancelled"
    assert (fake.told, fake.leftovers()) == ([], {})
    assert coroutine.cr_frame is None


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("a fault"), GeneratorExit("closed")])
async def test_G1_an_insert_without_an_answer_gives_back_the_slot_and_is_doubted(error: BaseException) -> None:
    fake = StarterOnFakeStore(error)
    coroutine = gives()
    with pytest.raises(type(error), match=str(error)):
        await fake.start(coroutine, key="k")
    assert (fake.told, fake.leftovers()) == ([], {"doubts": 1})
    assert fake.state.interest.is_set(), "the watcher looks for the row"
    assert coroutine.cr_frame is None
    assert not fake.busy


async def test_S2_a_run_that_cannot_be_launched_is_failed_and_the_starter_gets_the_original_error() -> None:
    fake = StarterOnFakeStore()
    refuse_to_launch(trouble := MemoryError("no room"))
    with pytest.raises(MemoryError) as raised:
        await fake.start(key="k")
    assert raised.value is trouble
    [(run_id, ending)] = fake.endings
    assert (run_id, ending.status, ending.error) == (7, "failed", "MemoryError: no room")
    assert fake.told == ["add 7", "notify 7", "forget 7"]
    await eventually(lambda: fake.leftovers() == {})


async def test_S2_the_error_comes_when_the_failure_is_stored_and_the_key_is_not_held_until_then() -> None:
    fake = StarterOnFakeStore(free=2)
    fake.finish_gate = asyncio.Event()
    refuse_to_launch(MemoryError("no room"))
    failing = asyncio.create_task(fake.start(key="k"))
    await eventually(lambda: 7 in fake.registry)
    await turns(5)
    assert not failing.done()
    refuse_to_launch(None)
    await within(60, fake.start(key="k"))
    fake.finish_gate.set()
    with pytest.raises(MemoryError):
        await failing
    assert len(fake.endings) == 1


async def test_S2_of_the_runs_in_line_one_that_cannot_be_launched_fails_alone() -> None:
    fake = StarterOnFakeStore()
    for _ in range(3):
        await fake.start()
    await turns(5)
    first, second, third = map(fake.live, (7, 8, 9))
    refuse_to_launch(MemoryError("no room for a task"))
    fake.executor.withdraw(first, row(fake.inserts[0], status=RunStatus.CANCELLED, finished_at=NOW))
    refuse_to_launch(None)
    assert (second.attempt.over, repr(second.attempt.error)) == (True, "MemoryError('no room for a task')")
    await within(60, second.ended.wait())
    assert [(run_id, str(ending.error)) for run_id, ending in fake.endings] == [(8, "MemoryError: no room for a task")]
    await eventually(lambda: third.has_slot)
    await eventually(lambda: third.attempt.phase is not Phase.WAITING)


@pytest.mark.parametrize("others", [0, 1], ids=["with a slot", "without a slot"])
async def test_G8_a_run_whose_insert_is_answered_when_the_manager_has_closed_does_not_begin(others: int) -> None:
    fake = StarterOnFakeStore()
    for _ in range(others):
        await fake.start()
    others_inserted = len(fake.inserts)
    fake.gate = asyncio.Event()
    coroutine = gives()
    starting = asyncio.create_task(fake.start(coroutine))
    await eventually(lambda: len(fake.inserts) > others_inserted)
    fake.state.closing = fake.state.closed = True
    fake.gate.set()
    with pytest.raises(ManagerClosed, match="closed before the run began"):
        await starting
    assert [(run_id, ending.status) for run_id, ending in fake.endings] == [(7 + others, "failed")]
    assert coroutine.cr_frame is None
    for live in map(fake.live, range(7, 7 + others)):
        live.request_cancel(at=1, reason=None)
    await eventually(lambda: fake.leftovers() == {})


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


async def test_a_row_is_created_when_the_last_run_of_its_key_has_its_row() -> None:
    fake = StarterOnFakeStore(free=9)
    fake.gate = asyncio.Event()
    starts = [asyncio.create_task(fake.start(key="k")) for _ in range(2)]
    await eventually(lambda: fake.inserts)
    await asyncio.sleep(0.002)
    answered_at = now_micros()
    fake.gate.set()
    await within(60, asyncio.gather(*starts))
    assert fake.inserts[1].created_at >= answered_at


async def test_G9_a_run_sees_of_its_starters_variables_those_that_were_asked_for() -> None:
    given, other = contextvars.ContextVar("given", default="-"), contextvars.ContextVar("other", default="-")
    unset = contextvars.ContextVar("unset", default="-")
    seen: list[str] = []

    async def look() -> None:
        seen.extend((given.get(), other.get(), unset.get()))

    fake = StarterOnFakeStore(context_vars=(given, unset))
    given.set("theirs")
    other.set("theirs")
    await fake.start(look())
    await eventually(lambda: fake.endings)
    assert seen == ["theirs", "-", "-"]
