"""Group commit in thousands of schedules: whoever comes, gives up or tears the writer, all is stored once, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from tests.support import turns
from tests.unit.stores.ledger import Ledger

from aioruns.stores import _writer
from aioruns.stores._writer import GroupCommit
from aioruns.testing import run_schedules

pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


async def submit_and_give_up(chance: random.Random) -> None:
    """Let many hand operations in, one after another or at once; some of them are cancelled, and perhaps the writer."""
    ledger = Ledger()
    writer = GroupCommit(ledger.commit)
    submitted = ["first"]
    await writer.submit("first")  # so that its task is there to be torn

    async def submit(name: str) -> str:
        ledger.hop = chance.randrange(4)
        submitted.append(name)
        answer = await writer.submit(name)
        assert name in ledger.stored, "answered before it was stored"
        return answer

    async def client(name: int) -> None:
        for number in range(chance.randrange(1, 5)):
            await turns(chance.choice([0, 0, 1, 5, 20]))
            task = asyncio.ensure_future(submit(f"{name}.{number}"))
            if chance.random() < 0.3:
                await turns(chance.randrange(6))
                task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled() or task.result() == f"stored {name}.{number}"

    async def tear() -> None:
        await turns(chance.randrange(30))
        writer._task.cancel()

    others: list[Any] = [tear()] if chance.random() < 0.3 else []
    with mock.patch.object(_writer, "LARGEST", chance.choice([1, 2, 1000])):
        await asyncio.gather(*map(client, range(chance.choice([1, 2, 3, 10]))), *others)
        await writer.aclose()
    assert ledger.stored == submitted


def test_S3_operations_are_stored_once_and_in_order_in_every_schedule(
    scale: Callable[..., int], tally: Callable[..., None]
) -> None:
    tally(
        "schedules of group commit", run_schedules(submit_and_give_up, range(scale(quick=300, full=5000, soak=10**6)))
    )
