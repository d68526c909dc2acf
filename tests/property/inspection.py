"""What is stored and what is in memory, compared with the model; and what must hold whatever the model says."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.insides import cancel_requested, is_starting, live_runs, unstored_bytes, watched_runs
from tests.property.functions import Role
from tests.property.model import Model, ModelRun, tells
from tests.property.processes import Process
from tests.property.watchers import StoredEvent
from tests.support import from_micros, is_path

from aioruns import RunStatus

__all__ = ["KEYS", "Inspector", "unmet_in"]

KEYS = ("a", "b")
CONTROL = "[\x00-\x08\x0a-\x1f\x7f-\x9f]"


class Inspector:
    """Looks at the database, past the library, and remembers what may not change.

    Attributes:
        streams: The events of every run, as they were last seen; also of those that have been pruned since.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._final: dict[int, tuple[Any, ...]] = {}
        self.streams: dict[int, list[StoredEvent]] = {}

    def rows(self) -> dict[int, sqlite3.Row]:
        """Read all runs, and the streams of all events, at one moment; check what holds at every moment."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=60, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            rows = connection.execute("SELECT * FROM runs ORDER BY id").fetchall()
            events = connection.execute("SELECT * FROM events ORDER BY run_id, seq").fetchall()
        by_run = {run_id: list(group) for run_id, group in itertools.groupby(events, lambda event: event["run_id"])}
        for row in rows:
            self._check(row, by_run[row["id"]])
        return {row["id"]: row for row in rows}

    def _check(self, row: sqlite3.Row, events: list[sqlite3.Row]) -> None:
        """G4, G6, G12, V1: what has ended is final, streams are gapless, transitions allowed, times in order."""
        run_id = row["id"]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        stream = [(event["seq"], event["kind"], json.loads(event["data"])) for event in events]
        before = self.streams.get(run_id, [])
        assert stream[: len(before)] == before, f"the stream of run {run_id} has changed"
        self.streams[run_id] = stream
        path = [RunStatus(data["status"]) for _, kind, data in stream if kind == "status"]
        assert is_path(path)
        assert path[-1] == row["status"]
        assert (row["started_at"] is None) == (RunStatus.RUNNING not in path)
        assert (row["finished_at"] is None) == RunStatus(row["status"]).active
        times = [row["created_at"], row["started_at"], row["finished_at"]]
        assert (given := [time for time in times if time is not None]) == sorted(given), f"run {run_id}: {times}"
        for text in (row["error"], row["cancel_reason"]):
            assert text is None or (text and not re.search(CONTROL, text))
        if not RunStatus(row["status"]).active:
            assert stream[-1][1] == "status", f"run {run_id} said something behind its end"
            final = (*row, *map(tuple, events))
            assert self._final.setdefault(run_id, final) == final, f"run {run_id} had ended, and has changed"

    def unmet(self, model: Model, roles: dict[int, Role]) -> Iterator[str]:
        """Yield what is not stored as the model has it."""
        rows = self.rows()
        if rows.keys() != model.runs.keys():
            yield f"stored: {list(rows)}; expected: {list(model.runs)}"
            return
        for run in model.runs.values():
            row, role = rows[run.id], roles[run.part]
            run.created_at = from_micros(row["created_at"])
            if row["status"] != run.status:
                yield f"run {run.id} is {row['status']}; expected: {run.path}"
            elif run.executing and (not role.entered or role.busy):
                yield f"the function of run {run.id} does not do what it is told"
            else:
                self._compare(run, row, role)
                yield from self._unsaid(run)

    @staticmethod
    def _compare(run: ModelRun, row: sqlite3.Row, role: Role) -> None:
        assert role.entered <= (row["started_at"] is not None), f"run {run.id} was entered {role.entered} times"
        assert (row["job"], row["key"], row["idempotency_key"]) == (run.job, run.key, run.idempotency_key)
        assert row["held_key"] == (run.key if run.active else None)
        assert json.loads(row["tags"]) == sorted(run.tags)
        assert row["result"] is None or json.loads(row["result"]) == run.result
        assert (row["result"] is None) == (run.status is not RunStatus.COMPLETED)
        assert (row["error"] is None) == (run.status not in (RunStatus.FAILED, RunStatus.INTERRUPTED))
        assert run.error is None or row["error"].startswith(run.error), f"run {run.id}: {row['error']}"
        assert run.vague or (row["cancel_requested_at"] is not None) == run.asked

    def _unsaid(self, run: ModelRun) -> Iterator[str]:
        stream = self.streams[run.id]
        path = [data["status"] for _, kind, data in stream if kind == "status"]
        # The library itself adds the stacks of functions that do not end.
        stored = [(kind, data) for _, kind, data in stream if kind != "status" and "traceback" not in data]
        if run.vague:
            assert any(tells(stored, run.said[:count]) for count in range(len(run.said) + 1))
        elif path != run.path:
            yield f"run {run.id} was {path}; expected: {run.path}"
        elif not tells(stored, run.said):
            yield f"run {run.id} has told {stored}, and said {run.said}"


def unmet_in(process: Process, model: Model, *, watched: int) -> Iterator[str]:
    """Yield what an open manager has in memory that the model has not, or the reverse: R1, G10, S1."""
    manager = model.managers[process.number]
    here = live_runs(process.manager)
    expected = [run.id for run in model.active(manager)]
    if here != expected:
        yield f"manager {manager.number} has runs {here}; expected: {expected}"
        return
    for run_id in here:
        if model.runs[run_id].asked and not cancel_requested(process.manager, run_id):
            yield f"the function of run {run_id} has not been asked to end"
    if is_starting(process.manager) or unstored_bytes(process.manager) or watched_runs(process.manager) > watched:
        yield f"manager {manager.number} is busy"
    for key in (None, *KEYS):
        assert process.manager.current_run_id(key) == model.current_id(manager, key)
