"""E4, G10: what a run sees of itself and says, from its tasks and threads, whatever it says, and however much."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest
from tests.bounds import MAX_DATA, MAX_LINE, patch_bounds
from tests.support import eventually, turns

from aioruns import (
    ConfigurationError,
    RunCancelled,
    RunContext,
    RunManager,
    current_run,
    job,
)

pytestmark = pytest.mark.asyncio


async def said(manager: RunManager, run_id: int, kind: str = "log") -> list[Any]:
    return [event.data async for event in manager.stream_events(run_id) if event.kind == kind]


async def say_in_run(manager: RunManager, say: Callable[[RunContext], object]) -> int:
    """Run a function of its context; return the run's id."""

    async def work() -> None:
        say(current_run())

    handle = await manager.start_run(work())
    await handle
    return handle.id


async def say_line(manager: RunManager, say: Callable[[RunContext], object]) -> Any:
    """Run a function that says one line; return what is stored of it."""
    (line,) = await said(manager, await say_in_run(manager, say))
    return line


# Where the context is


async def test_context_knows_its_run(manager: RunManager) -> None:
    contexts: list[RunContext] = []

    async def work() -> None:
        contexts.append(current_run())

    handle = await manager.start_run(work(), key="project:3")
    await handle
    (context,) = contexts
    assert (context.id, context.key, context.attempt, context.cancel_requested) == (handle.id, "project:3", 1, False)
    assert repr(context) == f"<RunContext of run {handle.id}, attempt 1>"


async def test_C2_context_is_that_of_the_own_run_in_tasks_and_threads(manager: RunManager) -> None:
    async def child() -> int:
        await turns(3)
        return current_run().id

    async def work() -> list[int]:
        own: list[int] = []
        copied = contextvars.copy_context()
        thread = threading.Thread(target=copied.run, args=(lambda: own.append(current_run().id),))
        thread.start()
        own += await asyncio.gather(
            child(),
            asyncio.create_task(child()),
            asyncio.to_thread(lambda: current_run().id),
            anyio.to_thread.run_sync(lambda: current_run().id),
        )
        await asyncio.to_thread(thread.join)
        return own

    @job
    def in_thread() -> list[int]:
        return [current_run().id]

    handles = [await manager.start_run(work()) for _ in range(3)] + [await manager.start_run(in_thread())]
    for handle in handles:
        assert set(await handle) == {handle.id}


async def test_code_outside_a_run_is_told_what_to_do(manager: RunManager) -> None:
    with pytest.raises(ConfigurationError, match=r"outside a run.*start_run.*contextvars\.copy_context\(\)\.run"):
        current_run()

    async def work() -> None:
        failed: list[bool] = []

        def look() -> None:
            with pytest.raises(ConfigurationError):
                current_run()
            failed.append(True)

        thread = threading.Thread(target=look)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert failed

    await (await manager.start_run(work()))


async def test_job_awaited_outside_a_run_has_a_context_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    @job
    async def work(items: list[int]) -> int:
        context = current_run()
        context.raise_if_cancelled()
        context.emit("own", {"n": 1})
        for _ in context.track(items):
            pass
        await context.flush()
        return context.id

    @job
    def in_thread() -> tuple[int, bool]:
        return current_run().id, current_run().wait_cancelled(0)

    with caplog.at_level(logging.INFO, "aioruns.detached"):
        assert await work([1, 2]) == 0
        assert await in_thread() == (0, False)
    assert [record.getMessage() for record in caplog.records] == ['own {"n":1}']
    with pytest.raises(ConfigurationError):
        current_run()


async def test_job_awaited_inside_a_run_shares_its_context(manager: RunManager) -> None:
    @job
    async def inner() -> None:
        current_run().log("info", "inner")

    @job
    async def outer() -> None:
        await inner()
        current_run().log("info", "outer")

    handle = await manager.start_run(outer())
    await handle
    assert [line["message"] for line in await said(manager, handle.id)] == ["inner", "outer"]


# Cancel


async def test_C5_cancel_is_seen_by_an_async_job(manager: RunManager) -> None:
    seen: list[object] = []

    @job(cancel_grace=60)
    async def work() -> None:
        context = current_run()
        context.raise_if_cancelled()
        seen.append(await context.cancel_event.wait())
        seen.append(context.cancel_requested)
        context.raise_if_cancelled()

    handle = await manager.start_run(work())
    await turns(2)
    await handle.cancel()
    with pytest.raises(RunCancelled):
        await handle
    assert seen == [True, True]


async def test_C5_cancel_is_seen_by_a_thread(manager: RunManager) -> None:
    seen: list[object] = []

    @job
    def work() -> None:
        context = current_run()
        seen.append(context.wait_cancelled(0))
        with pytest.raises(ConfigurationError, match=r"use ctx\.wait_cancelled\(timeout\)"):
            _ = context.cancel_event.wait()
        seen.append(context.wait_cancelled())
        seen.append(context.wait_cancelled(0))
        context.raise_if_cancelled()

    handle = await manager.start_run(work())
    await eventually(lambda: seen)
    await handle.cancel()
    with pytest.raises(RunCancelled):
        await handle
    assert seen == [False, True, True]


async def test_C5_cancel_event_cannot_be_awaited_on_an_event_loop_of_a_threads_own(manager: RunManager) -> None:
    """It would wait for good: what wakes it is not of its loop."""

    @job
    def work() -> str:
        context = current_run()

        async def inside() -> str:
            assert not context.wait_cancelled(0), "this blocks no event loop of ours"
            with pytest.raises(ConfigurationError, match=r"use ctx\.wait_cancelled\(timeout\)"):
                _ = context.cancel_event.wait()
            return "refused"

        return asyncio.run(inside())

    assert await (await manager.start_run(work())) == "refused"


async def test_G11_wait_that_would_block_the_event_loop_is_refused(manager: RunManager) -> None:
    def say(context: RunContext) -> None:
        with pytest.raises(ConfigurationError, match=r"await ctx\.cancel_event\.wait\(\)"):
            context.wait_cancelled(3600)

    await say_in_run(manager, say)


@pytest.mark.parametrize("threaded", [False, True])
async def test_G3_stack_of_a_function_that_does_not_end_is_logged(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch, threaded: bool
) -> None:
    patch_bounds(monkeypatch, report_after=0.0)
    end, end_of_thread = asyncio.Event(), threading.Event()

    async def the_inner_function() -> None:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    async def work() -> None:
        await the_inner_function()

    @job
    def in_thread() -> None:
        def the_inner_function() -> None:
            end_of_thread.wait()

        the_inner_function()

    handle = await manager.start_run(in_thread() if threaded else work())
    await turns(2)
    await handle.cancel()

    async def reported() -> list[str]:
        events = await manager.read_events(handle.id)
        return [event.data["traceback"] for event in events if event.kind == "log"]

    try:
        (stack,) = await eventually(reported)
    finally:
        end.set()
        end_of_thread.set()
    await handle
    assert ", in the_inner_function\n" in stack


# Own events


@pytest.mark.parametrize("kind", ["own", "a", "A.b:c_d-9", "größe", "x" * 64])
async def test_own_event_is_stored_as_it_was_said(manager: RunManager, kind: str) -> None:
    data = {"text": "\x00\u2028\x1b[31m🎉é", "number": 2**70, "float": 0.1, "nested": [{"": None}, True]}
    run_id = await say_in_run(manager, lambda context: context.emit(kind, data))
    assert await said(manager, run_id, kind) == [data]


@pytest.mark.parametrize("kind", ["", "status", "log", "progress", "step", "9a", "a b", "a\n", "x" * 65, "-a", "a\x00"])
async def test_own_event_of_a_kind_that_is_not_allowed_is_refused(manager: RunManager, kind: str) -> None:
    def say(context: RunContext) -> None:
        with pytest.raises(ConfigurationError, match=r"is not allowed: start with a letter.* leave log, progress"):
            context.emit(kind, 1)

    assert [event.kind for event in await manager.read_events(await say_in_run(manager, say))] == ["status"] * 2


@pytest.mark.parametrize("data", [object(), "\ud800", {"a": {1: object()}}, "x" * (MAX_DATA - 1)])
async def test_own_event_that_cannot_be_stored_is_refused(manager: RunManager, data: object) -> None:
    def say(context: RunContext) -> None:
        context.emit("own", "x" * (MAX_DATA - 2))
        with pytest.raises(ConfigurationError, match=r"the data of event 'own' (cannot be stored|takes 65,537 bytes)"):
            context.emit("own", data)

    assert len(await said(manager, await say_in_run(manager, say), "own")) == 1


# Log lines


@pytest.mark.parametrize(
    ("level", "stored"),
    [("info", "info"), ("WARNING", "warning"), ("Critical", "critical"), (10, "debug"), (25, "level 25")],
)
async def test_level_is_stored_in_lower_case(manager: RunManager, level: str | int, stored: str) -> None:
    assert (await say_line(manager, lambda context: context.log(level, "a")))["level"] == stored


async def test_unknown_level_is_refused(manager: RunManager) -> None:
    def say(context: RunContext) -> None:
        with pytest.raises(ConfigurationError, match="the log level 'loud' is unknown; the levels are critical,"):
            context.log("loud", "a")

    await say_in_run(manager, say)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("a\x00b", "a\x00b"),
        ("a\ud800b", "a\\ud800b"),
        ("\x1b[31mred\x1b[0m\r\n\u2028", "\x1b[31mred\x1b[0m\r\n\u2028"),
        ("", ""),
        ("🎉" * 4096, "🎉" * 4096),
        (3, "3"),
    ],
)
async def test_any_text_is_stored(manager: RunManager, text: Any, stored: str) -> None:
    assert await say_line(manager, lambda context: context.log("info", text)) == {"level": "info", "message": stored}


@pytest.mark.parametrize("character", ["x", "é", "\x00", '"', "\ud800"])
async def test_G10_line_of_ten_megabytes_is_cut_and_says_so(manager: RunManager, character: str) -> None:
    text = f"first {character * 10_000_000} last"
    line = await say_line(manager, lambda context: context.log("info", text))
    assert len(line["message"].encode()) <= MAX_LINE
    assert line["message"].startswith("first ")
    assert line["message"].endswith(" last")
    assert "characters cut" in line["message"]
    assert line["cut"] == len(text.encode(errors="backslashreplace").decode())


class Unshowable:
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


async def test_fields_are_stored_as_values_or_else_as_their_repr(manager: RunManager) -> None:
    line = await say_line(manager, lambda context: context.log("info", "a", pages=3, names=["x"], nothing=None))
    assert line["fields"] == {"pages": 3, "names": ["x"], "nothing": None}
    line = await say_line(manager, lambda context: context.log("info", "a", pages=3, thing={1, Unshowable}, x="\ud800"))
    assert line["fields"]["pages"] == "3"
    assert "Unshowable" in line["fields"]["thing"]
    assert line["fields"]["x"] == "'\\ud800'"


async def test_G12_raising_str_or_repr_cannot_break_a_line(manager: RunManager) -> None:
    unshowable: Any = Unshowable()
    line = await say_line(manager, lambda context: context.log("info", unshowable, thing=unshowable))
    assert line == {"level": "info", "message": "<Unshowable>", "fields": {"thing": "<Unshowable>"}}


async def test_G10_large_fields_are_cut_and_too_many_are_counted(manager: RunManager) -> None:
    line = await say_line(manager, lambda context: context.log("info", "a", large="x" * 1_000_000, small=1))
    assert len(line["fields"]["large"]) <= 1024
    assert "characters cut" in line["fields"]["large"]
    many = {f"field{number}": "x" * 1000 for number in range(100)}
    line = await say_line(manager, lambda context: context.log("info", "a", **many))
    assert line == {"level": "info", "message": "a", "fields_cut": 100}


async def test_G12_line_of_nothing_but_characters_that_are_escaped_is_stored(manager: RunManager) -> None:
    line = await say_line(manager, lambda context: context.log("info", "\x01" * MAX_LINE))
    assert line["message"] == "\x01" * MAX_LINE
