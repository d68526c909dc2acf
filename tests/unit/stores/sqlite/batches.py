"""What tests of batches share: operations, and what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.support import rows

from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence, NewEvent, NewRun
from aioruns.stores import SQLiteStore
from aioruns.stores._operations import Finish, Op

__all__ = ["FENCE", "NOW", "committed", "completed", "kinds", "new", "said"]

NOW: Final = 1_760_000_000_000_000
FENCE: Final = Fence("m", 1)


async def committed(store: SQLiteStore, *ops: Op) -> list[Any]:
    """Commit operations as one batch; give their answers."""
    return await store._database._commit(ops)


def new(token: int, **fields: Any) -> NewRun:
    values: dict[str, Any] = {"job": "build", "status": RunStatus.RUNNING, "created_at": NOW, **fields}
    return NewRun(manager_id="m", token=token, **values)


def said(ordinal: int) -> NewEvent:
    return NewEvent(ordinal, NOW, "log", f'{{"ordinal":{ordinal}}}')


def completed(run_id: int, *events: NewEvent, at: int = NOW + 9, status: RunStatus = RunStatus.COMPLETED) -> Finish:
    return Finish(run_id, FENCE, Ending(status=status, at=at, events=events))


def kinds(database: Path, run_id: int) -> list[str]:
    """Read the stream of a run, past the library: statuses, and the kinds of other events."""
    found = rows(
        database,
        "SELECT kind, json_extract(data, '$.status') AS status FROM events WHERE run_id = ? ORDER BY seq",
        run_id,
    )
    return [row["status"] or row["kind"] for row in found]
