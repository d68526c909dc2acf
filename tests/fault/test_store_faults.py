"""Every call of every verb of the store fails in every way, in every scenario: what is told and stored is the truth."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fault.store_cases import STORM, Case, cases, run
from tests.fault.store_scenarios import SCENARIOS

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600), pytest.mark.parametrize("scenario", SCENARIOS)]


def test_F1_F3_G5_G7_whatever_call_of_the_store_fails_the_truth_is_told_and_nothing_stays_stuck(
    scenario: str, tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    found = cases(scenario, tmp_path / "case")
    random.Random(scenario).shuffle(found)
    hits = 0
    for schedule in range(scale(quick=1, full=1, soak=100)):
        for number, case in enumerate(found[: scale(quick=6, full=len(found), soak=len(found))]):
            hits += run(case, tmp_path / "case", 1000 * schedule + number)[1]
    tally("calls of the store that failed", hits)
    assert hits


def test_F1_F3_G5_G7_whatever_calls_of_the_store_fail_the_truth_is_told_and_nothing_stays_stuck(
    scenario: str, tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    for seed in range(scale(quick=2, full=20, soak=2000)):
        run(Case(scenario, "open", seed, STORM), tmp_path / "case", seed)
        tally("storms of failing calls")
