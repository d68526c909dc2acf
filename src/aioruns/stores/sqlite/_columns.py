"""The columns of a run: what each is called, what an insert writes into it, and how it is read back.

A new column stands here, in a migration, and in ``Run``; in ``NewRun`` too, if whoever inserts the run decides on it.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, NamedTuple

from aioruns._values.json import decode, encode
from aioruns._values.model import Progress, Run, from_micros
from aioruns._values.status import RunStatus
from aioruns.abc import NewRun

__all__ = ["COLUMNS", "INSERTED", "SUMMARY", "Row", "inserted_values", "run_of"]

Row = tuple[Any, ...]


class Column(NamedTuple):
    """A column of the table ``runs``.

    Attributes:
        name: What it is called.
        field: The field of ``Run`` that has its value; None if it concerns the store alone.
        insert: Gives the value that an insert writes; None if an insert leaves the column null.
        read: Turns what is stored into the value of the field; None if they are the same. Null is read as None.
        large: Whether lists of runs leave it out.
    """

    name: str
    field: str | None
    insert: Callable[[NewRun], Any] | None = None
    read: Callable[[Any], Any] | None = None
    large: bool = False


def _of(name: str) -> Callable[[NewRun], Any]:
    return attrgetter(name)


def _write_tags(new: NewRun) -> str:
    return encode(new.tags, what="tags") if new.tags else "[]"


def _read_tags(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(decode(text))


def _read_progress(text: str) -> Progress:
    return Progress(**decode(text))


def _is_shared(new: NewRun) -> bool:
    return new.idempotency_key is not None


def _first_attempt(_: NewRun) -> int:
    return 1


def _started_at(new: NewRun) -> int | None:
    return new.created_at if new.status is RunStatus.RUNNING else None


_RUNS: Final = (
    Column("id", "id"),
    Column("job", "job", _of("job")),
    Column("status", "status", _of("status"), {str(status): status for status in RunStatus}.__getitem__),
    Column("key", "key", _of("key")),
    Column("held_key", None, _of("key")),
    Column("idempotency_key", "idempotency_key", _of("idempotency_key")),
    Column("shared", None, _is_shared),
    Column("attempt", "attempt", _first_attempt),
    Column("manager_id", "manager_id", _of("manager_id")),
    Column("token", None, _of("token")),
    Column("timeout", "timeout", _of("timeout")),
    Column("tags", "tags", _write_tags, _read_tags),
    Column("triggered_by", "triggered_by", _of("triggered_by")),
    Column("retry_of", "retry_of", _of("retry_of")),
    Column("arguments", "arguments_json", _of("arguments_json"), large=True),
    Column("result", "result_json", large=True),
    Column("error", "error"),
    Column("traceback", "traceback", large=True),
    Column("created_at", "created_at", _of("created_at"), from_micros),
    Column("started_at", "started_at", _started_at, from_micros),
    Column("finished_at", "finished_at", read=from_micros),
    Column("cancel_requested_at", "cancel_requested_at", read=from_micros),
    Column("cancel_reason", "cancel_reason"),
    Column("progress", "progress", read=_read_progress),
)

_READ: Final = [(column, column.field) for column in _RUNS if column.field is not None]
_FIELDS: Final = [field for _, field in _READ]
_READERS: Final = [(field, column.read) for column, field in _READ if column.read is not None]
_WRITERS: Final = [column.insert for column in _RUNS if column.insert is not None]

COLUMNS: Final = ", ".join(column.name for column, _ in _READ)
"""The columns that make a run, as statements name them."""

SUMMARY: Final = ", ".join("NULL" if column.large else column.name for column, _ in _READ)
"""The same without those that may be large."""

INSERTED: Final = ", ".join(column.name for column in _RUNS if column.insert is not None)
"""The columns that an insert writes."""


def inserted_values(new: NewRun) -> list[Any]:
    """Give what an insert writes into the columns ``INSERTED``."""
    return [write(new) for write in _WRITERS]


def run_of(row: Row) -> Run:
    """Make a run of a row of ``COLUMNS``, or of ``SUMMARY``."""
    fields: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    for field, read in _READERS:
        if (stored := fields[field]) is not None:
            fields[field] = read(stored)
    return Run(**fields)
