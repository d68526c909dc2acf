"""A function that blocks the event loop is found and reported, with its stack, while it blocks."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import pytest
from tests.bounds import patch_bounds
from tests.insides import block_watch
from tests.support import Puppet, eventually

from aioruns import RunManager, job

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_bounds(monkeypatch, block_watch_period=0.02, blocked_after=0.1)


def hold_still(records: pytest.LogCaptureFixture) -> None:
    """Block until the watch has said so."""
    deadline = time.monotonic() + 60
    while not any("has not turned" in record.getMessage() for record in records.records):
        assert time.monotonic() < deadline, "nobody has noticed"
        time.sleep(0.01)


async def logged(manager: RunManager, run_id: int) -> list[dict[str, str]]:
    return [event.data for event in await manager.read_events(run_id) if event.kind == "log"]


async def test_G11_a_run_that_blocks_the_event_loop_is_reported_while_it_does(
    manager: RunManager, caplog: pytest.LogCaptureFixture
) -> None:
    @job
    async def blocks() -> str:
        hold_still(caplog)
        return "went on"

    with caplog.at_level(logging.WARNING, logger="aioruns"):
        handle = await manager.start_run(blocks())
        assert await handle == "went on"
    [line] = await logged(manager, handle.id)
    assert line["level"] == "warning"
    assert "the event loop has not turned for" in line["message"]
    assert "in blocks\n" in line["traceback"]
    assert "in hold_still\n" in line["traceback"]
    assert "_running" not in line["traceback"], "our own frames are left out"
    [record] = caplog.records
    assert f"run {handle.id}, task 'aioruns-run-{handle.id}' blocks it" in record.getMessage()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before Python 3.12, tasks do not tell their context")
async def test_G11_a_task_of_a_run_that_blocks_is_reported_in_the_run(
    manager: RunManager, caplog: pytest.LogCaptureFixture
) -> None:
    @job
    async def leaves_it_to_a_task() -> None:
        async def child() -> None:
            hold_still(caplog)

        await asyncio.create_task(child())

    with caplog.at_level(logging.WARNING, logger="aioruns"):
        handle = await manager.start_run(leaves_it_to_a_task())
        await handle
    [line] = await logged(manager, handle.id)
    assert "in child\n" in line["traceback"]


async def test_G11_the_run_of_another_that_blocks_is_not_blamed(
    manager: RunManager, caplog: pytest.LogCaptureFixture
) -> None:
    puppet = Puppet()
    handle = await manager.start_run(puppet.job(1))
    await puppet.enters(1)
    with caplog.at_level(logging.WARNING, logger="aioruns"):
        hold_still(caplog)
    puppet.end(1)
    await handle
    assert await logged(manager, handle.id) == []
    [record] = caplog.records
    assert "no run of ours" in record.getMessage()


async def test_G11_the_watch_rests_while_no_run_executes_and_ends_with_its_manager(manager: RunManager) -> None:
    watch, puppet = block_watch(manager), Puppet()
    for part in (1, 2):
        handle = await manager.start_run(puppet.job(part))
        assert watch._wanted.is_set()
        puppet.end(part)
        await handle
        await eventually(lambda: not watch._wanted.is_set())
        assert watch._timer is None
    assert watch._thread.is_alive()
    await manager.aclose()
    await eventually(lambda: not watch._thread.is_alive())


async def test_G11_many_runs_that_end_in_one_turn_are_not_blamed(
    manager: RunManager, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All together take twice as long, and none of them lasts from one look to the next, also if it has to wait for a
    # processor.
    patch_bounds(monkeypatch, block_watch_period=0.1, blocked_after=0.4)
    go = asyncio.Event()

    @job
    async def does_a_little() -> None:
        await go.wait()
        time.sleep(0.02)

    handles = [await manager.start_run(does_a_little()) for _ in range(50)]
    with caplog.at_level(logging.WARNING, logger="aioruns"):
        go.set()
        await asyncio.gather(*handles)
    assert caplog.records == []
