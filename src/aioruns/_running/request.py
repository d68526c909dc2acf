"""A start that has been checked: whatever can be wrong with it is found here, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from aioruns._jobs.job import Job, JobCall
from aioruns._jobs.work import Work, work_of
from aioruns._values.checks import check_seconds, check_tags, check_text
from aioruns._values.model import Run
from aioruns.errors import ConfigurationError, RunConflict

__all__ = ["StartRequest", "check_start"]


class StartRequest(Struct, kw_only=True):
    """A start about which nothing can be wrong any more.

    Attributes:
        work: What is to be done.
        timeout: Seconds one attempt may execute, or None.
        retry_of: The run that it does once more, or None.
    """

    work: Work
    key: str | None
    on_conflict: Literal["reject", "join"]
    idempotency_key: str | None
    timeout: float | None
    tags: tuple[str, ...]
    triggered_by: str | None
    retry_of: int | None

    def check_shared(self, run: Run) -> None:
        """Accept the run that stands in the way, or say why it cannot be shared.

        Raises:
            RunConflict: It holds the key, and is not to be joined.
            ConfigurationError: The idempotency key belongs to another job.
        """
        same_job = run.job == self.work.name
        if self.idempotency_key is not None and run.idempotency_key == self.idempotency_key:
            if not same_job:
                raise ConfigurationError(
                    f"the idempotency key {self.idempotency_key!r} belongs to run {run.id} of job {run.job!r}:"
                    " use another key for another job"
                )
        elif self.on_conflict != "join" or not same_job:
            raise RunConflict(self.key or "", run.id)


def check_start(
    call: object,
    jobs: Mapping[str, Job[..., Any]],
    *,
    key: str | None = None,
    on_conflict: Literal["reject", "join"] = "reject",
    idempotency_key: str | None = None,
    timeout: float | None = None,
    tags: Iterable[str] | None = None,
    triggered_by: str | None = None,
    retry_of: int | None = None,
) -> StartRequest:
    """Check everything that can be wrong with a start.

    Args:
        call: What the user gave to be run.
        jobs: The jobs whose names are taken.
        key: As for ``RunManager.start_run``, like the rest.
        on_conflict: What to do if the key is held.
        idempotency_key: Name of this start.
        timeout: Seconds one attempt may execute.
        tags: Labels.
        triggered_by: Who or what starts it.
        retry_of: The run that it does once more.

    Raises:
        ConfigurationError: Something makes no sense, or cannot be stored.
    """
    if on_conflict not in ("reject", "join"):
        raise ConfigurationError(f"on_conflict={on_conflict!r} is unknown; use 'reject' or 'join'")
    if on_conflict == "join" and key is None:
        raise ConfigurationError("on_conflict='join' needs a key: without one there is no run to join")
    for what, name in (("key", key), ("idempotency_key", idempotency_key), ("triggered_by", triggered_by)):
        if name is not None:
            check_text(name, what=what)
    seconds = check_seconds(timeout, what="timeout")
    labels = check_tags(tags)
    if isinstance(call, JobCall):
        job = call.job
        if jobs.get(job.name, job) is not job:
            raise ConfigurationError(f"the name {job.name!r} belongs to another job of this manager: give one a name=")
    work = work_of(call)  # pyright: ignore[reportUnknownArgumentType]
    if seconds is None:
        seconds = work.timeout
    return StartRequest(
        work=work,
        key=key,
        on_conflict=on_conflict,
        idempotency_key=idempotency_key,
        timeout=None if seconds == math.inf else seconds,
        tags=labels,
        triggered_by=triggered_by,
        retry_of=retry_of,
    )
