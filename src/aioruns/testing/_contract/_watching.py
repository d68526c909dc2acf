"""Writes of other processes: wait for them, and read what they have changed in a manager's runs."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from aioruns._values.status import TERMINAL, RunStatus
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, said

__all__ = ["Watching"]

QUIET: Final = 0.25
"""Seconds within which a store must notice a change: several times the promised delay."""
LATE: Final = 10.0
"""Seconds after which a store that has not noticed a change never will."""


class Watching(ContractCase):
    """``wait_changed`` and ``changed_runs``."""

    async def test_commit_of_another_store_is_noticed(self, owner: Owner, other: Owner) -> None:
        await _settle(owner)
        waiting = asyncio.ensure_future(owner.store.wait_changed(timeout=LATE))
        await asyncio.sleep(0)
        await other.insert()
        assert await waiting

    async def test_each_kind_of_commit_is_noticed(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        writes = [
            lambda: other.store.append_events(run.id, owner.fence, [said(1)]),
            lambda: other.store.request_cancel(run.id, at=NOW + 1),
            lambda: other.finish(run),
        ]
        other.fence = owner.fence
        for write in writes:
            await _settle(owner)
            await write()
            assert await owner.store.wait_changed(timeout=LATE)

    async def test_commit_while_nobody_waited_is_not_missed(self, owner: Owner, other: Owner) -> None:
        await _settle(owner)
        await other.insert()
        assert await owner.store.wait_changed(timeout=LATE)

    async def test_commit_while_a_wait_was_cancelled_is_not_missed(self, owner: Owner, other: Owner) -> None:
        await _settle(owner)
        waiting = asyncio.ensure_future(owner.store.wait_changed(timeout=LATE))
        await asyncio.sleep(0)
        waiting.cancel()
        await other.insert()
        await asyncio.wait((waiting,))
        assert await owner.store.wait_changed(timeout=LATE)

    async def test_what_was_noticed_can_be_read(self, owner: Owner, other: Owner) -> None:
        await _settle(owner)
        inserting = asyncio.ensure_future(other.insert())
        assert await owner.store.wait_changed(timeout=LATE)
        run = await inserting
        assert await owner.read(run) == run

    async def test_own_commits_are_no_news(self, owner: Owner) -> None:
        # A wait may report a false alarm now and then, but not every time.
        for _ in range(5):
            waiting = asyncio.ensure_future(owner.store.wait_changed(timeout=QUIET))
            await owner.finish(await owner.insert())
            if not await waiting:
                return
        raise AssertionError("each wait ended with a commit of this store's own")

    async def test_wait_for_nothing_ends_in_time(self, owner: Owner) -> None:
        async with asyncio.timeout(LATE):
            await _settle(owner)

    async def test_runs_that_wait_or_execute_have_not_changed(self, owner: Owner) -> None:
        runs = [await owner.insert_as(status) for status in (RunStatus.PENDING, RunStatus.RUNNING)]
        assert await owner.store.changed_runs(owner.manager_id, [run.id for run in runs]) == {}
        assert await owner.store.changed_runs(owner.manager_id, []) == {}

    @pytest.mark.parametrize("status", [RunStatus.CANCELLING, *sorted(TERMINAL)])
    async def test_run_that_is_to_end_or_has_ended_has_changed(self, owner: Owner, status: RunStatus) -> None:
        run, other = await owner.insert_as(status), await owner.insert()
        assert await owner.store.changed_runs(owner.manager_id, [other.id, run.id]) == {run.id: run}
        assert await owner.store.changed_runs(owner.manager_id, [other.id]) == {}

    async def test_run_that_is_another_managers_or_gone_has_changed(self, owner: Owner) -> None:
        run = await owner.insert()
        changed = await owner.store.changed_runs("somebody", [run.id, run.id + 1])
        assert changed == {run.id: run, run.id + 1: None}

    async def test_what_another_store_has_done_to_runs_is_read(self, owner: Owner, other: Owner) -> None:
        runs = [await owner.insert() for _ in range(3)]
        waiting = await owner.insert_as(RunStatus.PENDING)
        ids = [run.id for run in (*runs, waiting)]
        cancelled = [await other.store.request_cancel(run_id, at=NOW + 1) for run_id in ids[2:]]
        assert await owner.store.changed_runs(owner.manager_id, ids) == dict(zip(ids[2:], cancelled, strict=True))
        owner.store.abandon_lease(owner.manager_id)
        await other.store.rescue_orphans(now=lambda: NOW + 9)
        changed = await owner.store.changed_runs(owner.manager_id, ids)
        assert [run and run.status for run in changed.values()] == ["interrupted"] * 3 + ["cancelled"]


async def _settle(owner: Owner) -> None:
    """Wait until no wait reports a change any more."""
    while await owner.store.wait_changed(timeout=QUIET):
        pass
