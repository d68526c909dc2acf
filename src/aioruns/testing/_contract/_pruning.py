"""Pruning: it deletes old finished runs with all that belongs to them, and leaves others alone."""

from __future__ import annotations

import pytest

from aioruns._values.model import RunFilter
from aioruns._values.status import ACTIVE, TERMINAL, RunStatus
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, said

__all__ = ["Pruning"]


async def pruned(owner: Owner, finished_before: int, *, after: int = 0) -> list[int]:
    """Prune until nothing is left to prune; return the ids of the deleted runs in order."""
    gone: list[int] = []
    while some := await owner.store.prune_runs(finished_before=finished_before, limit=10, after=after):
        gone += some
    return gone


class Pruning(ContractCase):
    """``prune_runs``."""

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_pruned_run_is_gone_with_its_events(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert(key="a")
        await owner.finish(run, status, at=NOW + 5, events=[said(1)])
        assert await owner.store.prune_runs(finished_before=NOW + 6, limit=10) == [run.id]
        assert await owner.store.get_run(run.id) is None
        assert await owner.store.get_latest_run("a") is None
        assert await owner.events(run) == []
        assert await owner.store.prune_runs(finished_before=NOW + 6, limit=10) == []

    @pytest.mark.parametrize("status", sorted(ACTIVE))
    async def test_active_run_is_never_pruned(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert_as(status)
        assert await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=10) == []
        assert await owner.read(run) == run

    async def test_run_that_ended_at_the_time_or_later_is_not_pruned(self, owner: Owner) -> None:
        runs = [await owner.insert(idempotency_key=str(late)) for late in range(3)]
        for late, run in enumerate(runs):
            await owner.finish(run, at=NOW + 5 + late, events=[said(1)])
        assert await owner.store.prune_runs(finished_before=NOW + 6, limit=10) == [runs[0].id]
        assert [run.id for run in await owner.store.list_runs(RunFilter(), limit=10, before=None)] == [
            runs[2].id,
            runs[1].id,
        ]
        assert len(await owner.events(runs[1])) == 3

    async def test_no_more_runs_are_pruned_than_was_said(self, owner: Owner) -> None:
        ids = [(await owner.insert_as(RunStatus.COMPLETED)).id for _ in range(5)]
        gone: list[int] = []
        while pruned := await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=2):
            assert len(pruned) <= 2
            gone += pruned
        assert gone == ids

    async def test_runs_up_to_an_id_are_passed_over(self, owner: Owner) -> None:
        ids = [(await owner.insert_as(RunStatus.COMPLETED)).id for _ in range(5)]
        assert await pruned(owner, NOW + 9, after=ids[1]) == ids[2:]
        assert await pruned(owner, NOW + 9, after=ids[4]) == []
        assert await pruned(owner, NOW + 9) == ids[:2]

    async def test_old_runs_are_pruned_that_stand_among_others(self, owner: Owner) -> None:
        runs = [await owner.insert(created_at=NOW + 10 * (number % 3)) for number in range(9)]
        for run in runs[:8]:
            await owner.finish(run, at=NOW + 10 * ((run.id - runs[0].id) % 3) + 5)
        assert await pruned(owner, NOW + 10) == [run.id for run in runs[:8:3]]
        assert await pruned(owner, NOW + 20) == [run.id for run in runs[1:8:3]]

    async def test_idempotency_key_of_a_pruned_run_is_free(self, owner: Owner) -> None:
        await owner.insert_as(RunStatus.COMPLETED, idempotency_key="start-1")
        await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=10)
        await owner.insert(idempotency_key="start-1")

    async def test_id_of_a_pruned_run_is_not_used_again(self, owner: Owner) -> None:
        pruned = await owner.insert_as(RunStatus.COMPLETED)
        await owner.store.prune_runs(finished_before=NOW + 1_000_000, limit=10)
        assert (await owner.insert()).id > pruned.id
