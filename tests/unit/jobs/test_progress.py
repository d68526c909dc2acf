"""P1–P3: progress is stored while the run goes on, the newest always, cheaply, and never as nonsense."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.support import eventually, rows, turns

from aioruns import ConfigurationError, Progress, RunContext, RunManager, current_run, job
from aioruns._aio.events import CancelEvent

pytestmark = pytest.mark.asyncio


def stored_progress(database: Path) -> dict[str, Any] | None:
    (row,) = rows(database, "SELECT progress FROM runs")
    return None if row["progress"] is None else json.loads(row["progress"])


async def events_of(manager: RunManager, run_id: int, *kinds: str) -> list[Any]:
    return [event.data async for event in manager.stream_events(run_id) if event.kind in (kinds or ("progress",))]


async def say_in_run(manager: RunManager, say: Callable[[RunContext], object]) -> int:
    """Run a function of its context; return the run's id."""

    async def work() -> None:
        say(current_run())

    handle = await manager.start_run(work())
    await handle
    return handle.id


# While the run goes on


async def test_P1_progress_is_readable_from_another_connection_mid_run(manager: RunManager, database: Path) -> None:
    seen = asyncio.Event()

    async def work() -> None:
        current_run().set_progress(2, 5, step="extract", message="page 2")
        await seen.wait()

    handle = await manager.start_run(work())
    wanted = {"current": 2, "total": 5, "step": "extract", "message": "page 2"}
    await eventually(lambda: stored_progress(database) == wanted)
    assert (await manager.get_run(handle.id)).progress == Progress(2, 5, "extract", "page 2")
    seen.set()
    await handle
    assert (await manager.get_run(handle.id)).progress == Progress(2, 5, "extract", "page 2")


async def test_P1_progress_of_a_thread_is_readable_mid_run(manager: RunManager, database: Path) -> None:
    @job
    def work() -> None:
        current_run().set_progress(1, 2)
        current_run().wait_cancelled()

    handle = await manager.start_run(work())
    await eventually(lambda: stored_progress(database) is not None)
    await handle.cancel()
    await handle.wait()


@pytest.mark.parametrize("items", [[], [1]])
async def test_P2_step_is_published_before_its_work_even_with_nothing_to_do(
    manager: RunManager, database: Path, items: list[int]
) -> None:
    gate = asyncio.Event()

    class Gated:
        """Items that come when the step has been seen from outside."""

        def __len__(self) -> int:
            return len(items)

        async def __aiter__(self) -> AsyncIterator[int]:
            await gate.wait()
            for item in items:
                yield item

    async def work() -> None:
        async for _ in current_run().track(Gated(), step="extract"):
            pass

    handle = await manager.start_run(work())
    wanted = {"current": 0, "total": len(items), "step": "extract", "message": None}
    await eventually(lambda: stored_progress(database) == wanted)
    gate.set()
    await handle


async def test_P2_every_step_is_stored_however_fast_they_follow(manager: RunManager) -> None:
    def say(context: RunContext) -> None:
        for step in ("load", "extract", "write"):
            for _ in context.track(range(100), step=step):
                pass

    run_id = await say_in_run(manager, say)
    assert [(data["step"], data["current"]) for data in await events_of(manager, run_id)] == [
        ("load", 100),
        ("extract", 100),
        ("write", 100),
    ]


# What makes no sense


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ((7, 5), (5, 5)),
        ((-1, 5), (0, 5)),
        ((0, 0), (0, 0)),
        ((3, -5), (0, 0)),
        ((-3, None), (0, None)),
        ((2.5, 10), (2.5, 10)),
        ((True, True), (1, 1)),
        ((Decimal("1.5"), Fraction(5, 2)), (1.5, 2.5)),
        ((10**30, 10**31), (10**30, 10**31)),
    ],
)
async def test_P3_progress_is_held_between_nothing_and_the_total(
    manager: RunManager, given: Any, stored: tuple[float, float | None]
) -> None:
    run_id = await say_in_run(manager, lambda context: context.set_progress(*given))
    progress = (await manager.get_run(run_id)).progress
    assert progress is not None
    assert (progress.current, progress.total) == stored
    assert not {type(progress.current), type(progress.total)} & {bool, str}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 10**400, "3x", None, object(), Decimal("NaN")])
async def test_P3_progress_that_is_no_number_is_refused(manager: RunManager, number: Any) -> None:
    def say(context: RunContext) -> None:
        with pytest.raises(ConfigurationError, match="progress is made of finite numbers, not "):
            context.set_progress(number)
        if number is not None:
            with pytest.raises(ConfigurationError, match="progress is made of finite numbers, not "):
                context.set_progress(1, number)

    run_id = await say_in_run(manager, say)
    assert (await manager.get_run(run_id)).progress is None


async def test_P3_words_of_progress_are_cut_and_stored_as_they_can_be(manager: RunManager) -> None:
    run_id = await say_in_run(
        manager, lambda context: context.set_progress(1, step="x" * 10_000, message="\ud800\x00\x1b[31m🎉")
    )
    progress = (await manager.get_run(run_id)).progress
    assert progress is not None
    assert progress.step is not None
    assert len(progress.step) <= 512
    assert "characters cut" in progress.step
    assert progress.message == "\\ud800\x00\x1b[31m🎉"


async def test_P3_progress_after_the_end_changes_nothing(manager: RunManager) -> None:
    contexts: list[RunContext] = []

    def say(context: RunContext) -> None:
        context.set_progress(3, 4)
        contexts.append(context)

    run_id = await say_in_run(manager, say)
    run, events = await manager.get_run(run_id), await manager.read_events(run_id)
    contexts[0].set_progress(4, 4)
    await contexts[0].flush()
    assert await manager.get_run(run_id) == run
    assert await manager.read_events(run_id) == events


# Coalescing


async def test_G6_ten_thousand_calls_are_few_events_and_the_newest_is_stored(manager: RunManager) -> None:
    async def work() -> None:
        for number in range(1, 10_001):
            current_run().set_progress(number, 10_000)
            if number % 100 == 0:
                await turns(1)

    handle = await manager.start_run(work())
    await handle
    stored = [data["current"] for data in await events_of(manager, handle.id)]
    assert stored[-1] == 10_000
    assert stored == sorted(stored)
    assert len(stored) <= 102, "at most one for each turn of the event loop"


async def test_newest_progress_is_stored_while_the_run_sleeps(manager: RunManager, database: Path) -> None:
    end = asyncio.Event()

    async def work() -> None:
        for number in range(1, 1001):
            current_run().set_progress(number)
        await end.wait()

    handle = await manager.start_run(work())
    await eventually(lambda: (stored_progress(database) or {}).get("current") == 1000)
    end.set()
    await handle


async def test_progress_and_logs_keep_their_order_and_logs_are_never_coalesced(manager: RunManager) -> None:
    def say(context: RunContext) -> None:
        for number in range(300):
            context.log("info", str(number))
            context.set_progress(number + 1, step="extract")

    run_id = await say_in_run(manager, say)
    said = await events_of(manager, run_id, "progress", "log")
    assert [int(data["message"]) for data in said if "level" in data] == list(range(300))
    logged = 0
    for data in said:
        if "level" in data:
            logged += 1
        else:
            assert data["current"] == logged, "progress stands behind the lines that were said before it"


# Tracking


class Said:
    """Takes what a context says."""

    def __init__(self) -> None:
        self.progress: list[tuple[float, float | None, str | None]] = []

    def put(self, kind: str, data: str, *, droppable: bool) -> None:
        raise AssertionError(f"nothing but progress was to be said, not {kind} {data}")

    def put_progress(self, step: str | None, data: str) -> None:
        said = json.loads(data)
        self.progress.append((said["current"], said["total"], said["step"]))

    async def flush(self) -> None:
        return


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def context(said: Said) -> RunContext:
    return RunContext(1, key=None, attempt=1, cancel_event=CancelEvent(), sink=said)


def letters() -> Iterator[str]:
    yield from "ab"


async def async_letters() -> AsyncIterator[str]:
    for letter in "ab":
        yield letter


@pytest.mark.parametrize(
    ("make", "total"),
    [
        (lambda: "ab", 2),
        (lambda: ["a", "b"], 2),
        (lambda: {"a": 1, "b": 2}, 2),
        (letters, None),
        (lambda: iter("ab"), None),
    ],
)
async def test_track_gives_every_item_and_says_how_far(
    context: RunContext, said: Said, make: Callable[[], Any], total: int | None
) -> None:
    assert list(context.track(make(), step="extract")) == ["a", "b"]
    assert said.progress == [(done, total, "extract") for done in (0, 1, 2)]


async def test_track_goes_through_async_items(context: RunContext, said: Said) -> None:
    assert [item async for item in context.track(async_letters(), step="extract")] == ["a", "b"]
    assert said.progress == [(done, None, "extract") for done in (0, 1, 2)]


async def test_P2_track_says_its_step_before_the_first_item_is_fetched(context: RunContext, said: Said) -> None:
    def fetch() -> Iterator[int]:
        assert said.progress == [(0, None, "extract")]
        yield 1
        assert said.progress[-1] == (1, None, "extract")

    assert list(context.track(fetch(), step="extract")) == [1]


async def test_track_that_is_left_early_says_what_was_done(context: RunContext, said: Said) -> None:
    for item in context.track("abc"):
        if item == "b":
            break
    assert said.progress == [(0, 3, None), (1, 3, None)]


async def test_track_of_what_cannot_be_gone_through_raises_in_the_loop(context: RunContext) -> None:
    items: Any = 3
    with pytest.raises(TypeError):
        list(context.track(items))
