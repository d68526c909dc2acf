"""The values that aioruns gives to its users: runs, events, progress, filters."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from aioruns._values.checks import check_tags
from aioruns._values.status import TERMINAL, RunStatus
from aioruns.errors import ConfigurationError

__all__ = [
    "LONGER_THAN",
    "Progress",
    "Run",
    "RunCount",
    "RunEvent",
    "RunFilter",
    "from_micros",
    "now_micros",
    "to_micros",
]


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now_micros() -> int:
    """Read the clock: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def from_micros(micros: int) -> datetime:
    """Convert stored microseconds exactly to an aware UTC datetime."""
    return _EPOCH + timedelta(0, 0, micros)  # microseconds= takes half as long again


def to_micros(moment: datetime, *, what: str) -> int:
    """Convert an aware datetime to microseconds.

    Raises:
        ConfigurationError: The datetime is naive; ``what`` names it in the message.
    """
    if moment.tzinfo is None:
        raise ConfigurationError(f"{what} is a naive datetime; give it a timezone, e.g. datetime.now(UTC)")
    return (moment - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        current: Units done, between 0 and ``total``.
        total: Units there are, or None while that is unknown.
        step: Label of the part of the run that is executing.
        message: What the run is working on.
    """

    current: float
    total: float | None = None
    step: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One tracked execution of a job, as it is stored.

    All times are aware UTC datetimes, read from the clock of the process that made the transition.

    Attributes:
        id: Its id, unique in the store and never used again.
        job: Name of the job; for a bare coroutine, the coroutine's qualified name.
        status: What it is doing, or how it ended.
        key: What it is exclusive over, or None.
        idempotency_key: The caller's name for this start, or None.
        attempt: Number of the current or last attempt; 1 is the first.
        manager_id: Id of the manager that executes it.
        timeout: Seconds that one attempt may execute, or None for no limit.
        tags: Labels, sorted.
        triggered_by: Who or what started it.
        retry_of: Id of the run that it retries, or None.
        arguments_json: The arguments by name, as JSON, or None for a bare coroutine.
        result_json: What the function returned, as JSON; None unless ``completed``.
        error: Type and message of what ended it, safe to show; None while it is active.
        traceback: Traceback of what ended it, safe to show.
        created_at: When the row was inserted.
        started_at: When aioruns first set out to call its function, or None if it never did.
        finished_at: When it ended, or None while it is active.
        cancel_requested_at: When cancel was first requested.
        cancel_reason: Why, in the words of whoever requested it.
        progress: The newest stored progress.
    """

    id: int
    job: str
    status: RunStatus
    key: str | None = None
    idempotency_key: str | None = None
    attempt: int = 1
    manager_id: str = ""
    timeout: float | None = None
    tags: tuple[str, ...] = ()
    triggered_by: str | None = None
    retry_of: int | None = None
    arguments_json: str | None = None
    result_json: str | None = None
    error: str | None = None
    traceback: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancel_reason: str | None = None
    progress: Progress | None = None

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.finished_at is None

    @property
    def arguments(self) -> dict[str, Any] | None:
        """The arguments by name as plain JSON values, or None for a bare coroutine."""
        return None if self.arguments_json is None else msgspec.json.decode(self.arguments_json)

    @property
    def result(self) -> Any:
        """What the function returned as plain JSON values; None unless ``completed``."""
        return None if self.result_json is None else msgspec.json.decode(self.result_json)


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One entry of a run's durable stream.

    Attributes:
        run_id: The run it belongs to.
        seq: Its place in the run's stream: 1, 2, 3, … without a gap.
        at: When it happened, as an aware UTC datetime.
        kind: ``status``, ``log``, ``progress``, ``step``, or the user's own.
        data_json: Its data, as JSON.
        attempt: The run's attempt at that time.
    """

    run_id: int
    seq: int
    at: datetime
    kind: str
    data_json: str
    attempt: int = 1

    @property
    def data(self) -> Any:
        """Its data as plain JSON values, decoded at each use."""
        return msgspec.json.decode(self.data_json)

    @property
    def terminal(self) -> bool:
        """Whether it announces the end of the run; no event of the run follows it."""
        return self.kind == "status" and self.data["status"] in TERMINAL


LONGER_THAN: Final = (0.0, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Where each class of durations begins, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCount:
    """The number of runs with the same job, status, period of creation, and class of duration.

    Attributes:
        start: When the period of their creation begins, as an aware UTC datetime.
        job: Name of the job.
        status: What they are doing, or how they ended.
        longer_than: They took at least this many seconds from start to end, and fewer than the next of 0, 0.01, 0.1, 1,
            10, 60, 600 and 3600. None for runs that never started or have not ended.
        runs: The number of runs.
    """

    start: datetime
    job: str
    status: RunStatus
    longer_than: float | None
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Selects the runs that match every given field.

    Attributes:
        status: One status or several, by name or as ``RunStatus``.
        job: Name of the job.
        key: The exact key.
        tags: Labels, all of which the run has.
        triggered_by: Who or what started the run.
        created_after: Earliest ``created_at``, inclusive; an aware datetime.
        created_before: Latest ``created_at``, exclusive; an aware datetime.

    Raises:
        ConfigurationError: A status is unknown, a tag is not valid, or a datetime is naive.
    """

    status: str | RunStatus | Iterable[str | RunStatus] | None = None
    job: str | None = None
    key: str | None = None
    tags: Iterable[str] = ()
    triggered_by: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def __post_init__(self) -> None:
        # Read iterators once, and let a misspelt status raise here instead of matching no runs.
        object.__setattr__(self, "tags", check_tags(self.tags))
        if self.status is not None:
            object.__setattr__(self, "status", _statuses(self.status))
        for name in ("created_after", "created_before"):
            moment: datetime | None = getattr(self, name)
            if moment is not None:
                to_micros(moment, what=f"RunFilter({name}=…)")

    @property
    def statuses(self) -> tuple[RunStatus, ...]:
        """The wanted statuses; empty for all of them."""
        return () if self.status is None else tuple(RunStatus(status) for status in self.status)


def _statuses(wanted: str | Iterable[str]) -> tuple[RunStatus, ...]:
    try:
        names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        return tuple(RunStatus(name) for name in names)
    except (TypeError, ValueError) as error:
        known = ", ".join(RunStatus)
        raise ConfigurationError(f"RunFilter(status=…): {error}; the statuses are {known}") from None
