"""The life of a run: one table of statuses and the transitions between them.

The guards in the SQL schemas and the diagram in the documentation are checked against this table.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ACTIVE", "TERMINAL", "TRANSITIONS", "RunStatus", "ending", "is_allowed"]


class RunStatus(enum.StrEnum):
    """What a run is doing, or how it ended."""

    PENDING = "pending"
    """It waits for capacity."""
    RUNNING = "running"
    """Its function is executing."""
    CANCELLING = "cancelling"
    """Cancel was requested; its function has not ended yet."""
    COMPLETED = "completed"
    """Its function returned."""
    FAILED = "failed"
    """Its function raised, timed out, returned something that cannot be stored, or could not be spawned."""
    CANCELLED = "cancelled"
    """It ended because cancel was requested; its function is no longer executing."""
    INTERRUPTED = "interrupted"
    """Its process died or shut down before it ended."""

    @property
    def active(self) -> bool:
        """Whether a run with this status has not ended."""
        return self in ACTIVE


_S = RunStatus

TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.RUNNING, _S.CANCELLED, _S.FAILED, _S.INTERRUPTED}),
        _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLING, _S.INTERRUPTED, _S.PENDING}),
        _S.CANCELLING: frozenset({_S.CANCELLED, _S.COMPLETED, _S.FAILED, _S.INTERRUPTED}),
        _S.COMPLETED: frozenset(),
        _S.FAILED: frozenset(),
        _S.CANCELLED: frozenset(),
        _S.INTERRUPTED: frozenset(),
    }
)
"""Every allowed transition; a status without successors is terminal."""

TERMINAL = frozenset(status for status, successors in TRANSITIONS.items() if not successors)
ACTIVE = frozenset(TRANSITIONS) - TERMINAL


def is_allowed(before: RunStatus, after: RunStatus) -> bool:
    """Tell whether a run may go from one status to the other."""
    return after in TRANSITIONS[before]


def ending(*, returned: bool, cancel_requested: bool, interrupting: bool) -> RunStatus:
    """Classify how a function ended.

    Args:
        returned: Whether it returned normally, with a result that can be stored.
        cancel_requested: Whether anyone requested cancel before it ended.
        interrupting: Whether it ended because its manager is closing or being torn down.
    """
    if returned:
        return RunStatus.COMPLETED
    if cancel_requested:
        return RunStatus.CANCELLED
    if interrupting:
        return RunStatus.INTERRUPTED
    return RunStatus.FAILED
