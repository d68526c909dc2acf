"""The operations that change a store, as values: what a batch of them consists of, whichever database takes it.

A verb of the store that writes makes one of these and hands it to the group commit. Each database has a function that
applies it. A batch is applied in the order in which the operations stand here; the events of a ``Finish`` are appended
with those of the ``Append``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from aioruns._values.model import Run, from_micros
from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence, NewEvent, NewRun

__all__ = ["Append", "Cancel", "Claim", "Finish", "Insert", "Op", "Prune", "Script"]

_SAME = tuple(name for name in NewRun.__struct_fields__ if name in Run.__slots__ and name != "created_at")


class Insert(Struct, gc=False):
    """Insert a run; answers with the run and whether it was inserted."""

    new: NewRun

    def inserted(self, run_id: int) -> Run:
        """Make the run that this has inserted, which nobody needs to read back."""
        new, created_at = self.new, from_micros(self.new.created_at)
        return Run(
            id=run_id,
            created_at=created_at,
            started_at=created_at if new.status is RunStatus.RUNNING else None,
            **{name: getattr(new, name) for name in _SAME},
        )


class Claim(Struct, gc=False):
    """Take a run from pending to running; answers with the run, or None."""

    run_id: int
    fence: Fence
    at: int

    def took(self, run: Run) -> bool:
        """Tell whether this claim took the run, now or when it was made before."""
        return run.active and (run.manager_id, run.attempt) == self.fence and run.started_at is not None


class Append(Struct, gc=False):
    """Append events; answers with the ``seq`` of those that it stored."""

    run_id: int
    fence: Fence
    events: Sequence[NewEvent]


class Cancel(Struct, gc=False):
    """Record that a run is to end; answers with the run, or None."""

    run_id: int
    at: int
    reason: str | None
    unless_shared: bool


class Finish(Struct, gc=False):
    """End a run; answers with the run."""

    run_id: int
    fence: Fence
    ending: Ending

    def ended(self, run: Run) -> bool:
        """Tell whether this is how the run ended, now or when the end was stored before."""
        ending = self.ending
        return (
            (run.manager_id, run.attempt) == self.fence
            and run.status is ending.status
            and run.finished_at == from_micros(ending.at)
        )


class Prune(Struct, gc=False):
    """Delete runs that have ended, in order, until its time is over; answers with those that are gone, at least one."""

    run_ids: Sequence[int]


class Script(Struct, gc=False):
    """Execute rare statements of the database's own in order; answers with the rows of each."""

    statements: Sequence[tuple[str, Sequence[Any] | Mapping[str, Any]]]


Op = Insert | Claim | Append | Cancel | Finish | Prune | Script
