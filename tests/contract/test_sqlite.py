"""The contract of stores, kept by SQLite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aioruns.abc import Store
from aioruns.stores import SQLiteStore
from aioruns.testing import StoreContract


class TestSQLiteFile(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SQLiteStore(tmp_path / "runs.db")


class TestSQLiteInMemory(StoreContract):
    shareable = False

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        return lambda: SQLiteStore(":memory:")
