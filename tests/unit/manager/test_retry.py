"""Starting a run once more that has ended."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import Puppet, rows, statuses

from aioruns import ConfigurationError, ManagerClosed, RunConflict, RunFailed, RunManager, RunNotFound, job

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]

fails = [True]


@job(timeout=3)
async def build(first: int, /, *rest: int, where: Path, **more: float) -> str:
    if fails[0]:
        raise ValueError("no")
    return f"{first} {rest} {where} {more}"


@pytest.fixture(autouse=True)
def broken() -> None:
    fails[0] = True


async def test_a_failed_run_is_started_once_more_with_all_that_it_was_given(open_manager: Open) -> None:
    manager: RunManager = await open_manager(jobs=[build])
    handle = await manager.start_run(
        build(1, 2, 3, where=Path("a"), b=4.5),
        key="k",
        idempotency_key="once",
        timeout=5,
        tags=["blue", "red"],
        triggered_by="cron",
    )
    with pytest.raises(RunFailed):
        await handle
    fails[0] = False
    again = await manager.retry_run(handle.id, triggered_by="someone")
    assert await again == "1 (2, 3) a {'b': 4.5}"
    old, new = await manager.get_run(handle.id), await manager.get_run(again.id)
    assert (old.status, old.retry_of) == ("failed", None)
    assert new.id != old.id
    assert (new.status, new.retry_of, new.attempt) == ("completed", old.id, 1)
    for field in ("job", "key", "timeout", "tags", "arguments_json"):
        assert getattr(new, field) == getattr(old, field), field
    assert (new.triggered_by, new.idempotency_key) == ("someone", None)
    assert await manager.list_runs() == [new, old]


@pytest.mark.parametrize(("given", "stored"), [(None, 3.0), (math.inf, None), (7, 7.0)])
async def test_it_has_the_timeout_that_the_first_one_had(
    open_manager: Open, given: float | None, stored: float | None
) -> None:
    manager: RunManager = await open_manager(jobs=[build])
    handle = await manager.start_run(build(1, where=Path()), timeout=given)
    await handle.wait()
    again = await manager.retry_run(handle.id)
    assert [run.timeout for run in await manager.list_runs()] == [stored, stored]
    await again.wait()


async def test_a_retry_can_be_retried_and_names_the_run_that_it_is_of(open_manager: Open) -> None:
    manager: RunManager = await open_manager(jobs=[build])
    handle = await manager.start_run(build(1, where=Path()))
    for _ in range(2):
        await handle.wait()
        handle = await manager.retry_run(handle.id)
    await handle.wait()
    assert [run.retry_of for run in await manager.list_runs()] == [2, 1, None]


async def test_a_run_of_another_manager_is_started_once_more_here(open_manager: Open) -> None:
    manager, other = await open_manager(), await open_manager(jobs=[build])
    handle = await manager.start_run(build(1, where=Path()))
    await handle.wait()
    fails[0] = False
    assert await (await other.retry_run(handle.id)) == "1 () . {}"


async def test_a_run_that_has_not_ended_is_refused(open_manager: Open, database: Path) -> None:
    puppet = Puppet()
    manager: RunManager = await open_manager(jobs=[puppet.job])
    handle = await manager.start_run(puppet.job(1))
    with pytest.raises(ConfigurationError, match="run 1 is running"):
        await manager.retry_run(handle.id)
    puppet.end(1)
    await handle
    assert statuses(database) == {1: "completed"}


async def test_a_bare_coroutine_is_refused(open_manager: Open, database: Path) -> None:
    async def build() -> None: ...

    manager: RunManager = await open_manager()
    await (await manager.start_run(build()))
    with pytest.raises(ConfigurationError, match="run 1 was a bare coroutine"):
        await manager.retry_run(1)
    assert len(rows(database)) == 1


async def test_a_job_that_is_not_known_here_is_refused(open_manager: Open, database: Path) -> None:
    manager: RunManager = await open_manager()
    await (await manager.start_run(build(1, where=Path()))).wait()
    with pytest.raises(ConfigurationError, match=r"no job is called 'build'.*Name it in RunManager"):
        await manager.retry_run(1)
    assert len(rows(database)) == 1


async def test_arguments_that_the_job_does_not_take_any_more_are_named(open_manager: Open, database: Path) -> None:
    @job(name="build")
    async def rewritten(first: str, *, where: Path, how: str) -> None: ...

    manager: RunManager = await open_manager()
    await (await manager.start_run(build(1, where=Path()))).wait()
    later: RunManager = await open_manager(jobs=[rewritten])
    with pytest.raises(ConfigurationError, match="'first': Expected `str`, got `int`; 'how': is required"):
        await later.retry_run(1)
    assert len(rows(database)) == 1


async def test_G2_its_key_must_be_free(open_manager: Open, database: Path) -> None:
    puppet = Puppet()
    manager: RunManager = await open_manager(jobs=[build])
    await (await manager.start_run(build(1, where=Path()), key="k")).wait()
    holder = await manager.start_run(puppet.job(1), key="k")
    with pytest.raises(RunConflict) as conflict:
        await manager.retry_run(1)
    assert conflict.value.active_run_id == holder.id
    puppet.end(1)
    await holder
    await (await manager.retry_run(1)).wait()
    assert list(statuses(database).values()) == ["failed", "completed", "failed"]


async def test_a_run_that_does_not_exist_is_not_found(open_manager: Open) -> None:
    manager: RunManager = await open_manager(jobs=[build])
    with pytest.raises(RunNotFound):
        await manager.retry_run(1)
    with pytest.raises(ConfigurationError):
        await manager.retry_run("1")  # type: ignore[arg-type]


async def test_who_starts_it_is_checked(open_manager: Open, database: Path) -> None:
    manager: RunManager = await open_manager(jobs=[build])
    await (await manager.start_run(build(1, where=Path()))).wait()
    with pytest.raises(ConfigurationError, match="triggered_by"):
        await manager.retry_run(1, triggered_by="")
    assert len(rows(database)) == 1


async def test_a_closed_manager_retries_nothing(open_manager: Open) -> None:
    manager: RunManager = await open_manager(jobs=[build])
    await manager.aclose()
    with pytest.raises(ManagerClosed):
        await manager.retry_run(1)


async def test_the_jobs_of_a_manager_are_shown_by_name_and_cannot_be_changed(database: Path) -> None:
    manager = RunManager(database, jobs=[build])
    assert dict(manager.jobs) == {"build": build}
    with pytest.raises(TypeError):
        manager.jobs["other"] = build  # type: ignore[index]
