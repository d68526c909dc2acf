"""The seeded race that decides which callback comes next."""

from __future__ import annotations

import math

__all__ = ["Race", "Source"]

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def _mix(state: int) -> int:
    """Mix 64 bits: the output function of SplitMix64, https://doi.org/10.1145/2714064.2660195."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


class Source:
    """A source of callbacks (a task, a timer, a thread) with random numbers of its own.

    So the place of a callback depends on the seed, its source, and how many callbacks the source had before, but not on
    the order in which several sources schedule theirs, which an iteration over a set may decide.

    Attributes:
        number: How many sources were made up to this one.
        pace: How long its callbacks wait for their turn, on average: from 1 to 100.
        latest: Place of the last of its callbacks that keep their order.
    """

    __slots__ = ("_state", "latest", "number", "pace")

    def __init__(self, seed: int, number: int) -> None:
        self.number: int = number
        self.latest: float = 0.0
        self._state = _mix(_mix(seed & _MASK) + number * _GAMMA & _MASK)
        self.pace: float = 100 ** self._draw()

    def _draw(self) -> float:
        """Draw from [0, 1)."""
        self._state = (self._state + _GAMMA) & _MASK
        return (_mix(self._state) >> 11) * 2.0**-53

    def place(self, now: float, *, in_turn: bool) -> float:
        """Draw a callback's place after ``now``; with ``in_turn``, also after the earlier ones that were in turn."""
        delay = -self.pace * math.log1p(-self._draw())
        if not in_turn:
            return now + delay
        self.latest = max(now, self.latest) + delay
        return self.latest


class Race:
    """Makes sources of callbacks, each with a pace of its own, so that many others overtake a slow one.

    With one pace for all, this would be a fair draw among the ready callbacks. But the order that breaks a program is
    often one in which a single task stands still while all others go on for long.

    Args:
        seed: Determines every draw.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sources = 0

    def source(self) -> Source:
        """Make another source."""
        self._sources += 1
        return Source(self._seed, self._sources)
