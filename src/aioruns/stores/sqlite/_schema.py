"""Migrations: ordered ``.sql`` files, each applied once, all that are missing in one transaction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import aiosqlite

from aioruns.errors import ConfigurationError

__all__ = ["NEWEST", "check_schema", "migrate"]


def _migrations() -> list[tuple[int, str]]:
    found = Path(__file__).with_name("migrations").glob("*.sql")
    return sorted((int(file.name[:4]), file.read_text(encoding="utf-8")) for file in found)


NEWEST = max(number for number, _ in _migrations())
"""The version of the schema that this code writes."""


async def migrate(connection: aiosqlite.Connection, name: str) -> None:
    """Bring the schema up to date.

    Raises:
        ConfigurationError: The database is not ours to write; see ``check_schema``.
        sqlite3.Error: The database cannot be written.
    """
    if await check_schema(connection, name) == NEWEST:
        return
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        version = await check_schema(connection, name)  # another process may have been faster
        for number, script in _migrations():
            if number > version:
                for statement in _statements(script):
                    await connection.execute_fetchall(statement)
        await connection.execute_fetchall("UPDATE aioruns_schema SET version = ?", (NEWEST,))
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        await connection.rollback()
        raise


async def check_schema(connection: aiosqlite.Connection, name: str) -> int:
    """Look at a database before anything in it is changed.

    Returns:
        The version of its schema; 0 if it has none yet.

    Raises:
        ConfigurationError: The database is of a newer version, or its tables are somebody else's.
        sqlite3.Error: The database cannot be read.
    """
    tables = {
        row[0] for row in await connection.execute_fetchall("SELECT name FROM sqlite_schema WHERE type = 'table'")
    }
    version = 0
    if "aioruns_schema" in tables:
        ((version,),) = await connection.execute_fetchall("SELECT version FROM aioruns_schema")
    elif foreign := tables & {"runs", "events", "managers", "run_tags", "run_spans"}:
        raise ConfigurationError(
            f"the database {name} has tables of another program ({', '.join(sorted(foreign))}):"
            " give runs a file of their own"
        )
    if version > NEWEST:
        raise ConfigurationError(
            f"the database {name} has schema version {version}, this aioruns knows up to {NEWEST}: upgrade aioruns"
        )
    return version


def _statements(script: str) -> Iterator[str]:
    """Split a script where a line ends a whole statement; triggers hold semicolons of their own."""
    statement = ""
    for line in re.sub(r"(?m)^\s*--.*\n", "", script).splitlines(keepends=True):
        statement += line
        if statement.strip() and sqlite3.complete_statement(statement):
            yield statement
            statement = ""
