"""From pending to running: who may begin when there is capacity for ``max_running`` runs."""

from __future__ import annotations

import math

from aioruns._running.live import LiveRun

__all__ = ["Capacity"]


class Capacity:
    """Slots for running runs; a run that finds none waits in line, first in first out.

    Args:
        max_running: How many runs may execute at once; None for no limit.
    """

    def __init__(self, max_running: int | None) -> None:
        self._size: float = math.inf if max_running is None else max_running
        self._free = self._size
        self._announced: set[LiveRun] = set()  # refused a slot, and not yet in line: nobody may overtake them
        self._line: dict[LiveRun, None] = {}

    def reserve(self, live: LiveRun) -> bool:
        """Take a slot for a run that is about to be inserted; False if it has to wait in line."""
        if self._free < 1 or self._line or self._announced:
            self._announced.add(live)
            return False
        self._free -= 1
        live.has_slot = True
        return True

    def enqueue(self, live: LiveRun) -> list[LiveRun]:
        """Let a run that is inserted wait in line; return the runs to launch now."""
        self._announced.discard(live)
        self._line[live] = None
        return self._promote()

    def release(self, live: LiveRun) -> list[LiveRun]:
        """Take a slot, or a place in line, from a run; return the runs to launch now."""
        if live.has_slot:
            live.has_slot = False
            self._free += 1
        else:
            self.discard(live)
        return self._promote()

    def discard(self, live: LiveRun) -> None:
        """Take a run's place in line; nothing happens if it has none."""
        self._announced.discard(live)
        self._line.pop(live, None)

    def _promote(self) -> list[LiveRun]:
        promoted: list[LiveRun] = []
        while self._free >= 1 and self._line:
            live = next(iter(self._line))
            del self._line[live]
            self._free -= 1
            live.has_slot = True
            promoted.append(live)
        return promoted

    def leftovers(self) -> dict[str, object]:
        """Tell what is still taken."""
        return {"line": len(self._line) + len(self._announced), "slots": self._free != self._size}
