"""The judge of the kill soak: it condemns forged evidence, by the rule that was broken, and nothing that is honest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fault import judge
from tests.fault.judge import Case, Stored
from tests.fault.ledger import Entry, Ledger, Reader

MANAGERS = {1: "first", 2: "second"}


class Evidence:
    """An honest ledger and an honest database, for tests to forge.

    Worker 1 completes run 1, cancels run 2, is killed in run 3, which worker 2 rescues; 2 fails in run 4 and closes in
    run 5. Run 6 never began. All have the key ``k``. The two clocks of the ledger agree but for their units.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.stored = Stored()
        self._now = 0
        for worker, manager in MANAGERS.items():
            self.note(worker, "opened", manager=manager)
        self._life_of_the_first()
        self._life_of_the_second()
        self.note(0, "died", whom=1, code=-9)
        self.note(0, "died", whom=2, code=0)
        for worker in MANAGERS:
            self.note(0, "checked", whom=worker, said=["ok"])

    def _life_of_the_first(self) -> None:
        self.begin(1, 1, once="once")
        self.say(1, 1, flushes=True)
        self.leave(1, 1, "returned", [1, 1])
        self.end(1, "completed", result="[1, 1]")
        self.note(1, "told", 1, status="completed", result=[1, 1])
        self.begin(1, 2)
        self.note(2, "conflict", 2, key="k")
        self.note(1, "cancelling", 2)
        self.stored.streams[2].append(status(2, "cancelling"))
        self.note(1, "cancel answered", 2, status="cancelling")
        self.leave(1, 2, "raised", "CancelledError")
        self.end(2, "cancelled", cancel_requested_at=1)
        self.begin(1, 3)
        self.say(1, 3)
        self.note(0, "signal", to=1, number=9)
        self.end(3, "interrupted", error=judge.RESCUED)

    def _life_of_the_second(self) -> None:
        self.begin(2, 4)
        self.leave(2, 4, "raised", "Trouble")
        self.end(4, "failed", error="Trouble: as chance has it")
        self.note(2, "acknowledged", 1, key="k", once="once")
        self.begin(2, 5)
        self.note(2, "closing")
        self.leave(2, 5, "raised", "CancelledError")
        self.end(5, "interrupted", error=judge.CLOSED)
        self.row(2, 6, started_at=None)
        self.end(6, "failed", error=judge.NEVER_BEGAN)
        self.note(2, "watching", 1, watch=1, after=0)
        for event in self.stored.streams[1]:
            self.note(2, "heard", 1, watch=1, **event)
        self.note(2, "heard all", 1, watch=1)
        self.note(2, "closed")

    def note(self, who: int, what: str, run: int = 0, **data: Any) -> None:
        self._now += 1
        self.entries.append(Entry(self._now * 1000, self._now, who, what, run, data))

    def begin(self, who: int, run: int, once: str | None = None) -> None:
        self.row(who, run, started_at=self._now, idempotency_key=once)
        self.note(who, "acknowledged", run, key="k", once=once)
        self.note(who, "enter", run, key="k", attempt=1)

    def row(self, who: int, run: int, **fields: Any) -> None:
        self.stored.runs[run] = {
            "id": run, "key": "k", "manager_id": MANAGERS[who], "idempotency_key": None, "result": None, "error": None,
            "cancel_requested_at": None, "cancel_reason": None, "held_key": None, **fields,
        }  # fmt: skip
        self.stored.streams[run].append(status(1, "running"))

    def say(self, who: int, run: int, *, flushes: bool = False) -> None:
        self.note(who, "saying", run, number=1)
        self.stored.streams[run].append({"seq": 2, "kind": "said", "data": {"number": 1}})
        if flushes:
            self.note(who, "flushed", run, number=1)

    def leave(self, who: int, run: int, how: str, value: Any) -> None:
        self.note(who, "leave", run, how=how, value=value)

    def end(self, run: int, name: str, **fields: Any) -> None:
        self.note(0, "stored", run)
        self.stored.runs[run].update(status=name, finished_at=self._now, **fields)
        self.stored.streams[run].append(status(len(self.stored.streams[run]) + 1, name))

    # Forging

    def forget(self, what: str, run: int = 0) -> None:
        """Take entries out of the ledger."""
        self.entries = [entry for entry in self.entries if (entry.what, entry.run) != (what, run)]

    def find(self, what: str, run: int = 0) -> Entry:
        return next(entry for entry in self.entries if (entry.what, entry.run) == (what, run))

    def forge(self, what: str, run: int = 0, /, *, by: int = 0, **data: Any) -> None:
        """Change what an entry says, or move it by so many microseconds."""
        entry = self.find(what, run)
        forged = replace(entry, t=entry.t + by * 1000, at=entry.at + by, data={**entry.data, **data})
        self.entries[self.entries.index(entry)] = forged

    def judge(self) -> set[str]:
        """Return the rules that are broken."""
        return {complaint.partition(":")[0] for complaint in judge.judge(Case(self.entries, self.stored))}


Forgery = Callable[[Evidence], object]


def status(seq: int, name: str) -> dict[str, Any]:
    return {"seq": seq, "kind": "status", "data": {"status": name}}


@pytest.fixture
def evidence() -> Evidence:
    return Evidence()


def test_honest_evidence_passes(evidence: Evidence) -> None:
    assert judge.judge(Case(evidence.entries, evidence.stored)) == []


def test_evidence_is_judged_in_the_order_of_time_whatever_that_of_the_file(evidence: Evidence) -> None:
    evidence.entries.reverse()
    assert evidence.judge() == set()


def set_row(run: int, **fields: Any) -> Forgery:
    return lambda evidence: evidence.stored.runs[run].update(fields)


def forge(what: str, run: int = 0, /, *, by: int = 0, **data: Any) -> Forgery:
    return lambda evidence: evidence.forge(what, run, by=by, **data)


def forget(what: str, run: int = 0) -> Forgery:
    return lambda evidence: evidence.forget(what, run)


def note(who: int, what: str, run: int = 0, **data: Any) -> Forgery:
    return lambda evidence: evidence.note(who, what, run, **data)


def drop_event(run: int, place: int) -> Forgery:
    return lambda evidence: evidence.stored.streams[run].pop(place)


def add_event(run: int, event: dict[str, Any]) -> Forgery:
    return lambda evidence: evidence.stored.streams[run].append(event)


def together(*forgeries: Forgery) -> Forgery:
    return lambda evidence: [forgery(evidence) for forgery in forgeries]


def lose_run(run: int) -> Forgery:
    return lambda evidence: evidence.stored.runs.pop(run)


FORGERIES: dict[str, list[Forgery]] = {
    "no_acknowledged_run_is_lost": [
        note(1, "acknowledged", 99, key="k", once=None),
        forge("acknowledged", 4, key="another"),
        forge("acknowledged", 4, once="another"),
        lose_run(4),
    ],
    "no_run_executes_twice_or_without_a_row": [
        note(2, "enter", 1, key="k", attempt=2),
        note(1, "enter", 99, key="other", attempt=1),
        set_row(4, started_at=None),
    ],
    "no_two_functions_of_a_key_overlap": [
        forge("leave", 1, by=100),  # it goes on beside the next
        forget("leave", 1),  # its worker lives, so who knows when it ended
        forge("enter", 4, by=-100),
        forge("signal", by=10),  # the function of run 3 lives until its worker is killed
    ],
    "no_row_ends_before_its_function": [
        set_row(1, finished_at=0),
        set_row(2, finished_at=0),
        set_row(3, finished_at=0),
    ],
    "what_was_told_is_stored": [
        forge("told", 1, status="failed"),
        forge("told", 1, result=[1, 2]),
        note(2, "told", 99, status="completed", result=None),
    ],
    "every_stream_is_gapless_and_ends_once": [
        drop_event(1, 1),
        drop_event(5, 1),
        add_event(1, {"seq": 4, "kind": "log", "data": {}}),
        add_event(1, status(4, "completed")),
        add_event(1, status(3, "interrupted")),
        set_row(1, status="failed"),
    ],
    "what_was_flushed_is_stored": [
        drop_event(1, 1),  # flushed
        forge("flushed", 1, number=2),
        forge("saying", 1, number=2),  # before an end that its owner stored
        forget("saying", 1),  # stored and never said
    ],
    "what_was_heard_is_stored_and_gapless": [
        forge("heard", 1, seq=2),
        forge("heard", 1, data={"status": "pending"}),
        forge("watching", 1, after=1),
        forget("heard", 1),  # and it was told that this is all
    ],
    "completed_means_returned": [
        forge("leave", 1, how="raised"),
        forge("leave", 1, value=[1, 2]),
        forge("leave", 4, how="returned"),
        forge("leave", 2, how="returned"),
        forget("enter", 1),
    ],
    "failed_means_raised": [
        forge("leave", 4, value="KeyError"),
        forget("leave", 4),
        forget("enter", 4),
        set_row(4, error="LeaseLost: run 4 belongs to another manager"),
        together(forge("leave", 4, value="LeaseLost"), set_row(4, error="LeaseLost: run 4 belongs to another manager")),
        note(2, "enter", 6, key="other", attempt=1),
    ],
    "cancelled_means_asked_and_left": [
        forget("cancelling", 2),
        forget("leave", 2),
        set_row(2, cancel_requested_at=None),
        set_row(2, error="RuntimeError"),
        forge("leave", 2, how="returned"),
    ],
    "cancels_that_were_answered_are_recorded": [
        set_row(2, cancel_requested_at=None),
        forge("cancel answered", 2, status="completed"),
        note(1, "cancel answered", 99, status="cancelling"),
        set_row(2, status="failed", error="CancelledError: "),
    ],
    "interrupted_means_that_the_owner_died_or_closed": [
        forge("signal", by=20),  # killed after its run was rescued
        note(1, "closed"),
        set_row(5, error=judge.RESCUED),
        set_row(5, finished_at=0),  # before its manager closed
        set_row(5, manager_id="third"),
        set_row(5, error="whatever"),
        forget("closing"),
    ],
    "an_idempotency_key_names_one_run": [note(2, "acknowledged", 4, key="k", once="once")],
    "a_conflict_names_a_run_of_the_key": [forge("conflict", 2, key="another"), note(1, "conflict", 99, key="k")],
    "nothing_is_left_behind": [
        set_row(3, finished_at=None, status="running"),
        set_row(3, held_key="k"),
        lambda evidence: evidence.stored.managers.append("first"),
        lambda evidence: evidence.stored.locks.append("runs.db.first.lock"),
    ],
    "the_file_was_sound_after_every_death": [
        forge("checked", said=["row 3 missing from index runs_by_key"]),
        forget("checked"),
    ],
    "workers_end_by_signals_and_have_nothing_to_complain_of": [
        note(1, "logged", message="Task exception was never retrieved"),
        forge("died", code=1),
        forge("died", code=-11),
    ],
}


def test_every_rule_is_shown_a_forgery() -> None:
    assert list(FORGERIES) == [rule.__name__ for rule in judge.RULES]


@pytest.mark.parametrize(
    ("rule", "number"), [(rule, number) for rule, forgeries in FORGERIES.items() for number in range(len(forgeries))]
)
def test_forged_evidence_is_condemned(evidence: Evidence, rule: str, number: int) -> None:
    FORGERIES[rule][number](evidence)
    assert rule in evidence.judge()


def test_rescue_that_is_merely_logged_is_no_complaint(evidence: Evidence) -> None:
    evidence.note(2, "logged", message="run 3 was interrupted: its process ended without finishing it")
    assert evidence.judge() == set()


def test_what_is_counted_shows_what_happened(evidence: Evidence) -> None:
    counts = judge.count(Case(evidence.entries, evidence.stored))
    assert counts["killed by SIGKILL"] == counts["closed"] == counts["rescued"] == counts["conflicts"] == 1
    assert counts["runs failed"] == counts["runs interrupted"] == 2


# The ledger itself


def test_entries_are_read_as_they_were_written_and_once(tmp_path: Path) -> None:
    first, second, reader = Ledger(tmp_path / "ledger", 1), Ledger(tmp_path / "ledger", 2), Reader(tmp_path / "ledger")
    first.note("enter", 3, key=None, text="zwei\nZeilen")
    second.note("told", 3, status="completed")
    read = list(reader.new())
    assert [(entry.who, entry.what, entry.run) for entry in read] == [(1, "enter", 3), (2, "told", 3)]
    assert read[0].data == {"key": None, "text": "zwei\nZeilen"}
    assert read[0].t <= read[1].t
    assert list(reader.new()) == []
    first.note("leave", 3)
    assert [entry.what for entry in reader.new()] == ["leave"]


def test_entry_that_was_torn_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    ledger, reader = Ledger(tmp_path / "ledger", 1), Reader(tmp_path / "ledger")
    ledger.note("enter", 1)
    with (tmp_path / "ledger").open("ab") as file:
        file.write(b"\n" + json.dumps([1, 1, 2, "leave", 7, {}]).encode()[: os.getpid() % 20 + 1])
    assert [entry.run for entry in reader.new()] == [1]  # it may be complete later
    ledger.note("enter", 2)
    assert [entry.run for entry in reader.new()] == [2]
