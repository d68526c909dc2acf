"""The inside of a manager, for tests: this module alone knows the names of its private parts."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, Final

from tests.support import eventually

from aioruns import RunManager
from aioruns._jobs import capture
from aioruns._manager.engine import Engine
from aioruns._running.blocking import BlockWatch
from aioruns._running.execute import Executor
from aioruns._running.live import LiveRun
from aioruns._running.registry import Registry

__all__ = [
    "LAUNCH",
    "REGISTER",
    "active_runs",
    "block_watch",
    "cancel_requested",
    "closing_task",
    "die_with_process",
    "executes",
    "finalise",
    "grace_timer",
    "has_drained",
    "idle",
    "is_execution",
    "is_open",
    "is_starting",
    "is_told_to_end",
    "leftovers",
    "limit_timer",
    "live_runs",
    "locks",
    "lose_lock",
    "manager_id",
    "note_earlier_runs",
    "rescuer",
    "shutdown_grace",
    "stops",
    "subscribers_ended",
    "tear_start",
    "unstored_bytes",
    "watched_runs",
]


def _engine(manager: RunManager) -> Engine:
    engine = manager._lifespan.engine
    assert engine is not None, "the manager was never opened"
    return engine


def manager_id(manager: RunManager) -> str:
    """Give the id under which a manager writes; it has one from when it is being opened on."""
    return _engine(manager).state.manager_id


# What it remembers


def leftovers(manager: RunManager) -> dict[str, Any]:
    """Tell what a manager still remembers although nothing executes or waits here: nothing, if all is well (R1)."""
    engine = manager._lifespan.engine
    return {} if engine is None else engine.leftovers()


def locks(manager: RunManager) -> int:
    """Count the locks of keys. The frames of an exception that left a start keep one for a while, held by nobody."""
    return len(_engine(manager).registry._locks)


def unstored_bytes(manager: RunManager) -> int:
    """Count the bytes that runs have said and the store has not taken."""
    return _engine(manager).flusher.budget.bytes


def watched_runs(manager: RunManager) -> int:
    """Count the runs that somebody subscribes to here."""
    return len(_engine(manager).feed)


_earlier: weakref.WeakSet[LiveRun] = weakref.WeakSet()


def _runs_in_memory() -> list[LiveRun]:
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is LiveRun]


def note_earlier_runs() -> None:
    """Let ``active_runs`` ignore what there is now; the fixture ``own_runs`` calls this."""
    _earlier.update(_runs_in_memory())


def active_runs() -> int:
    """Count the runs of this test that anything in this process still holds."""
    return sum(each not in _earlier for each in _runs_in_memory())


# What it does


async def idle(manager: RunManager, runs: int = 0) -> None:
    """Wait until no start is under way, and no more than a number of runs execute or wait."""
    await eventually(lambda: not is_starting(manager) and len(live_runs(manager)) <= runs)


def is_starting(manager: RunManager) -> bool:
    """Tell whether a start is under way, so that a row may be stored that is not registered yet."""
    return bool(_engine(manager).registry.sections)


def tear_start(manager: RunManager) -> None:
    """Cancel the one start that is under way as the teardown of the event loop does: its task, not its caller."""
    (section,) = _engine(manager).registry.sections
    section.cancel()


def live_runs(manager: RunManager) -> list[int]:
    """List the runs that execute or wait here, oldest first; none before the manager is opened."""
    engine = manager._lifespan.engine
    return [] if engine is None else [live.run.id for live in engine.registry]


def _live(manager: RunManager, run_id: int) -> LiveRun | None:
    return _engine(manager).registry.get(run_id)


def _need_live(manager: RunManager, run_id: int) -> LiveRun:
    live = _live(manager, run_id)
    assert live is not None, f"run {run_id} neither executes nor waits here"
    return live


def executes(manager: RunManager, run_id: int) -> bool:
    """Tell whether a run is here, and its function has not ended."""
    live = _live(manager, run_id)
    return live is not None and not live.attempt.over


def cancel_requested(manager: RunManager, run_id: int) -> bool:
    """Tell whether a run is here, and its manager knows of a request to cancel it."""
    live = _live(manager, run_id)
    return live is not None and live.cancel_requested_at is not None


def is_told_to_end(manager: RunManager, run_id: int) -> bool:
    """Tell whether the cancel event of a run here is set."""
    return _need_live(manager, run_id).attempt.cancel_event.is_set()


def limit_timer(manager: RunManager, run_id: int) -> asyncio.TimerHandle | None:
    """Return what ends a run here when its time is over; None while its function has not begun."""
    return _need_live(manager, run_id).attempt._limit


def grace_timer(manager: RunManager, run_id: int) -> asyncio.TimerHandle | None:
    """Return what cancels the task of a run here that was asked to end."""
    return _need_live(manager, run_id).attempt._grace


def block_watch(manager: RunManager) -> BlockWatch:
    """Return what finds the functions that block the event loop."""
    return _engine(manager).blocking


def rescuer(manager: RunManager) -> asyncio.Task[None]:
    """Return the task that looks for dead managers, and takes the own lock again if it was lost."""
    task = _engine(manager).rescuer
    assert task is not None, "the manager has not finished opening"
    return task


# How it ends


def is_open(manager: RunManager) -> bool:
    """Tell whether a manager has been opened, or begun to, and not closed."""
    engine = manager._lifespan.engine
    return engine is not None and not engine.state.closed


def stops(manager: RunManager) -> bool:
    """Tell whether a manager closes, has closed, or is torn down with its event loop."""
    life = manager._lifespan
    return life._closing is not None or life.engine is None or life.engine.state.stopping


def closing_task(manager: RunManager) -> asyncio.Task[None] | None:
    """Return the task that closes a manager, if that was asked for."""
    return manager._lifespan._closing


def has_drained(manager: RunManager) -> bool:
    """Tell whether a manager that closes has given its runs the time to end by themselves."""
    return _engine(manager).state.closing


def subscribers_ended(manager: RunManager) -> bool:
    """Tell whether a manager that closes has ended its subscribers."""
    return _engine(manager).feed._closed


def shutdown_grace(manager: RunManager) -> float:
    """Give the seconds for which runs may go on when a manager closes."""
    return manager._lifespan._settings.shutdown_grace


def finalise(manager: RunManager) -> None:
    """Do what is done when the garbage collector finds a manager."""
    manager._lifespan.__del__()


# What happens to it


LAUNCH: Final[tuple[type, str]] = (Executor, "_launch")
"""Where a manager begins to execute a run: ``monkeypatch.setattr(*LAUNCH, fail)``."""
REGISTER: Final[tuple[type, str]] = (Registry, "add")
"""Where a manager registers a run."""


def is_execution(coroutine: Any) -> bool:
    """Tell, in a task factory, whether a coroutine is the one that executes a run."""
    return coroutine.__qualname__ == "Executor._execute"


def lose_lock(manager: RunManager) -> None:
    """Let a living manager look dead, as it does when its lock file is deleted."""
    lease = _engine(manager).store._store._liveness.lease  # pyright: ignore[reportAttributeAccessIssue]
    if lease is not None:
        lease.abandon()


def die_with_process(manager: RunManager) -> None:
    """Take back what a manager has from its process, as far as the death of a process would."""
    engine = _engine(manager)
    if engine.capturing:
        engine.capturing = False
        capture.uninstall()
    engine.blocking.stop()
    manager._lifespan._accepting = False  # else it would complain that it was never closed
