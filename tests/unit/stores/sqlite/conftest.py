"""What tests of the SQLite store share: one that is open, and what it asks of its threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import pytest_asyncio
from tests.support import each_statement

from aioruns.stores import SQLiteStore


@pytest_asyncio.fixture
async def store(database: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(database)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def connection(store: SQLiteStore) -> aiosqlite.Connection:
    """The connection that writes."""
    assert store._database._write is not None
    return store._database._write


@pytest.fixture
def hops(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every hop to a thread of the database from now on."""
    hops: list[str] = []
    original = aiosqlite.Connection._execute

    async def execute(connection: aiosqlite.Connection, function: Any, *values: Any, **options: Any) -> Any:
        hops.append(next((value for value in values if isinstance(value, str)), getattr(function, "__name__", "?")))
        return await original(connection, function, *values, **options)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", execute)
    return hops


@pytest.fixture
def statements(store: SQLiteStore) -> Iterator[list[str]]:
    """Every statement from now on, whichever hop brings it."""
    statements: list[str] = []
    with each_statement(statements.append):
        yield statements
