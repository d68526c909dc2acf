"""What tests share: conditions to wait for, a look past the library, times and paths, jobs on strings, held stores."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import itertools
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock

import aiosqlite

from aioruns import RunStatus, job
from aioruns._values.status import is_allowed
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite._database import Database

__all__ = [
    "Gate",
    "Puppet",
    "each_statement",
    "eventually",
    "from_micros",
    "hold_answer",
    "hold_call",
    "is_path",
    "now_micros",
    "rows",
    "statuses",
    "turns",
]

PATIENCE: Final = 120
"""Seconds after which what does not end by itself does so all the same: a test that failed must not hang.

It is many times what anything takes on a machine that is busy with other things.
"""


async def eventually(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
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
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(sql, values).fetchall()


def statuses(database: Path) -> dict[int, str]:
    """Read the status of every run, past the library."""
    return {row["id"]: row["status"] for row in rows(database)}


def is_path(statuses: Iterable[RunStatus]) -> bool:
    """Tell whether a run may have these statuses, one after the other."""
    return all(is_allowed(*step) for step in itertools.pairwise(statuses))


def now_micros() -> int:
    """Give the time as it is stored: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def from_micros(micros: int) -> datetime:
    """Give the time that is stored as a number."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


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
