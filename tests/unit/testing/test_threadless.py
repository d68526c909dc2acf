"""What is done on threads elsewhere is done by callbacks: statements, file operations, plain functions."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiosqlite
import aiosqlite.core
import anyio
import anyio.to_thread
import pytest
from tests.support import rows

from aioruns import RunManager, RunStatus, current_run, job
from aioruns.testing import run_schedule, threadless

Main = Callable[[], Coroutine[Any, Any, Any]]


def run(main: Main, seed: int = 0) -> Any:
    return run_schedule(lambda _: main(), seed)


def test_no_thread_is_started(database: Path) -> None:
    async def main() -> None:
        before = threading.active_count()
        async with RunManager(database) as manager:
            assert await (await manager.start_run(plain(2))) == 3
            assert await anyio.to_thread.run_sync(threading.get_ident) == threading.get_ident()
            assert await asyncio.to_thread(threading.get_ident) == threading.get_ident()
        assert {thread.name for thread in threading.enumerate()[before:]} <= {"aioruns-exit"}

    run(main)
    assert [row["result"] for row in rows(database)] == ["3"]


@job
def plain(number: int) -> int:
    current_run().log("info", "called")
    return number + 1


def test_statements_of_one_connection_keep_their_order(database: Path) -> None:
    async def main() -> None:
        connection = await aiosqlite.connect(database, isolation_level=None)
        await connection.execute_fetchall("CREATE TABLE numbers (number INTEGER)")
        answers: list[int] = []

        async def insert(number: int) -> None:
            await connection.execute_fetchall("INSERT INTO numbers VALUES (?)", (number,))
            answers.append(number)

        await asyncio.gather(*map(insert, range(5)))
        stored = [number for (number,) in await connection.execute_fetchall("SELECT number FROM numbers")]
        assert sorted(stored) == [0, 1, 2, 3, 4]
        orders.add(tuple(stored))
        with pytest.raises(aiosqlite.OperationalError, match="syntax error"):
            await connection.execute_fetchall("NONSENSE")
        await connection.close()

    orders: set[tuple[int, ...]] = set()
    for seed in range(10):
        database.unlink(missing_ok=True)
        run(main, seed)
    assert len(orders) > 5


def test_a_statement_that_finds_the_database_locked_waits_in_virtual_time(database: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = [await aiosqlite.connect(database, isolation_level=None) for _ in "ab"]
        await one.execute_fetchall("CREATE TABLE numbers (number INTEGER)")
        await one.execute_fetchall("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(other.execute_fetchall("INSERT INTO numbers VALUES (1)"))
        await asyncio.sleep(3)
        assert not waiting.done()
        await one.execute_fetchall("COMMIT")
        await waiting
        assert 3 <= loop.time() < 3.01

        await one.execute_fetchall("BEGIN IMMEDIATE")
        with pytest.raises(aiosqlite.OperationalError, match="locked"):
            await other.execute_fetchall("INSERT INTO numbers VALUES (2)")
        assert 8 <= loop.time() < 8.01
        await one.execute_fetchall("ROLLBACK")
        await other.execute_fetchall("INSERT INTO numbers VALUES (3)")
        assert [number for (number,) in await one.execute_fetchall("SELECT * FROM numbers")] == [1, 3]
        await one.close()
        await other.close()

    run(main)


def test_a_connection_that_nobody_closed_is_closed_behind_its_event_loop(database: Path) -> None:
    kept: list[aiosqlite.Connection] = []

    async def main() -> None:
        kept.append(await aiosqlite.connect(database))

    async def stop() -> None:
        kept[0].stop()

    run(main)
    asyncio.run(stop())
    with pytest.raises(ValueError, match="no active connection"):
        assert kept[0].in_transaction


@pytest.mark.parametrize("abandon", [False, True])
def test_a_function_in_a_thread_is_shielded_from_scopes_unless_abandoned(abandon: bool) -> None:
    async def main() -> str:
        happened = ""

        def call() -> None:
            nonlocal happened
            happened += "called "

        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0, scope.cancel)
            await anyio.to_thread.run_sync(call, abandon_on_cancel=abandon)
            happened += "answered"
        await asyncio.sleep(1)
        return happened

    found = {run(main, seed) for seed in range(100)}
    assert found == {"", "called answered"} | ({"called "} if abandon else set())


def test_an_error_of_a_function_in_a_thread_is_raised() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await anyio.to_thread.run_sync(lambda: 1 / 0)

    run(main)


def test_a_plain_function_that_fails_is_a_failed_run(database: Path) -> None:
    @job
    def fail() -> None:
        raise LookupError("as asked")

    async def main() -> None:
        async with RunManager(database) as manager:
            run = await (await manager.start_run(fail())).wait()
            assert run.status is RunStatus.FAILED
            assert run.error is not None
            assert "as asked" in run.error

    run(main)


def test_what_was_replaced_is_put_back() -> None:
    def names() -> list[object]:
        return [vars(aiosqlite.core)["Thread"], vars(aiosqlite.core)["SimpleQueue"], anyio.to_thread.run_sync]

    before = names()
    with threadless():
        assert not set(map(id, names())) & set(map(id, before))
    assert names() == before


def test_it_serves_shuffled_event_loops_only(database: Path) -> None:
    async def main() -> None:
        aiosqlite.connect(database)

    with threadless(), pytest.raises(RuntimeError, match="ShuffledEventLoop"):
        asyncio.run(main())


def test_two_managers_on_one_file_wait_for_each_other(database: Path) -> None:
    @job
    async def quick(number: int) -> int:
        return number

    async def main(_: random.Random) -> None:
        path = database.with_name(f"{len(list(database.parent.iterdir()))}.db")
        async with RunManager(path) as one, RunManager(path) as other, asyncio.TaskGroup() as callers:
            for manager in (one, other):
                for number in range(3):
                    callers.create_task(manager.start_run(quick(number)))
        assert [row["status"] for row in rows(path)] == ["completed"] * 6

    for seed in range(10):
        run_schedule(main, seed)
