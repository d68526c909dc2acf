"""The watcher asks for what has changed, in pieces, and not for the rows of all that execute here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from tests.support import eventually, turns
from tests.unit.running.executor_on_fake_store import waits
from tests.unit.running.roles_on_fake_store import RolesOnFakeStore, live_run

from aioruns import LeaseLost, Run, RunStatus, StoreUnavailable, job
from aioruns._running import watch
from aioruns._running.live import Why
from aioruns.abc import Ending, Fence

pytestmark = pytest.mark.asyncio

AT = datetime(2026, 1, 1, tzinfo=UTC)


def run_of(run_id: int, status: RunStatus, manager_id: str = "manager") -> Run:
    return Run(
        id=run_id, job="build", status=status, manager_id=manager_id, created_at=AT, started_at=AT,
        finished_at=None if status.value in ("pending", "running", "cancelling") else AT,
        cancel_requested_at=AT if status.value in ("cancelling", "cancelled") else None,
    )  # fmt: skip


@job
async def build() -> None: ...


class WatcherOnFakeStore(RolesOnFakeStore):
    """A watcher, the runs here, which have not been launched, and the store that it looks at.

    Attributes:
        asked: The runs that each look asked for.
        changed: The rows of those that have changed.
        rows: What is stored of this manager's active runs, registered here or not.
        strays: The runs that were ended as strays.
        trouble: What the next call raises.
    """

    def __init__(self, count: int, status: RunStatus = RunStatus.RUNNING) -> None:
        super().__init__()
        self.runs = {run_id: live_run(build(), run_of(run_id, status)) for run_id in range(1, count + 1)}
        for live in self.runs.values():
            self.register(live)
        self.told.clear()
        self.asked: list[list[int]] = []
        self.changed: dict[int, Run | None] = {}
        self.rows: list[Run] = []
        self.strays: list[tuple[int, Fence, Ending]] = []
        self.trouble: Exception | None = None
        self.news = asyncio.Event()

    async def changed_runs(self, manager_id: str, run_ids: Sequence[int]) -> dict[int, Run | None]:
        assert manager_id == "manager"
        self.asked.append(list(run_ids))
        await asyncio.sleep(0)
        return {run_id: self.changed[run_id] for run_id in run_ids if run_id in self.changed}

    async def owned_runs(self, manager_id: str) -> list[Run]:
        assert manager_id == "manager"
        if self.trouble is not None:
            raise self.trouble
        await asyncio.sleep(0)
        return list(self.rows)

    async def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> Run:
        self.strays.append((run_id, fence, ending))
        if self.trouble is not None:
            raise self.trouble
        return run_of(run_id, ending.status)

    async def wait_changed(self) -> bool:
        await self.news.wait()
        self.news.clear()
        return True

    def lost(self) -> list[int]:
        return [run_id for run_id, live in self.runs.items() if Why.LOST in live.attempt.asked]

    def applied(self) -> list[int]:
        return [run_id for run_id, live in self.runs.items() if Why.CANCELLED in live.attempt.asked]

    def withdrawn(self) -> list[tuple[int, RunStatus]]:
        return [(run_id, live.run.status) for run_id, live in self.runs.items() if live.ended.is_set()]

    def over(self, run_id: int) -> None:
        """Let the function of a run end here."""
        self.runs[run_id].attempt.end()


# The runs here


async def test_runs_are_looked_at_in_pieces() -> None:
    fake = WatcherOnFakeStore(2 * watch.PIECE + 1)
    await fake.watcher.look()
    assert [len(piece) for piece in fake.asked] == [watch.PIECE, watch.PIECE, 1]
    assert [run_id for piece in fake.asked for run_id in piece] == list(fake.runs)


async def test_nothing_here_asks_for_nothing() -> None:
    fake = WatcherOnFakeStore(0)
    await fake.watcher.look()
    assert fake.asked == []


async def test_G3_request_of_another_process_is_carried_to_its_run_once() -> None:
    fake = WatcherOnFakeStore(3)
    fake.changed = {2: run_of(2, RunStatus.CANCELLING)}
    await fake.watcher.look()
    assert fake.applied() == [2]
    assert fake.runs[2].attempt.cancel_event.is_set()
    await fake.watcher.look()
    assert fake.runs[2].attempt.asked == (Why.CANCELLED,)
    assert (fake.applied(), fake.lost(), fake.withdrawn()) == ([2], [], [])


@pytest.mark.parametrize(
    "row",
    [run_of(2, RunStatus.INTERRUPTED), run_of(2, RunStatus.RUNNING, "somebody"), None],
    ids=["interrupted", "another manager's", "gone"],
)
async def test_G7_run_that_is_not_ours_any_more_is_lost(row: Run | None) -> None:
    fake = WatcherOnFakeStore(3)
    fake.changed = {2: row}
    await fake.watcher.look()
    assert (fake.lost(), fake.applied(), fake.withdrawn()) == ([2], [], [])
    assert fake.runs[2].attempt.cancel_event.is_set()


@pytest.mark.parametrize("row", [run_of(2, RunStatus.CANCELLED), None], ids=["cancelled", "gone"])
async def test_C9_run_that_waits_and_was_ended_elsewhere_is_withdrawn(row: Run | None) -> None:
    fake = WatcherOnFakeStore(3, RunStatus.PENDING)
    fake.changed = {2: row}
    await fake.watcher.look()
    assert fake.withdrawn() == [(2, RunStatus.PENDING if row is None else RunStatus.CANCELLED)]
    assert (fake.lost(), fake.applied()) == ([], [])
    assert (2 in fake.registry, fake.told) == (False, ["notify 2", "forget 2"])


async def test_run_that_ends_here_while_it_is_looked_at_is_left_alone() -> None:
    fake = WatcherOnFakeStore(4)
    fake.changed = {1: run_of(1, RunStatus.COMPLETED), 2: None, 3: run_of(3, RunStatus.CANCELLING)}
    looking = asyncio.ensure_future(fake.watcher.look())
    await asyncio.sleep(0)
    assert fake.asked
    fake.over(1)
    fake.over(3)
    fake.registry.remove(fake.runs[2])
    await looking
    assert (fake.lost(), fake.applied(), fake.withdrawn()) == ([], [], [])


# Rows that nobody executes


async def test_without_a_doubt_nothing_is_asked() -> None:
    fake = WatcherOnFakeStore(0)
    fake.trouble = StoreUnavailable("it must not be asked")
    await fake.watcher.resolve_doubts()


async def test_G1_a_row_that_nobody_executes_is_failed_and_those_that_are_registered_are_left_alone() -> None:
    fake = WatcherOnFakeStore(2)
    fake.rows = [run_of(1, RunStatus.RUNNING), run_of(2, RunStatus.RUNNING), run_of(5, RunStatus.PENDING)]
    fake.watcher.suspect()
    assert (fake.watcher.leftovers(), fake.state.interest.is_set()) == ({"doubts": 1}, True)
    await fake.watcher.resolve_doubts()
    [(run_id, fence, ending)] = fake.strays
    assert (run_id, fence, ending.status) == (5, Fence("manager", 1), "failed")
    assert "it never began" in str(ending.error)
    assert "notify all" in fake.told
    assert fake.watcher.leftovers() == {"doubts": 0}


async def test_G1_a_doubt_that_comes_while_others_are_resolved_is_resolved_next_time() -> None:
    fake = WatcherOnFakeStore(0)
    fake.rows = [run_of(5, RunStatus.RUNNING)]
    fake.watcher.suspect()
    resolving = asyncio.ensure_future(fake.watcher.resolve_doubts())
    await turns(1)  # the rows are being read
    fake.watcher.suspect()
    await resolving
    assert fake.watcher.leftovers() != {"doubts": 0}
    await fake.watcher.resolve_doubts()
    assert fake.watcher.leftovers() == {"doubts": 0}


async def test_S1_no_row_is_ended_while_a_start_is_under_way_that_may_be_about_to_register_it() -> None:
    fake = WatcherOnFakeStore(0)
    fake.rows = [run_of(5, RunStatus.RUNNING)]
    section = asyncio.create_task(waits())
    fake.watcher.suspect()
    resolving = asyncio.ensure_future(fake.watcher.resolve_doubts())
    await turns(1)  # it has found no start under way, and reads
    fake.registry.sections.add(section)
    await resolving
    assert (fake.strays, fake.watcher.leftovers()) == ([], {"doubts": 1})
    fake.registry.sections.discard(section)
    section.cancel()
    await fake.watcher.resolve_doubts()
    assert [run_id for run_id, *_ in fake.strays] == [5]


async def test_a_stray_that_somebody_has_ended_meanwhile_is_no_trouble() -> None:
    class Taken(WatcherOnFakeStore):
        async def finish_run(self, run_id: int, fence: Fence, ending: Ending) -> Run:
            raise LeaseLost(run_id)

    fake = Taken(0)
    fake.rows = [run_of(5, RunStatus.RUNNING)]
    fake.watcher.suspect()
    await fake.watcher.resolve_doubts()
    assert fake.watcher.leftovers() == {"doubts": 0}


async def test_a_doubt_stays_while_the_store_is_away() -> None:
    fake = WatcherOnFakeStore(0)
    fake.watcher.suspect()
    fake.trouble = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await fake.watcher.resolve_doubts()
    assert fake.watcher.leftovers() == {"doubts": 1}


async def test_G8_a_watcher_that_trusts_ends_no_row_whatever_it_suspects() -> None:
    """When a manager has closed, rows that are not registered may be of runs that did execute."""
    fake = WatcherOnFakeStore(0)
    fake.rows = [run_of(5, RunStatus.RUNNING)]
    fake.watcher.suspect()
    fake.watcher.trust()
    fake.watcher.suspect()
    await fake.watcher.resolve_doubts()
    assert (fake.strays, fake.watcher.leftovers()) == ([], {"doubts": 0})


# Interest


def register(fake: WatcherOnFakeStore) -> None:
    fake.registry.add(live_run(build(), run_of(1, RunStatus.RUNNING)))


def suspect(fake: WatcherOnFakeStore) -> None:
    fake.watcher.suspect()


def subscribe(fake: WatcherOnFakeStore) -> object:
    watching = fake.feed.watch(9)
    watching.__enter__()
    return watching


@pytest.mark.parametrize("show", [register, suspect, subscribe])
async def test_the_store_is_watched_only_while_anybody_here_is_interested(
    show: Callable[[WatcherOnFakeStore], object],
) -> None:
    asked = 0

    class Counting(WatcherOnFakeStore):
        async def wait_changed(self) -> bool:
            nonlocal asked
            asked += 1
            return await super().wait_changed()

    fake = Counting(0)
    watching = asyncio.create_task(fake.watcher.watch())
    await turns(10)
    assert asked == 0
    interest = show(fake)
    await eventually(lambda: asked == 1)
    watching.cancel()
    await asyncio.wait((watching,))
    assert watching.cancelled()
    del interest
