"""What the tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fault.database import check_sound
from tests.support import Puppet

from aioruns.stores import SQLiteStore


@pytest.fixture
def hasty(database: Path) -> SQLiteStore:
    """A store that does not wait long for locks."""
    return SQLiteStore(database, busy_timeout=0.02)


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


@pytest.fixture
def sound(database: Path) -> Iterator[None]:
    """Check that nothing is wrong with the database at the end of the test."""
    yield
    check_sound(database)
