"""Finding a store from a path or a URL: what is understood, and what is said of what is not."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from aioruns.errors import ConfigurationError
from aioruns.stores import SQLiteStore, open_store


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ("runs.db", "runs.db"),
        (Path("folder") / "runs.db", os.path.join("folder", "runs.db")),
        ("/absolute/runs.db", "/absolute/runs.db"),
        (":memory:", ":memory:"),
        ("sqlite:///runs.db", "runs.db"),
        ("sqlite:///folder/runs.db", "folder/runs.db"),
        ("sqlite:////absolute/runs.db", "/absolute/runs.db"),
        ("SQLite:///runs.db", "runs.db"),
        ("sqlite:///with%20space%20and%20%3F%23.db", "with space and ?#.db"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///", ":memory:"),
        ("sqlite://", ":memory:"),
        ("what?is#this.db", "what?is#this.db"),
    ],
)
def test_path_or_url_names_a_store(where: str | Path, path: str) -> None:
    store = open_store(where)
    assert isinstance(store, SQLiteStore)
    assert store.path == path
    assert repr(store) == f"<SQLiteStore {path!r}>"


def test_store_is_taken_as_it_is() -> None:
    store = SQLiteStore("runs.db")
    assert open_store(store) is store


def test_nothing_is_created_before_the_store_is_opened(tmp_path: Path) -> None:
    open_store(tmp_path / "runs.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (b"runs.db", "a store is a path, a URL or a Store, not bytes"),
        (None, "a store is a path, a URL or a Store, not NoneType"),
        (3, "a store is a path, a URL or a Store, not int"),
        ("", "the path of the store is empty; name a file, e.g. runs.db"),
        ("mysql://host/runs", "no store speaks mysql://; use a path, or sqlite:///path/to/runs.db"),
        ("://runs", "no store speaks ://; use a path, or sqlite:///path/to/runs.db"),
        (
            "sqlite://folder/runs.db",
            "write sqlite:///folder/runs.db with three slashes: an SQLite file has no host",
        ),
        ("sqlite://[folder/runs.db", "the URL of the store cannot be read: Invalid IPv6 URL"),
        ("sqlite:///run#3.db", "write %23 for the # before '3.db' in the URL of the store"),
        (
            "sqlite:///runs.db?mode=ro&cache=shared",
            "unknown in the URL of the store: mode, cache; known: synchronous, busy_timeout",
        ),
        ("sqlite:///runs.db?synchronous=off", "synchronous='off' is unknown; use 'full' or 'normal'"),
        ("sqlite:///runs.db?synchronous=", "synchronous='' is unknown; use 'full' or 'normal'"),
        (
            "sqlite:///runs.db?busy_timeout=soon",
            "busy_timeout=soon in the URL of the store is no number of seconds",
        ),
        ("sqlite:///runs.db?busy_timeout=", "busy_timeout= in the URL of the store is no number of seconds"),
        ("sqlite:///runs.db?busy_timeout=-1", "busy_timeout must be zero or more seconds, not -1.0"),
        ("sqlite:///runs.db?busy_timeout=nan", "busy_timeout must be zero or more seconds, not nan"),
    ],
)
def test_what_names_no_store_is_refused(where: object, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_store(where)  # pyright: ignore[reportArgumentType]
    assert str(refused.value) == message


@pytest.mark.parametrize("busy_timeout", ["1", True, [1]])
def test_busy_timeout_that_is_no_number_is_refused(busy_timeout: object) -> None:
    with pytest.raises(ConfigurationError, match="busy_timeout must be a number of seconds"):
        SQLiteStore("runs.db", busy_timeout=busy_timeout)  # pyright: ignore[reportArgumentType]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "synchronous", "milliseconds"),
    [
        ("", 2, 5000),
        ("?synchronous=full&busy_timeout=0.25", 2, 250),
        ("?synchronous=normal", 1, 5000),
        ("?busy_timeout=0", 2, 0),
    ],
)
async def test_options_of_the_url_reach_sqlite(tmp_path: Path, query: str, synchronous: int, milliseconds: int) -> None:
    assert await pragmas(open_store(f"sqlite:///{tmp_path}/runs.db{query}")) == (synchronous, milliseconds)


@pytest.mark.asyncio
@pytest.mark.parametrize("seconds", [math.inf, 1e30, 3_000_000])
async def test_longest_busy_timeout_is_long(tmp_path: Path, seconds: float) -> None:
    _, milliseconds = await pragmas(SQLiteStore(tmp_path / "runs.db", busy_timeout=seconds))
    assert milliseconds > 1_000_000_000


async def pragmas(store: object) -> tuple[int, int]:
    assert isinstance(store, SQLiteStore)
    await store.open()
    try:
        assert store._database._write is not None
        ((synchronous,),) = await store._database._write.execute_fetchall("PRAGMA synchronous")
        ((milliseconds,),) = await store._database._write.execute_fetchall("PRAGMA busy_timeout")
        return synchronous, milliseconds
    finally:
        await store.aclose()
