"""Appending events: behind the last one that is stored, each once, a batch in few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from aioruns.abc import Fence, NewEvent
from aioruns.stores.sqlite._queries import chunks, many

__all__ = ["NOTHING", "append"]

NOTHING: Final = range(0)
"""The ``seq`` of no event."""

Writer = tuple[int, Fence]
"""Of which run, and behind which fence."""


class _End(Struct):
    """Where the stream of a run ends: the last ``seq``, the writer's last ordinal, and whether it goes on."""

    seq: int
    ordinal: int
    open: bool


def append(cursor: sqlite3.Cursor, said: Sequence[tuple[Writer, Sequence[NewEvent]]]) -> list[range | None]:
    """Append what several writers say, in this order, inside a transaction.

    An event is left out whose ordinal is not higher than the last one that its writer has stored.

    Returns:
        For each writer the ``seq`` of the events that were inserted; None if it may not write what it says: the run is
        not its own, or has ended.
    """
    ends = _find_ends(cursor, {writer for writer, events in said if events})
    rows: list[tuple[Any, ...]] = []
    answers = [_number(writer, events, ends.get(writer), rows) if events else NOTHING for writer, events in said]
    for chunk in chunks(rows):
        cursor.execute(many("append_events", len(chunk), 7), [value for row in chunk for value in row])
    return answers


def _find_ends(cursor: sqlite3.Cursor, writers: set[Writer]) -> dict[Writer, _End]:
    ends: dict[Writer, _End] = {}
    for chunk in chunks(list(writers)):
        values = [value for run_id, fence in chunk for value in (run_id, *fence)]
        for run_id, manager_id, attempt, *end in cursor.execute(many("find_ends", len(chunk), 3), values).fetchall():
            ends[run_id, Fence(manager_id, attempt)] = _End(*end)
    return ends


def _number(writer: Writer, events: Sequence[NewEvent], end: _End | None, rows: list[tuple[Any, ...]]) -> range | None:
    """Give events their ``seq``, and add them to the rows to be inserted."""
    if end is None:
        return None
    new = [event for event in events if event.ordinal > end.ordinal]
    if not new:
        return NOTHING
    if not end.open:
        return None
    run_id, (_, attempt) = writer
    first = end.seq + 1
    for seq, (ordinal, at, kind, data) in enumerate(new, first):
        rows.append((run_id, seq, at, kind, attempt, ordinal, data))
    end.seq, end.ordinal = rows[-1][1], new[-1].ordinal
    return range(first, end.seq + 1)
