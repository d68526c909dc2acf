"""Managers and the model of what they promise, side by side through any history that Hypothesis finds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.property.machine import LifecycleMachine
from tests.property.processes import make_quick


@pytest.mark.proof
@pytest.mark.timeout(24 * 3600)
def test_G1_to_G8_managers_do_what_the_model_says_through_any_history(
    scale: Callable[..., int],
    tally: Callable[..., None],
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_quick(monkeypatch)
    run_state_machine_as_test(
        lambda: LifecycleMachine(tally),  # pyright: ignore[reportArgumentType]
        settings=settings(
            max_examples=scale(quick=20, full=100, soak=10_000),
            stateful_step_count=scale(quick=30, full=50, soak=100),
            derandomize=pytestconfig.getoption("--effort") != "soak",
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
