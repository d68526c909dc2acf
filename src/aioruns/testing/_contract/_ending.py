"""Ending runs: only the owner stores the last events, the terminal row and its event; in one piece, and only once."""

from __future__ import annotations

import asyncio

import pytest

from aioruns._values.model import Run, from_micros
from aioruns._values.status import ACTIVE, TERMINAL, TRANSITIONS, RunStatus
from aioruns.abc import Ending, Fence
from aioruns.errors import LeaseLost, StoreUnavailable
from aioruns.testing._contract._owner import NOW, ContractCase, Owner, check_gapless, said, statuses_of

__all__ = ["Endings"]

_LEGAL = [(before, after) for before in sorted(ACTIVE) for after in sorted(TERMINAL & TRANSITIONS[before])]


class Endings(ContractCase):
    """``finish_run``."""

    @pytest.mark.parametrize(("before", "after"), _LEGAL)
    async def test_ended_run_is_stored_as_it_was_given(self, owner: Owner, before: RunStatus, after: RunStatus) -> None:
        run = await owner.insert_as(before, key="a")
        result = '{"words":3}' if after is RunStatus.COMPLETED else None
        error, trace = ("ValueError: no", "Traceback …") if after is RunStatus.FAILED else (None, None)
        ended = await owner.finish(run, after, at=NOW + 9, result_json=result, error=error, traceback=trace)
        assert (ended.status, ended.finished_at) == (after, from_micros(NOW + 9))
        assert (ended.result_json, ended.error, ended.traceback) == (result, error, trace)
        assert (ended.created_at, ended.started_at) == (run.created_at, run.started_at)
        assert await owner.read(run) == ended

    @pytest.mark.parametrize(("before", "after"), _LEGAL)
    async def test_ended_run_has_its_status_event_last(self, owner: Owner, before: RunStatus, after: RunStatus) -> None:
        run = await owner.insert_as(before)
        await owner.finish(run, after, at=NOW + 9, events=[said(1), said(2)])
        events = await owner.events(run)
        check_gapless(events)
        assert events[-1].terminal
        assert (events[-1].data["status"], events[-1].at) == (after, from_micros(NOW + 9))
        assert [event.data for event in events if event.kind == "log"] == [{"ordinal": 1}, {"ordinal": 2}]

    async def test_cancelled_run_passes_through_cancelling(self, owner: Owner) -> None:
        run = await owner.insert()
        ended = await owner.finish(run, RunStatus.CANCELLED, cancel_requested_at=NOW + 1, cancel_reason="enough")
        assert (ended.cancel_requested_at, ended.cancel_reason) == (from_micros(NOW + 1), "enough")
        assert statuses_of(await owner.events(run)) == ["running", "cancelling", "cancelled"]

    async def test_cancelled_run_keeps_the_request_that_was_recorded(self, owner: Owner) -> None:
        run = await owner.insert()
        await owner.store.request_cancel(run.id, at=NOW + 1, reason="first")
        ended = await owner.finish(run, RunStatus.CANCELLED, cancel_requested_at=NOW + 2, cancel_reason="second")
        assert (ended.cancel_requested_at, ended.cancel_reason) == (from_micros(NOW + 1), "first")
        assert statuses_of(await owner.events(run)) == ["running", "cancelling", "cancelled"]

    async def test_C4_run_that_returned_is_completed_though_cancel_was_requested(self, owner: Owner) -> None:
        run = await owner.insert_as(RunStatus.CANCELLING)
        ended = await owner.finish(run, RunStatus.COMPLETED, result_json="3")
        assert (ended.status, ended.result) == (RunStatus.COMPLETED, 3)

    async def test_C9_run_that_ends_while_pending_never_started(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        assert (await owner.finish(run, RunStatus.FAILED, error="never began")).started_at is None

    async def test_F4_who_reads_the_terminal_row_reads_all_its_events(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        ending = asyncio.ensure_future(owner.finish(run, events=[said(number) for number in range(1, 201)]))
        while (await other.read(run)).active:
            await asyncio.sleep(0)
        events = await other.events(run)
        await ending
        check_gapless(events)
        assert len(events) == 202
        assert events[-1].terminal

    async def test_G6_what_a_store_reads_while_it_writes_is_stored(self, owner: Owner, other: Owner) -> None:
        for _ in range(5):
            run = await owner.insert()
            ending = asyncio.ensure_future(owner.finish(run, events=[said(number) for number in range(1, 201)]))
            while (await owner.read(run)).active:
                await asyncio.sleep(0)
            assert not (await other.read(run)).active
            await ending

    async def test_events_that_are_stored_already_are_not_stored_again_with_the_end(self, owner: Owner) -> None:
        run = await owner.insert()
        await owner.store.append_events(run.id, owner.fence, [said(1), said(2)])
        await owner.finish(run, events=[said(1), said(2), said(3)])
        events = await owner.events(run)
        check_gapless(events)
        assert [event.data["ordinal"] for event in events if event.kind == "log"] == [1, 2, 3]

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_repeated_end_gives_the_same_answer(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert()
        ended = await owner.finish(run, status, events=[said(1)])
        events = await owner.events(run)
        assert await owner.finish(run, status, events=[said(1)]) == ended
        assert await owner.events(run) == events

    @pytest.mark.parametrize("turns", range(8))
    async def test_N1_end_whose_caller_was_cancelled_can_be_repeated(self, owner: Owner, turns: int) -> None:
        run = await owner.insert()
        call = asyncio.ensure_future(owner.finish(run, events=[said(1)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait((call,))
        assert (await owner.finish(run, events=[said(1)])).status is RunStatus.COMPLETED
        events = await owner.events(run)
        check_gapless(events)
        assert [event.kind for event in events] == ["status", "log", "status"]

    @pytest.mark.parametrize("fence", [Fence("somebody", 1), Fence("", 2)], ids=["manager", "attempt"])
    async def test_G7_end_behind_another_fence_changes_nothing(self, owner: Owner, fence: Fence) -> None:
        run = await owner.insert()
        wrong = Fence(fence.manager_id or owner.manager_id, fence.attempt)
        for status in (RunStatus.COMPLETED, RunStatus.CANCELLED):
            ending = Ending(status=status, at=NOW + 9, cancel_requested_at=NOW + 8, events=[said(1)])
            with pytest.raises(LeaseLost) as lost:
                await owner.store.finish_run(run.id, wrong, ending)
            assert lost.value.run_id == run.id
        assert await owner.read(run) == run
        assert len(await owner.events(run)) == 1

    async def test_G7_ends_at_once_are_told_apart_by_their_fences(self, owner: Owner) -> None:
        run = await owner.insert()
        ending = Ending(status=RunStatus.COMPLETED, at=NOW + 9)
        refused, ended = await asyncio.gather(
            owner.store.finish_run(run.id, Fence(owner.manager_id, 2), ending),
            owner.store.finish_run(run.id, owner.fence, ending),
            return_exceptions=True,
        )
        assert isinstance(refused, LeaseLost)
        assert isinstance(ended, Run)

    async def test_end_of_a_run_that_does_not_exist_is_refused(self, owner: Owner) -> None:
        run = await owner.insert()
        with pytest.raises(LeaseLost):
            await owner.store.finish_run(run.id + 1, owner.fence, Ending(status=RunStatus.COMPLETED, at=NOW + 9))

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_T1_run_that_has_ended_never_changes(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert()
        ended = await owner.finish(run, status, at=NOW + 9, error=None, events=[said(1)])
        events = await owner.events(run)
        for after in sorted(TERMINAL):
            with pytest.raises(LeaseLost):
                await owner.finish(run, after, at=NOW + 10, error="another", events=[said(2)])
        with pytest.raises(LeaseLost):
            await owner.store.append_events(run.id, owner.fence, [said(2)])
        assert await owner.store.claim_run(run.id, owner.fence, at=NOW + 10) is None
        await owner.store.request_cancel(run.id, at=NOW + 10, reason="too late")
        assert await owner.read(run) == ended
        assert await owner.events(run) == events

    async def test_T2_run_that_was_never_running_is_not_completed(self, owner: Owner) -> None:
        run = await owner.insert(status=RunStatus.PENDING)
        with pytest.raises(Exception) as refused:  # noqa: PT011 - it is the caller's bug, so the protocol names no error
            await owner.finish(run, RunStatus.COMPLETED, result_json="3", events=[said(1)])
        assert not isinstance(refused.value, StoreUnavailable)  # that would mean: try again
        assert await owner.read(run) == run
        assert len(await owner.events(run)) == 1

    async def test_end_that_is_refused_fails_no_other(self, owner: Owner) -> None:
        pending, running = await owner.insert(status=RunStatus.PENDING), await owner.insert()
        _, ended, inserted = await asyncio.gather(
            owner.finish(pending, RunStatus.COMPLETED),
            owner.finish(running, RunStatus.COMPLETED),
            owner.insert(),
            return_exceptions=True,
        )
        assert isinstance(ended, Run)
        assert isinstance(inserted, Run)
        assert [await owner.read(run) for run in (pending, running, inserted)] == [pending, ended, inserted]

    async def test_T3_end_tells_updated_and_refused_apart(self, owner: Owner) -> None:
        run = await owner.insert()
        assert (await owner.finish(run, RunStatus.FAILED, at=NOW + 9)).status is RunStatus.FAILED
        with pytest.raises(LeaseLost):
            await owner.finish(run, RunStatus.FAILED, at=NOW + 10)

    async def test_C3_of_ends_at_once_one_is_stored(self, owner: Owner) -> None:
        for _ in range(5):
            run = await owner.insert()
            answers = await asyncio.gather(
                *(owner.finish(run, status, at=NOW + late) for late, status in enumerate(sorted(TERMINAL))),
                return_exceptions=True,
            )
            ended = await owner.read(run)
            assert [answer for answer in answers if isinstance(answer, Run)] == [ended]
            assert sum(isinstance(answer, LeaseLost) for answer in answers) == len(TERMINAL) - 1
            events = await owner.events(run)
            check_gapless(events)
            assert [event.terminal for event in events].count(True) == 1

    async def test_C3_of_cancel_and_end_at_once_the_end_is_stored(self, owner: Owner, other: Owner) -> None:
        for _ in range(5):
            run = await owner.insert()
            ended, seen = await asyncio.gather(
                owner.finish(run, at=NOW + 9), other.store.request_cancel(run.id, at=NOW + 8)
            )
            assert seen is not None
            assert (ended.status, await owner.read(run)) == (RunStatus.COMPLETED, ended)
            requested = ["cancelling"] if ended.cancel_requested_at is not None else []
            assert statuses_of(await owner.events(run)) == ["running", *requested, "completed"]

    async def test_concurrent_ends_each_end_their_own_run(self, owner: Owner) -> None:
        runs = [await owner.insert() for _ in range(20)]
        ended = await asyncio.gather(*(owner.finish(run, at=NOW + run.id, result_json=str(run.id)) for run in runs))
        assert [(run.id, run.result, run.finished_at) for run in ended] == [
            (run.id, run.id, from_micros(NOW + run.id)) for run in runs
        ]
