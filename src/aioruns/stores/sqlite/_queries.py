"""The statements in ``queries/``, one file each, and the rows of those that do not read runs, as values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from aioruns._values.model import RunCount, RunEvent, from_micros
from aioruns._values.status import RunStatus
from aioruns.stores.sqlite._columns import COLUMNS, Row

__all__ = ["chunks", "count_of", "event_of", "many", "query"]

T = TypeVar("T")

_TEXTS: Final = {file.stem: file.read_text(encoding="utf-8") for file in Path(__file__).with_name("queries").iterdir()}
"""Read all at once: later there may be no file descriptor left, or other files by these names."""


@cache
def query(name: str, **parts: str) -> str:
    """Give a statement; its ``{columns}`` are those that ``run_of`` takes, unless ``parts`` says otherwise."""
    text = _TEXTS[name]
    return text.format(**{"columns": COLUMNS, **parts}) if "{" in text else text


@cache
def many(name: str, rows: int, width: int, **parts: str) -> str:
    """Give a statement whose ``{rows}`` are so many rows of so many bound values."""
    one = f"({', '.join('?' * width)})"
    return query(name, rows=", ".join([one] * rows), **parts)


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    """Split into pieces of 64, 32, … 1 items: few different statements, so that SQLite's statement cache holds them."""
    pieces: list[Sequence[T]] = []
    start, size = 0, 64
    while start < len(items):
        while size > len(items) - start:
            size //= 2
        pieces.append(items[start : start + size])
        start += size
    return pieces


def event_of(run_id: int, row: Row) -> RunEvent:
    """Make an event of a row of ``read_events``."""
    seq, at, kind, attempt, data = row
    return RunEvent(run_id, seq, from_micros(at), kind, data, attempt)


def count_of(row: Row) -> RunCount:
    """Make a count of a row of ``count_runs``."""
    start, job, status, longer_than, runs = row
    return RunCount(start=from_micros(start), job=job, status=RunStatus(status), longer_than=longer_than, runs=runs)
