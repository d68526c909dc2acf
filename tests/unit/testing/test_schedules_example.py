"""The example of the documentation passes, and finds the mistake that it is about."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from aioruns import job

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "test_with_schedules.py"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_with_schedules", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_example_passes(example: ModuleType) -> None:
    example.test_no_money_is_lost_in_any_order()


def test_example_fails_for_a_job_that_loses_money(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    @job
    async def move(amount: int) -> None:
        example.accounts["one"] -= amount
        await asyncio.sleep(1)
        example.accounts["other"] += amount

    monkeypatch.setattr(example, "move", move)
    with pytest.raises(AssertionError) as caught:
        example.test_no_money_is_lost_in_any_order()
    assert "run_schedule(cancel_while_moving, " in caught.value.__notes__[0]
