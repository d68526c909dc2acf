"""Waiting for what other processes write."""

from __future__ import annotations

import asyncio
from typing import Final

from aioruns.testing._contract._owner import NOW, ContractCase, Owner, said

__all__ = ["Watching"]

QUIET: Final = 0.25
"""Seconds in which what has changed is noticed: several times the delay that is promised."""
LATE: Final = 10.0
"""Seconds after which what has not been noticed never will be."""


class Watching(ContractCase):
    """``wait_changed``."""

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
        # A wait may end in vain now and then, but not each time.
        for _ in range(5):
            waiting = asyncio.ensure_future(owner.store.wait_changed(timeout=QUIET))
            await owner.finish(await owner.insert())
            if not await waiting:
                return
        raise AssertionError("each wait ended with a commit of this store's own")

    async def test_wait_for_nothing_ends_in_time(self, owner: Owner) -> None:
        async with asyncio.timeout(LATE):
            await _settle(owner)


async def _settle(owner: Owner) -> None:
    """Wait until there is no news."""
    while await owner.store.wait_changed(timeout=QUIET):
        pass
