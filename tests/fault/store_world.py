"""A manager over a store that fails, runs that note what they really do, and callers that note what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support import rows, turns

from aioruns import (
    ManagerClosed,
    RunAlreadyFinished,
    RunCancelled,
    RunConflict,
    RunEvent,
    RunFailed,
    RunHandle,
    RunInterrupted,
    RunManager,
    StoreUnavailable,
    current_run,
    job,
)
from aioruns.stores import SQLiteStore
from aioruns.testing import FaultyStore

__all__ = ["BOUND", "LATE", "PATIENCE", "UNKNOWN", "Deed", "World", "until", "writing"]

PATIENCE: Final = 2.0
"""Virtual seconds for which the store may be away before those who wait are told."""
BOUND: Final = 3 * PATIENCE + 1
"""Seconds within which a caller has an answer: a call, its repetition, and the pauses between them."""
LATE: Final = 5 * PATIENCE
"""Seconds for which a failure lasts that is not for ever: longer than anybody waits for an answer."""

UNKNOWN: Final = sqlite3.OperationalError("a failure that no store is known for")


async def until(condition: Callable[[], Any], what: str, *, bound: float = LATE + BOUND) -> None:
    """Wait for a condition, which comes true while the store is away, or soon after that."""
    try:
        async with asyncio.timeout(bound):
            while not condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {bound:g} s: {what}") from None


@contextlib.asynccontextmanager
async def writing(database: Path) -> AsyncIterator[sqlite3.Connection]:
    """Write past the library: wait in virtual time until nobody else does, and keep the others out meanwhile."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as connection:
        while not connection.in_transaction:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                await asyncio.sleep(0.01)
        yield connection
        connection.execute("COMMIT")


@dataclass
class Deed:
    """What the function of one run really did."""

    said: list[int] = field(default_factory=list)
    end: str | None = None


class World:
    """A manager and its callers. Runs are known by labels, which their rows bear in ``triggered_by``.

    Args:
        database: The file.
        max_running: Of the manager.

    Attributes:
        store: The store that fails.
        manager: The manager on it.
        deeds: What functions did.
        handles: What starts returned; None if the store was unavailable, or the key was held.
        keys: What runs were exclusive over.
        asked: Runs that somebody has asked to end.
        answers: What callers were told of a run, ``StoreUnavailable`` apart.
        heard: What subscribers of a run have received.
        callers: Those who still wait when the manager is closed.
    """

    def __init__(self, database: Path, *, max_running: int | None = None) -> None:
        self.database = database
        self.store = FaultyStore(SQLiteStore(database, synchronous="normal"))
        self.manager = RunManager(self.store, store_timeout=PATIENCE, shutdown_grace=0, max_running=max_running)
        self.play = job(name="play")(self._play)
        self.deeds: dict[str, Deed] = {}
        self.handles: dict[str, RunHandle[Any] | None] = {}
        self.keys: set[str] = set()
        self.asked: set[str] = set()
        self.answers: list[tuple[str, Any]] = []
        self.heard: list[tuple[str, list[RunEvent]]] = []
        self.callers: list[asyncio.Future[None]] = []
        self.others = contextlib.AsyncExitStack()
        self._gates: dict[str, asyncio.Event] = {}

    # What functions do

    async def _play(self, label: str, says: int, waits: bool, fails: bool, stubborn: bool) -> str:
        assert label not in self.deeds, f"the function of {label} was called twice"
        deed = self.deeds[label] = Deed()
        try:
            await self._talk(deed, says)
            while waits and not self.gate(label).is_set():
                try:
                    await self.gate(label).wait()
                except asyncio.CancelledError:
                    if not stubborn:
                        raise
            if fails:
                raise LookupError("the job's own")
        except BaseException as error:
            deed.end = type(error).__name__
            raise
        deed.end = "returned"
        return label

    async def _talk(self, deed: Deed, says: int) -> None:
        ctx = current_run()
        for number in range(says):
            ctx.emit("said", number)
            deed.said.append(number)
            ctx.log("info", "a line")
            ctx.set_progress(number, says, step=f"step {number % 2}")
            if number % 2:
                with contextlib.suppress(StoreUnavailable):
                    await ctx.flush()
                    assert self.stored_numbers(ctx.id) == deed.said, "F4: flush has returned, and not all is stored"

    def gate(self, label: str) -> asyncio.Event:
        """What the function of a run waits for, if it ``waits``."""
        return self._gates.setdefault(label, asyncio.Event())

    def stored_numbers(self, run_id: int) -> list[int]:
        """What is stored of what a function has said, past the library."""
        sql = "SELECT data FROM events WHERE run_id = ? AND kind = 'said' ORDER BY seq"
        return [json.loads(row["data"]) for row in rows(self.database, sql, run_id)]

    def active_rows(self) -> list[tuple[Any, ...]]:
        """What is active, past the library."""
        sql = "SELECT id, status, triggered_by FROM runs WHERE held_key IS NOT NULL OR finished_at IS NULL"
        return [tuple(row) for row in rows(self.database, sql)]

    def count_calls(self) -> Counter[str]:
        """How often each verb that can fail was called."""
        return Counter(call.verb for call in self.store.calls if call.verb != "abandon_lease")

    # What callers are told

    async def ask(self, what: str, asked: Awaitable[Any], *allowed: type[BaseException], bound: float = BOUND) -> Any:
        """Wait for an answer, which comes in time; None stands for a store that was unavailable."""
        try:
            async with asyncio.timeout(None if bound == math.inf else bound):
                return await asked
        except TimeoutError:
            raise AssertionError(f"{what}: no answer within {bound:g} s") from None
        except StoreUnavailable:
            return None
        except sqlite3.OperationalError as error:  # as the store raised it: only where the manager asks nothing else
            assert error is UNKNOWN, f"{what}: {error!r}"
            assert what in ("opening", "closing"), f"{what}: an unknown failure was not told as StoreUnavailable"
            return None
        except allowed as error:
            return error

    async def open(self) -> bool:
        """Open the manager; False if the store was unavailable."""

        async def opened() -> bool:
            await self.manager.open()
            return True

        return await self.ask("opening", opened(), bound=LATE + BOUND) or False

    async def another(self) -> RunManager:
        """Open another manager on the same file, whose store is sound."""
        store = SQLiteStore(self.database, synchronous="normal")
        return await self.others.enter_async_context(RunManager(store, shutdown_grace=0))

    async def start(
        self,
        label: str,
        *,
        manager: RunManager | None = None,
        says: int = 0,
        waits: bool = False,
        fails: bool = False,
        stubborn: bool = False,
        **options: Any,
    ) -> Any:
        """Start a run, note the handle, and return the answer."""
        if "key" in options:
            self.keys.add(options["key"])
        call = self.play(label, says, waits, fails, stubborn)
        starting = (manager or self.manager).start_run(call, triggered_by=label, **options)
        answer = await self.ask(f"the start of {label}", starting, RunConflict, ManagerClosed)
        self.answers.append((label, answer))
        self.handles[label] = answer if isinstance(answer, RunHandle) else None
        return answer

    async def abandon(self, label: str, *, after: int) -> None:
        """Start a run, go away after a few turns of the event loop, and cancel it if it was started by then."""
        self.asked.add(label)
        starting = asyncio.ensure_future(self.start(label, key=label, waits=True))
        await turns(after)
        starting.cancel()
        await asyncio.wait((starting,))
        await self.cancel(label)

    async def entered(self, label: str) -> None:
        """Wait until the function of a run that was started executes."""
        if self.handles[label] is not None:
            await until(lambda: label in self.deeds, f"the function of {label} executes")

    async def cancel(self, label: str, manager: RunManager | None = None) -> None:
        """Cancel a run; ask again while the store is unavailable."""
        if (handle := self.handles.get(label)) is None:
            return
        self.asked.add(label)
        refusals: list[type[BaseException]] = []
        while True:
            asking = (manager or self.manager).cancel_run(handle.id, reason="asked")
            if await self.ask(f"the cancel of {label}", asking, *refusals) is not None:
                return
            refusals = [RunAlreadyFinished]  # by the request whose answer was lost
            await asyncio.sleep(1)

    async def result(self, label: str) -> Any:
        """Await a run that was started: once its function has ended, the outcome comes in time, or why it cannot."""
        if (handle := self.handles.get(label)) is None:
            return None

        ends = (RunFailed, RunCancelled, RunInterrupted, ManagerClosed)
        asking = asyncio.ensure_future(self.ask(f"the result of {label}", handle, *ends, bound=math.inf))
        await until(lambda: asking.done() or (label in self.deeds and self.deeds[label].end), f"{label} ends")
        answer = await self.ask(f"the result of {label}, whose function has ended", asking)
        self.answers.append((label, answer))
        return answer

    async def ended(self, label: str) -> None:
        """Wait for the end of a run that executes elsewhere; again while the store is unavailable."""
        handle = self.handles[label]
        assert handle is not None
        what = f"the end of {label}"
        while (run := await self.ask(what, self.manager.wait_run(handle.id), bound=LATE + BOUND)) is None:
            await asyncio.sleep(1)
        self.answers.append((label, run))

    async def listen(self, label: str, manager: RunManager | None = None) -> None:
        """Receive all events of a run, again from where one was when the store was unavailable."""
        if (handle := self.handles.get(label)) is None:
            return
        heard: list[RunEvent] = []
        self.heard.append((label, heard))

        async def listen() -> bool:
            async for event in (manager or self.manager).stream_events(handle.id, after=len(heard)):
                heard.append(event)  # noqa: PERF401 - as they come
            return True

        while await self.ask(f"the events of {label}", listen(), ManagerClosed, bound=2 * LATE + BOUND) is None:
            await asyncio.sleep(1)
