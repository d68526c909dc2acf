"""Errors of the driver become ours in one place."""

from __future__ import annotations

import json
import sqlite3

import pytest

from aioruns.errors import StoreUnavailable
from aioruns.stores.sqlite._errors import unavailable


def driver_error(code: int, text: str = "what SQLite says") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_BUSY, "another process has locked it for longer than the timeout"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "another process has locked it"),
        (sqlite3.SQLITE_LOCKED, "another connection has locked a table"),
        (sqlite3.SQLITE_FULL, "there is no room left"),
        (sqlite3.SQLITE_READONLY, "it is read-only"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "it is read-only"),
        (sqlite3.SQLITE_CANTOPEN, "it cannot be opened"),
        (sqlite3.SQLITE_IOERR, "the disk failed"),
        (sqlite3.SQLITE_IOERR_FSYNC, "the disk failed"),
        (sqlite3.SQLITE_CORRUPT, "it is corrupt"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "it is corrupt"),
        (sqlite3.SQLITE_NOTADB, "it is not an SQLite database"),
        (sqlite3.SQLITE_PERM, "access is denied"),
        (sqlite3.SQLITE_NOMEM, "SQLite is out of memory"),
        (sqlite3.SQLITE_PROTOCOL, "its locks do not work"),
    ],
)
def test_database_that_is_away_is_named_with_the_cause_and_what_to_do(code: int, reason: str) -> None:
    error = driver_error(code)
    ours = unavailable(error, "/data/runs.db")
    assert isinstance(ours, StoreUnavailable)
    assert str(ours).startswith(f"the database /data/runs.db is unavailable: {reason}")
    assert str(ours).endswith("(what SQLite says)")
    assert ours.__cause__ is error


def test_database_whose_tables_are_gone_is_corrupt() -> None:
    error = driver_error(sqlite3.SQLITE_ERROR, "no such table: runs")
    assert "it is corrupt; restore it from a backup (no such table: runs)" in str(unavailable(error, "runs.db"))


@pytest.mark.parametrize("text", ["no active connection", "Connection closed"])
def test_connection_that_is_closed_is_a_database_that_is_away(text: str) -> None:
    assert str(unavailable(ValueError(text), "runs.db")) == "the database runs.db is closed"


@pytest.mark.parametrize(
    "error",
    [
        driver_error(sqlite3.SQLITE_ERROR, "no such column: colour"),
        driver_error(sqlite3.SQLITE_CONSTRAINT_TRIGGER),
        driver_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE),
        driver_error(sqlite3.SQLITE_TOOBIG),
        sqlite3.ProgrammingError("wrong number of bindings"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        json.JSONDecodeError("Expecting value", "", 0),
        OverflowError("Python int too large to convert to SQLite INTEGER"),
    ],
    ids=repr,
)
def test_what_no_waiting_mends_is_not_taken_for_a_database_that_is_away(error: Exception) -> None:
    assert unavailable(error, "runs.db") is None
