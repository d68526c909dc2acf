"""How much memory this process has, and what keeps runs in it."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path
from typing import Final

from aioruns._active import ActiveRun

__all__ = ["MIB", "active_runs", "resident"]

MIB: Final = 1024 * 1024
_STATM: Final = Path("/proc/self/statm")


def resident() -> int:
    """Return the bytes that are resident; without ``/proc``, the most that ever were."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def active_runs() -> int:
    """Count the runs that anything in this process still holds."""
    gc.collect()
    return sum(type(each) is ActiveRun for each in gc.get_objects())
