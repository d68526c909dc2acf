"""Test a job in many orders: ``pytest test_with_schedules.py``."""

import asyncio
import contextlib
import random

from aioruns import RunAlreadyFinished, RunManager, job
from aioruns.testing import run_schedules

accounts: dict[str, int] = {}


@job
async def move(amount: int) -> None:
    """Move money from one account to the other, or not at all."""
    accounts["one"] -= amount
    try:
        await asyncio.sleep(1)  # the bank is slow
    except asyncio.CancelledError:
        accounts["one"] += amount
        raise
    accounts["other"] += amount


async def cancel_while_moving(chance: random.Random) -> None:
    """Cancel before, while or after the money moves; no money is lost, and the run's status is true."""
    accounts.update(one=100, other=0)
    async with RunManager(":memory:") as manager:
        handle = await manager.start_run(move(10))
        await asyncio.sleep(chance.choice([0, 0.5, 1]))
        with contextlib.suppress(RunAlreadyFinished):
            await handle.cancel()
        run = await handle.wait()
    assert sum(accounts.values()) == 100
    assert (run.status == "completed") == (accounts["other"] == 10)


def test_no_money_is_lost_in_any_order() -> None:
    """Try a hundred orders; a failure names the seed that replays it."""
    run_schedules(cancel_while_moving, range(100))
