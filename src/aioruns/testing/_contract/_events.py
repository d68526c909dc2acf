"""Events: numbered without a gap, whoever writes them; stored once each, and only while the run is its owner's."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from aioruns._values.model import Progress, Run, RunEvent, from_micros
from aioruns._values.status import TERMINAL, RunStatus
from aioruns.abc import Fence
from aioruns.errors import LeaseLost
from aioruns.testing._contract._owner import FAR, NOW, ContractCase, Owner, check_gapless, said, statuses_of

__all__ = ["Events"]


class Events(ContractCase):
    """``append_events`` and ``read_events``."""

    async def test_appended_events_read_back_as_given(self, owner: Owner) -> None:
        run = await owner.insert()
        data = '{"level":"info","words":["a",null,1.5]}'
        await owner.store.append_events(run.id, owner.fence, [said(1, kind="mine", data=data, at=NOW + 3)])
        event = (await owner.events(run))[-1]
        assert (event.run_id, event.seq, event.kind, event.attempt) == (run.id, 2, "mine", 1)
        assert (event.at, event.data) == (from_micros(NOW + 3), {"level": "info", "words": ["a", None, 1.5]})

    async def test_G6_events_keep_their_order(self, owner: Owner) -> None:
        run = await owner.insert()
        for first in (1, 51, 52, 152):
            events = [said(ordinal) for ordinal in range(first, {1: 51, 51: 52, 52: 152, 152: 400}[first])]
            await owner.store.append_events(run.id, owner.fence, events)
        events = await owner.events(run)
        check_gapless(events)
        assert _ordinals(events) == list(range(1, 400))

    async def test_append_of_nothing_changes_nothing(self, owner: Owner) -> None:
        run = await owner.insert()
        assert not await owner.store.append_events(run.id, owner.fence, [])
        assert len(await owner.events(run)) == 1

    async def test_G6_append_tells_the_seq_of_what_it_stored(self, owner: Owner) -> None:
        run = await owner.insert()
        assert await owner.store.append_events(run.id, owner.fence, [said(1), said(2)]) == range(2, 4)
        assert not await owner.store.append_events(run.id, owner.fence, [said(1), said(2)])
        await owner.store.request_cancel(run.id, at=NOW + 1)
        assert await owner.store.append_events(run.id, owner.fence, [said(2), said(3), said(FAR)]) == range(5, 7)
        assert [event.seq for event in await owner.events(run) if event.kind == "log"] == [2, 3, 5, 6]

    async def test_G6_appends_to_many_runs_at_once_tell_each_its_own(self, owner: Owner) -> None:
        runs = [await owner.insert() for _ in range(20)]
        for first, count in ((1, 1), (2, 70), (72, 3)):
            ordinals = range(first, first + count)
            answers = await asyncio.gather(
                *(owner.store.append_events(run.id, owner.fence, [said(each) for each in ordinals]) for run in runs)
            )
            assert answers == [range(first + 1, first + 1 + count)] * len(runs)
        for run in runs:
            events = await owner.events(run)
            check_gapless(events)
            assert _ordinals(events) == list(range(1, 75))

    async def test_G6_repeated_append_stores_each_event_once(self, owner: Owner) -> None:
        run = await owner.insert()
        for newest in (2, 2, 5, 5):
            await owner.store.append_events(run.id, owner.fence, [said(ordinal) for ordinal in range(1, newest + 1)])
        events = await owner.events(run)
        check_gapless(events)
        assert _ordinals(events) == [1, 2, 3, 4, 5]

    async def test_G6_append_repeated_after_other_events_stores_each_event_once(self, owner: Owner) -> None:
        run = await owner.insert()
        await owner.store.append_events(run.id, owner.fence, [said(1), said(2)])
        await owner.store.request_cancel(run.id, at=NOW + 1)
        await owner.store.append_events(run.id, owner.fence, [said(1), said(2)])
        assert len(await owner.events(run)) == 4

    async def test_append_repeated_after_the_end_gives_the_same_answer(self, owner: Owner) -> None:
        run = await owner.insert()
        await owner.store.append_events(run.id, owner.fence, [said(1), said(2)])
        await owner.finish(run, events=[said(3)])
        events = await owner.events(run)
        await owner.store.append_events(run.id, owner.fence, [said(1), said(2)])
        with pytest.raises(LeaseLost):
            await owner.store.append_events(run.id, owner.fence, [said(3), said(4)])
        assert await owner.events(run) == events

    @pytest.mark.parametrize("turns", range(8))
    async def test_G6_append_whose_caller_was_cancelled_can_be_repeated(self, owner: Owner, turns: int) -> None:
        run = await owner.insert()
        call = asyncio.ensure_future(owner.store.append_events(run.id, owner.fence, [said(1), said(2)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait((call,))
        await owner.store.append_events(run.id, owner.fence, [said(1), said(2)])
        events = await owner.events(run)
        check_gapless(events)
        assert _ordinals(events) == [1, 2]

    @pytest.mark.parametrize("fence", [Fence("somebody", 1), Fence("", 2)], ids=["manager", "attempt"])
    async def test_G7_append_behind_another_fence_stores_nothing(self, owner: Owner, fence: Fence) -> None:
        run = await owner.insert()
        wrong = Fence(fence.manager_id or owner.manager_id, fence.attempt)
        for events in ([said(1)], [said(1), said(2)]):
            with pytest.raises(LeaseLost) as lost:
                await owner.store.append_events(run.id, wrong, events)
            assert lost.value.run_id == run.id
        assert len(await owner.events(run)) == 1

    async def test_append_to_a_run_that_does_not_exist_is_refused(self, owner: Owner) -> None:
        run = await owner.insert()
        with pytest.raises(LeaseLost):
            await owner.store.append_events(run.id + 1, owner.fence, [said(1)])

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    async def test_P3_append_to_a_run_that_has_ended_is_refused(self, owner: Owner, status: RunStatus) -> None:
        run = await owner.insert_as(status)
        events = await owner.events(run)
        with pytest.raises(LeaseLost):
            await owner.store.append_events(
                run.id, owner.fence, [said(1), said(2, kind="progress", data='{"current":1}')]
            )
        assert await owner.events(run) == events
        assert (await owner.read(run)).progress is None

    async def test_refused_append_fails_no_other(self, owner: Owner) -> None:
        ended, run = await owner.insert_as(RunStatus.COMPLETED), await owner.insert()
        answers = await asyncio.gather(
            *(owner.store.append_events(each.id, owner.fence, [said(1)]) for each in (ended, run)),
            return_exceptions=True,
        )
        assert isinstance(answers[0], LeaseLost)
        assert answers[1] == range(2, 3)
        assert len(await owner.events(run)) == 2

    async def test_run_that_is_cancelling_is_heard(self, owner: Owner) -> None:
        run = await owner.insert_as(RunStatus.CANCELLING)
        await owner.store.append_events(run.id, owner.fence, [said(1)])
        assert [event.kind for event in await owner.events(run)] == ["status", "status", "log"]

    async def test_P1_newest_progress_shows_in_the_run(self, owner: Owner) -> None:
        run = await owner.insert()
        first = said(1, kind="progress", data='{"current":1,"total":3}')
        newest = said(2, kind="progress", data='{"current":2,"total":3,"step":"extract","message":"a.txt"}')
        await owner.store.append_events(run.id, owner.fence, [first, newest, said(3)])
        assert (await owner.read(run)).progress == Progress(2, 3, "extract", "a.txt")
        await owner.finish(run)
        assert (await owner.read(run)).progress == Progress(2, 3, "extract", "a.txt")

    async def test_C2_streams_of_two_runs_do_not_mix(self, owner: Owner) -> None:
        runs = [await owner.insert() for _ in range(3)]
        for ordinal in range(1, 4):
            await asyncio.gather(
                *(
                    owner.store.append_events(run.id, owner.fence, [said(ordinal, data=f"[{run.id},{ordinal}]")])
                    for run in runs
                )
            )
        for run in runs:
            events = await owner.events(run)
            check_gapless(events)
            assert {event.run_id for event in events} == {run.id}
            assert [event.data for event in events[1:]] == [[run.id, 1], [run.id, 2], [run.id, 3]]

    async def test_G6_several_writers_leave_no_gap(self, owner: Owner, other: Owner) -> None:
        async def write_and_cancel() -> None:
            run = await owner.insert()
            writing = asyncio.ensure_future(_write(owner, run))
            await _wait_for_events(other, run)
            await other.store.request_cancel(run.id, at=NOW + 1)
            writing.cancel()
            await asyncio.wait((writing,))
            await owner.finish(run, events=[said(FAR)])
            events = await owner.events(run)
            check_gapless(events)
            assert statuses_of(events) == ["running", "cancelling", "completed"]
            assert _ordinals(events) == [*range(1, len(events) - 3), FAR]
            assert events[-1].terminal

        await asyncio.gather(*(write_and_cancel() for _ in range(4)))

    async def test_G6_rescuer_leaves_no_gap(self, owner: Owner, other: Owner) -> None:
        run = await owner.insert()
        writing = asyncio.ensure_future(_write(owner, run))
        await _wait_for_events(other, run)
        owner.store.abandon_lease(owner.manager_id)
        assert await other.store.rescue_orphans(now=lambda: NOW + 9) == [run.id]
        with pytest.raises(LeaseLost):
            await writing
        events = await other.events(run)
        check_gapless(events)
        assert statuses_of(events) == ["running", "interrupted"]
        assert _ordinals(events) == list(range(1, len(events) - 1))
        assert events[-1].terminal

    async def test_events_are_read_page_by_page(self, owner: Owner) -> None:
        run = await owner.insert()
        await owner.store.append_events(run.id, owner.fence, [said(ordinal) for ordinal in range(1, 10)])
        pages = [await owner.store.read_events(run.id, after=after, limit=4) for after in (0, 4, 8, 10, FAR)]
        assert [[event.seq for event in page] for page in pages] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], [], []]

    async def test_run_that_does_not_exist_has_no_events(self, owner: Owner) -> None:
        run = await owner.insert()
        assert await owner.store.read_events(run.id + 1, after=0, limit=10) == []


async def _write(owner: Owner, run: Run) -> None:
    """Append until the store refuses."""
    for ordinal in itertools.count(1, 2):
        await owner.store.append_events(run.id, owner.fence, [said(ordinal), said(ordinal + 1)])


async def _wait_for_events(reader: Owner, run: Run) -> None:
    while len(await reader.events(run)) < 5:
        await asyncio.sleep(0)


def _ordinals(events: list[RunEvent]) -> list[int]:
    return [event.data["ordinal"] for event in events if event.kind == "log"]
