"""A manager on another event loop or thread than its own: what is awaited raises at once, what only looks works."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from tests.support import Puppet, rows, statuses

from aioruns import ManagerClosed, RunHandle, RunManager, job

PATIENCE: Final = 120
"""Seconds after which a call on the wrong event loop is taken to hang."""


@job
async def answer() -> int:
    return 42


async def elsewhere(work: Callable[[], Awaitable[Any]]) -> Any:
    """Await something on an event loop of its own, in a thread of its own."""

    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE):
            return await work()

    return await asyncio.to_thread(lambda: asyncio.run(bounded()))


async def result(handle: RunHandle[Any]) -> Any:
    return await handle


async def first(stream: AsyncIterator[Any]) -> Any:
    return await anext(stream)


Verb = Callable[[RunManager, RunHandle[Any]], Awaitable[Any]]

VERBS: Final[dict[str, Verb]] = {
    "start_run": lambda manager, _: manager.start_run(answer(), key="elsewhere"),
    "retry_run": lambda manager, handle: manager.retry_run(handle.id),
    "cancel_run": lambda manager, handle: manager.cancel_run(handle.id),
    "get_run": lambda manager, handle: manager.get_run(handle.id),
    "get_active_run": lambda manager, _: manager.get_active_run("here"),
    "get_current_or_latest_run": lambda manager, _: manager.get_current_or_latest_run("here"),
    "list_runs": lambda manager, _: manager.list_runs(),
    "count_runs": lambda manager, _: manager.count_runs(since=datetime.now(UTC), width=timedelta(hours=1)),
    "wait_run": lambda manager, handle: manager.wait_run(handle.id),
    "read_events": lambda manager, handle: manager.read_events(handle.id),
    "prune": lambda manager, _: manager.prune(older_than=timedelta(0)),
    "aclose": lambda manager, _: manager.aclose(),
    "await handle": lambda _, handle: result(handle),
    "handle.wait": lambda _, handle: handle.wait(),
    "handle.cancel": lambda _, handle: handle.cancel(),
}


async def stream_events(manager: RunManager, handle: RunHandle[Any]) -> Any:
    return await first(manager.stream_events(handle.id))


async def handle_events(manager: RunManager, handle: RunHandle[Any]) -> Any:
    return await first(handle.events())


VERBS.update({"stream_events": stream_events, "handle.events": handle_events})

MEMORY_ONLY: Final = {"current_run_id", "get_handle", "get_job"}
"""Verbs of the manager that any thread may use."""
OPENING: Final = {"open"}


def test_every_verb_of_the_manager_and_its_handle_is_tried() -> None:
    public = {name for name, _ in inspect.getmembers(RunManager, inspect.isfunction) if not name.startswith("_")}
    assert public == (VERBS.keys() & public) | MEMORY_ONLY | OPENING
    methods = {f"handle.{name}" for name, _ in inspect.getmembers(RunHandle, inspect.isfunction) if name[0] != "_"}
    assert methods <= VERBS.keys()


@pytest_asyncio.fixture
async def handle(manager: RunManager) -> AsyncIterator[RunHandle[Any]]:
    """A run that executes on the manager's own loop under the key ``here``, and does not notice."""
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1), key="here")
    await puppet.enters(1)
    yield handle
    puppet.end(1, "unharmed")
    async with asyncio.timeout(PATIENCE):
        assert await handle == "unharmed"


@pytest.mark.asyncio
@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_on_another_event_loop_raises_at_once_and_writes_nothing(
    manager: RunManager, handle: RunHandle[Any], database: Path, verb: str
) -> None:
    before = [tuple(row) for row in rows(database, "SELECT * FROM events")]
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await elsewhere(lambda: VERBS[verb](manager, handle))
    assert statuses(database) == {handle.id: "running"}
    assert [tuple(row) for row in rows(database, "SELECT * FROM events")] == before
    assert manager.current_run_id("here") == handle.id


@pytest.mark.asyncio
async def test_a_bare_coroutine_that_is_refused_on_another_event_loop_is_closed(manager: RunManager) -> None:
    async def bare() -> None:
        raise AssertionError("it has begun")

    work = bare()
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await elsewhere(lambda: manager.start_run(work))
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


@pytest.mark.asyncio
async def test_a_verb_without_an_event_loop_raises_at_once(manager: RunManager, handle: RunHandle[Any]) -> None:
    def drive() -> None:
        verb = manager.get_run(handle.id)
        try:
            verb.send(None)
        finally:
            verb.close()

    with pytest.raises(RuntimeError, match="no running event loop"):
        await asyncio.to_thread(drive)


@pytest.mark.asyncio
async def test_what_only_looks_into_memory_works_in_any_thread(
    open_manager: Callable[..., Awaitable[RunManager]],
) -> None:
    manager, puppet = await open_manager(jobs=[answer]), Puppet()
    handle = await manager.start_run(puppet.job(1), key="here")

    def look() -> tuple[int | None, int, object]:
        return manager.current_run_id("here"), manager.get_handle(handle.id).id, manager.get_job("answer")

    assert await asyncio.to_thread(look) == (handle.id, handle.id, answer)


@pytest.mark.asyncio
async def test_opening_it_again_on_another_event_loop_is_refused(manager: RunManager) -> None:
    with pytest.raises(ManagerClosed, match="opened once"):
        await elsewhere(manager.open)


@pytest.mark.asyncio
async def test_the_result_of_a_run_that_is_over_can_be_had_on_any_event_loop(manager: RunManager) -> None:
    handle = await manager.start_run(answer())
    assert await handle == 42
    assert await elsewhere(lambda: result(handle)) == 42


@pytest.mark.asyncio
async def test_a_thread_reaches_the_manager_through_its_own_event_loop(manager: RunManager) -> None:
    """The way that is meant for it."""
    loop = asyncio.get_running_loop()

    def start() -> int:
        handle = asyncio.run_coroutine_threadsafe(manager.start_run(answer()), loop).result(PATIENCE)
        return handle.id

    assert await manager.wait_run(await asyncio.to_thread(start))


def test_a_manager_that_outlives_its_event_loop_refuses_the_next_one(database: Path) -> None:
    async def leave_open() -> RunManager:
        manager = RunManager(database, shutdown_grace=0)
        await manager.open()
        return manager

    with pytest.warns(ResourceWarning, match="not closed before its event loop"):
        manager = asyncio.run(leave_open())

    async def use() -> None:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ManagerClosed):
                await manager.start_run(answer())
            with pytest.raises(RuntimeError, match="belongs to another event loop"):
                await manager.aclose()

    asyncio.run(use())
    assert rows(database) == []


def test_X2_two_event_loops_in_two_threads_have_a_manager_each_on_one_file(database: Path) -> None:
    """Like two processes: a key is exclusive over both, and each waits for the run of the other."""
    both_joined, both_told = threading.Event(), threading.Barrier(2)
    ids: list[int] = []

    @job
    async def hold() -> int:
        assert await asyncio.to_thread(both_joined.wait, PATIENCE)
        return 42

    async def work() -> int:
        async with asyncio.timeout(PATIENCE), RunManager(database, shutdown_grace=0) as manager:
            handle = await manager.start_run(hold(), key="one", on_conflict="join")
            ids.append(handle.id)
            if len(ids) == 2:
                both_joined.set()
            result = await handle
            await asyncio.to_thread(both_told.wait, PATIENCE)
            return result

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: asyncio.run(work()), range(2))) == [42, 42]
    assert ids == [1, 1]
    assert statuses(database) == {1: "completed"}


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Let threads take turns far more often than usual, so that they meet between any two steps."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.asyncio
@pytest.mark.usefixtures("many_switches")
async def test_a_thread_may_look_while_runs_come_and_go(manager: RunManager) -> None:
    over, looks = threading.Event(), 0

    def look() -> None:
        nonlocal looks
        while not over.is_set():
            current = manager.current_run_id()
            assert current is None or manager.get_handle(current).id == current
            looks += 1

    looking = asyncio.create_task(asyncio.to_thread(look))
    try:
        for _ in range(5):
            await asyncio.gather(*[await manager.start_run(answer()) for _ in range(20)])
    finally:
        over.set()
        await looking
    assert looks > 100
