"""Inserting runs: what an insert stores, and what a repeated one answers."""

from __future__ import annotations

import asyncio

import pytest

from aioruns._values.model import from_micros
from aioruns._values.status import RunStatus
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, check_gapless, statuses_of

__all__ = ["Inserts"]


class Inserts(ContractCase):
    """``insert_run`` when no other run stands in the way."""

    async def test_inserted_run_is_stored_as_it_was_given(self, owner: Owner) -> None:
        new = owner.new(
            job="package.build",
            key="project:3",
            idempotency_key="start-1",
            timeout=2.5,
            tags=("blue", "red"),
            triggered_by="someone",
            retry_of=7,
            arguments_json='{"project_id":3}',
        )
        run, inserted = await owner.store.insert_run(new)
        assert inserted
        assert (run.job, run.status, run.key, run.idempotency_key) == (
            new.job,
            new.status,
            new.key,
            new.idempotency_key,
        )
        assert (run.timeout, run.tags, run.triggered_by) == (new.timeout, new.tags, new.triggered_by)
        assert run.retry_of == 7
        assert (run.arguments_json, run.manager_id, run.attempt) == (new.arguments_json, owner.manager_id, 1)
        assert await owner.read(run) == run

    async def test_inserted_run_has_nothing_that_it_was_not_given(self, owner: Owner) -> None:
        run = await owner.insert()
        optional = (run.key, run.idempotency_key, run.timeout, run.triggered_by, run.retry_of)
        assert optional == (None, None, None, None, None)
        assert run.arguments_json is None
        assert (run.tags, run.progress) == ((), None)

    async def test_V1_times_of_a_run_are_exact_and_aware(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.RUNNING)
        assert run.created_at == run.started_at == from_micros(NOW)
        assert run.created_at.utcoffset() is not None

    async def test_V2_active_run_has_no_end(self, owner: Owner) -> None:
        run = await owner.insert()
        assert run.active
        assert (run.finished_at, run.error, run.traceback, run.result_json) == (None, None, None, None)
        assert (run.cancel_requested_at, run.cancel_reason) == (None, None)

    async def test_C9_pending_run_has_not_started(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        assert (run.status, run.started_at) == (RunStatus.PENDING, None)
        assert await owner.read(run) == run

    @pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
    async def test_first_event_of_a_run_is_its_status(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert(status=status)
        (event,) = await owner.events(run)
        assert (event.run_id, event.seq, event.kind, event.attempt) == (run.id, 1, "status", 1)
        assert (event.data["status"], event.at) == (status, from_micros(NOW))

    async def test_ids_grow(self, owner: Owner) -> None:
        ids = [(await owner.insert()).id for _ in range(3)]
        assert ids == sorted(set(ids))

    async def test_concurrent_inserts_each_get_their_own_run(self, owner: Owner) -> None:
        news = [owner.new(job=f"job-{number}", arguments_json=f'{{"number":{number}}}') for number in range(150)]
        answers = await asyncio.gather(*map(owner.store.insert_run, news))
        assert all(inserted for _, inserted in answers)
        assert len({run.id for run, _ in answers}) == len(news)
        for new, (run, _) in zip(news, answers, strict=True):
            assert (run.job, run.arguments_json) == (new.job, new.arguments_json)
            assert await owner.read(run) == run

    async def test_repeated_insert_finds_its_run(self, owner: Owner) -> None:
        new = owner.new(key="a", idempotency_key="start-1", join=True)
        first = await owner.store.insert_run(new)
        assert await owner.store.insert_run(new) == first == (first[0], True)
        assert await owner.store.owned_runs(owner.manager_id) == [first[0]]
        check_gapless(await owner.events(first[0]))

    async def test_repeated_insert_finds_its_run_as_it_is_now(self, owner: Owner) -> None:
        new = owner.new(status=RunStatus.PENDING)
        run, _ = await owner.store.insert_run(new)
        await owner.store.claim_run(run.id, owner.fence, at=NOW + 1)
        again, inserted = await owner.store.insert_run(new)
        assert inserted
        assert (again.id, again.status) == (run.id, RunStatus.RUNNING)
        assert statuses_of(await owner.events(run)) == ["pending", "running"]

    async def test_C9_repeated_insert_finds_its_run_that_was_cancelled_before_it_began(self, owner: Owner) -> None:
        new = owner.new(status=RunStatus.PENDING, key="a")
        run, _ = await owner.store.insert_run(new)
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 1)
        assert await owner.store.insert_run(new) == (cancelled, True)
        assert await owner.store.owned_runs(owner.manager_id) == []

    async def test_repeated_insert_does_not_mark_its_run_as_shared(self, owner: Owner) -> None:
        new = owner.new(key="a", join=True)
        run, _ = await owner.store.insert_run(new)
        await owner.store.insert_run(new)
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 1, unless_shared=True)
        assert cancelled is not None
        assert cancelled.status is RunStatus.CANCELLING

    async def test_tokens_are_the_managers_own(self, owner: Owner, other: Owner) -> None:
        mine, theirs = owner.new(token=7), other.new(token=7)
        run, inserted = await owner.store.insert_run(mine)
        second, inserted_too = await other.store.insert_run(theirs)
        assert inserted
        assert inserted_too
        assert run.id != second.id

    @pytest.mark.parametrize("turns", range(8))
    async def test_S3_insert_whose_caller_was_cancelled_can_be_repeated(self, owner: Owner, turns: int) -> None:
        new = owner.new()
        call = asyncio.ensure_future(owner.store.insert_run(new))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait((call,))
        run, inserted = await owner.store.insert_run(new)
        assert inserted
        assert await owner.store.owned_runs(owner.manager_id) == [run]
