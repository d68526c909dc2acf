"""aioruns: an asyncio-native run manager. Long coroutines as durable, exclusive, observable, cancellable runs."""

from aioruns._jobs.context import RunContext, current_run
from aioruns._jobs.job import Job, JobCall, job
from aioruns._manager.handle import RunHandle
from aioruns._manager.manager import RunManager
from aioruns._values.model import Progress, Run, RunCount, RunEvent, RunFilter
from aioruns._values.redaction import redact_secrets
from aioruns._values.status import RunStatus
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
