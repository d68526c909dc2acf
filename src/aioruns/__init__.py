"""aioruns: an asyncio-native run manager. Long coroutines as durable, exclusive, observable, cancellable runs."""

from aioruns._context import RunContext, current_run
from aioruns._handle import RunHandle
from aioruns._jobs import Job, JobCall, job
from aioruns._lifecycle import RunStatus
from aioruns._manager import RunManager
from aioruns._model import Progress, Run, RunCount, RunEvent, RunFilter
from aioruns._redaction import redact_secrets
from aioruns.errors import (
    ConfigurationError,
    LeaseLost,
    ManagerClosed,
    RunAlreadyFinished,
    RunCancelled,
    RunConflict,
    RunError,
    RunFailed,
    RunInterrupted,
    RunNotFound,
    StoreUnavailable,
)

__all__ = [
    "ConfigurationError",
    "Job",
    "JobCall",
    "LeaseLost",
    "ManagerClosed",
    "Progress",
    "Run",
    "RunAlreadyFinished",
    "RunCancelled",
    "RunConflict",
    "RunContext",
    "RunCount",
    "RunError",
    "RunEvent",
    "RunFailed",
    "RunFilter",
    "RunHandle",
    "RunInterrupted",
    "RunManager",
    "RunNotFound",
    "RunStatus",
    "StoreUnavailable",
    "current_run",
    "job",
    "redact_secrets",
]
