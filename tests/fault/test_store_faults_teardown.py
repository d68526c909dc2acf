"""The event loop is torn down while a call of the store fails: the program ends, and its runs are what they were."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fault.store_cases import Case, Trouble, cases, opens
from tests.fault.store_judge import finds_nothing_active, judge
from tests.fault.store_scenarios import SCENARIOS
from tests.fault.store_world import World

from aioruns import StoreUnavailable
from aioruns.stores.sqlite import _connections
from aioruns.testing import run_schedule

LEFT = [name for name, scenario in SCENARIOS.items() if scenario.closes and "does_not_end" not in name]
"""A coroutine that swallows every request to end keeps ``asyncio.run`` from ending, with or without us."""
TORN = 20.0
"""Virtual seconds within which a program ends whose event loop is torn down."""


class Program:
    """A program that opens a manager, and ends without closing it."""

    def __init__(self, case: Case, database: Path) -> None:
        self.case = case
        self.database = database

    async def main(self) -> None:
        scenario = SCENARIOS[self.case.scenario]
        self.loop = asyncio.get_running_loop()
        self.world = World(self.database, max_running=scenario.max_running)
        self.trouble = Trouble(self.world, self.case)
        if await opens(self.world, self.trouble):
            await scenario.act(self.world)
        self.left_at = self.loop.time()


def leave(case: Case, folder: Path, seed: int) -> bool:
    """Run a program, judge what it leaves, and return whether a call has failed."""
    program = Program(case, folder / "runs.db")
    folder.mkdir()
    try:
        with warnings.catch_warnings(), contextlib.suppress(StoreUnavailable):
            warnings.filterwarnings("ignore", "a RunManager was not closed", ResourceWarning)
            # Of the tasks that it cancels, asyncio.run reports those that end with an error: starts that failed.
            run_schedule(lambda _: program.main(), seed)
        took = program.loop.time() - program.left_at
        assert took < TORN, f"the event loop went on for {took:g} s"
        assert not _connections._open, "a connection was not closed"
        run_schedule(lambda _: finds_nothing_active(program.world), seed)
        judge(program.world, closed=True, rescued=program.trouble.lasts > 0)
        return program.trouble.came
    except BaseException as error:
        error.add_note(
            f"This was {case}; schedule {seed}. It is replayed by: leave({case!r}, tmp_path / 'case', {seed})"
        )
        raise
    finally:
        shutil.rmtree(folder)


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", LEFT)
def test_G8_whatever_call_of_the_store_fails_while_the_event_loop_is_torn_down_the_program_ends(
    scenario: str, tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    found = [case for case in cases(scenario, tmp_path / "case") if case.verb not in ("open", "aclose")]
    random.Random(scenario).shuffle(found)
    hits = 0
    for schedule in range(scale(quick=1, full=1, soak=100)):
        for number, case in enumerate(found[: scale(quick=6, full=len(found), soak=len(found))]):
            hits += leave(case, tmp_path / "case", 1000 * schedule + number)
    tally("calls of the store that failed in a teardown", hits)
    assert hits
