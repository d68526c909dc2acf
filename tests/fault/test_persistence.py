"""The commit that ends a run fails once, before or after it has happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import rows, turns

from aioruns import RunManager, StoreUnavailable, job
from aioruns.stores import SQLiteStore

pytestmark = pytest.mark.asyncio


@job
async def work() -> str:
    return "done"


@pytest.mark.parametrize("happened", [False, True])
async def test_F2_one_failing_commit_still_persists_the_end_and_what_is_stored_is_not_stored_again(
    open_manager: Callable[..., Awaitable[RunManager]], database: Path, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    store = SQLiteStore(database)
    finish, calls = store.finish_run, 0

    async def fail_once(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            return await finish(*arguments)
        if happened:
            await finish(*arguments)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(store, "finish_run", fail_once)
    manager = await open_manager(store)
    handle = await manager.start_run(work())
    assert await handle == "done"
    await turns(50)
    assert calls == 2
    assert [run["status"] for run in rows(database)] == ["completed"]
    events = rows(database, "SELECT seq, json_extract(data, '$.status') FROM events ORDER BY seq")
    assert [tuple(event) for event in events] == [(1, "running"), (2, "completed")]
