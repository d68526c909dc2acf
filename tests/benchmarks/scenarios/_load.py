"""The library or the bare loop under a closed loop, in a process of its own."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Final

from tests.benchmarks.contestants.limit import bare_loop
from tests.benchmarks.contestants.ours import manager
from tests.benchmarks.scenarios._support import resident
from tests.benchmarks.work import closed_loop

__all__ = ["CONTESTANTS", "under_load"]

CONTESTANTS: Final = {"ours": manager, "limit": bare_loop}


async def _under_load(
    contestant: str, folder: Path, *, concurrent: int, seconds: float, collecting: bool
) -> dict[str, float]:
    folder.mkdir()
    async with CONTESTANTS[contestant](folder) as opened:
        await closed_loop(opened.start, concurrent=min(concurrent, 100), seconds=0.1)
        if not collecting:
            gc.disable()
        figures = await closed_loop(opened.start, concurrent=concurrent, seconds=seconds)
        return {**figures, "resident": resident()}


def under_load(
    contestant: str, folder: Path, concurrent: int, seconds: float, *, collecting: bool = True
) -> dict[str, float]:
    """Return the figures of a closed loop, with Python's garbage collector or without, and the memory at its end."""
    return asyncio.run(_under_load(contestant, folder, concurrent=concurrent, seconds=seconds, collecting=collecting))
