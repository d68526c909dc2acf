"""Leases and rescue: a rescue ends the runs of dead managers, once, and never touches those of live ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aioruns._values.model import from_micros
from aioruns._values.status import ACTIVE, RunStatus
from aioruns.abc import Ending, Store
from aioruns.errors import LeaseLost
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, check_gapless, said, serving, statuses_of

__all__ = ["Liveness"]


class Liveness(ContractCase):
    """``acquire_lease``, ``release_lease``, ``abandon_lease``, ``rescue_orphans``."""

    async def test_G7_manager_that_lives_is_left_alone(self, owner: Owner, other: Owner) -> None:
        runs = [await owner.insert_as(status) for status in sorted(ACTIVE)]
        for _ in range(3):
            assert await other.store.rescue_orphans(now=lambda: NOW + 9) == []
        assert [await owner.read(run) for run in runs] == runs
        await owner.store.append_events(runs[0].id, owner.fence, [said(1)])

    async def test_G7_rescuer_leaves_itself_alone(self, owner: Owner) -> None:
        run = await owner.insert()
        assert await owner.store.rescue_orphans(now=lambda: NOW + 9) == []
        assert await owner.read(run) == run

    @pytest.mark.parametrize("status", sorted(ACTIVE))
    async def test_G7_run_of_a_dead_manager_is_interrupted(self, owner: Owner, other: Owner, status: RunStatus) -> None:
        run = await owner.insert_as(status, key="a")
        owner.store.abandon_lease(owner.manager_id)
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == [run.id]
        rescued = await other.read(run)
        assert (rescued.status, rescued.finished_at) == (RunStatus.INTERRUPTED, from_micros(NOW + 9))
        assert rescued.error
        assert rescued.started_at == run.started_at
        assert await other.store.get_active_run("a") is None
        events = await other.events(run)
        check_gapless(events)
        assert (statuses_of(events)[-1], events[-1].terminal) == ("interrupted", True)
        assert events[-1].at == from_micros(NOW + 9)

    async def test_R3_key_of_a_rescued_run_can_be_taken(self, owner: Owner, other: Owner) -> None:
        await owner.insert(key="a")
        owner.store.abandon_lease(owner.manager_id)
        await other.store.rescue_orphans(now=lambda: NOW + 9)
        assert (await other.insert(key="a")).manager_id == other.manager_id

    async def test_G7_all_runs_of_a_dead_manager_are_rescued_at_once(self, owner: Owner, other: Owner) -> None:
        runs = [await owner.insert() for _ in range(5)]
        ended = await owner.insert_as(RunStatus.COMPLETED)
        theirs = await other.insert()
        owner.store.abandon_lease(owner.manager_id)
        assert sorted(await other.store.rescue_orphans(now=lambda: NOW + 9)) == [run.id for run in runs]
        assert [await other.read(ended), await other.read(theirs)] == [ended, theirs]
        assert await other.store.rescue_orphans(now=lambda: NOW + 10) == []

    async def test_G7_dead_manager_without_runs_leaves_nothing_to_rescue(self, owner: Owner, other: Owner) -> None:
        await owner.insert_as(RunStatus.FAILED)
        owner.store.abandon_lease(owner.manager_id)
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == []

    async def test_G7_writes_of_a_manager_that_was_rescued_are_refused(self, owner: Owner, other: Owner) -> None:
        run, pending = await owner.insert(), await owner.insert(status=RunStatus.PENDING)
        owner.store.abandon_lease(owner.manager_id)
        await other.store.rescue_orphans(now=lambda: NOW + 9)
        rescued = await other.read(run)
        with pytest.raises(LeaseLost):
            await owner.store.append_events(run.id, owner.fence, [said(1)])
        for ending in (
            Ending(status=RunStatus.COMPLETED, at=NOW + 9),
            Ending(status=RunStatus.INTERRUPTED, at=NOW + 10),
        ):
            with pytest.raises(LeaseLost):
                await owner.store.finish_run(run.id, owner.fence, ending)
        assert await owner.store.claim_run(pending.id, owner.fence, at=NOW + 10) is None
        assert await owner.read(run) == rescued
        assert len(await owner.events(run)) == 2

    async def test_G7_of_two_rescuers_at_once_one_gets_each_run(
        self, make_store: Callable[[], Store], owner: Owner, other: Owner
    ) -> None:
        for _ in range(3):
            async with serving(make_store()) as dead:
                runs = [await dead.insert() for _ in range(3)]
            first, second = await asyncio.gather(
                owner.store.rescue_orphans(now=lambda: NOW + 9), other.store.rescue_orphans(now=lambda: NOW + 10)
            )
            assert sorted(first + second) == [run.id for run in runs]
            assert not (first and second)
            for run in runs:
                events = await owner.events(run)
                check_gapless(events)
                assert statuses_of(events) == ["running", "interrupted"]

    async def test_G4_of_an_end_and_a_rescue_at_once_one_is_stored(self, owner: Owner, other: Owner) -> None:
        runs = [await owner.insert() for _ in range(5)]
        owner.store.abandon_lease(owner.manager_id)
        rescued, *ended = await asyncio.gather(
            other.store.rescue_orphans(now=lambda: NOW + 9),
            *(owner.finish(run, at=NOW + 8) for run in runs),
            return_exceptions=True,
        )
        assert not isinstance(rescued, BaseException)
        for run, answer in zip(runs, ended, strict=True):
            assert isinstance(answer, LeaseLost) == (run.id in rescued)  # pyright: ignore[reportOperatorIssue]
            assert len(statuses_of(await owner.events(run))) == 2

    async def test_G7_manager_whose_rescue_begins_again_is_rescued(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        owner.store.abandon_lease(owner.manager_id)
        rescue = asyncio.ensure_future(other.store.rescue_orphans(now=lambda: NOW + 9))
        await asyncio.sleep(0)
        rescue.cancel()
        await asyncio.wait((rescue,))
        while (await other.read(run)).active:  # the cancelled call may take a moment longer
            await other.store.rescue_orphans(now=lambda: NOW + 9)
        assert statuses_of(await other.events(run)) == ["running", "interrupted"]

    async def test_G8_closed_manager_that_holds_on_is_left_alone(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        await owner.store.aclose()
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == []
        assert await other.read(run) == run

    async def test_G8_closed_manager_that_lets_go_is_rescued(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        await owner.store.aclose()
        owner.store.abandon_lease(owner.manager_id)
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == [run.id]

    async def test_released_manager_leaves_nothing_to_rescue(self, owner: Owner, other: Owner) -> None:
        ended = await owner.insert_as(RunStatus.COMPLETED)
        await owner.store.release_lease(owner.manager_id)
        await owner.store.release_lease(owner.manager_id)
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == []
        assert await other.read(ended) == ended

    async def test_released_manager_that_leaves_a_run_behind_is_rescued(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        await owner.store.release_lease(owner.manager_id)
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == [run.id]

    async def test_repeated_acquire_changes_nothing(self, owner: Owner, other: Owner) -> None:
        await owner.store.acquire_lease(owner.manager_id, at=NOW)
        run = await owner.insert()
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == []
        owner.store.abandon_lease(owner.manager_id)
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == [run.id]

    async def test_letting_go_twice_changes_nothing(self, owner: Owner) -> None:
        owner.store.abandon_lease(owner.manager_id)
        owner.store.abandon_lease(owner.manager_id)
