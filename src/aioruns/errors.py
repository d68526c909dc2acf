"""Every error that aioruns raises on purpose.

    RunError
    ├── ConfigurationError      bad input, refused before anything is written
    ├── ManagerClosed           the manager is not open yet, or no longer
    ├── StoreUnavailable        the database is unreachable, locked, full, read-only or corrupt
    ├── RunNotFound             no run has this id
    ├── RunConflict             the key is held by another run
    ├── RunAlreadyFinished      a finished run cannot be cancelled
    ├── RunFailed               awaited run: its function raised, or timed out
    ├── RunCancelled            awaited run: it was cancelled
    ├── RunInterrupted          awaited run: its process died or shut down
    └── LeaseLost               the run no longer belongs to this manager

Each error carries its ids as attributes and survives pickling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioruns._values.model import Run

__all__ = [
    "ConfigurationError",
    "LeaseLost",
    "ManagerClosed",
    "RunAlreadyFinished",
    "RunCancelled",
    "RunConflict",
    "RunError",
    "RunFailed",
    "RunInterrupted",
    "RunNotFound",
    "StoreUnavailable",
]


class RunError(Exception):
    """Base of every error that aioruns raises on purpose."""


class ConfigurationError(RunError):
    """The caller asked for something invalid or impossible; nothing has been written."""


class ManagerClosed(RunError):
    """The manager was used before it was opened or after it was closed."""


class StoreUnavailable(RunError):
    """The database cannot be reached, is locked past the time-out, full, read-only or corrupt."""


class RunNotFound(RunError):
    """No run has this id.

    Attributes:
        run_id: The id that was looked up.
    """

    def __init__(self, run_id: int) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"no run has the id {self.run_id}: it was never stored, or has been pruned"


class RunConflict(RunError):
    """The key is held by another run.

    Attributes:
        key: The requested key.
        active_run_id: The run that holds it.
    """

    def __init__(self, key: str, active_run_id: int) -> None:
        super().__init__(key, active_run_id)
        self.key = key
        self.active_run_id = active_run_id

    def __str__(self) -> str:
        return f"the key {self.key!r} is held by run {self.active_run_id}: wait for it, cancel it, or join it"


class LeaseLost(RunError):
    """The run no longer belongs to this manager: another one has rescued it.

    Attributes:
        run_id: The run that was lost.
    """

    def __init__(self, run_id: int) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id} no longer belongs to this manager: another one has rescued it"


class _WithRun(RunError):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.run = run

    def __str__(self) -> str:
        detail = self.run.error or self.run.cancel_reason
        return f"run {self.run.id} ({self.run.job}) {self._happened}" + (f": {detail}" if detail else "")

    _happened = "has ended"


class RunAlreadyFinished(_WithRun):
    """The run has finished, so it cannot be cancelled.

    Attributes:
        run: The run as it is stored.
    """

    def __str__(self) -> str:
        return f"run {self.run.id} ({self.run.job}) has already finished: it is {self.run.status}"


class RunFailed(_WithRun):
    """The awaited run failed; ``__cause__`` is the original exception if it ended in this process.

    Attributes:
        run: The run as it is stored.
    """

    _happened = "failed"


class RunCancelled(_WithRun):
    """The awaited run was cancelled, and its function is no longer executing.

    Attributes:
        run: The run as it is stored.
    """

    _happened = "was cancelled"


class RunInterrupted(_WithRun):
    """The awaited run was interrupted: its process died or shut down before it ended.

    Attributes:
        run: The run as it is stored, or as it was last seen if its ownership was lost.
    """

    _happened = "was interrupted"
