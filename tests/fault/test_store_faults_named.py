"""Faults of the store that once had consequences, each by itself. Virtual time: what waits for long takes none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.insides import live_runs
from tests.support import rows, statuses

from aioruns import ManagerClosed, RunCancelled, RunInterrupted, RunManager, StoreUnavailable, current_run, job
from aioruns.stores.sqlite._lease import Lease
from aioruns.testing import FaultyStore, run_schedules

Scenario = Callable[[Path], Coroutine[Any, Any, None]]
UNKNOWN = sqlite3.OperationalError("a failure that no store is known for")
PATIENCE = 5.0


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Play a scenario in some schedules, each with a database of its own."""
    numbers = itertools.count()

    def play_all(scenario: Scenario) -> None:
        run_schedules(lambda _: scenario(tmp_path / f"{next(numbers)}.db"), range(4))

    return play_all


def manager_on(store: FaultyStore) -> RunManager:
    return RunManager(store, shutdown_grace=0, store_timeout=PATIENCE)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.1)


@job
async def work() -> str:
    return "done"


@job
async def wait() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("error", [StoreUnavailable("away"), UNKNOWN], ids=["unavailable", "unknown"])
def test_G1_row_whose_insert_lost_its_answer_is_ended_and_its_key_is_free(
    play: Callable[[Scenario], None], error: Exception
) -> None:
    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        store.lose_answer("insert_run", error=error)
        async with manager_on(store) as manager:
            with pytest.raises(StoreUnavailable):
                await manager.start_run(work(), key="k")
            await until(lambda: statuses(database) == {1: "failed"})
            assert "it never began" in rows(database)[0]["error"]
            assert await (await manager.start_run(work(), key="k")) == "done"

    play(scenario)


def test_G8_row_whose_insert_lost_its_answer_is_ended_by_the_closing(play: Callable[[Scenario], None]) -> None:
    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        store.lose_answer("insert_run")
        store.delay("owned_runs", 1, times=10)  # closing comes before what is left has been found
        async with manager_on(store) as manager:
            with pytest.raises(StoreUnavailable):
                await manager.start_run(work(), key="k")
        assert statuses(database) == {1: "failed"}

    play(scenario)


def test_F3_starts_get_their_answers_although_the_store_hangs_for_ever(play: Callable[[Scenario], None]) -> None:
    async def scenario(database: Path) -> None:
        loop, store = asyncio.get_running_loop(), FaultyStore(database)
        async with manager_on(store) as manager:
            fault = store.hang("insert_run")
            starts = asyncio.gather(*(manager.start_run(work(), key="k") for _ in range(2)), return_exceptions=True)
            began = loop.time()
            first, second = sorted(await starts, key=lambda answer: isinstance(answer, StoreUnavailable))
            assert loop.time() - began < 2 * PATIENCE
            assert isinstance(second, StoreUnavailable)
            assert not isinstance(first, BaseException)
            assert await first == "done"
        assert fault.hits == 1
        assert statuses(database) == {1: "completed"}

    play(scenario)


@pytest.mark.parametrize("happens", [False, True])
def test_G5_waiter_is_told_although_the_store_hangs_and_learns_the_truth_later(
    play: Callable[[Scenario], None], happens: bool
) -> None:
    async def scenario(database: Path) -> None:
        loop, store = asyncio.get_running_loop(), FaultyStore(database)
        async with manager_on(store) as manager:
            fault = store.hang("finish_run", times=2, happens=happens)
            handle = await manager.start_run(work(), key="k")
            began = loop.time()
            with pytest.raises(StoreUnavailable, match="has not answered within 5 s"):
                await handle
            assert loop.time() - began < 2 * PATIENCE
            await until(lambda: fault.hits == 2 and manager.current_run_id("k") is None)
            assert await handle == "done"
        assert [row["kind"] for row in rows(database, "SELECT kind FROM events")] == ["status"] * 2

    play(scenario)


@pytest.mark.parametrize("verb", ["wait_changed", "changed_runs"])
@pytest.mark.parametrize("error", [StoreUnavailable("away"), UNKNOWN], ids=["unavailable", "unknown"])
def test_G3_cancel_of_another_process_arrives_although_the_look_at_it_lost_its_answer(
    play: Callable[[Scenario], None], verb: str, error: Exception
) -> None:
    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        async with manager_on(store) as manager, RunManager(database) as other:
            handle = await manager.start_run(wait())
            store.lose_answer(verb, times=3, error=error)
            await other.cancel_run(handle.id)
            with pytest.raises(RunCancelled):
                await handle

    play(scenario)


def test_G7_dead_are_rescued_although_a_look_for_them_failed_in_an_unknown_way(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        async with manager_on(store):
            looking = store.fail("rescue_orphans", times=2, error=UNKNOWN)
            await looking.reached.wait()
            with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
                connection.execute("INSERT INTO managers VALUES ('dead', 1, 'here', 1)")
            await until(lambda: len(rows(database, "SELECT * FROM managers")) == 1)
            assert looking.hits == 2

    play(scenario)


def test_G1_abandoned_start_is_cancelled_although_the_request_failed_in_an_unknown_way(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        async with manager_on(store) as manager:
            inserting = store.hang("insert_run", happens=True)
            requesting = store.fail("request_cancel", times=2, error=UNKNOWN)
            starting = asyncio.ensure_future(manager.start_run(wait(), key="k"))
            await inserting.reached.wait()
            starting.cancel()
            await asyncio.wait((starting,))
            inserting.release()
            await until(lambda: statuses(database) == {1: "cancelled"})
            assert requesting.hits == 2

    play(scenario)


def test_G5_flush_of_a_job_raises_that_the_store_is_unavailable_whatever_its_failure(
    play: Callable[[Scenario], None],
) -> None:
    @job
    async def talk() -> str:
        current_run().emit("said", 1)
        try:
            await current_run().flush()
        except StoreUnavailable as error:
            return str(error)
        return "stored"

    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        async with manager_on(store) as manager:
            appending = store.fail("append_events", times=100, error=UNKNOWN)
            handle = await manager.start_run(talk())
            assert "a failure that no store is known for" in await handle
            appending.release()
        said = rows(database, "SELECT data FROM events WHERE kind = 'said'")
        assert [row["data"] for row in said] == ["1"]

    play(scenario)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), UNKNOWN], ids=["unavailable", "unknown"])
@pytest.mark.parametrize("verb", ["request_cancel", "release_lease"])
def test_G8_closing_lets_go_of_everything_although_the_store_fails(
    play: Callable[[Scenario], None], verb: str, error: Exception
) -> None:
    async def scenario(database: Path) -> None:
        entered, end = asyncio.Event(), asyncio.Event()

        @job
        async def swallow() -> None:
            entered.set()
            while not end.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await end.wait()

        store = FaultyStore(database)
        async with manager_on(store) as manager:
            handle = await manager.start_run(swallow() if verb == "request_cancel" else wait(), key="k")
            await (entered.wait() if verb == "request_cancel" else asyncio.sleep(0))
            fault = store.fail(verb, times=100, error=error)
        assert fault.hits == 1
        end.set()
        with contextlib.suppress(ManagerClosed, RunInterrupted):
            await handle
        await until(lambda: not live_runs(manager))
        async with RunManager(database) as successor:
            assert await (await successor.start_run(work(), key="k")) == "done"
            assert len(rows(database, "SELECT * FROM managers")) == 1

    play(scenario)


def test_R2_closing_gives_logging_back_although_the_store_does_not_close(play: Callable[[Scenario], None]) -> None:
    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        manager = manager_on(store)
        await manager.open()
        assert logging.getLogRecordFactory() is not logging.LogRecord
        store.lose_answer("aclose", error=UNKNOWN)
        with contextlib.suppress(sqlite3.OperationalError):
            await manager.aclose()
        assert logging.getLogRecordFactory() is logging.LogRecord

    play(scenario)


def test_G8_subscriber_whose_read_hangs_for_ever_ends_with_the_manager(play: Callable[[Scenario], None]) -> None:
    async def scenario(database: Path) -> None:
        loop, store = asyncio.get_running_loop(), FaultyStore(database)
        async with manager_on(store) as manager:
            handle = await manager.start_run(wait())
            reading = store.hang("read_events", times=100)
            listening = asyncio.ensure_future(anext(aiter(handle.events())))
            await reading.reached.wait()
            began = loop.time()
        with pytest.raises(ManagerClosed):
            await listening
        assert loop.time() - began < PATIENCE
        with pytest.raises(RunInterrupted):
            await handle

    play(scenario)


def test_G8_opening_that_hangs_for_ever_leaves_nothing_when_it_is_cancelled(play: Callable[[Scenario], None]) -> None:
    async def scenario(database: Path) -> None:
        store = FaultyStore(database)
        opening = store.hang("rescue_orphans")
        manager = manager_on(store)
        entering = asyncio.ensure_future(manager.open())
        await opening.reached.wait()
        entering.cancel()
        await asyncio.wait((entering,))
        async with asyncio.timeout(2 * PATIENCE):
            await manager.aclose()
        async with RunManager(database):
            assert len(rows(database, "SELECT * FROM managers")) == 1
            assert len(list(database.parent.glob(f"{database.name}*.lock"))) == 1

    play(scenario)


def test_G8_lock_that_was_released_is_not_taken_again_by_a_renewal_that_comes_late(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path / "runs.db"), "m")
    lease.acquire()
    lease.release()
    try:
        lease.renew()
        assert list(tmp_path.glob("*.lock")) == []
    finally:
        lease.abandon()
