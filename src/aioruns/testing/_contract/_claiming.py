"""Claiming runs: only the owner takes a run from ``pending`` to ``running``, and only once."""

from __future__ import annotations

import asyncio

import pytest

from aioruns._values.model import from_micros
from aioruns._values.status import RunStatus
from aioruns.abc import Fence
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, check_gapless, statuses_of

__all__ = ["Claims"]


class Claims(ContractCase):
    """``claim_run``."""

    async def test_claimed_run_is_running(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING, key="a")
        claimed = await owner.store.claim_run(run.id, owner.fence, at=NOW + 5)
        assert claimed is not None
        assert (claimed.status, claimed.started_at) == (RunStatus.RUNNING, from_micros(NOW + 5))
        assert claimed.created_at == run.created_at
        assert await owner.store.get_active_run("a") == claimed

    async def test_claim_appends_its_status_event(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        await owner.store.claim_run(run.id, owner.fence, at=NOW + 5)
        events = await owner.events(run)
        check_gapless(events)
        assert statuses_of(events) == ["pending", "running"]
        assert events[-1].at == from_micros(NOW + 5)

    async def test_repeated_claim_gives_the_same_answer(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        claimed = await owner.store.claim_run(run.id, owner.fence, at=NOW + 5)
        assert await owner.store.claim_run(run.id, owner.fence, at=NOW + 5) == claimed
        assert statuses_of(await owner.events(run)) == ["pending", "running"]

    async def test_repeated_claim_shows_a_cancel_request_that_came_between(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        await owner.store.claim_run(run.id, owner.fence, at=NOW + 5)
        await owner.store.request_cancel(run.id, at=NOW + 6)
        again = await owner.store.claim_run(run.id, owner.fence, at=NOW + 5)
        assert again is not None
        assert again.status is RunStatus.CANCELLING

    @pytest.mark.parametrize("fence", [Fence("somebody", 1), Fence("", 2)], ids=["manager", "attempt"])
    async def test_claim_behind_another_fence_changes_nothing(self, owner: Owner, fence: Fence) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        wrong = Fence(fence.manager_id or owner.manager_id, fence.attempt)
        assert await owner.store.claim_run(run.id, wrong, at=NOW + 5) is None
        assert await owner.read(run) == run
        assert statuses_of(await owner.events(run)) == ["pending"]

    async def test_claims_at_once_are_told_apart_by_their_fences(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        wrong = Fence(owner.manager_id, 2)
        refused, claimed = await asyncio.gather(
            owner.store.claim_run(run.id, wrong, at=NOW + 5), owner.store.claim_run(run.id, owner.fence, at=NOW + 6)
        )
        assert refused is None
        assert claimed is not None
        assert claimed.started_at == from_micros(NOW + 6)

    async def test_claim_of_a_run_that_does_not_exist_gives_nothing(self, owner: Owner) -> None:
        run = await owner.insert()
        assert await owner.store.claim_run(run.id + 1, owner.fence, at=NOW + 5) is None

    async def test_C9_run_that_was_cancelled_while_pending_cannot_be_claimed(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        cancelled = await owner.store.request_cancel(run.id, at=NOW + 4)
        assert await owner.store.claim_run(run.id, owner.fence, at=NOW + 5) is None
        assert await owner.read(run) == cancelled

    async def test_C9_of_claim_and_cancel_at_once_one_comes_first(self, owner: Owner, other: Owner) -> None:
        for _ in range(5):
            run = await owner.insert(status=RunStatus.PENDING)
            claimed, cancelled = await asyncio.gather(
                owner.store.claim_run(run.id, owner.fence, at=NOW + 5), other.store.request_cancel(run.id, at=NOW + 6)
            )
            assert cancelled is not None
            passed = statuses_of(await owner.events(run))
            if claimed is None:
                assert (cancelled.status, cancelled.started_at) == (RunStatus.CANCELLED, None)
                assert passed == ["pending", "cancelled"]
            else:
                assert cancelled.status is RunStatus.CANCELLING
                assert passed == ["pending", "running", "cancelling"]

    async def test_concurrent_claims_each_get_their_own_run(self, owner: Owner) -> None:
        runs = [await owner.insert(status=RunStatus.PENDING) for _ in range(20)]
        claimed = await asyncio.gather(
            *(owner.store.claim_run(run.id, owner.fence, at=NOW + run.id) for run in reversed(runs))
        )
        for run, answer in zip(reversed(runs), claimed, strict=True):
            assert answer is not None
            assert (answer.id, answer.started_at) == (run.id, from_micros(NOW + run.id))
