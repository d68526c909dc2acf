"""The bounds of the library that tests wait for or change: this module alone knows where each of them is kept."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Final

from aioruns._jobs.lines import MAX_DATA, MAX_LINE
from aioruns._manager import closing
from aioruns._manager.closing import CLOSE_BOUND
from aioruns._running import blocking, bounded, live, rescue
from aioruns._running.feed import PAGE, RECENT, RECENT_CHARACTERS
from aioruns._running.outbox import MAX_EVENTS
from aioruns._running.rescue import INTERVAL as RESCUE_INTERVAL
from aioruns.stores import _writer

if TYPE_CHECKING:
    import pytest

__all__ = [
    "CLOSE_BOUND",
    "MAX_DATA",
    "MAX_EVENTS",
    "MAX_LINE",
    "PAGE",
    "RECENT",
    "RECENT_CHARACTERS",
    "RESCUE_INTERVAL",
    "patch_bounds",
    "set_bounds",
]

_KEPT: Final[dict[str, tuple[ModuleType, str]]] = {
    # Seconds for functions to end when their manager closes, and when its event loop is torn down.
    "close": (closing, "CLOSE_BOUND"),
    "teardown": (closing, "TEARDOWN_BOUND"),
    # Seconds for which the store's writer goes on when the event loop is torn down.
    "writer_teardown": (_writer, "TEARDOWN"),
    # Seconds after which it is said where a function stands that was asked to end.
    "report_after": (live, "REPORT_AFTER"),
    # Seconds after which it is said what blocks the event loop, and between two looks.
    "blocked_after": (blocking, "BLOCKED_AFTER"),
    "block_watch_period": (blocking, "PERIOD"),
    # Seconds between two looks for dead managers.
    "rescue_interval": (rescue, "INTERVAL"),
    # Seconds that every call of the store has at least, and that an event loop must be late by to have stood still.
    "shortest_store_timeout": (bounded, "SHORTEST"),
    "late": (bounded, "LATE"),
}


def set_bounds(**bounds: float) -> None:
    """Change bounds in this process, for good."""
    for name, value in bounds.items():
        module, constant = _KEPT[name]
        setattr(module, constant, value)


def patch_bounds(monkeypatch: pytest.MonkeyPatch, **bounds: float) -> None:
    """Change bounds until the end of a test."""
    for name, value in bounds.items():
        module, constant = _KEPT[name]
        monkeypatch.setattr(module, constant, value)
