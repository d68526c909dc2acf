"""Keys and idempotency keys: which run holds a key, what other starts learn, and when the key is free again."""

from __future__ import annotations

import asyncio

import pytest

from aioruns._values.model import Run
from aioruns._values.status import ACTIVE, TERMINAL, RunStatus
from aioruns.testing._contract._owner import NOW, ContractCase, Owner

__all__ = ["Keys"]


class Keys(ContractCase):
    """``insert_run`` when another run may stand in the way."""

    @pytest.mark.parametrize("status", sorted(ACTIVE))
    async def test_X1_key_is_held_by_an_active_run(self, owner: Owner, status: RunStatus) -> None:
        holder = await owner.insert_as(status, key="a")
        assert await owner.store.insert_run(owner.new(key="a")) == (holder, False)
        assert await owner.store.get_active_run("a") == holder
        assert [run.id for run in await owner.store.owned_runs(owner.manager_id)] == [holder.id]

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_X1_key_comes_free_when_its_run_ends(self, owner: Owner, status: RunStatus) -> None:
        before = await owner.insert_as(status, key="a")
        assert await owner.store.get_active_run("a") is None
        after = await owner.insert(key="a")
        assert after.id != before.id
        assert await owner.store.get_active_run("a") == after

    async def test_X1_of_concurrent_inserts_under_one_key_one_is_inserted(self, owner: Owner) -> None:
        answers = await asyncio.gather(*(owner.store.insert_run(owner.new(key="a")) for _ in range(20)))
        _check_one_winner(answers)
        assert len(await owner.store.owned_runs(owner.manager_id)) == 1

    async def test_X2_of_concurrent_inserts_on_two_stores_one_is_inserted(self, owner: Owner, other: Owner) -> None:
        for key in "abcdefgh":
            answers = await asyncio.gather(
                *(peer.store.insert_run(peer.new(key=key)) for _ in range(3) for peer in (owner, other))
            )
            winner = _check_one_winner(answers)
            assert await owner.store.get_active_run(key) == winner
        assert len(await owner.store.owned_runs(owner.manager_id) + await owner.store.owned_runs(other.manager_id)) == 8

    async def test_key_that_an_end_sets_free_goes_to_one_of_those_who_try(self, owner: Owner, other: Owner) -> None:
        before = await owner.insert(key="a")
        ending = asyncio.ensure_future(owner.finish(before))
        answers = await asyncio.gather(*(peer.store.insert_run(peer.new(key="a")) for peer in (owner, other)))
        inserted = [run for run, inserted in answers if inserted]
        await ending
        assert len(inserted) <= 1
        assert await owner.store.get_active_run("a") == next(iter(inserted), None)

    async def test_runs_without_a_key_exclude_nobody(self, owner: Owner) -> None:
        assert (await owner.insert()).id != (await owner.insert()).id

    async def test_keys_are_told_apart_to_the_last_character(self, owner: Owner) -> None:
        keys = ["a", "A", "a ", " a", "a'", 'a"', "a\\", "a;--", "a%", "é", "e\u0301", "ключ", "🗝️", "null", "0", "00"]
        for key in keys:
            assert (await owner.insert(key=key)).key == key
        for key in keys:
            holder = await owner.store.get_active_run(key)
            assert holder is not None
            assert holder.key == key

    async def test_idempotency_key_gives_the_run_that_has_it(self, owner: Owner) -> None:
        run = await owner.insert(idempotency_key="start-1")
        assert await owner.store.insert_run(owner.new(idempotency_key="start-1")) == (run, False)
        assert await owner.store.insert_run(owner.new(idempotency_key="start-1", job="another")) == (run, False)

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_idempotency_key_gives_a_run_that_has_ended_too(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert_as(status, idempotency_key="start-1")
        assert await owner.store.insert_run(owner.new(idempotency_key="start-1")) == (run, False)

    async def test_idempotency_key_comes_before_the_key(self, owner: Owner) -> None:
        named = await owner.insert(key="a", idempotency_key="start-1")
        await owner.finish(named)
        await owner.insert(key="a")
        found, inserted = await owner.store.insert_run(owner.new(key="a", idempotency_key="start-1"))
        assert (found.id, inserted) == (named.id, False)

    async def test_idempotency_key_that_is_new_does_not_open_a_held_key(self, owner: Owner) -> None:
        holder = await owner.insert(key="a")
        assert await owner.store.insert_run(owner.new(key="a", idempotency_key="start-1")) == (holder, False)

    async def test_of_concurrent_inserts_under_one_idempotency_key_one_is_inserted(
        self, owner: Owner, other: Owner
    ) -> None:
        for name in ("start-1", "start-2", "start-3"):
            _check_one_winner(
                await asyncio.gather(
                    *(
                        peer.store.insert_run(peer.new(idempotency_key=name))
                        for _ in range(3)
                        for peer in (owner, other)
                    )
                )
            )

    async def test_join_gives_the_holder_of_the_key(self, owner: Owner) -> None:
        holder = await owner.insert(key="a")
        assert await owner.store.insert_run(owner.new(key="a", join=True)) == (holder, False)

    async def test_join_of_a_free_key_inserts(self, owner: Owner) -> None:
        _, inserted = await owner.store.insert_run(owner.new(key="a", join=True))
        assert inserted

    async def test_G1_run_that_was_joined_is_shared(self, owner: Owner) -> None:
        holder = await owner.insert(key="a")
        await owner.store.insert_run(owner.new(key="a", join=True))
        assert await owner.store.request_cancel(holder.id, at=NOW + 1, unless_shared=True) == holder

    async def test_G1_run_that_was_joined_from_elsewhere_is_shared(self, owner: Owner, other: Owner) -> None:
        holder = await owner.insert(key="a")
        await other.store.insert_run(other.new(key="a", join=True))
        assert await owner.store.request_cancel(holder.id, at=NOW + 1, unless_shared=True) == holder

    async def test_G1_run_with_an_idempotency_key_is_shared(self, owner: Owner) -> None:
        run = await owner.insert(idempotency_key="start-1")
        assert await owner.store.request_cancel(run.id, at=NOW + 1, unless_shared=True) == run

    @pytest.mark.parametrize("join", [False, True])
    async def test_run_of_another_job_is_not_joined(self, owner: Owner, join: bool) -> None:
        holder = await owner.insert(key="a")
        assert await owner.store.insert_run(owner.new(key="a", job="another", join=join)) == (holder, False)
        cancelled = await owner.store.request_cancel(holder.id, at=NOW + 1, unless_shared=True)
        assert cancelled is not None
        assert cancelled.status is RunStatus.CANCELLING

    async def test_run_that_was_refused_a_key_is_not_joined(self, owner: Owner) -> None:
        holder = await owner.insert(key="a")
        await owner.store.insert_run(owner.new(key="a"))
        cancelled = await owner.store.request_cancel(holder.id, at=NOW + 1, unless_shared=True)
        assert cancelled is not None
        assert cancelled.status is RunStatus.CANCELLING


def _check_one_winner(answers: list[tuple[Run, bool]]) -> Run:
    winners = [run for run, inserted in answers if inserted]
    assert len(winners) == 1
    assert {run.id for run, _ in answers} == {winners[0].id}
    return winners[0]
