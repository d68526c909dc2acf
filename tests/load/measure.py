"""How much memory this process has."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Final

__all__ = ["MIB", "resident"]

MIB: Final = 1024 * 1024
_STATM: Final = Path("/proc/self/statm")


def resident() -> int:
    """Return the bytes that are resident; without ``/proc``, the most that ever were."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
