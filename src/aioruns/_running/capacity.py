"""From pending to running: who may begin when there is capacity for ``max_running`` runs."""

from __future__ import annotations

import math
from collections.abc import Callable

from aioruns._running.live import ActiveRun

__all__ = ["Capacity"]


class Capacity:
    """Slots for running runs; who finds none waits, first in first out.

    Args:
        max_running: How many runs may execute at once; None for no limit.
        launch: Begins the execution of a run that has been given a slot.
        fail: Ends a run that could not be launched after it had waited.
    """

    def __init__(
        self,
        max_running: int | None,
        *,
        launch: Callable[[ActiveRun], None],
        fail: Callable[[ActiveRun, BaseException], None],
    ) -> None:
        self._free: float = math.inf if max_running is None else max_running
        self._launch = launch
        self._fail = fail
        self._waiting: dict[int, ActiveRun] = {}  # in order of insertion
        self._announced = 0  # refused a slot, and not yet in line: nobody may overtake them

    def reserve(self) -> bool:
        """Take a slot for a run that is about to be inserted; False if it has to wait in line.

        Whoever gets False calls ``enqueue`` or ``withdraw`` later.
        """
        if self._free < 1 or self._waiting or self._announced:
            self._announced += 1
            return False
        self._free -= 1
        return True

    def release(self) -> None:
        """Give a slot back, to the run that has waited longest."""
        self._free += 1
        self._promote()

    def enqueue(self, active: ActiveRun) -> None:
        """Let a run wait for a slot."""
        self._announced -= 1
        self._waiting[active.run.id] = active
        self._promote()

    def withdraw(self) -> None:
        """Note that a run that was refused a slot has not been inserted."""
        self._announced -= 1

    def discard(self, active: ActiveRun) -> None:
        """Forget a run that waits; nothing happens if it does not."""
        self._waiting.pop(active.run.id, None)

    def _promote(self) -> None:
        while self._free >= 1 and self._waiting:
            active = self._waiting.pop(next(iter(self._waiting)))
            self._free -= 1
            active.has_slot = True
            try:
                self._launch(active)
            except Exception as error:  # noqa: BLE001 - the fault of this run alone, not of the one that made room for it
                self._fail(active, error)
