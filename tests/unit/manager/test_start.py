"""Starting: what is refused before anything is written, who gets a key, and who shares a run."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.insides import idle
from tests.support import Puppet, rows, turns

from aioruns import (
    ConfigurationError,
    ManagerClosed,
    RunConflict,
    RunError,
    RunFilter,
    RunManager,
    RunNotFound,
    job,
)

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]


@job
async def take(value: Any) -> Any:
    return value


@job
async def take_number(number: int) -> int:
    return number


async def bare() -> str:
    return "bare"


# Bad input raises before a row exists, and closes a bare coroutine, so that Python does not warn about it.

BAD_OPTIONS: list[dict[str, Any]] = [
    {"key": ""},
    {"key": 3},
    {"key": "a\x00b"},
    {"key": "k" * 513},
    {"key": "\ud800"},
    {"key": None, "on_conflict": "join"},
    {"on_conflict": "wait"},
    {"on_conflict": None},
    {"idempotency_key": ""},
    {"timeout": -1},
    {"timeout": 0},
    {"timeout": math.nan},
    {"timeout": -math.inf},
    {"timeout": "5"},
    {"timeout": True},
    {"tags": "one"},
    {"tags": [""]},
    {"tags": [3]},
    {"tags": 3},
    {"tags": [["nested"]]},
    {"triggered_by": ""},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=repr)
async def test_bad_options_are_refused_and_no_row_is_written(
    manager: RunManager, database: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError):
        await manager.start_run(take(1), **{"key": "k", **options})
    coroutine = bare()
    with pytest.raises(ConfigurationError):
        await manager.start_run(coroutine, **{"key": "k", **options})
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert rows(database) == []


class Opaque:
    """Has no JSON form."""


class Raising:
    """Whose JSON form cannot be had."""

    def __fspath__(self) -> str:
        raise KeyboardInterrupt


RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)


@pytest.mark.parametrize(
    "value",
    [object(), Opaque(), Raising(), {1, object()}, RECURSIVE, "x" * 1_048_600, {("a", "b"): 1}, 2**70 * 1j, "\ud800"],
    ids=["object", "class", "raising", "nested", "recursive", "large", "key", "complex", "surrogate"],
)
async def test_arguments_that_cannot_be_stored_are_refused_and_no_row_is_written(
    manager: RunManager, database: Path, value: Any
) -> None:
    with pytest.raises(ConfigurationError, match="argument"):
        await manager.start_run(take(value), key="k")
    assert rows(database) == []


async def test_arguments_that_do_not_fit_their_hints_are_refused(manager: RunManager, database: Path) -> None:
    with pytest.raises(ConfigurationError, match="'number' does not survive being stored"):
        await manager.start_run(take_number("three"))  # type: ignore[arg-type]
    assert rows(database) == []


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        (take, r"call the job to say what to run: take\(…\)"),
        (42, "not int"),
        (None, "not NoneType"),
        ("take", "not str"),
        (bare, "declare the function with @job and call it"),
        (lambda: 3, "declare the function with @job and call it"),
    ],
)
async def test_what_is_no_call_is_refused(manager: RunManager, database: Path, what: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        await manager.start_run(what)
    assert rows(database) == []


async def test_a_task_is_refused_and_left_alone(manager: RunManager) -> None:
    task = asyncio.create_task(bare())
    with pytest.raises(ConfigurationError, match="not Task"):
        await manager.start_run(task)  # type: ignore[arg-type]
    assert await task == "bare"


async def test_a_coroutine_that_has_begun_is_refused_and_left_alone(manager: RunManager, database: Path) -> None:
    may_end = asyncio.Event()

    async def waits() -> str:
        await may_end.wait()
        return "not torn"

    coroutine = waits()
    task = asyncio.create_task(coroutine)
    await turns(2)
    with pytest.raises(ConfigurationError, match="has begun already"):
        await manager.start_run(coroutine)
    may_end.set()
    done, _ = await asyncio.wait((task,), timeout=1)
    assert done
    assert await task == "not torn"
    assert rows(database) == []


@pytest.mark.parametrize("state", ["before open", "while closing", "after close"])
async def test_a_manager_that_is_not_open_refuses_everything(database: Path, state: str) -> None:
    manager, puppet = RunManager(database, shutdown_grace=60), Puppet()
    if state != "before open":
        await manager.open()
    if state == "while closing":
        running = await manager.start_run(puppet.job(1))
        closing = asyncio.create_task(manager.aclose())
        await turns(3)
    elif state == "after close":
        await manager.aclose()

    coroutine = bare()
    for call in (take(1), coroutine):
        with pytest.raises(ManagerClosed):
            await manager.start_run(call)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    if state == "while closing":
        assert (await manager.get_run(running.id)).status == "running"  # pyright: ignore[reportPossiblyUnboundVariable]
        puppet.end(1)
        await closing  # pyright: ignore[reportGeneralTypeIssues, reportPossiblyUnboundVariable]
    for use in (
        manager.current_run_id,
        lambda: manager.get_handle(1),
        lambda: manager.stream_events(1),
        lambda: manager.get_run(1),
        lambda: manager.cancel_run(1),
        lambda: manager.wait_run(1),
        manager.list_runs,
        lambda: manager.read_events(1),
    ):
        with pytest.raises(ManagerClosed):
            await use()  # pyright: ignore[reportGeneralTypeIssues]
    assert not database.exists() or len(rows(database)) == (state == "while closing")


async def test_V2_an_unknown_status_in_a_filter_raises(manager: RunManager) -> None:
    with pytest.raises(ConfigurationError, match="'finished' is not a valid RunStatus; the statuses are pending, "):
        await manager.list_runs(RunFilter(status="finished"))


@pytest.mark.parametrize("options", [{"status": 42}, {"tags": 42}], ids=repr)
async def test_V2_a_filter_that_makes_no_sense_raises(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RunFilter(**options)


@pytest.mark.parametrize("run_id", ["1", 1.0, True, None])
async def test_what_is_no_id_is_told_from_an_unknown_id(manager: RunManager, run_id: Any) -> None:
    for verb in (manager.get_run, manager.cancel_run, manager.wait_run, manager.read_events):
        with pytest.raises(ConfigurationError):
            await verb(run_id)
        for unknown in (7, 0, -1, 2**70):
            with pytest.raises(RunNotFound) as refusal:
                await verb(unknown)
            assert refusal.value.run_id == unknown


# X1: N concurrent starts: one id, N-1 conflicts, one active row.


@pytest.mark.parametrize("managers", [1, 3])
async def test_X1_of_many_concurrent_starts_under_one_key_one_wins(
    open_manager: Open, database: Path, managers: int
) -> None:
    opened = [await open_manager() for _ in range(managers)]
    puppet = Puppet()
    starts = (opened[part % managers].start_run(puppet.job(part), key="k") for part in range(100))
    answers = await asyncio.gather(*starts, return_exceptions=True)

    conflicts = [answer for answer in answers if isinstance(answer, RunConflict)]
    [winner] = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(conflicts) == 99
    assert {(conflict.key, conflict.active_run_id) for conflict in conflicts} == {("k", winner.id)}
    assert [(row["id"], row["held_key"]) for row in rows(database)] == [(winner.id, "k")]
    await winner.cancel()
    await winner.wait()
    assert len(puppet.entered) == 1


async def test_X1_keys_exclude_only_themselves(manager: RunManager) -> None:
    puppet = Puppet()
    handles = [await manager.start_run(puppet.job(part), key=key) for part, key in enumerate(["a", "b", None, None])]
    assert [manager.current_run_id(key) for key in ("a", "b", "c")] == [handles[0].id, handles[1].id, None]


async def test_A2_busy_is_an_error_of_its_own(manager: RunManager) -> None:
    puppet = Puppet()
    first = await manager.start_run(puppet.job(1), key="k")
    with pytest.raises(RunConflict) as refusal:
        await manager.start_run(puppet.job(2), key="k")
    assert type(refusal.value).__mro__[1] is RunError
    assert (refusal.value.key, refusal.value.active_run_id) == ("k", first.id)
    assert not isinstance(refusal.value, RuntimeError)


async def test_a_bare_coroutine_that_meets_a_conflict_is_closed(manager: RunManager) -> None:
    await manager.start_run(Puppet().job(1), key="k")
    coroutine = bare()
    with pytest.raises(RunConflict):
        await manager.start_run(coroutine, key="k")
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


async def test_the_key_is_free_as_soon_as_the_result_is_there(manager: RunManager) -> None:
    for number in range(50):
        assert await (await manager.start_run(take(number), key="k")) == number


# Joining, and starts that have a name


async def test_join_gives_everybody_the_same_run(manager: RunManager, database: Path) -> None:
    puppet = Puppet()
    handles = await asyncio.gather(
        *(manager.start_run(puppet.job(part), key="k", on_conflict="join") for part in range(20))
    )
    assert {handle.id for handle in handles} == {1}
    value = {"the": "object"}
    [part] = puppet.entered or [0]
    puppet.end(part, value)
    assert all([await handle is value for handle in handles])
    assert len(rows(database)) == 1


async def test_a_handle_tells_what_its_start_left_in_the_store(open_manager: Open) -> None:
    here, there, puppet = await open_manager(), await open_manager(), Puppet()
    first = await here.start_run(puppet.job(1), key="k", idempotency_key="once")
    stored = await here.get_run(first.id)
    joined = await there.start_run(puppet.job(2), key="k", on_conflict="join")
    assert first.inserted == joined.inserted == stored
    assert here.get_handle(first.id).inserted is None
    puppet.end(1)
    await first
    assert first.inserted == stored, "it tells of the start, and stays as it was"
    again = await there.start_run(puppet.job(3), idempotency_key="once")
    assert again.inserted == await here.get_run(first.id) != stored


async def test_join_needs_the_same_job(manager: RunManager) -> None:
    puppet = Puppet()
    first = await manager.start_run(puppet.job(1), key="k")
    for call in (puppet.stubborn(1), bare()):
        with pytest.raises(RunConflict) as refusal:
            await manager.start_run(call, key="k", on_conflict="join")
        assert refusal.value.active_run_id == first.id


async def test_join_starts_where_nobody_holds_the_key(manager: RunManager) -> None:
    handle = await manager.start_run(take("mine"), key="k", on_conflict="join")
    assert await handle == "mine"
    assert (await manager.start_run(take("next"), key="k", on_conflict="join")).id == handle.id + 1


async def test_join_across_managers_gives_a_decoded_result(open_manager: Open) -> None:
    here, there, puppet = await open_manager(), await open_manager(), Puppet()
    first = await here.start_run(puppet.job(1), key="k")
    joined = await there.start_run(puppet.job(2), key="k", on_conflict="join")
    assert joined.id == first.id
    puppet.end(1, {"n": [1]})
    assert await joined == {"n": [1]}


async def test_an_idempotency_key_gives_the_first_run_while_it_runs_and_afterwards(
    open_manager: Open, database: Path
) -> None:
    manager, other, puppet = await open_manager(), await open_manager(), Puppet()
    first = await manager.start_run(puppet.job(1), key="k", idempotency_key="once")
    again = await manager.start_run(puppet.job(2), key="another", idempotency_key="once")
    elsewhere = await other.start_run(puppet.job(3), idempotency_key="once")
    puppet.end(1, "first")
    assert [await handle for handle in (first, again, elsewhere)] == ["first"] * 3
    later = await manager.start_run(puppet.job(4), key="k", idempotency_key="once")
    assert (later.id, await later) == (first.id, "first")
    assert len(rows(database)) == 1


async def test_an_idempotency_key_belongs_to_one_job(manager: RunManager, database: Path) -> None:
    await (await manager.start_run(take(1), idempotency_key="once"))
    for call in (take_number(1), bare()):
        with pytest.raises(ConfigurationError, match="belongs to run 1 of job 'take'"):
            await manager.start_run(call, idempotency_key="once")
    assert len(rows(database)) == 1


async def test_a_bare_coroutine_that_meets_its_own_earlier_start_is_closed(manager: RunManager) -> None:
    first = await manager.start_run(bare(), idempotency_key="once")
    assert await first == "bare"
    coroutine = bare()
    again = await manager.start_run(coroutine, idempotency_key="once")
    assert again.id == first.id
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert await again == "bare"


async def test_an_idempotency_key_comes_before_the_key(manager: RunManager) -> None:
    puppet = Puppet()
    first = await manager.start_run(puppet.job(1), key="a", idempotency_key="once")
    await manager.start_run(puppet.job(2), key="b")
    assert (await manager.start_run(puppet.job(3), key="b", idempotency_key="once")).id == first.id


async def test_what_a_start_says_is_stored(manager: RunManager, database: Path) -> None:
    handle = await manager.start_run(
        take({"a": [1]}), key="k", idempotency_key="i", timeout=5, tags=["y", "x", "y"], triggered_by="a test"
    )
    run = await handle.wait()
    assert (run.job, run.key, run.idempotency_key, run.timeout) == ("take", "k", "i", 5.0)
    assert (run.tags, run.triggered_by, run.attempt) == (("x", "y"), "a test", 1)
    assert (run.arguments, run.result) == ({"value": {"a": [1]}}, {"a": [1]})
    await idle(manager)
