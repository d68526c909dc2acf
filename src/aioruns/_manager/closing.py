"""Closes a manager: lets its runs drain, interrupts those left, lets go; bounded, whatever hangs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import Final

import anyio

from aioruns._aio.tasks import insist
from aioruns._jobs import capture
from aioruns._manager.engine import Engine
from aioruns._running.live import LiveRun, Phase, Why
from aioruns._values.model import now_micros
from aioruns._values.status import RunStatus
from aioruns.errors import ManagerClosed, RunError, StoreUnavailable

__all__ = ["close"]

log = logging.getLogger("aioruns")

CLOSE_BOUND: Final = 5.0
"""Seconds that functions have to end after the closing manager has asked them."""
STUCK_BOUND: Final = 1.0
"""Most seconds spent on recording that a function does not end, and on ending one of the manager's own tasks."""
TEARDOWN_BOUND: Final = 1.5
"""The same as ``CLOSE_BOUND`` when the event loop is torn down; the store's writer goes on for longer than this."""
AT_ONCE: Final = 100
"""Most runs that are asked to end in one turn of the event loop."""


async def close(engine: Engine, *, grace: float, torn: bool = False) -> None:
    """Let runs drain, interrupt those left, then end everything else. Bounded; a second call waits for the first.

    Args:
        engine: The roles of the manager.
        grace: Seconds for runs to end by themselves.
        torn: Whether the event loop is being torn down, which has cancelled all tasks already.
    """
    bound = TEARDOWN_BOUND if torn else CLOSE_BOUND
    state, registry = engine.state, engine.registry
    async with engine.close_lock:
        if state.closed:
            return
        await registry.settle(timeout=bound)
        await registry.wait_until_none(lambda _: True, timeout=grace)
        state.closing = True
        await _interrupt_all(engine, torn=torn)
        await registry.wait_until_none(lambda _: True, timeout=bound)
        await asyncio.gather(*(_record_stuck(engine, live) for live in _stuck(engine)))
        with contextlib.suppress(StoreUnavailable), anyio.move_on_after(bound):
            await engine.watcher.resolve_doubts()
        engine.watcher.trust()  # from here on, an unregistered row may be of a run that did execute
        engine.executor.give_up()
        await registry.wait_until_none(lambda live: live.attempt.over, timeout=bound)
        state.closed = True
        closer = asyncio.current_task()
        _, cancellation = await insist(lambda: _let_go(engine, closer, bound))
        if cancellation is not None:
            raise cancellation


async def _interrupt_all(engine: Engine, *, torn: bool) -> None:
    """Ask all runs to end, a few in each turn of the event loop, which each end keeps busy, too."""
    # Runs that wait for capacity come first: otherwise they would get the slots of those that end.
    lives = sorted(engine.registry, key=lambda live: live.attempt.phase is not Phase.WAITING)
    for number, live in enumerate(lives, 1):
        _interrupt(engine, live, torn=torn)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)


def _interrupt(engine: Engine, live: LiveRun, *, torn: bool) -> None:
    attempt = live.attempt
    if attempt.phase is Phase.WAITING:
        engine.capacity.discard(live)
        attempt.ask_to_end(Why.CLOSING)
        engine.executor.end_unbegun(live, asyncio.CancelledError())
    elif not (torn and attempt.task is not None and attempt.task.cancelling()):
        attempt.ask_to_end(Why.CLOSING)
    # A task that the teardown has cancelled is not cancelled again, which would interrupt its clean-up.


def _stuck(engine: Engine) -> list[LiveRun]:
    """Return the runs whose functions execute; the others here wait for the store to take their claim or their end."""
    return [live for live in engine.registry if not live.attempt.over and live.run.status is not RunStatus.PENDING]


async def _record_stuck(engine: Engine, live: LiveRun) -> None:
    """Record that a function does not end; its run stays active and holds its key until it does."""
    attempt = live.attempt
    log.warning("run %s still executes although its manager closes:\n%s", live.run.id, attempt.stack())
    attempt.report_stack()
    with contextlib.suppress(RunError), anyio.move_on_after(STUCK_BOUND):
        await engine.store.request_cancel(live.run.id, at=now_micros(), reason="the manager was closed")
        await attempt.outbox.flush()
    attempt.outbox.take_rest()  # nobody stores what it says any more, and its thread must not wait for room


async def _let_go(engine: Engine, closer: asyncio.Task[None] | None, bound: float) -> None:
    """End everything but runs. ``close`` calls this again if a teardown of the event loop cancels it."""
    state = engine.state
    engine.blocking.stop()
    await engine.feed.aclose()
    for task in (engine.rescuer, state.keeper):
        if task is not None and task is not closer:
            task.cancel()
            await asyncio.wait((task,), timeout=STUCK_BOUND)
    state.left_behind = bool(engine.registry)
    try:
        if state.left_behind:
            _outlast(engine)
        else:
            await _release_lease(engine, bound)
        with anyio.move_on_after(bound) as closing:
            await engine.store.aclose()
        if closing.cancelled_caught:
            log.warning("the store did not close in time: what waits for it may not be stored")
    finally:
        if engine.capturing:
            engine.capturing = False
            capture.uninstall()


def _outlast(engine: Engine) -> None:
    """Keep the lease until the functions that go on have ended; if all are in threads, even beyond the event loop."""
    stuck = _stuck(engine)
    for live in stuck:
        live.give_up(ManagerClosed(f"run {live.run.id} still executes, and its manager has closed"))
    runners = [live.attempt.runner for live in stuck]
    threads = [runner.thread for runner in runners if runner is not None and runner.thread is not None]

    def wait() -> None:
        for thread in threads:
            thread.join()
        engine.store.abandon_lease(engine.state.manager_id)

    if threads and len(threads) == len(stuck):
        threading.Thread(target=wait, name="aioruns-lease", daemon=True).start()


async def _release_lease(engine: Engine, bound: float) -> None:
    with contextlib.suppress(StoreUnavailable), anyio.move_on_after(bound):
        await engine.store.release_lease(engine.state.manager_id)
        return
    engine.store.abandon_lease(engine.state.manager_id)  # the manager's row stays, and the next manager cleans up
