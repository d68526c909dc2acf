"""What a manager still remembers of runs that have ended: nothing, if all is well (R1)."""

from __future__ import annotations

from typing import Any

from aioruns import RunManager


def stops(manager: RunManager) -> bool:
    """Tell whether a manager closes, has closed, or is torn down with its event loop."""
    life = manager._lifespan
    return life._closing is not None or life.engine is None or life.engine.stopping


def left_behind(manager: RunManager) -> dict[str, Any]:
    """Tell what a manager still remembers although nothing executes or waits: nothing, if all is well."""
    engine = manager._lifespan.engine
    assert engine is not None
    # A lock that nobody holds may be kept for a while: by the frames of an exception that left a start.
    locks = [] if engine.closed else [lock for lock in engine.starter._locks.values() if lock.locked()]
    slots = manager._lifespan._make_engine.keywords["max_running"]  # pyright: ignore[reportFunctionMemberAccess]
    remembered = {
        "registry": len(engine.registry),
        "current": engine.registry._current,
        "channels": len(engine.feed),
        "bytes": engine.budget.bytes,
        "under way": len(engine.starter._under_way),
        "abandoned": len(engine.starter._abandoned),
        "locks": locks,
        "requests": len(engine.canceller._tasks),
        "flushes": len(engine._flusher._tasks),
        "ends": len(engine._executor._rest),
        "launched": len(engine._executor._launched),
        "given up": len(engine.store.given_up),  # pyright: ignore[reportAttributeAccessIssue]
        "line": len(engine._capacity._waiting) + engine._capacity._announced,
        "slots": engine._capacity._free != (slots or float("inf")),
    }
    return {name: what for name, what in remembered.items() if what}
