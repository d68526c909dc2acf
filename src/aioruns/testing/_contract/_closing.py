"""Opening and closing: stored data outlives the store, and a closed store raises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aioruns._values.model import RunFilter
from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Store
from aioruns.errors import StoreUnavailable
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, said, serving

__all__ = ["OpeningAndClosing"]

_VERBS: dict[str, Callable[[Owner], Awaitable[object]]] = {
    "acquire_lease": lambda owner: owner.store.acquire_lease(owner.manager_id, at=NOW),
    "append_events": lambda owner: owner.store.append_events(1, owner.fence, [said(1)]),
    "claim_run": lambda owner: owner.store.claim_run(1, owner.fence, at=NOW),
    "finish_run": lambda owner: owner.store.finish_run(1, owner.fence, Ending(status=RunStatus.FAILED, at=NOW)),
    "get_active_run": lambda owner: owner.store.get_active_run("a"),
    "get_latest_run": lambda owner: owner.store.get_latest_run("a"),
    "get_run": lambda owner: owner.store.get_run(1),
    "insert_run": lambda owner: owner.store.insert_run(owner.new()),
    "list_runs": lambda owner: owner.store.list_runs(RunFilter(), limit=1, before=None),
    "owned_runs": lambda owner: owner.store.owned_runs(owner.manager_id),
    "prune_runs": lambda owner: owner.store.prune_runs(finished_before=NOW, limit=1),
    "read_events": lambda owner: owner.store.read_events(1, after=0, limit=1),
    "release_lease": lambda owner: owner.store.release_lease(owner.manager_id),
    "request_cancel": lambda owner: owner.store.request_cancel(1, at=NOW),
    "wait_changed": lambda owner: owner.store.wait_changed(),
}


class OpeningAndClosing(ContractCase):
    """``open`` and ``aclose``."""

    async def test_store_speaks_the_protocol(self, owner: Owner) -> None:
        assert isinstance(owner.store, Store)

    async def test_runs_outlive_the_store(self, make_store: Callable[[], Store]) -> None:
        self.skip_unless_shareable()
        async with serving(make_store()) as before:
            run = await before.insert_as(RunStatus.COMPLETED, arguments_json="{}", tags=("red",))
            events = await before.events(run)
        async with serving(make_store()) as after:
            assert await after.read(run) == run
            assert await after.events(run) == events

    async def test_fresh_database_may_be_opened_by_several_at_once(self, make_store: Callable[[], Store]) -> None:
        self.skip_unless_shareable()
        stores = [make_store() for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        run, _ = await stores[0].insert_run(Owner(stores[0]).new())
        assert [await store.get_run(run.id) for store in stores] == [run] * 4
        await asyncio.gather(*(store.aclose() for store in stores))

    async def test_store_that_is_closed_first_stores_what_waits(self, owner: Owner) -> None:
        inserts = [asyncio.ensure_future(owner.insert()) for _ in range(10)]
        await asyncio.sleep(0)
        await owner.store.aclose()
        runs = [await insert for insert in inserts]
        assert len({run.id for run in runs}) == 10

    async def test_store_may_be_closed_twice(self, owner: Owner) -> None:
        await owner.store.aclose()
        await owner.store.aclose()

    async def test_store_may_be_closed_twice_at_once(self, owner: Owner) -> None:
        await asyncio.gather(owner.insert(), owner.store.aclose(), owner.store.aclose())

    async def test_store_that_was_never_opened_may_be_closed(self, make_store: Callable[[], Store]) -> None:
        await make_store().aclose()

    @pytest.mark.parametrize("verb", _VERBS)
    async def test_closed_store_is_unavailable(self, owner: Owner, verb: str) -> None:
        await owner.store.aclose()
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailable):
                await _VERBS[verb](owner)
