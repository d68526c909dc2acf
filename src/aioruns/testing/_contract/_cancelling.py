"""Cancel requests: the store records the first one, from anywhere; a run that does not execute ends at once."""

from __future__ import annotations

import asyncio

import pytest

from aioruns._values.model import from_micros
from aioruns._values.status import TERMINAL, RunStatus
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, check_gapless, statuses_of

__all__ = ["CancelRequests"]


class CancelRequests(ContractCase):
    """``request_cancel``."""

    async def test_C8_cancel_of_a_running_run_records_the_intent_only(self, owner: Owner) -> None:
        run = await owner.insert(key="a")
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 5, reason="enough")
        assert cancelled is not None
        assert (cancelled.status, cancelled.finished_at) == (RunStatus.CANCELLING, None)
        assert (cancelled.cancel_requested_at, cancelled.cancel_reason) == (from_micros(NOW + 5), "enough")
        assert await owner.store.get_active_run("a") == cancelled

    async def test_C9_cancel_of_a_pending_run_ends_it(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING, key="a")
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 5, reason="enough")
        assert cancelled is not None
        assert (cancelled.status, cancelled.started_at) == (RunStatus.CANCELLED, None)
        assert cancelled.finished_at == cancelled.cancel_requested_at == from_micros(NOW + 5)
        assert (cancelled.cancel_reason, cancelled.error) == ("enough", None)
        assert await owner.store.get_active_run("a") is None

    @pytest.mark.parametrize(
        ("status", "after"), [(RunStatus.PENDING, RunStatus.CANCELLED), (RunStatus.RUNNING, RunStatus.CANCELLING)]
    )
    async def test_cancel_appends_its_status_event(self, owner: Owner, status: RunStatus, after: RunStatus) -> None:
        run = await owner.insert(status=status)
        await owner.store.request_cancel(run.id, at=NOW + 5)
        events = await owner.events(run)
        check_gapless(events)
        assert statuses_of(events) == [status, after]
        assert events[-1].at == from_micros(NOW + 5)

    @pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
    async def test_repeated_cancel_gives_the_same_answer(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert(status=status)
        first = await owner.store.request_cancel(run.id, at=NOW + 5, reason="enough")
        assert await owner.store.request_cancel(run.id, at=NOW + 5, reason="enough") == first
        assert len(await owner.events(run)) == 2

    async def test_second_cancel_leaves_the_first_as_it_is(self, owner: Owner) -> None:
        run = await owner.insert()
        first = await owner.store.request_cancel(run.id, at=NOW + 5, reason="enough")
        assert await owner.store.request_cancel(run.id, at=NOW + 6, reason="too late") == first

    async def test_T3_cancel_tells_updated_not_found_and_too_late_apart(self, owner: Owner) -> None:
        ended = await owner.insert_as(RunStatus.COMPLETED)
        run = await owner.insert()
        updated = await owner.store.request_cancel(run.id, at=NOW + 5)
        assert updated is not None
        assert updated.cancel_requested_at == from_micros(NOW + 5)
        assert await owner.store.request_cancel(ended.id, at=NOW + 5) == ended
        assert await owner.store.request_cancel(run.id + 1, at=NOW + 5) is None

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_cancel_of_a_run_that_has_ended_changes_nothing(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert_as(status)
        events = await owner.events(run)
        assert await owner.store.request_cancel(run.id, at=NOW + 5, reason="too late") == run
        assert await owner.events(run) == events

    async def test_C1_cancel_touches_no_other_run(self, owner: Owner) -> None:
        before, run, after = [await owner.insert(key=key) for key in "abc"]
        await owner.store.request_cancel(run.id, at=NOW + 5)
        assert [await owner.read(before), await owner.read(after)] == [before, after]
        assert len(await owner.events(before) + await owner.events(after)) == 2

    async def test_cancel_reaches_the_run_of_another_manager(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        cancelled = await other.store.request_cancel(run.id, at=NOW + 5)
        assert cancelled is not None
        assert cancelled.status is RunStatus.CANCELLING
        assert await owner.store.owned_runs(owner.manager_id) == [cancelled]

    async def test_of_concurrent_cancels_one_is_recorded(self, owner: Owner) -> None:
        run = await owner.insert()
        answers = await asyncio.gather(*(owner.store.request_cancel(run.id, at=NOW + 5 + late) for late in range(10)))
        assert len({answer and answer.cancel_requested_at for answer in answers}) == 1
        assert statuses_of(await owner.events(run)) == ["running", "cancelling"]

    @pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
    async def test_G1_cancel_unless_shared_reaches_a_run_that_is_not(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert(status=status, key="a")
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 5, unless_shared=True)
        assert cancelled is not None
        assert cancelled.cancel_requested_at == from_micros(NOW + 5)

    async def test_cancel_reaches_a_run_that_is_shared(self, owner: Owner) -> None:
        run = await owner.insert(idempotency_key="start-1")
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 5)
        assert cancelled is not None
        assert cancelled.status is RunStatus.CANCELLING
