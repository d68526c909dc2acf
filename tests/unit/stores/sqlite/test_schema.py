"""The schema guards what the code promises, and is brought up to date in one piece."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.support import rows

from aioruns._values.status import ACTIVE, TERMINAL, RunStatus, is_allowed
from aioruns.errors import ConfigurationError
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite import _schema

NOW = 1_760_000_000_000_000


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty database with the schema, in the hands of plain ``sqlite3``."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    for migration in sorted(
        files("aioruns.stores.sqlite").joinpath("migrations").iterdir(), key=lambda file: file.name
    ):
        connection.executescript(migration.read_text(encoding="utf-8"))
    yield connection
    connection.close()


def insert(connection: sqlite3.Connection, status: str, **columns: Any) -> int:
    """Insert a row that the schema accepts, but for the columns that are given."""
    ended = status in TERMINAL
    key = columns.get("key")
    row = {
        "job": "build",
        "status": status,
        "held_key": None if ended else key,
        "shared": 0,
        "manager_id": "m",
        "token": connection.execute("SELECT count(*) FROM runs").fetchone()[0],
        "attempt": 1,
        "tags": "[]",
        "created_at": NOW,
        "finished_at": NOW if ended else None,
        **columns,
    }
    marks = ", ".join("?" * len(row))
    cursor = connection.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def update(connection: sqlite3.Connection, run_id: int, **columns: Any) -> None:
    settings = ", ".join(f"{name} = ?" for name in columns)
    connection.execute(f"UPDATE runs SET {settings} WHERE id = ?", (*columns.values(), run_id))


def events(connection: sqlite3.Connection, run_id: int) -> list[tuple[int, str, str]]:
    return connection.execute("SELECT seq, kind, data FROM events WHERE run_id = ? ORDER BY seq", (run_id,)).fetchall()


# The guards


@pytest.mark.parametrize("after", list(RunStatus))
@pytest.mark.parametrize("before", list(RunStatus))
def test_T1_guards_allow_the_transitions_of_the_table_and_no_others(
    connection: sqlite3.Connection, before: RunStatus, after: RunStatus
) -> None:
    run_id = insert(connection, before, key="a")
    ended = after in TERMINAL
    columns = {"status": after, "finished_at": NOW if ended else None, "held_key": None if ended else "a"}
    if is_allowed(before, after) or before is after in ACTIVE:
        update(connection, run_id, **columns)
    else:
        with pytest.raises(sqlite3.IntegrityError, match=r"this transition of a run is not allowed|never changes"):
            update(connection, run_id, **columns)
    ((status,),) = connection.execute("SELECT status FROM runs")
    assert status == (after if is_allowed(before, after) else before)
    assert len(events(connection, run_id)) == (2 if is_allowed(before, after) else 1)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_T1_guards_keep_every_column_of_a_run_that_has_ended(connection: sqlite3.Connection, status: RunStatus) -> None:
    run_id = insert(connection, status, key="a")
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(runs)")]
    assert len(columns) > 20
    for column in columns:
        with pytest.raises(sqlite3.IntegrityError, match="a run that has ended never changes"):
            connection.execute(f"UPDATE runs SET {column} = {column} WHERE id = ?", (run_id,))


def test_V2_unknown_status_is_refused(connection: sqlite3.Connection) -> None:
    for status in ("", "Running", "paused", "completed "):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            insert(connection, status)


@pytest.mark.parametrize(
    ("status", "columns"),
    [
        ("running", {"key": "a", "held_key": "b"}),
        ("running", {"key": "a", "held_key": None}),
        ("cancelling", {"key": "a", "held_key": None}),
        ("running", {"key": None, "held_key": "a"}),
        ("pending", {"key": None, "held_key": "a"}),
        ("completed", {"key": "a", "held_key": "a"}),
        ("running", {"finished_at": NOW}),
        ("failed", {"finished_at": None}),
        ("pending", {"error": "V2: an active run has no error"}),
        ("running", {"error": "V2: an active run has no error"}),
        ("cancelling", {"error": "V2: an active run has no error"}),
        ("running", {"result": "3"}),
        ("failed", {"result": "3"}),
        ("running", {"shared": 2}),
        ("running", {"created_at": "now"}),
        ("running", {"created_at": None}),
        ("running", {"tags": None}),
        ("running", {"attempt": 1.5}),
    ],
)
def test_row_that_makes_no_sense_is_refused(
    connection: sqlite3.Connection, status: str, columns: dict[str, Any]
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        insert(connection, status, **columns)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)


@pytest.mark.parametrize(
    ("status", "columns"),
    [
        ("pending", {"key": "a", "held_key": None}),  # queued behind the key
        ("pending", {"key": "a", "held_key": "a"}),
        ("cancelling", {"key": "a", "held_key": "a"}),
        ("failed", {"key": "a", "error": "ValueError", "traceback": "…"}),
        ("completed", {"result": "3"}),
        ("running", {"shared": 1, "timeout": 2.5}),
    ],
)
def test_row_that_makes_sense_is_accepted(connection: sqlite3.Connection, status: str, columns: dict[str, Any]) -> None:
    insert(connection, status, **columns)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"key": "a"}, {"key": "a"}),
        ({"idempotency_key": "s"}, {"idempotency_key": "s"}),
        ({"token": 7}, {"token": 7}),
    ],
)
def test_X1_what_is_unique_is_refused_twice(
    connection: sqlite3.Connection, first: dict[str, Any], second: dict[str, Any]
) -> None:
    insert(connection, "running", **first)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        insert(connection, "running", **second)
    assert len(events(connection, 1)) == 1


def test_X1_runs_that_do_not_hold_the_key_may_have_it(connection: sqlite3.Connection) -> None:
    insert(connection, "running", key="a")
    insert(connection, "pending", key="a", held_key=None)
    insert(connection, "pending", key="a", held_key=None)
    insert(connection, "completed", key="a")


def test_id_of_a_deleted_run_is_not_used_again(connection: sqlite3.Connection) -> None:
    run_id = insert(connection, "completed")
    connection.execute("DELETE FROM runs")
    assert insert(connection, "running") > run_id


def test_events_go_with_their_run(connection: sqlite3.Connection) -> None:
    run_id = insert(connection, "completed")
    other_id = insert(connection, "completed")
    connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))
    assert events(connection, run_id) == []
    assert len(events(connection, other_id)) == 1


def test_G6_two_events_cannot_have_one_place(connection: sqlite3.Connection) -> None:
    insert(connection, "running")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        connection.execute("INSERT INTO events (run_id, seq, at, kind, attempt, data) VALUES (1, 1, 0, 'log', 1, '{}')")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("INSERT INTO events (run_id, seq, at, kind, attempt, data) VALUES (9, 1, 0, 'log', 1, '{}')")


def test_status_event_says_why(connection: sqlite3.Connection) -> None:
    run_id = insert(connection, "running")
    update(connection, run_id, status="cancelling", cancel_requested_at=NOW + 1, cancel_reason='it\'s "enough" 🗝')
    update(connection, run_id, status="failed", finished_at=NOW + 2, error="ValueError: null")
    assert events(connection, run_id) == [
        (1, "status", '{"status":"running"}'),
        (2, "status", '{"status":"cancelling","reason":"it\'s \\"enough\\" 🗝"}'),
        (3, "status", '{"status":"failed","reason":"it\'s \\"enough\\" 🗝","error":"ValueError: null"}'),
    ]
    assert [at for (at,) in connection.execute("SELECT at FROM events ORDER BY seq")] == [NOW, NOW + 1, NOW + 2]


def test_update_that_is_no_transition_is_no_event(connection: sqlite3.Connection) -> None:
    run_id = insert(connection, "running")
    update(connection, run_id, shared=1)
    update(connection, run_id, status="running")
    assert len(events(connection, run_id)) == 1


# Migrations


def fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def open_and_close(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    await store.aclose()


@pytest.mark.parametrize("number_and_script", _schema._migrations(), ids=lambda migration: str(migration[0]))
def test_migration_is_split_into_whole_statements(number_and_script: tuple[int, str]) -> None:
    _, script = number_and_script
    code = [line for line in script.splitlines() if not line.strip().startswith("--")]
    split = [line for statement in _schema._statements(script) for line in statement.splitlines()]
    assert [line for line in split if line.strip()] == [line for line in code if line.strip()]


@pytest.mark.asyncio
@pytest.mark.parametrize("exists", [False, True])
async def test_fresh_or_empty_file_gets_the_schema(database: Path, exists: bool) -> None:
    if exists:
        database.touch()
    await open_and_close(database)
    assert rows(database, "SELECT version FROM aioruns_schema")[0]["version"] == _schema.NEWEST
    assert rows(database, "PRAGMA journal_mode")[0]["journal_mode"] == "wal"
    assert rows(database, "PRAGMA integrity_check")[0]["integrity_check"] == "ok"


@pytest.mark.asyncio
async def test_file_with_the_schema_is_left_as_it_is(database: Path) -> None:
    await open_and_close(database)
    before = fingerprint(database)
    await open_and_close(database)
    assert fingerprint(database) == before


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "CREATE TABLE aioruns_schema (version INTEGER); INSERT INTO aioruns_schema VALUES (99);",
            "the database {path} has schema version 99, this aioruns knows up to {newest}: upgrade aioruns",
        ),
        (
            "CREATE TABLE runs (id INTEGER); CREATE TABLE events (id INTEGER); INSERT INTO runs VALUES (1);",
            "the database {path} has tables of another program (events, runs): give runs a file of their own",
        ),
        (
            "CREATE TABLE managers (id INTEGER);",
            "the database {path} has tables of another program (managers): give runs a file of their own",
        ),
    ],
)
async def test_database_that_is_not_ours_is_refused_untouched(
    database: Path, mode: str, script: str, message: str
) -> None:
    connection = sqlite3.connect(database)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.executescript(script)
    connection.close()
    before = fingerprint(database)
    with pytest.raises(ConfigurationError) as refused:
        await SQLiteStore(database).open()
    assert str(refused.value) == message.format(path=database, newest=_schema.NEWEST)
    assert fingerprint(database) == before
    assert list(database.parent.iterdir()) == [database]


@pytest.mark.asyncio
async def test_tables_of_another_program_with_other_names_may_stay(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.executescript("CREATE TABLE users (id INTEGER); INSERT INTO users VALUES (3);")
    connection.close()
    await open_and_close(database)
    assert rows(database, "SELECT id FROM users")[0]["id"] == 3


@pytest.mark.asyncio
async def test_migrations_that_are_missing_are_applied_in_order(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_and_close(database)
    newer = [
        (_schema.NEWEST + 1, "CREATE TABLE colours (name TEXT) STRICT;"),
        (
            _schema.NEWEST + 2,
            "INSERT INTO colours VALUES ('red; or so');\n-- Comment;\nINSERT INTO colours VALUES ('blue');",
        ),
    ]
    original = _schema._migrations()
    monkeypatch.setattr(_schema, "_migrations", lambda: original + newer)
    monkeypatch.setattr(_schema, "NEWEST", newer[-1][0])
    await open_and_close(database)
    assert [row["name"] for row in rows(database, "SELECT name FROM colours")] == ["red; or so", "blue"]
    assert rows(database, "SELECT version FROM aioruns_schema")[0]["version"] == newer[-1][0]
    await open_and_close(database)
    assert len(rows(database, "SELECT name FROM colours")) == 2


@pytest.mark.asyncio
async def test_migration_that_fails_changes_nothing(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, newest = _schema._migrations(), _schema.NEWEST
    with monkeypatch.context() as patch:
        broken = (newest + 1, "CREATE TABLE colours (name TEXT) STRICT;\nINSERT INTO colours VALUES (1, 2);")
        patch.setattr(_schema, "_migrations", lambda: [*original, broken])
        patch.setattr(_schema, "NEWEST", newest + 1)
        with pytest.raises(sqlite3.OperationalError, match="2 values"):
            await SQLiteStore(database).open()
    assert rows(database, "SELECT name FROM sqlite_schema") == []
    await open_and_close(database)


@pytest.mark.asyncio
async def test_file_that_only_looks_like_a_database_is_refused(database: Path) -> None:
    database.write_bytes(b"SQLite format 3\0" + b"garbage" * 1000)
    with pytest.raises(ConfigurationError, match=rf"^the file '{database}' is not an SQLite database: name another"):
        await SQLiteStore(database).open()


@pytest.mark.asyncio
async def test_X2_processes_may_open_a_fresh_file_at_once(database: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, sys
        from aioruns.stores import SQLiteStore

        async def main():
            store = SQLiteStore(sys.argv[1])
            print("ready", flush=True)
            sys.stdin.readline()
            await store.open()
            await store.aclose()

        asyncio.run(main())
    """)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(database), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [(process.returncode, output) for process, (output, _) in zip(processes, outputs, strict=True)] == [
        (0, b"")
    ] * 3
    assert rows(database, "SELECT version FROM aioruns_schema")[0]["version"] == _schema.NEWEST
