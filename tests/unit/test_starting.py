"""The start section over a store in memory: what it asks of the store, of capacity and of those who execute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.support import eventually, turns
from tests.unit.desk import gives
from tests.unit.streams import within

from aioruns import ConfigurationError, Run, RunConflict, RunStatus, StoreUnavailable, job
from aioruns._active import ActiveRun
from aioruns._jobs import Work
from aioruns._model import now_micros
from aioruns._outbox import Budget
from aioruns._redaction import redact_secrets
from aioruns._starting import Starter
from aioruns._tickets import Ticket, check_start
from aioruns.abc import NewRun, Store

pytestmark = pytest.mark.asyncio

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Insert = Callable[[NewRun], tuple[Run, bool]]


def row(new: NewRun, run_id: int = 7, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "id": run_id, "job": new.job, "status": new.status, "key": new.key, "idempotency_key": new.idempotency_key,
        "manager_id": new.manager_id, "created_at": NOW,
    }  # fmt: skip
    return Run(**{**values, **changes})


class Hall:
    """A starter before a store in memory.

    Attributes:
        inserts: What was to be inserted.
        said: What the starter has asked of others, in order.
        free: How many runs may begin at once.
        trouble: What is raised when a run is launched.
        gate: What the answers of inserts wait for.
    """

    def __init__(self, insert: Insert | Exception | None = None, *, free: int = 1) -> None:
        self.inserts: list[NewRun] = []
        self.said: list[str] = []
        self.free = free
        self.trouble: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self._insert = insert or (lambda new: (row(new), True))
        self.starter = Starter(
            cast("Store", self), "manager", self, self,
            launch=self._launch, fail=self._fail, cancel_abandoned=self._cancel, on_doubt=self._doubt,
        )  # fmt: skip

    # What the starter sees of a store

    async def insert_run(self, new: NewRun) -> tuple[Run, bool]:
        self.inserts.append(new)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self._insert, Exception):
            raise self._insert
        return self._insert(new)

    # of the registry

    def add(self, active: ActiveRun) -> None:
        assert active.is_attached(active.run.id)
        self.said.append(f"add {active.run.id}")

    # of capacity

    def reserve(self) -> bool:
        self.said.append("reserve")
        self.free -= 1
        return self.free >= 0

    def release(self) -> None:
        self.said.append("release")

    def enqueue(self, active: ActiveRun) -> None:
        self.said.append(f"enqueue {active.run.id}")

    def withdraw(self) -> None:
        self.said.append("withdraw")

    # and of those who execute and cancel

    def _launch(self, active: ActiveRun) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.said.append(f"launch {active.run.id}")

    def _fail(self, active: ActiveRun, error: BaseException) -> None:
        assert error is self.trouble
        self.said.append(f"fail {active.run.id}")
        asyncio.get_running_loop().call_soon(active.ended.set)

    def _doubt(self) -> None:
        self.said.append("doubt")

    async def _cancel(self, run_id: int) -> None:
        self.said.append(f"cancel {run_id}")

    def ticket(self, call: object | None = None, **options: Any) -> Ticket:
        def prepare(work: Work) -> ActiveRun:
            return ActiveRun(work, budget=Budget(), redact=redact_secrets, on_filled=lambda _: None, values=[])

        options = {
            "key": None, "on_conflict": "reject", "idempotency_key": None, "timeout": None, "tags": None,
            "triggered_by": None, **options,
        }  # fmt: skip
        return check_start(call if call is not None else build(3), {}, prepare=prepare, **options)

    async def start(self, call: object | None = None, **options: Any) -> Run:
        return await self.starter.start(self.ticket(call, **options))


@job
async def build(number: int) -> None: ...


async def test_everything_a_start_says_is_inserted() -> None:
    hall = Hall()
    run = await hall.start(
        key="k", on_conflict="join", idempotency_key="i", timeout=5, tags=["b", "a"], triggered_by="somebody"
    )
    (new,) = hall.inserts
    assert abs(new.created_at - now_micros()) < 60_000_000
    assert new == NewRun(
        manager_id="manager", token=1, job="build", status=RunStatus.RUNNING, created_at=new.created_at, key="k",
        idempotency_key="i", join=True, timeout=5, tags=("a", "b"), triggered_by="somebody",
        arguments_json='{"number":3}',
    )  # fmt: skip
    assert run.id == 7


async def test_a_start_that_says_nothing_inserts_nothing_more() -> None:
    hall = Hall()
    await hall.start()
    (new,) = hall.inserts
    assert (new.key, new.idempotency_key, new.join, new.timeout, new.tags, new.triggered_by) == (
        None, None, False, None, (), None,
    )  # fmt: skip


async def test_each_insert_has_a_token_of_its_own() -> None:
    hall = Hall(free=2)
    await hall.start()
    await hall.start()
    assert [new.token for new in hall.inserts] == [1, 2]


async def test_S1_a_run_with_a_slot_is_registered_and_launched() -> None:
    hall = Hall()
    assert (await hall.start()).status == "running"
    assert hall.said == ["reserve", "add 7", "launch 7"]


async def test_a_run_without_a_slot_is_inserted_as_pending_registered_and_put_in_line() -> None:
    hall = Hall(free=0)
    assert (await hall.start()).status == "pending"
    assert hall.said == ["reserve", "add 7", "enqueue 7"]


@pytest.mark.parametrize(("free", "gives_back"), [(1, "release"), (0, "withdraw")])
async def test_X1_a_start_that_meets_the_holder_of_its_key_gives_back_what_it_reserved(
    free: int, gives_back: str
) -> None:
    hall = Hall(lambda new: (row(new, 5, status=RunStatus.RUNNING), False), free=free)
    coroutine = gives()
    with pytest.raises(RunConflict) as raised:
        await hall.start(coroutine, key="k")
    assert (raised.value.key, raised.value.active_run_id) == ("k", 5)
    assert hall.said == ["reserve", gives_back]
    assert coroutine.cr_frame is None, "a coroutine that will never begin is closed"


async def test_joining_gives_the_run_of_the_other_start() -> None:
    hall = Hall(lambda new: (row(new, 5), False))
    assert (await hall.start(key="k", on_conflict="join")).id == 5
    assert hall.said == ["reserve", "release"]


async def test_an_idempotency_key_of_another_job_is_refused() -> None:
    hall = Hall(lambda new: (row(new, 5, job="other"), False))
    with pytest.raises(ConfigurationError, match="belongs to run 5 of job 'other'"):
        await hall.start(idempotency_key="i")


async def test_G1_a_run_that_somebody_cancelled_before_its_insert_was_answered_is_not_begun() -> None:
    ended = {"status": RunStatus.CANCELLED, "finished_at": NOW}
    hall = Hall(lambda new: (row(new, **ended), True))
    coroutine = gives()
    assert (await hall.start(coroutine)).status == "cancelled"
    assert hall.said == ["reserve", "release"]
    assert coroutine.cr_frame is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreUnavailable("away"), ["reserve", "release", "doubt"]),
        (ValueError("a fault"), ["reserve", "release"]),
    ],
    ids=["away", "fault"],
)
async def test_an_insert_that_fails_gives_back_the_slot_and_doubts_only_what_may_be_stored(
    error: Exception, said: list[str]
) -> None:
    hall = Hall(error)
    coroutine = gives()
    with pytest.raises(type(error), match=str(error)):
        await hall.start(coroutine, key="k")
    assert sorted(hall.said) == sorted(said)
    assert coroutine.cr_frame is None
    assert not hall.starter.busy


async def test_S2_a_run_that_cannot_be_launched_is_failed_and_the_starter_gets_the_original_error() -> None:
    hall = Hall()
    hall.trouble = trouble = MemoryError("no room")
    with pytest.raises(MemoryError) as raised:
        await hall.start(key="k")
    assert raised.value is trouble
    assert hall.said == ["reserve", "add 7", "fail 7"]


async def test_S2_the_error_comes_when_the_failure_is_stored_and_the_key_is_not_held_until_then() -> None:
    hall = Hall(free=2)
    hall.trouble = MemoryError("no room")
    ended: list[ActiveRun] = []
    cast("Any", hall.starter)._fail = lambda active, _: ended.append(active)
    failing = asyncio.create_task(hall.start(key="k"))
    await eventually(lambda: ended)
    await turns(5)
    assert not failing.done()
    hall.trouble = None
    await within(5, hall.start(key="k"))
    ended[0].ended.set()
    with pytest.raises(MemoryError):
        await failing


async def test_starts_under_one_key_insert_one_after_the_other_and_others_beside_them() -> None:
    hall = Hall(free=9)
    hall.gate = asyncio.Event()
    starts = [asyncio.create_task(hall.start(key=key)) for key in ("a", "a", "b", None, None)]
    await turns(10)
    assert [new.key for new in hall.inserts] == ["a", "b", None, None]
    assert hall.starter.busy
    hall.gate.set()
    await within(5, asyncio.gather(*starts))
    assert [new.key for new in hall.inserts] == ["a", "b", None, None, "a"]
    assert not hall.starter.busy


# Callers that go away


async def test_S3_a_start_whose_caller_went_away_goes_on_and_its_run_is_cancelled() -> None:
    hall = Hall()
    hall.gate = asyncio.Event()
    caller = asyncio.create_task(hall.start())
    await eventually(lambda: hall.inserts)
    caller.cancel()
    await asyncio.wait((caller,))
    assert caller.cancelled()
    assert hall.starter.busy
    settling = asyncio.create_task(hall.starter.settle())
    await turns(5)
    assert not settling.done()
    hall.gate.set()
    await within(5, settling)
    await eventually(lambda: hall.said[-1] == "cancel 7")
    assert hall.said == ["reserve", "add 7", "launch 7", "cancel 7"]


async def test_S3_a_run_that_was_only_joined_is_left_alone_when_the_caller_goes_away() -> None:
    hall = Hall(lambda new: (row(new, 5), False))
    hall.gate = asyncio.Event()
    caller = asyncio.create_task(hall.start(key="k", on_conflict="join"))
    await eventually(lambda: hall.inserts)
    caller.cancel()
    await asyncio.wait((caller,))
    hall.gate.set()
    await within(5, hall.starter.settle())
    await turns(5)
    assert hall.said == ["reserve", "release"]


async def test_S3_an_insert_that_fails_behind_its_caller_leaves_nothing() -> None:
    hall = Hall(StoreUnavailable("away"))
    hall.gate = asyncio.Event()
    coroutine = gives()
    caller = asyncio.create_task(hall.start(coroutine))
    await eventually(lambda: hall.inserts)
    caller.cancel()
    await asyncio.wait((caller,))
    hall.gate.set()
    await within(5, hall.starter.settle())
    await turns(5)
    assert sorted(hall.said) == ["doubt", "release", "reserve"]
    assert coroutine.cr_frame is None


async def test_settling_takes_no_longer_than_it_may() -> None:
    hall = Hall()
    hall.gate = asyncio.Event()
    caller = asyncio.create_task(hall.start())
    await eventually(lambda: hall.inserts)
    await within(5, hall.starter.settle(timeout=0.01))
    assert hall.starter.busy
    hall.gate.set()
    await within(5, caller)


# The event loop that is torn down


async def test_a_section_that_is_cancelled_before_its_first_step_leaves_nothing() -> None:
    hall = Hall()
    coroutine = gives()
    caller = asyncio.create_task(hall.start(coroutine))
    await turns(1)
    (section,) = hall.starter._sections._tasks
    section.cancel()
    caller.cancel()
    await asyncio.wait((caller,))
    await turns(5)
    assert (hall.inserts, hall.said) == ([], [])
    assert coroutine.cr_frame is None


async def test_G1_a_section_that_is_cancelled_while_it_inserts_goes_on_and_its_run_is_cancelled() -> None:
    hall = Hall()
    hall.gate = asyncio.Event()
    coroutine = gives()
    caller = asyncio.create_task(hall.start(coroutine))
    await eventually(lambda: hall.inserts)
    (section,) = hall.starter._sections._tasks
    section.cancel()
    caller.cancel()
    hall.gate.set()
    await asyncio.wait((caller, section))
    await turns(5)
    assert len(hall.inserts) == 2
    frame = coroutine.cr_frame
    coroutine.close()
    assert frame is not None, "the coroutine of a run that executes is its own"
    assert hall.said == ["reserve", "add 7", "launch 7", "cancel 7"]
