"""Tools for tests: the suite that every store passes, stores that fail on demand, and schedules drawn from a seed.

They need pytest and pytest-asyncio.
"""

try:
    import pytest
    import pytest_asyncio  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError as _error:
    raise ImportError("aioruns.testing needs pytest and pytest-asyncio: pip install pytest pytest-asyncio") from _error

# Before the imports, so that pytest explains failed assertions of these modules as it does in test modules.
pytest.register_assert_rewrite("aioruns.testing._contract")

from aioruns.testing._contract import StoreContract  # noqa: E402
from aioruns.testing._faulty import Fault, FaultyStore, StoreCall  # noqa: E402
from aioruns.testing._schedules import (  # noqa: E402
    Deadlock,
    Scenario,
    ShuffledEventLoop,
    run_schedule,
    run_schedules,
    threadless,
)

__all__ = [
    "Deadlock",
    "Fault",
    "FaultyStore",
    "Scenario",
    "ShuffledEventLoop",
    "StoreCall",
    "StoreContract",
    "run_schedule",
    "run_schedules",
    "threadless",
]
