"""Streams of events, read and checked; and runs that say things until they are told to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, cast

from tests.support import hold_call

from aioruns import RunEvent, RunHandle, RunManager, current_run
from aioruns.stores import SQLiteStore

__all__ = [
    "OpenManager",
    "Waiter",
    "check_whole",
    "collect",
    "collect_into",
    "finished",
    "open_undisturbed",
    "opened",
    "talk",
    "within",
]

OpenManager = Callable[..., Awaitable[RunManager]]


async def collect(stream: AsyncIterator[RunEvent]) -> list[RunEvent]:
    return [event async for event in stream]


async def collect_into(seen: list[RunEvent], stream: AsyncIterator[RunEvent]) -> None:
    async for event in stream:
        seen.append(event)  # noqa: PERF401 - what has been seen counts when the stream raises


async def within(seconds: float, awaitable: Awaitable[object]) -> None:
    async with asyncio.timeout(seconds):
        await awaitable


def opened(stream: AsyncIterator[RunEvent]) -> aclosing[Any]:
    """Close a stream at the end of a block, as those do who leave one early."""
    return aclosing(cast("Any", stream))


def check_whole(events: Iterable[RunEvent], run_id: int, *, after: int = 0) -> None:
    """Check that a stream has no gap, no double, no event of another run, and one end, which is last."""
    events = list(events)
    assert [event.seq for event in events] == list(range(after + 1, after + 1 + len(events)))
    assert {event.run_id for event in events} == {run_id}
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]


async def talk(lines: int, *, pause: Callable[[int], Awaitable[object]] | None = None) -> None:
    """Log lines; every hundred of them are stored before the next one is said."""
    context = current_run()
    for number in range(lines):
        context.log("info", f"{context.id}: {number}")
        if number % 100 == 99:
            await context.flush()
        if pause is not None:
            await pause(number)


async def finished(manager: RunManager, lines: int) -> int:
    """Run something that says a number of lines; return the run's id."""
    handle = await manager.start_run(talk(lines))
    await handle
    return handle.id


async def open_undisturbed(open_manager: OpenManager, store: SQLiteStore, **options: object) -> RunManager:
    """Open a manager whose subscribers are woken by its own commits only, and not by chance."""
    manager = await open_manager(store, **options)
    for verb in ("wait_changed", "rescue_orphans"):
        hold_call(store, verb)
    return manager


class Waiter:
    """A run that executes until it is told to end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.error: Exception | None = None
        self.stubborn = False

    async def work(self) -> None:
        self.begun.set()
        while not self.end.is_set():
            try:
                await self.end.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
        if self.error is not None:
            raise self.error

    async def start(self, manager: RunManager) -> RunHandle[None]:
        handle = await manager.start_run(self.work())
        await self.begun.wait()
        return handle
