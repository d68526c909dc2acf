"""Test jobs with pytest and pytest-asyncio: ``pytest test_with_pytest.py``."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from aioruns import RunCancelled, RunFailed, RunManager, current_run, job


@job
async def count_words(text: str) -> int:
    """Count the words of a text."""
    ctx = current_run()
    words = 0
    for line in ctx.track(text.splitlines(), step="lines"):
        await asyncio.sleep(0)  # the work
        words += len(line.split())
    if not words:
        raise ValueError("the text is empty")
    ctx.emit("counted", {"words": words})
    return words


@job
async def count_for_ever() -> None:
    """Count until somebody cancels it."""
    await asyncio.Event().wait()


@pytest_asyncio.fixture
async def manager(tmp_path: Path) -> AsyncIterator[RunManager]:
    """Open a manager on the test's own database; with ``shutdown_grace=0`` it closes at once."""
    async with RunManager(tmp_path / "runs.db", shutdown_grace=0) as manager:
        yield manager


@pytest.mark.asyncio
async def test_job_is_called_without_a_manager() -> None:
    """Await the call: the function itself needs no manager and no database."""
    assert await count_words("one two\nthree") == 3


@pytest.mark.asyncio
async def test_run_gives_the_result_and_keeps_a_record(manager: RunManager) -> None:
    """Await the handle for the result; then read the row and the events."""
    handle = await manager.start_run(count_words("one two\nthree"), key="text:1")
    assert await handle == 3

    run = await manager.get_run(handle.id)
    assert (run.status, run.result) == ("completed", 3)
    assert [event.data async for event in handle.events() if event.kind == "counted"] == [{"words": 3}]


@pytest.mark.asyncio
async def test_run_fails_with_the_exception_of_the_job(manager: RunManager) -> None:
    """Await the handle, which raises ``RunFailed`` with the job's own exception as its cause."""
    handle = await manager.start_run(count_words(""))
    with pytest.raises(RunFailed) as failed:
        await handle
    assert isinstance(failed.value.__cause__, ValueError)


@pytest.mark.asyncio
async def test_run_can_be_cancelled(manager: RunManager) -> None:
    """Cancel the run; when the handle raises ``RunCancelled``, the function has ended and the key is free."""
    handle = await manager.start_run(count_for_ever(), key="text:1")
    await handle.cancel(reason="enough")
    with pytest.raises(RunCancelled, match="enough"):
        await handle
    assert await manager.get_active_run("text:1") is None
