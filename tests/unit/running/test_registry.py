"""The registry: runs by id, ids by key, and nothing of what has ended."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime

import pytest
from tests.support import turns
from tests.unit.running.roles_on_fake_store import live_run

from aioruns import Run, RunStatus, job
from aioruns._running.live import LiveRun
from aioruns._running.registry import Registry
from aioruns._running.state import ManagerState

pytestmark = pytest.mark.asyncio


@job
async def build() -> None: ...


def live(run_id: int, key: str | None = None) -> LiveRun:
    return live_run(
        build(),
        Run(id=run_id, job="build", status=RunStatus.RUNNING, key=key, manager_id="m", created_at=datetime.now(UTC)),
    )


@pytest.fixture
def registry() -> Registry:
    return Registry(ManagerState())


async def test_S1_a_run_is_found_by_its_id_and_by_its_key(registry: Registry) -> None:
    first, second = live(1, "k"), live(2)
    registry.add(first)
    registry.add(second)
    assert (registry.get(1), registry.get(2), registry.get(3)) == (first, second, None)
    assert registry.current_id("k") == 1
    assert registry.current_id("other") is None
    assert (1 in registry, 3 in registry, len(registry)) == (True, False, 2)


async def test_without_a_key_the_newest_run_is_the_current_one(registry: Registry) -> None:
    assert registry.current_id(None) is None
    runs = [live(run_id) for run_id in (1, 2, 3)]
    for run in runs:
        registry.add(run)
    assert registry.current_id(None) == 3
    registry.remove(runs[2])
    assert registry.current_id(None) == 2


async def test_R1_nothing_is_kept_of_a_removed_run(registry: Registry) -> None:
    run = live(1, "k")
    registry.add(run)
    registry.remove(run)
    registry.remove(run)
    assert not registry
    assert registry.leftovers() == {"runs": 0, "current": {}, "sections": 0, "locked": []}
    assert list(registry) == []


async def test_a_removed_run_leaves_the_key_to_its_successor(registry: Registry) -> None:
    old, new = live(1, "k"), live(2, "k")
    registry.add(old)
    registry.add(new)
    registry.remove(old)
    assert registry.current_id("k") == 2


async def test_runs_may_be_removed_while_they_are_gone_through(registry: Registry) -> None:
    runs = [live(run_id) for run_id in (1, 2, 3)]
    for run in runs:
        registry.add(run)
    for run in registry:
        registry.remove(run)
    assert not registry


async def test_waiting_ends_when_the_last_such_run_has_gone(registry: Registry) -> None:
    first, second = live(1), live(2)
    registry.add(first)
    registry.add(second)
    waiting = asyncio.create_task(registry.wait_until_none(lambda run: run is first, timeout=60))
    await turns(3)
    registry.remove(second)
    await turns(3)
    assert not waiting.done()
    registry.remove(first)
    await turns(3)
    assert waiting.done()


@pytest.mark.parametrize("timeout", [0, 0.01])
async def test_waiting_ends_when_its_time_is_over(registry: Registry, timeout: float) -> None:
    registry.add(live(1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await registry.wait_until_none(lambda _: True, timeout=timeout)
    assert loop.time() - began >= timeout
    assert len(registry) == 1


async def test_waiting_for_nobody_ends_at_once(registry: Registry) -> None:
    await registry.wait_until_none(lambda _: True, timeout=60)
    registry.add(live(1))
    await registry.wait_until_none(lambda run: run.attempt.over, timeout=60)


async def test_a_cancelled_wait_leaves_no_timer_behind(registry: Registry) -> None:
    registry.add(live(1))
    waiting = asyncio.create_task(registry.wait_until_none(lambda _: True, timeout=1000))
    await turns(3)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    assert all(timer.cancelled() for timer in timers)


# Rows of starts that are under way


@pytest.mark.parametrize(
    ("status", "manager_id", "registered", "starting"),
    [
        ("running", "own", False, True),
        ("pending", "own", False, True),
        ("running", "own", True, False),
        ("running", "another", False, False),
        ("completed", "own", False, False),
    ],
)
async def test_S1_an_active_row_of_our_own_that_is_not_registered_is_of_a_run_that_is_being_started(
    status: str, manager_id: str, registered: bool, starting: bool
) -> None:
    state = ManagerState()
    state.manager_id = "own"
    registry = Registry(state)
    now = datetime.now(UTC)
    run = Run(
        id=1, job="build", status=RunStatus(status), manager_id=manager_id, created_at=now,
        finished_at=now if status == "completed" else None,
    )  # fmt: skip
    if registered:
        registry.add(live(1))
    assert registry.is_starting(run) is starting


async def test_registering_a_run_makes_the_manager_watch_the_store() -> None:
    state = ManagerState()
    Registry(state).add(live(1))
    assert state.interest.is_set()


async def test_settling_waits_for_the_sections_there_are_and_for_no_later_ones(registry: Registry) -> None:
    first, later = asyncio.Event(), asyncio.Event()
    registry.sections.add(asyncio.create_task(first.wait()))
    settling = asyncio.create_task(registry.settle())
    await turns(2)
    registry.sections.add(other := asyncio.create_task(later.wait()))
    await turns(2)
    assert not settling.done()
    first.set()
    await settling
    assert not other.done()
    later.set()
    await registry.settle()


async def test_settling_while_nothing_starts_does_not_wait(registry: Registry) -> None:
    with pytest.raises(StopIteration):
        registry.settle().send(None)


# The locks of keys


async def test_a_key_is_locked_for_one_at_a_time_and_other_keys_and_none_are_free(registry: Registry) -> None:
    async with registry.key_lock("a"):
        second = asyncio.create_task(registry.key_lock("a").__aenter__())
        async with registry.key_lock("b"), registry.key_lock(None), registry.key_lock(None):
            await turns(3)
        assert not second.done()
        assert registry.leftovers()["locked"] == ["a"]
        second.cancel()
    await asyncio.wait((second,))
    assert registry.leftovers()["locked"] == []


async def test_R1_no_lock_is_kept_of_a_key_that_nobody_holds(registry: Registry) -> None:
    for number in range(10):
        async with registry.key_lock(f"key {number}"):
            pass
    gc.collect()
    assert len(registry._locks) == 0
