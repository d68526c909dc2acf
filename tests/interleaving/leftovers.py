"""What a manager still remembers of runs that have ended: nothing, if all is well (R1)."""

from __future__ import annotations

import gc
from typing import Any

from aioruns import RunManager


def stops(manager: RunManager) -> bool:
    """Tell whether a manager closes, has closed, or is torn down with its event loop."""
    return manager._closing is not None or manager._engine is None or manager._engine.stopping


def left_behind(manager: RunManager) -> dict[str, Any]:
    """Tell what a manager still remembers although nothing executes or waits: nothing, if all is well."""
    engine = manager._engine
    assert engine is not None
    if engine.starter._locks:
        gc.collect()  # a lock may be in a cycle of an exception and its frames
    locks = 0 if engine.closed else len(engine.starter._locks)  # torn with the event loop, frames outlast it
    remembered = {
        "registry": len(engine.registry),
        "current": engine.registry._current,
        "channels": len(engine.feed),
        "bytes": engine.budget.bytes,
        "sections": len(engine.starter._sections),
        "abandonments": len(engine.starter._abandonments),
        "locks": locks,
        "requests": len(engine.canceller._tasks),
        "flushes": len(engine._flusher._tasks),
        "ends": len(engine._executor._rest),
        "line": len(engine._capacity._waiting) + engine._capacity._announced,
        "slots": engine._capacity._free != (manager._max_running or float("inf")),
    }
    return {name: what for name, what in remembered.items() if what}
