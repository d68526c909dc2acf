"""A worker of the kill soak: starts, cancels and watches runs at random for ever; the ledger keeps all that it saw.

``tests/fault/soak.py`` forks it, sends it signals, and holds the ledger against the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from tests.fault.ledger import Ledger
from tests.insides import manager_id

from aioruns import (
    RunAlreadyFinished,
    RunCancelled,
    RunConflict,
    RunContext,
    RunFailed,
    RunHandle,
    RunInterrupted,
    RunManager,
    StoreUnavailable,
    current_run,
    job,
)
from aioruns.stores import SQLiteStore

__all__ = ["LOCK_TIMEOUT", "Orders", "lock", "reopen", "work"]

KEYS: Final = ("red", "green", "blue")
CALLERS: Final = 4
WATCHERS: Final = 6
LOCK_TIMEOUT: Final = 0.25
"""Seconds that a worker waits for the database: less than others are frozen for, maybe while they have locked it."""


class Trouble(Exception):
    """What the functions of runs raise."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the driver tells a worker.

    Attributes:
        database: The file that all workers share.
        ledger: The path of the ledger.
        who: The worker's number.
        seed: Of its choices.
        closes: Whether it closes its manager when it gets a SIGTERM; else that kills it.
    """

    database: Path
    ledger: Path
    who: int
    seed: int
    closes: bool


class Bodies:
    """The functions of runs: they say things, now and then make sure that these are stored, and end in every way."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        self._note = ledger.note
        self._chance = chance
        self.steps = job(name="steps")(self._steps)
        self.thread = job(name="thread")(self._thread)

    def any(self) -> Any:
        """Choose a call: of a job, of a job in a thread, or a bare coroutine."""
        body = self._chance.choice((self.steps, self.steps, self.thread, self._steps))
        return body(self._chance.randrange(8), self._chance.random() < 0.2)

    async def _steps(self, steps: int, fails: bool) -> list[int]:
        ctx = current_run()
        number = 0
        with self._entered(ctx) as leave:
            try:
                while number < steps:
                    self._say(ctx, number := number + 1)
                    if self._chance.random() < 0.4:
                        await ctx.flush()
                        self._note("flushed", ctx.id, number=number)
                    await asyncio.sleep(self._chance.random() * 0.008)
            except asyncio.CancelledError:
                return await self._clean_up(ctx, number, leave)
            return self._end(ctx, steps, fails, leave)

    async def _clean_up(self, ctx: RunContext, number: int, leave: Callable[[Any], None]) -> list[int]:
        """End late after a cancel; now and then as if nothing had been."""
        for late in range(number + 1, number + self._chance.randrange(1, 4)):
            self._say(ctx, late)
            await asyncio.sleep(self._chance.random() * 0.01)
        if self._chance.random() < 0.8:
            raise asyncio.CancelledError
        return self._end(ctx, number, self._chance.random() < 0.3, leave)

    def _thread(self, steps: int, fails: bool) -> list[int]:
        ctx = current_run()
        with self._entered(ctx) as leave:
            for number in range(1, steps + 1):
                self._say(ctx, number)
                if ctx.wait_cancelled(self._chance.random() * 0.008) and self._chance.random() < 0.8:
                    ctx.raise_if_cancelled()
            return self._end(ctx, steps, fails, leave)

    @contextlib.contextmanager
    def _entered(self, ctx: RunContext) -> Iterator[Callable[[Any], None]]:
        """Note that a function begins and, before it ends, how: the noted time lies within the true one."""
        self._note("enter", ctx.id, key=ctx.key, attempt=ctx.attempt)
        returned: list[Any] = []
        try:
            yield returned.append
        except BaseException as error:
            self._note("leave", ctx.id, how="raised", value=type(error).__name__)
            raise
        self._note("leave", ctx.id, how="returned", value=returned[0])

    def _say(self, ctx: RunContext, number: int) -> None:
        self._note("saying", ctx.id, number=number)
        ctx.emit("said", {"number": number})
        if self._chance.random() < 0.3:
            ctx.log("info", "a line of the log", number=number)
        if self._chance.random() < 0.3:
            ctx.set_progress(number, 8, step="steps")

    def _end(self, ctx: RunContext, steps: int, fails: bool, leave: Callable[[Any], None]) -> list[int]:
        if fails:
            raise Trouble(f"as chance has it, after {steps} steps")
        leave(value := [ctx.id, steps])
        return value


class Callers:
    """What callers do, by turns and as chance has it."""

    def __init__(self, ledger: Ledger, chance: random.Random, manager: RunManager, tasks: asyncio.TaskGroup) -> None:
        self._note = ledger.note
        self._chance = chance
        self._manager = manager
        self._tasks = tasks
        self._bodies = Bodies(ledger, chance)
        self._watches = 0
        self._watching = 0

    async def call_for_ever(self) -> None:
        acts = (self.start, self.start, self.start, self.start_once, self.give_up, self.cancel, self.wait, self.watch)
        while True:
            try:
                await self._chance.choice(acts)()
            except StoreUnavailable as error:
                self._note("unavailable", error=str(error))
            await asyncio.sleep(self._chance.random() * 0.01)

    async def start(self) -> None:
        """Start a run; then cancel it, wait for it, or leave it alone."""
        key = self._chance.choice((*KEYS, None))
        on_conflict = "join" if key and self._chance.random() < 0.3 else "reject"
        if (handle := await self._start(self._bodies.any, key=key, on_conflict=on_conflict)) is None:
            return
        follow_up = self._chance.choice((self._cancel, self._result, None))
        if follow_up is not None:
            await follow_up(handle)

    async def start_once(self) -> None:
        """Start a run which other workers start at the same time by the same name."""
        moment = time.monotonic_ns() // 300_000_000
        once = f"once {moment}"
        handle = await self._start(lambda: self._bodies.steps(4, False), key=KEYS[moment % len(KEYS)], once=once)
        if handle is not None:
            await self._result(handle)

    async def _start(
        self,
        body: Callable[[], Any],
        *,
        key: str | None,
        on_conflict: Literal["reject", "join"] = "reject",
        once: str | None = None,
    ) -> RunHandle[Any] | None:
        self._note("starting", key=key)
        try:
            handle = await self._manager.start_run(body(), key=key, on_conflict=on_conflict, idempotency_key=once)
        except RunConflict as conflict:
            self._note("conflict", conflict.active_run_id, key=key)
            return None
        except StoreUnavailable as error:
            self._note("unavailable", error=str(error))
            return None
        self._note("acknowledged", handle.id, key=key, once=once)
        return handle

    async def give_up(self) -> None:
        """Start a run, and do not wait for the answer."""
        start = self._tasks.create_task(self._start(self._bodies.any, key=self._chance.choice((*KEYS, None))))
        await asyncio.sleep(self._chance.random() * 0.004)
        start.cancel()

    async def cancel(self) -> None:
        """Cancel the run of a key, wherever it executes."""
        if (handle := await self._somebodys()) is not None:
            await self._cancel(handle)

    async def _cancel(self, handle: RunHandle[Any]) -> None:
        self._note("cancelling", handle.id)
        try:
            run = await handle.cancel(reason="as chance has it")
        except RunAlreadyFinished as finished:
            self._note("told", handle.id, status=finished.run.status, result=finished.run.result)
        else:
            self._note("cancel answered", handle.id, status=run.status)

    async def wait(self) -> None:
        """Wait for the run of a key, wherever it executes."""
        if (handle := await self._somebodys()) is not None:
            run = await handle.wait()
            self._note("told", run.id, status=run.status, result=run.result)

    async def _result(self, handle: RunHandle[Any]) -> None:
        status, result = "completed", None
        try:
            result = await handle
        except (RunFailed, RunCancelled, RunInterrupted) as error:
            status = error.run.status
        self._note("told", handle.id, status=status, result=result)

    async def _somebodys(self) -> RunHandle[Any] | None:
        run = await self._manager.get_current_or_latest_run(self._chance.choice(KEYS))
        return None if run is None else self._manager.get_handle(run.id)

    async def watch(self) -> None:
        """Begin to watch a run, from its beginning or from its next event on."""
        handle = await self._somebodys()
        if handle is not None and self._watching < WATCHERS:
            self._watches += 1
            self._tasks.create_task(self._watch(handle, self._watches, after=self._chance.randrange(2)))

    async def _watch(self, handle: RunHandle[Any], number: int, *, after: int) -> None:
        self._watching += 1
        self._note("watching", handle.id, watch=number, after=after)
        try:
            async for event in handle.events(after):
                self._note("heard", handle.id, watch=number, seq=event.seq, kind=event.kind, data=event.data)
                if self._chance.random() < 0.1:
                    await asyncio.sleep(self._chance.random() * 0.1)
            self._note("heard all", handle.id, watch=number)
        except StoreUnavailable as error:
            self._note("unavailable", error=str(error))
        finally:
            self._watching -= 1


async def _work(orders: Orders, ledger: Ledger) -> None:
    chance = random.Random(orders.seed)
    if orders.closes:
        main = asyncio.current_task()
        assert main is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    store = SQLiteStore(orders.database, synchronous=chance.choice(("full", "normal")), busy_timeout=LOCK_TIMEOUT)
    ledger.note("opening")
    manager = RunManager(
        store, max_running=chance.choice((None, None, 2)), shutdown_grace=chance.choice((0, 0, 0.05)), store_timeout=5
    )
    await manager.open()
    try:
        ledger.note("opened", manager=manager_id(manager))
        async with asyncio.TaskGroup() as tasks:
            callers = Callers(ledger, chance, manager, tasks)
            for _ in range(CALLERS):
                tasks.create_task(callers.call_for_ever())
    finally:
        ledger.note("closing")
        await manager.aclose()
        ledger.note("closed")


class Complaints(logging.Handler):
    """Notes what the library and Python complain about."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(logging.WARNING)
        self._note = ledger.note

    def emit(self, record: logging.LogRecord) -> None:
        self._note("logged", message=self.format(record))


def work(orders: Orders) -> NoReturn:
    """Be a worker, until a signal ends it."""
    ledger = Ledger(orders.ledger, orders.who)
    _be_a_child(_work(orders, ledger), ledger)


def reopen(database: Path, ledger: Path) -> NoReturn:
    """Open the database, and close it."""

    async def look() -> None:
        async with RunManager(database):
            pass

    _be_a_child(look(), Ledger(ledger, 0))


def lock(database: Path, seconds: float) -> NoReturn:
    """Lock the database for a while, as any program might, and exit without a word; or give up if it is locked."""
    with contextlib.suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(database, isolation_level=None, timeout=seconds)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
    os._exit(0)


def _be_a_child(main: Coroutine[Any, Any, None], ledger: Ledger) -> NoReturn:
    """Run a program in the child of a fork, which must not return to what its parent did; note what went wrong."""
    logging.getLogger().addHandler(Complaints(ledger))
    logging.captureWarnings(True)
    warnings.simplefilter("always")
    sys.unraisablehook = lambda unraisable: ledger.note("logged", message=repr(unraisable))
    try:
        asyncio.run(main)
    except asyncio.CancelledError:  # by SIGTERM
        pass
    except StoreUnavailable as error:
        ledger.note("unavailable", error=str(error))
    except BaseException:  # noqa: BLE001 - whatever it is, the judge is to know
        ledger.note("logged", message=traceback.format_exc())
    os._exit(0)
