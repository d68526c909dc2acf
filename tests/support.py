"""What tests share: waiting for conditions, a look past or into the library, jobs on strings, stores held back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import inspect
import sqlite3
import time
import weakref
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, Final
from unittest import mock

import aiosqlite

from aioruns import RunManager, job
from aioruns._running.live import ActiveRun
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite._database import Database

__all__ = [
    "Gate",
    "Puppet",
    "active_runs",
    "each_statement",
    "eventually",
    "hold_answer",
    "hold_call",
    "idle",
    "note_earlier_runs",
    "rows",
    "statuses",
    "turns",
]

PATIENCE: Final = 20
"""Seconds after which what does not end by itself does so all the same: a test that failed must not hang."""


async def eventually(condition: Callable[[], Any], timeout: float = 10) -> Any:
    """Wait until a condition, a plain or an async function, is true; return what it gave.

    Raises:
        AssertionError: It was not true within ``timeout`` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert loop.time() < deadline, f"not true within {timeout:g} s: {inspect.getsource(condition).strip()}"
        await asyncio.sleep(0.001)


async def turns(count: int) -> None:
    """Let the event loop turn a number of times."""
    for _ in range(count):
        await asyncio.sleep(0)


def rows(database: Path, sql: str = "SELECT * FROM runs ORDER BY id", *values: Any) -> list[sqlite3.Row]:
    """Read the database past the library, through a connection of its own."""
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(sql, values).fetchall()


def statuses(database: Path) -> dict[int, str]:
    """Read the status of every run, past the library."""
    return {row["id"]: row["status"] for row in rows(database)}


@contextlib.contextmanager
def each_statement(before: Callable[[str], object]) -> Generator[None]:
    """Call a function before each statement of the library's, on the thread that executes it.

    What the function raises, the statement raises.
    """

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            before(sql)
            return super().execute(sql, parameters)

        def executemany(self, sql: str, seq_of_parameters: Iterable[Any], /) -> sqlite3.Cursor:
            before(sql)
            return super().executemany(sql, seq_of_parameters)

    class Proxy:
        """Stands for a connection, as what a tracer gives: it has its methods, and is none."""

        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def cursor(self) -> sqlite3.Cursor:
            return self._connection.cursor(Cursor)

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return self.cursor().execute(sql, parameters)

    original: Any = aiosqlite.Connection.__dict__["_conn"]
    with mock.patch.object(aiosqlite.Connection, "_conn", property(lambda each: Proxy(original.fget(each)))):
        yield


class Puppet:
    """A job whose runs do what the test says; each run plays a part, and is addressed by its number.

    Attributes:
        entered: Parts in the order in which their functions were entered.
        asked: Parts, once for each ``CancelledError`` that reached them.
        job: Ends when it is told to, or asked to.
        stubborn: The same, but swallows every request to end.
        threaded: A ``def`` job; ends only when it is told to.
    """

    def __init__(self) -> None:
        self.entered: list[int] = []
        self.asked: list[int] = []
        self._ends: dict[int, concurrent.futures.Future[Any]] = {}
        self.job = job(name="puppet")(self._play)
        self.stubborn = job(name="stubborn")(self._play_stubbornly)
        self.threaded = job(name="threaded")(self._play_in_thread)

    def _end(self, part: int) -> concurrent.futures.Future[Any]:
        return self._ends.setdefault(part, concurrent.futures.Future())

    def end(self, part: int, value: Any = None) -> None:
        """Let the function of a part return."""
        self._end(part).set_result(value)

    def fail(self, part: int, error: BaseException) -> None:
        """Let the function of a part raise."""
        self._end(part).set_exception(error)

    async def enters(self, part: int) -> None:
        """Wait until the function of a part executes."""
        await eventually(lambda: part in self.entered)

    async def _play(self, part: int) -> Any:
        self.entered.append(part)
        try:
            return await asyncio.wrap_future(self._end(part))
        except asyncio.CancelledError:
            self.asked.append(part)
            raise

    async def _play_stubbornly(self, part: int) -> Any:
        self.entered.append(part)
        end = asyncio.wrap_future(self._end(part))
        began = time.monotonic()
        while not end.done():
            assert time.monotonic() - began < PATIENCE, "the test forgot about this run"
            try:
                await asyncio.wait((end,), timeout=PATIENCE)
            except asyncio.CancelledError:
                self.asked.append(part)
        return end.result()

    def _play_in_thread(self, part: int) -> Any:
        self.entered.append(part)
        return self._end(part).result(timeout=PATIENCE)


class Gate:
    """Holds calls of one verb of a store back until it is opened.

    Attributes:
        reached: Set when a call stands before the gate.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let everybody through, from now on."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Wait before the gate."""
        self.reached.set()
        await self._opened.wait()


def hold_answer(store: SQLiteStore | Database, verb: str, *, only_first: bool = False) -> Gate:
    """Let a verb of the store do its work, and hold its answer back; that of every call, or of the first."""
    gate, original = Gate(), getattr(store, verb)

    async def held(*args: Any, **options: Any) -> Any:
        answer = await original(*args, **options)
        if not (only_first and gate.reached.is_set()):
            await gate.pass_through()
        return answer

    setattr(store, verb, held)
    return gate


def hold_call(store: SQLiteStore, verb: str) -> Gate:
    """Hold a verb of the store back before it does anything."""
    gate, original = Gate(), getattr(store, verb)

    async def held(*args: Any, **options: Any) -> Any:
        await gate.pass_through()
        return await original(*args, **options)

    setattr(store, verb, held)
    return gate


_earlier: weakref.WeakSet[ActiveRun] = weakref.WeakSet()


def _runs_in_memory() -> list[ActiveRun]:
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is ActiveRun]


def note_earlier_runs() -> None:
    """Let ``active_runs`` ignore what there is now; the fixture ``own_runs`` calls this."""
    _earlier.update(_runs_in_memory())


def active_runs() -> int:
    """Count the runs of this test that anything in this process still holds."""
    return sum(each not in _earlier for each in _runs_in_memory())


async def idle(manager: RunManager, runs: int = 0) -> None:
    """Wait until no start is under way, and no more than a number of runs execute or wait."""
    engine = manager._lifespan.engine
    assert engine is not None
    await eventually(lambda: not engine.starter.busy and len(engine.registry) <= runs)
