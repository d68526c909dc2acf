"""The statements in ``queries/``, one file each, and rows turned into runs and events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from aioruns._values.json import decode
from aioruns._values.model import Progress, Run, RunCount, RunEvent, from_micros
from aioruns._values.status import RunStatus

__all__ = ["COLUMNS", "SUMMARY", "Row", "chunks", "count_of", "event_of", "query", "run_of"]

Row = tuple[Any, ...]

COLUMNS: Final = (
    "id, job, status, key, idempotency_key, attempt, manager_id, timeout, tags, triggered_by, retry_of, arguments,"
    " result, error, traceback, created_at, started_at, finished_at, cancel_requested_at, cancel_reason, progress"
)

SUMMARY: Final = re.sub(r"\b(arguments|result|traceback)\b", "NULL", COLUMNS)
"""The same without what may be large."""

_STATUSES: Final = {str(status): status for status in RunStatus}

_TEXTS: Final = {file.stem: file.read_text(encoding="utf-8") for file in Path(__file__).with_name("queries").iterdir()}
"""Read all at once: later there may be no file descriptor left, or other files by these names."""


@cache
def query(name: str, **parts: str) -> str:
    """Give a statement; ``{columns}`` are those of a run, in the order that ``run_of`` takes: all, by default."""
    text = _TEXTS[name]
    return text.format(**{"columns": COLUMNS, **parts}) if "{" in text else text


@cache
def many(name: str, rows: int, width: int) -> str:
    """Give a statement whose ``{rows}`` are so many rows of so many bound values."""
    one = f"({', '.join('?' * width)})"
    return query(name, rows=", ".join([one] * rows))


def chunks(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Split into pieces of 64, 32, … 1 items: few different statements, so that SQLite's statement cache holds them."""
    pieces: list[Sequence[Any]] = []
    start, size = 0, 64
    while start < len(items):
        while size > len(items) - start:
            size //= 2
        pieces.append(items[start : start + size])
        start += size
    return pieces


def run_of(row: Row) -> Run:
    """Make a run of a row of ``COLUMNS``."""
    (
        run_id, job, status, key, idempotency_key, attempt, manager_id, timeout, tags, triggered_by, retry_of,
        arguments, result, error, trace, created_at, started_at, finished_at, cancel_requested_at, cancel_reason,
        progress,
    ) = row  # fmt: skip
    return Run(
        id=run_id,
        job=job,
        status=_STATUSES[status],
        key=key,
        idempotency_key=idempotency_key,
        attempt=attempt,
        manager_id=manager_id,
        timeout=timeout,
        tags=() if tags == "[]" else tuple(decode(tags)),
        triggered_by=triggered_by,
        retry_of=retry_of,
        arguments_json=arguments,
        result_json=result,
        error=error,
        traceback=trace,
        created_at=from_micros(created_at),
        started_at=None if started_at is None else from_micros(started_at),
        finished_at=None if finished_at is None else from_micros(finished_at),
        cancel_requested_at=None if cancel_requested_at is None else from_micros(cancel_requested_at),
        cancel_reason=cancel_reason,
        progress=None if progress is None else Progress(**decode(progress)),
    )


def event_of(run_id: int, row: Row) -> RunEvent:
    """Make an event of a row of ``read_events``."""
    seq, at, kind, attempt, data = row
    return RunEvent(run_id, seq, from_micros(at), kind, data, attempt)


def count_of(row: Row) -> RunCount:
    """Make a count of a row of ``count_runs``."""
    start, job, status, longer_than, runs = row
    return RunCount(start=from_micros(start), job=job, status=_STATUSES[status], longer_than=longer_than, runs=runs)
