"""Pruning: old finished runs go with all that belongs to them, others stay."""

from __future__ import annotations

import pytest

from aioruns._lifecycle import ACTIVE, TERMINAL, RunStatus
from aioruns._model import RunFilter
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, said

__all__ = ["Pruning"]


class Pruning(ContractCase):
    """``prune_runs``."""

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_pruned_run_is_gone_with_its_events(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert(key="a")
        await owner.finish(run, status, at=NOW + 5, events=[said(1)])
        assert await owner.store.prune_runs(finished_before=NOW + 6, limit=10) == 1
        assert await owner.store.get_run(run.id) is None
        assert await owner.store.get_latest_run("a") is None
        assert await owner.events(run) == []
        assert await owner.store.prune_runs(finished_before=NOW + 6, limit=10) == 0

    @pytest.mark.parametrize("status", sorted(ACTIVE))
    async def test_active_run_is_never_pruned(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert_as(status)
        assert await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=10) == 0
        assert await owner.read(run) == run

    async def test_run_that_ended_at_the_time_or_later_is_not_pruned(self, owner: Owner) -> None:
        runs = [await owner.insert(idempotency_key=str(late)) for late in range(3)]
        for late, run in enumerate(runs):
            await owner.finish(run, at=NOW + 5 + late, events=[said(1)])
        assert await owner.store.prune_runs(finished_before=NOW + 6, limit=10) == 1
        assert [run.id for run in await owner.store.list_runs(RunFilter(), limit=10, before=None)] == [
            runs[2].id,
            runs[1].id,
        ]
        assert len(await owner.events(runs[1])) == 3

    async def test_no_more_runs_are_pruned_than_was_said(self, owner: Owner) -> None:
        for _ in range(5):
            await owner.insert_as(RunStatus.COMPLETED)
        assert [await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=2) for _ in range(4)] == [
            2,
            2,
            1,
            0,
        ]

    async def test_idempotency_key_of_a_pruned_run_is_free(self, owner: Owner) -> None:
        await owner.insert_as(RunStatus.COMPLETED, idempotency_key="start-1")
        await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=10)
        await owner.insert(idempotency_key="start-1")

    async def test_id_of_a_pruned_run_is_not_used_again(self, owner: Owner) -> None:
        pruned = await owner.insert_as(RunStatus.COMPLETED)
        await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=10)
        assert (await owner.insert()).id > pruned.id
