"""Pages of a long history: exact, and found without walking it."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

import pytest

from aioruns._values.model import Run, RunFilter, from_micros
from aioruns._values.status import TERMINAL
from aioruns.stores.sqlite._columns import run_of
from aioruns.stores.sqlite._listing import select_page

NOW = 1_760_000_000_000_000
STATUSES = ["pending", "running", "cancelling", *sorted(TERMINAL)]
FILTERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a status": {"status": "failed"},
    "statuses": {"status": ["failed", "running", "completed"]},
    "no status": {"status": []},
    "a job": {"job": "build"},
    "a key": {"key": "project:1"},
    "who triggered it": {"triggered_by": "cron"},
    "a tag": {"tags": ["red"]},
    "tags": {"tags": ["red", "blue"]},
    "created after": {"created_after": from_micros(NOW)},
    "created before": {"created_before": from_micros(NOW)},
    "created between": {"created_after": from_micros(NOW), "created_before": from_micros(NOW + 1)},
    "all": {
        "status": "failed",
        "job": "build",
        "key": "project:1",
        "tags": ["red"],
        "triggered_by": "cron",
        "created_after": from_micros(NOW),
        "created_before": from_micros(NOW + 1),
    },
}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty database with the schema, in the hands of plain ``sqlite3``."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrations = files("aioruns.stores.sqlite").joinpath("migrations")
    for migration in sorted(migrations.iterdir(), key=lambda file: file.name):
        connection.executescript(migration.read_text(encoding="utf-8"))
    yield connection
    connection.close()


def insert(connection: sqlite3.Connection, *, status: str = "completed", created_at: int = NOW, **fields: Any) -> int:
    """Insert a run; returns its id."""
    row = {
        "job": "build",
        "key": None,
        "tags": (),
        "triggered_by": None,
        **fields,
        "status": status,
        "created_at": created_at,
        "finished_at": created_at if status in TERMINAL else None,
        "started_at": created_at,
        "shared": 0,
        "manager_id": "m",
        "token": connection.total_changes,
        "attempt": 1,
    }
    row["tags"] = json.dumps(row["tags"])
    row["held_key"] = None if status in TERMINAL else row["key"]
    names = ", ".join(row)
    cursor = connection.execute(
        f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(row))})",
        tuple(row.values()),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def page_of(connection: sqlite3.Connection, where: RunFilter, limit: int = 50, before: int | None = None) -> list[Run]:
    """Read a page."""
    return [run_of(row) for row in connection.execute(*select_page(where, limit=limit, before=before))]


def plan_of(connection: sqlite3.Connection, where: RunFilter) -> list[str]:
    """Ask SQLite how it would read a page."""
    sql, values = select_page(where, limit=50, before=None)
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN\n{sql.split(chr(10), 2)[2]}", values)]


@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_page_is_found_by_indexes_alone(connection: sqlite3.Connection, fields: dict[str, Any]) -> None:
    plan = plan_of(connection, RunFilter(**fields))
    assert any(step.startswith("SEARCH runs USING INTEGER PRIMARY KEY") for step in plan)
    assert [step for step in plan if step.startswith(("SCAN runs", "SCAN run_", "USE TEMP", "MATERIALIZE"))] == []


class Steps:
    """Counts what SQLite's virtual machine does: the same in each run, on every machine."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._count = 0

    def of(self, where: RunFilter, before: int | None = None) -> int:
        """Count in units of a hundred for a page of 50."""
        self._count = 0
        self._connection.set_progress_handler(self._note, 100)
        try:
            page_of(self._connection, where, before=before)
        finally:
            self._connection.set_progress_handler(None, 0)
        return self._count

    def _note(self) -> int:
        self._count += 1
        return 0


def write_history(connection: sqlite3.Connection, numbers: range) -> None:
    """Write runs of which every value of a filter is frequent, or rare, or of the oldest only."""
    connection.execute("BEGIN")
    for number in numbers:
        insert(
            connection,
            status="failed" if number == 5 else "completed" if number % 2 else "cancelled",
            job="rare" if number == 6 else f"job{number % 5}",
            key="rare" if number == 7 else f"project:{number % 3}",
            triggered_by="rare" if number == 8 else "cron",
            tags=("rare",) if number == 9 else ("blue", "red") if number % 2 else ("red",),
            created_at=NOW + number,
        )
    connection.execute("COMMIT")


VALUES: list[dict[str, Any]] = [
    {},
    *({"status": status} for status in ("completed", "failed", "running", ["failed", "cancelled", "completed"])),
    *({"job": job} for job in ("job1", "rare", "none")),
    *({"key": key} for key in ("project:1", "rare", "none")),
    *({"triggered_by": who} for who in ("cron", "rare", "none")),
    *({"tags": tags} for tags in (["blue"], ["rare"], ["none"], ["blue", "red"], ["red", "rare"])),
    *({"created_before": from_micros(NOW + late)} for late in (0, 60, 10_000)),
    *({"created_after": from_micros(NOW + late)} for late in (0, 60, 10_000)),
    {"created_after": from_micros(NOW + 100), "created_before": from_micros(NOW + 110)},
    {"status": "failed", "job": "job0", "tags": ["red"]},
]


def test_price_of_a_page_does_not_grow_with_the_history(connection: sqlite3.Connection) -> None:
    write_history(connection, range(1000))
    steps = Steps(connection)
    short = [steps.of(RunFilter(**fields), before) for fields in VALUES for before in (None, 100)]
    write_history(connection, range(1000, 10_000))
    long = [steps.of(RunFilter(**fields), before) for fields in VALUES for before in (None, 5000, 100)]
    assert max(long) <= 2 * max(short)


@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_pages_follow_each_other(connection: sqlite3.Connection, limit: int) -> None:
    ids = [insert(connection, job="ab"[number % 2]) for number in range(20)]
    found: list[int] = []
    while page := page_of(connection, RunFilter(job="a"), limit, found[-1] if found else None):
        found += [run.id for run in page]
    assert found == ids[-2::-2]


def test_time_is_found_where_clocks_were_set_back(connection: sqlite3.Connection) -> None:
    times = [*range(3000), *range(1000, 2500), *range(10_000, 12_000)]
    connection.execute("BEGIN")
    for late in times:
        insert(connection, created_at=NOW + late)
    connection.execute("COMMIT")
    for low, high in (
        (0, 10),
        (1000, 1010),
        (2990, 3010),
        (2400, 2600),
        (9000, 10_001),
        (11_999, 20_000),
        (5000, 6000),
    ):
        where = RunFilter(created_after=from_micros(NOW + low), created_before=from_micros(NOW + high))
        wanted = [number for number, late in enumerate(times, 1) if low <= late < high][::-1]
        assert [run.id for run in page_of(connection, where, limit=1000)] == wanted


def test_spans_tell_when_the_runs_of_a_thousand_ids_were_created(connection: sqlite3.Connection) -> None:
    chance = random.Random(7)
    ids = []
    connection.execute("BEGIN")
    for _ in range(3500):
        if chance.random() < 0.1:  # a refused insert uses up an id
            connection.execute("UPDATE sqlite_sequence SET seq = seq + 300 WHERE name = 'runs'")
        ids.append(insert(connection, created_at=NOW + chance.randrange(1000)))
    connection.execute("COMMIT")
    spans = connection.execute("SELECT first_id, last_id, earliest, latest FROM run_spans ORDER BY first_id").fetchall()
    assert [first for first, *_ in spans[1:]] == [last + 1 for _, last, *_ in spans[:-1]]
    assert (spans[0][0], spans[-1][1]) == (1, 2**63 - 1)
    for first, last, earliest, latest in spans[:-1]:
        assert last - first >= 999
        times = connection.execute(
            "SELECT min(created_at), max(created_at) FROM runs WHERE id BETWEEN ? AND ?", (first, last)
        )
        assert times.fetchone() == (earliest, latest)
    assert {run_id for run_id in ids if run_id >= spans[-1][0]} != set()


def test_tags_go_with_their_run(connection: sqlite3.Connection) -> None:
    kept, gone = insert(connection, tags=("blue", "red")), insert(connection, tags=("a,b", "red", 'ключ "🗝️"'))
    connection.execute("DELETE FROM runs WHERE id = ?", (gone,))
    assert connection.execute("SELECT tag, run_id FROM run_tags ORDER BY tag").fetchall() == [
        ("blue", kept),
        ("red", kept),
    ]


def _draw_fields(chance: random.Random, late: Callable[[], int]) -> dict[str, Any]:
    drawn = {
        "status": chance.sample(STATUSES, chance.randint(0, 3)),
        "job": chance.choice("abcz"),
        "key": chance.choice("abcz"),
        "tags": chance.sample("abcz", chance.randint(1, 2)),
        "triggered_by": chance.choice("abcz"),
        "created_after": from_micros(NOW + late()),
        "created_before": from_micros(NOW + late()),
    }
    return {name: drawn[name] for name in chance.sample(sorted(drawn), chance.choice([0, 1, 1, 2, 2, 3, 7]))}


def _satisfies(run: Run, where: RunFilter) -> bool:
    return (
        (where.status is None or run.status in where.statuses)
        and (where.job is None or run.job == where.job)
        and (where.key is None or run.key == where.key)
        and set(where.tags) <= set(run.tags)
        and (where.triggered_by is None or run.triggered_by == where.triggered_by)
        and (where.created_after is None or run.created_at >= where.created_after)
        and (where.created_before is None or run.created_at < where.created_before)
    )


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_pages_hold_what_satisfies_the_filter_and_nothing_else(
    connection: sqlite3.Connection, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    chance = random.Random(11)
    pages = 0
    for _ in range(scale(quick=2, full=60, soak=5000)):
        connection.execute("DELETE FROM runs")
        count = chance.choice([0, 40, 2500])
        late = lambda: chance.randrange(-5, count + 5)  # noqa: B023, E731
        keys = (f"{name}" for name in itertools.cycle("abc"))
        connection.execute("BEGIN")
        for number in range(count):
            if chance.random() < 0.05:
                connection.execute(
                    "UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'runs'", (chance.choice([1, 900]),)
                )
            status = chance.choice(STATUSES)
            insert(
                connection,
                status=status,
                job=chance.choice("abc"),
                key=next(keys) if status in TERMINAL and chance.random() < 0.5 else None,
                tags=tuple(sorted(chance.sample("abc", chance.randint(0, 3)))),
                triggered_by=chance.choice("abc"),
                created_at=NOW + (number if chance.random() < 0.9 else late()),
            )
        connection.execute("DELETE FROM runs WHERE finished_at IS NOT NULL AND id % 7 = 0")
        connection.execute("COMMIT")
        runs = page_of(connection, RunFilter(), limit=count + 1)
        assert [run.id for run in runs] == [
            row[0] for row in connection.execute("SELECT id FROM runs ORDER BY id DESC")
        ]
        for _ in range(60):
            where = RunFilter(**_draw_fields(chance, late))
            limit, before = chance.choice([1, 7, 50]), chance.choice([None, chance.choice(runs).id if runs else 1])
            wanted = [run for run in runs if _satisfies(run, where) and (before is None or run.id < before)]
            assert page_of(connection, where, limit, before) == wanted[:limit], where
            pages += 1
    tally("pages of random filters", pages)
