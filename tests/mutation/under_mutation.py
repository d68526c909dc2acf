"""A pytest plugin for tests that run against mutants: the nearest come first, and the first failure is the last.

A mutant is killed by its first failing test. What it leaves behind, tasks and threads that nobody can end, may make
the clean-up hang, and tells nothing more. A test that takes many times as long as without a mutant hangs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

leave = os._exit


def _mutant() -> str:
    name = os.environ.get("MUTANT_UNDER_TEST", "")
    return name if "__mutmut_" in name else ""


def pytest_sessionstart() -> None:
    if _mutant():
        os._exit = lambda _: leave(1)  # a mutant that ends the process without a word has not survived


def pytest_sessionfinish() -> None:
    os._exit = leave


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not (mutant := _mutant()):
        return
    durations = json.loads(Path("mutmut-stats.json").read_text())["duration_by_test"]
    module = mutant.split(".")[1]
    items.sort(key=lambda item: (f"/test{module}" not in item.nodeid, durations.get(item.nodeid, 0)))
    for item in items:
        item.add_marker(pytest.mark.timeout(3 + 10 * durations.get(item.nodeid, 0)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and _mutant():
        leave(1)
