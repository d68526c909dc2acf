"""The judge of the kill soak: holds a ledger against the database, which is read past the library.

Each rule is a function that yields what it finds wrong. ``tests/fault/test_judge.py`` shows each forged evidence.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fault.ledger import Entry

__all__ = ["RULES", "Case", "Stored", "count", "judge", "read_stored"]

Complaints = Iterator[str]

RESCUED: Final = "the process that executed the run ended without finishing it"
CLOSED: Final = "the manager was closed before the run ended"
NEVER_BEGAN: Final = "the store was unavailable while the run was being started: it never began"
TRANSITIONS: Final = {
    "pending": {"running", "cancelled", "failed", "interrupted"},
    "running": {"completed", "failed", "cancelling", "interrupted"},
    "cancelling": {"cancelled", "completed", "failed", "interrupted"},
}
"""The lifecycle without further attempts, as docs/architecture/state-machine.md has it."""
ENDS: Final = {-signal.SIGKILL: "killed by SIGKILL", -signal.SIGTERM: "killed by SIGTERM", 0: "closed"}
"""How workers end, by their exit codes."""
USUAL: Final = (
    "was interrupted: its process ended",
    "orphaned runs are not looked for at present",
    "a RunManager was not closed before its event loop",  # a second SIGTERM cancels the call of aclose
)
"""What workers may log."""


@dataclass(slots=True)
class Stored:
    """What is in the database and beside it.

    Attributes:
        runs: The row of each run.
        streams: The events of each run by ``seq``: with ``seq``, ``kind`` and ``data``.
        managers: Ids of managers that have a row.
        locks: Names of lock files.
    """

    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    streams: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    managers: list[str] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)


def read_stored(database: Path) -> Stored:
    """Read the database through a connection that cannot write."""
    stored = Stored(locks=sorted(path.name for path in database.parent.glob("*.lock")))
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        for row in connection.execute("SELECT * FROM runs"):
            stored.runs[row["id"]] = dict(row)
        for row in connection.execute("SELECT run_id, seq, kind, data FROM events ORDER BY run_id, seq"):
            stored.streams[row["run_id"]].append({**dict(row), "data": json.loads(row["data"])})
        stored.managers = [row["id"] for row in connection.execute("SELECT id FROM managers")]
    return stored


@dataclass(frozen=True, slots=True)
class Body:
    """One execution of a run's function.

    Attributes:
        enter: It has begun.
        leave: It is about to end; None if it never said so.
        until: The last proof that it was there: ``leave``, or the last sign of life of its worker.
    """

    enter: Entry
    leave: Entry | None
    until: Entry

    @property
    def run(self) -> int:
        """The run."""
        return self.enter.run


class Case:
    """The evidence, sorted.

    Attributes:
        entries: The entries of each kind, in the order of time.
        stored: What the database says.
        life: The last sign of life of each worker: what it noted, or the signal by which it died.
        bodies: The executions, in the order in which they began.
        owners: The worker behind each manager's id.
    """

    def __init__(self, entries: Iterable[Entry], stored: Stored) -> None:
        self.stored = stored
        self.entries: dict[str, list[Entry]] = defaultdict(list)
        self.life: dict[int, Entry] = {}
        for entry in sorted(entries, key=lambda entry: entry.t):
            self.entries[entry.what].append(entry)
            if entry.who:
                self.life[entry.who] = entry
        self._add_deaths()
        self.owners = {entry["manager"]: entry.who for entry in self.entries["opened"]}
        leaves = {(entry.who, entry.run): entry for entry in self.entries["leave"]}
        self.bodies: list[Body] = []
        for enter in self.entries["enter"]:
            leave = leaves.get((enter.who, enter.run))
            self.bodies.append(Body(enter, leave, leave or self.life[enter.who]))
        self.body: dict[int, Body] = {body.run: body for body in self.bodies}

    def _add_deaths(self) -> None:
        """Count the signal by which a worker died as its last sign of life; when it was gone, nobody sees."""
        signals = {(entry["to"], -entry["number"]): entry for entry in self.entries["signal"]}
        for died in self.entries["died"]:
            killing = signals.get((died["whom"], died["code"]))
            if killing is not None:
                self.life[died["whom"]] = max(self.life.get(died["whom"], killing), killing, key=lambda entry: entry.t)

    def told_by_its_owner(self, run: dict[str, Any]) -> bool:
        """Whether a run's function has ended, and its own manager stored that."""
        body = self.body.get(run["id"])
        return body is not None and body.leave is not None and run["error"] != RESCUED


def no_acknowledged_run_is_lost(case: Case) -> Complaints:
    for entry in case.entries["acknowledged"]:
        row = case.stored.runs.get(entry.run)
        if row is None:
            yield f"run {entry.run} was acknowledged, and there is no such row"
        elif row["key"] != entry["key"] or entry["once"] not in (None, row["idempotency_key"]):
            yield f"run {entry.run} was acknowledged for {entry.data}, and its row has {row}"


def no_run_executes_twice_or_without_a_row(case: Case) -> Complaints:
    for run_id, times in Counter(body.run for body in case.bodies).items():
        if times > 1:
            yield f"run {run_id} was executed {times} times"
        if run_id not in case.stored.runs:
            yield f"run {run_id} was executed, and there is no such row"
        elif case.stored.runs[run_id]["started_at"] is None:
            yield f"run {run_id} was executed, and its row says that it never began"


def no_two_functions_of_a_key_overlap(case: Case) -> Complaints:
    last: dict[str, Body] = {}
    for body in case.bodies:
        key = body.enter["key"]
        if key is None:
            continue
        before = last.setdefault(key, body)
        if before is not body and before.until.t > body.enter.t:
            overlap = (before.until.t - body.enter.t) / 1e6
            yield f"run {body.run} began {overlap:.3f} ms before run {before.run} of the same key {key!r} had ended"
        last[key] = max(before, body, key=lambda body: body.until.t)


def no_row_ends_before_its_function(case: Case) -> Complaints:
    for body in case.bodies:
        finished_at = case.stored.runs.get(body.run, {}).get("finished_at")
        if finished_at is not None and finished_at < body.until.at:
            yield f"run {body.run} ended {(body.until.at - finished_at) / 1e3:.3f} ms before its function"


def what_was_told_is_stored(case: Case) -> Complaints:
    for entry in case.entries["told"]:
        row = case.stored.runs.get(entry.run)
        if row is None or row["status"] != entry["status"]:
            yield f"run {entry.run} was told to be {entry['status']}, and its row is {row and row['status']}"
        elif json.loads(row["result"] or "null") != entry["result"]:
            yield f"run {entry.run} was told to have returned {entry['result']}, and its row has {row['result']}"


def every_stream_is_gapless_and_ends_once(case: Case) -> Complaints:
    for run_id, row in case.stored.runs.items():
        stream = case.stored.streams[run_id]
        if [event["seq"] for event in stream] != list(range(1, len(stream) + 1)):
            yield f"run {run_id} has events {[event['seq'] for event in stream]}"
        path = [event["data"]["status"] for event in stream if event["kind"] == "status"]
        if not path or path[0] not in ("pending", "running") or path[-1] != row["status"]:
            yield f"run {run_id} is {row['status']}, and its events say {path}"
        for before, after in itertools.pairwise(path):
            if after not in TRANSITIONS.get(before, ()):
                yield f"run {run_id} went from {before} to {after}"
        if row["finished_at"] is not None and stream and stream[-1]["kind"] != "status":
            yield f"run {run_id} has ended, and its last event is {stream[-1]}"


def what_was_flushed_is_stored(case: Case) -> Complaints:
    said = {entry.run: entry["number"] for entry in case.entries["saying"]}
    flushed = {entry.run: entry["number"] for entry in case.entries["flushed"]}
    for run_id, row in case.stored.runs.items():
        kept = [event["data"]["number"] for event in case.stored.streams[run_id] if event["kind"] == "said"]
        if kept != list(range(1, len(kept) + 1)) or len(kept) > said.get(run_id, 0):
            yield f"run {run_id} said 1 to {said.get(run_id, 0)}, and its stream has {kept}"
        if len(kept) < flushed.get(run_id, 0):
            yield f"run {run_id} was told that {flushed[run_id]} is stored, and its stream has {kept}"
        if case.told_by_its_owner(row) and len(kept) < said.get(run_id, 0):
            yield f"run {run_id} said {said[run_id]} before its end was stored, and its stream has {kept}"


def what_was_heard_is_stored_and_gapless(case: Case) -> Complaints:
    places = {(entry.who, entry["watch"]): entry["after"] for entry in case.entries["watching"]}
    for entry in case.entries["heard"]:
        watch = entry.who, entry["watch"]
        places[watch] += 1
        if entry["seq"] != places[watch]:
            yield f"a subscriber of run {entry.run} heard {entry['seq']} in the place of {places[watch]}"
            places[watch] = entry["seq"]
        stream = case.stored.streams[entry.run]
        event = stream[entry["seq"] - 1] if entry["seq"] <= len(stream) else None
        if event is None or (event["kind"], event["data"]) != (entry["kind"], entry["data"]):
            yield f"a subscriber of run {entry.run} heard {entry.data}, and stored is {event}"
    for entry in case.entries["heard all"]:
        if places[entry.who, entry["watch"]] != len(case.stored.streams[entry.run]):
            yield f"a subscriber of run {entry.run} was told that the stream ends before it did"


def completed_means_returned(case: Case) -> Complaints:
    for run_id, row in case.stored.runs.items():
        body = case.body.get(run_id)
        returned = body is not None and body.leave is not None and body.leave["how"] == "returned"
        if row["status"] != "completed":
            if returned and row["error"] != RESCUED:
                yield f"run {run_id} returned, and is {row['status']}"
        elif not returned:
            yield f"run {run_id} is completed, and never returned"
        elif body and body.leave and json.loads(row["result"] or "null") != body.leave["value"]:
            yield f"run {run_id} returned {body.leave['value']}, and its row has {row['result']}"


def failed_means_raised(case: Case) -> Complaints:
    for run_id, row in _with_status(case, "failed"):
        body = case.body.get(run_id)
        if row["error"] == NEVER_BEGAN:
            if body is not None:
                yield f"run {run_id} was executed, and its row says that it never began"
        elif body is None or body.leave is None or not str(row["error"]).startswith(f"{body.leave['value']}: "):
            yield f"run {run_id} is failed with {row['error']!r}, and its function said {body and body.leave}"
        elif body.leave["value"] != "Trouble":
            yield f"run {run_id} failed by {row['error']!r}, which is not its own"


def cancelled_means_asked_and_left(case: Case) -> Complaints:
    asked = {entry.run for entry in case.entries["cancelling"]}
    for run_id, row in _with_status(case, "cancelled"):
        body = case.body.get(run_id)
        if row["cancel_requested_at"] is None or row["error"] is not None:
            yield f"run {run_id} is cancelled, and its row has {row}"
        if run_id not in asked and row["cancel_reason"] != "start abandoned":
            yield f"run {run_id} is cancelled, and nobody asked for it"
        if body is not None and (body.leave is None or body.leave["how"] != "raised"):
            yield f"run {run_id} is cancelled, and its function said {body.leave}"


def cancels_that_were_answered_are_recorded(case: Case) -> Complaints:
    for entry in case.entries["cancel answered"]:
        row, body = case.stored.runs.get(entry.run), case.body.get(entry.run)
        if row is None or row["cancel_requested_at"] is None:
            yield f"a cancel of run {entry.run} was answered with {entry['status']}, and is not in its row"
        elif entry["status"] not in ("cancelling", row["status"]):
            yield f"a cancel of run {entry.run} was answered with {entry['status']}, and its row is {row['status']}"
        elif body and body.enter.who == entry.who and entry.t < body.until.t and row["status"] == "failed":
            yield f"run {entry.run} knew of its cancel when it raised, and is failed"


def interrupted_means_that_the_owner_died_or_closed(case: Case) -> Complaints:
    closed = {entry.who for entry in case.entries["closed"]}
    closing = {entry.who: entry for entry in case.entries["closing"]}
    for run_id, row in _with_status(case, "interrupted"):
        owner = case.owners.get(row["manager_id"])
        if owner is None:
            yield f"run {run_id} belonged to a manager that was never opened"
        elif row["error"] == RESCUED:
            if owner in closed:
                yield f"run {run_id} had to be rescued, and its worker {owner} had closed in order"
            if case.life[owner].at > row["finished_at"]:
                late = (case.life[owner].at - row["finished_at"]) / 1e3
                yield f"run {run_id} was rescued {late:.3f} ms before the last sign of life of its worker {owner}"
        elif row["error"] != CLOSED or owner not in closing or closing[owner].at > row["finished_at"]:
            yield f"run {run_id} was interrupted by {row['error']!r}, and its worker {owner} was not closing"


def an_idempotency_key_names_one_run(case: Case) -> Complaints:
    named: dict[str, int] = {}
    for entry in case.entries["acknowledged"]:
        if entry["once"] is not None and named.setdefault(entry["once"], entry.run) != entry.run:
            yield f"{entry['once']!r} named run {named[entry['once']]} and run {entry.run}"


def a_conflict_names_a_run_of_the_key(case: Case) -> Complaints:
    for entry in case.entries["conflict"]:
        row = case.stored.runs.get(entry.run)
        if row is None or row["key"] != entry["key"]:
            yield f"a start under {entry['key']!r} met run {entry.run}, whose row is {row}"


def nothing_is_left_behind(case: Case) -> Complaints:
    for run_id, row in case.stored.runs.items():
        if row["finished_at"] is None or row["held_key"] is not None:
            yield f"run {run_id} is still {row['status']}, and holds {row['held_key']}"
    for what in case.stored.managers + case.stored.locks:
        yield f"{what} is left"


def the_file_was_sound_after_every_death(case: Case) -> Complaints:
    checks = case.entries["checked"]
    for entry in checks:
        if entry["said"] != ["ok"]:
            yield f"after worker {entry['whom']} had died, SQLite said {entry['said']}"
    if len(checks) != len(case.entries["died"]):
        yield f"{len(case.entries['died'])} workers died, and the file was checked {len(checks)} times"


def workers_end_by_signals_and_have_nothing_to_complain_of(case: Case) -> Complaints:
    for entry in case.entries["logged"]:
        if not any(usual in entry["message"] for usual in USUAL):
            yield f"worker {entry.who}: {entry['message']}"
    for entry in case.entries["died"]:
        if entry["code"] not in ENDS:
            yield f"worker {entry['whom']} ended with {entry['code']}"


def _with_status(case: Case, status: str) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((run_id, row) for run_id, row in case.stored.runs.items() if row["status"] == status)


RULES: Final[tuple[Callable[[Case], Complaints], ...]] = (
    no_acknowledged_run_is_lost,
    no_run_executes_twice_or_without_a_row,
    no_two_functions_of_a_key_overlap,
    no_row_ends_before_its_function,
    what_was_told_is_stored,
    every_stream_is_gapless_and_ends_once,
    what_was_flushed_is_stored,
    what_was_heard_is_stored_and_gapless,
    completed_means_returned,
    failed_means_raised,
    cancelled_means_asked_and_left,
    cancels_that_were_answered_are_recorded,
    interrupted_means_that_the_owner_died_or_closed,
    an_idempotency_key_names_one_run,
    a_conflict_names_a_run_of_the_key,
    nothing_is_left_behind,
    the_file_was_sound_after_every_death,
    workers_end_by_signals_and_have_nothing_to_complain_of,
)


def judge(case: Case) -> list[str]:
    """Return everything that is wrong, each with the rule that it breaks."""
    return [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(case)]


def count(case: Case) -> Counter[str]:
    """Count what has happened, so that it shows whether anything did."""
    names = {
        "enter": "functions that began", "saying": "events said", "heard": "events heard", "told": "outcomes told",
        "cancel answered": "cancels answered", "conflict": "conflicts", "unavailable": "times the database was away",
    }  # fmt: skip
    counts = Counter({name: len(case.entries[what]) for what, name in names.items()})
    for died in case.entries["died"]:
        counts[ENDS.get(died["code"], "ended otherwise")] += 1
    counts["frozen by SIGSTOP"] = sum(entry["number"] == signal.SIGSTOP for entry in case.entries["signal"])
    for row in case.stored.runs.values():
        counts[f"runs {row['status']}"] += 1
        counts["rescued"] += row["error"] == RESCUED
    return counts
