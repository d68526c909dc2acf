"""Capacity for ``max_running`` runs, and the line of those that wait for it."""

from __future__ import annotations

import math

from aioruns._running.live import LiveRun

__all__ = ["Capacity"]


class Capacity:
    """Slots for runs that execute. A run that finds none free waits in line, first in, first out.

    Args:
        max_running: How many runs may execute at once; None for no limit.
    """

    def __init__(self, max_running: int | None) -> None:
        self._size: float = math.inf if max_running is None else max_running
        self._free = self._size
        self._announced: set[LiveRun] = set()  # refused a slot and not yet in line: no other run may overtake them
        self._line: dict[LiveRun, None] = {}

    def reserve(self, live: LiveRun) -> bool:
        """Give a slot to a run that is about to be inserted; return False if the run has to wait in line."""
        if self._free < 1 or self._line or self._announced:
            self._announced.add(live)
            return False
        self._free -= 1
        live.has_slot = True
        return True

    def enqueue(self, live: LiveRun) -> list[LiveRun]:
        """Put an inserted run in line; return the runs to launch now."""
        self._announced.discard(live)
        self._line[live] = None
        return self._promote()

    def release(self, live: LiveRun) -> list[LiveRun]:
        """Take back a run's slot or its place in line; return the runs to launch now."""
        if live.has_slot:
            live.has_slot = False
            self._free += 1
        else:
            self.discard(live)
        return self._promote()

    def discard(self, live: LiveRun) -> None:
        """Remove a run from the line, if it is there."""
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
        """Report the slots and the places in line that are taken."""
        return {"line": len(self._line) + len(self._announced), "slots": self._free != self._size}
