"""A seed replays a schedule exactly: every callback and every statement, in this process and in others."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.interleaving.judge import Schedules, World
from tests.interleaving.test_schedules_ends import close_among_starts, end_in_every_way
from tests.interleaving.test_schedules_starts import start_and_give_up, wait_in_line
from tests.interleaving.test_schedules_streams import subscribe_at_every_point
from tests.support import each_statement

from aioruns.testing import ShuffledEventLoop, run_schedule

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]

PLAYS = [start_and_give_up, wait_in_line, end_in_every_way, close_among_starts, subscribe_at_every_point]
ROOT = Path(__file__).parents[2]

Play = Callable[[World], Coroutine[Any, Any, Any]]


def trace(schedules: Schedules, play: Play, seed: int) -> list[str]:
    """Give the callbacks and the statements of a schedule, in order."""
    happened: list[str] = []

    async def scenario(chance: random.Random) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ShuffledEventLoop)
        loop.on_step = happened.append
        with schedules.world(chance) as world:
            await play(world)

    with each_statement(happened.append):
        run_schedule(scenario, seed)
    return happened


def digest(folder: Path, seeds: int) -> str:
    """Sum up the traces of many schedules."""
    schedules = Schedules(folder)
    lines = (line for play in PLAYS for seed in range(seeds) for line in trace(schedules, play, seed))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest_in_another_process(seeds: int, hash_seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    program = f"import {__name__} as replay; replay.print_digest({seeds})"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def print_digest(seeds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(digest(Path(folder), seeds))


def test_a_seed_replays_every_callback_and_every_statement(
    tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    schedules = Schedules(tmp_path)
    for play in PLAYS:
        orders: set[str] = set()
        for seed in range(seeds := scale(quick=10, full=60, soak=1000)):
            first = trace(schedules, play, seed)
            assert any("INSERT" in line for line in first)
            assert trace(schedules, play, seed) == first
            orders.add("\n".join(first))
        assert len(orders) == seeds
        tally("replayed schedules", seeds)


def test_a_seed_gives_the_same_schedule_in_every_process(
    tmp_path: Path, scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    seeds = scale(quick=5, full=30, soak=1000)
    here = digest(tmp_path, seeds)
    assert digest_in_another_process(seeds, hash_seed=1) == here
    assert digest_in_another_process(seeds, hash_seed=2) == here
    tally("replayed schedules", 2 * seeds * len(PLAYS))
