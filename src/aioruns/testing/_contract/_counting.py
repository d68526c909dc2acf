"""Counting runs: which runs count, in which period, and in which class of durations."""

from __future__ import annotations

import pytest

from aioruns._values.model import LONGER_THAN, Run, RunCount, from_micros
from aioruns._values.status import RunStatus
from aioruns.testing._contract._owner import NOW, ContractCase, Owner

__all__ = ["Counts"]

_MINUTE = 60_000_000


async def _counts(owner: Owner, *, since: int = NOW, width: int = _MINUTE, among: int = 100) -> list[RunCount]:
    return await owner.store.count_runs(since=since, width=width, among=among)


class Counts(ContractCase):
    """``count_runs``."""

    async def test_nothing_is_counted_where_nothing_is(self, owner: Owner) -> None:
        assert await _counts(owner) == []

    async def test_runs_are_counted_by_period_job_and_status(self, owner: Owner) -> None:
        for minute, job, status in (
            (0, "a", RunStatus.RUNNING),
            (0, "a", RunStatus.RUNNING),
            (0, "b", RunStatus.RUNNING),
            (1, "a", RunStatus.PENDING),
            (1, "a", RunStatus.RUNNING),
            (1, "a", RunStatus.CANCELLING),
            (7, "a", RunStatus.RUNNING),
        ):
            await owner.insert_as(status, job=job, created_at=NOW + minute * _MINUTE + 59_999_999)
        found = await _counts(owner)
        assert {(each.start, each.job, each.status, each.longer_than): each.runs for each in found} == {
            (from_micros(NOW), "a", RunStatus.RUNNING, None): 2,
            (from_micros(NOW), "b", RunStatus.RUNNING, None): 1,
            (from_micros(NOW + _MINUTE), "a", RunStatus.PENDING, None): 1,
            (from_micros(NOW + _MINUTE), "a", RunStatus.RUNNING, None): 1,
            (from_micros(NOW + _MINUTE), "a", RunStatus.CANCELLING, None): 1,
            (from_micros(NOW + 7 * _MINUTE), "a", RunStatus.RUNNING, None): 1,
        }
        assert [each.start for each in found] == sorted(each.start for each in found)

    async def test_first_period_begins_where_it_is_said_and_the_next_one_after_its_width(self, owner: Owner) -> None:
        for late in (-1, 0, 6, 7, 13, 14):
            await owner.insert(created_at=NOW + late)
        found = await _counts(owner, width=7)
        assert [(each.start, each.runs) for each in found] == [
            (from_micros(NOW), 2),
            (from_micros(NOW + 7), 2),
            (from_micros(NOW + 14), 1),
        ]

    @pytest.mark.parametrize(("shorter", "seconds"), list(zip((None, *LONGER_THAN), LONGER_THAN, strict=False)))
    async def test_duration_is_in_the_class_that_it_reaches(
        self, owner: Owner, shorter: float | None, seconds: float
    ) -> None:
        micros = round(seconds * 1_000_000)
        for took in (micros - 1, micros):
            await owner.finish(await owner.insert(), RunStatus.FAILED, at=NOW + took)
        found = [(each.status, each.longer_than, each.runs) for each in await _counts(owner)]
        if shorter is None:  # the clock was set back, so the run took no time
            assert found == [(RunStatus.FAILED, 0.0, 2)]
        else:
            assert sorted(found) == [(RunStatus.FAILED, shorter, 1), (RunStatus.FAILED, seconds, 1)]

    async def test_run_that_has_not_both_begun_and_ended_has_no_duration(self, owner: Owner) -> None:
        waiting: Run = await owner.insert_as(RunStatus.PENDING)
        await owner.store.request_cancel(waiting.id, at=NOW + _MINUTE)
        await owner.insert()
        found = [(each.status, each.longer_than) for each in await _counts(owner)]
        assert sorted(found) == [(RunStatus.CANCELLED, None), (RunStatus.RUNNING, None)]

    async def test_only_the_newest_runs_are_looked_at(self, owner: Owner) -> None:
        for job in "abcd":
            await owner.insert(job=job)
        assert [each.job for each in await _counts(owner, among=3)] == ["b", "c", "d"]
        assert [each.job for each in await _counts(owner, among=1)] == ["d"]

    async def test_runs_are_found_in_whichever_order_clocks_have_put_them(self, owner: Owner) -> None:
        for late in (5, -5, 3, -3):
            await owner.insert(created_at=NOW + late)
        assert sum(each.runs for each in await _counts(owner)) == 2

    async def test_runs_of_all_managers_are_counted(self, owner: Owner, other: Owner) -> None:
        await owner.insert()
        await other.insert()
        assert [each.runs for each in await _counts(other)] == [2]
