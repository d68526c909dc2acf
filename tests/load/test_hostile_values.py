"""Values, texts and exceptions that are too large, too deep, not text, or whose own code raises: none breaks a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tests.load.measure import MIB, resident
from tests.support import rows, statuses

from aioruns import ConfigurationError, Run, RunContext, RunManager, current_run, job

pytestmark = pytest.mark.asyncio

LARGE: Final = 10_000_000


def deep(levels: int = 100_000) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Unreadable:
    """Every look at it raises."""

    def __getattr__(self, name: str) -> Any:
        raise SystemExit(name)

    def __repr__(self) -> str:
        raise ValueError("no words")

    __str__ = __repr__


class Endless:
    """Its text never ends."""

    def __str__(self) -> str:
        return str(self)

    __repr__ = __str__


async def ended(manager: RunManager, work: Callable[[], Awaitable[Any]]) -> Run:
    """Run a function under a key to its end; see that the key is free afterwards, and that the row may be shown."""

    @job(name="hostile")
    async def play() -> Any:
        return await work()

    async with asyncio.timeout(60):
        run = await (await manager.start_run(play(), key="k")).wait()
    assert manager.current_run_id("k") is None
    for text in filter(None, (run.error, run.traceback)):
        assert len(text.encode()) <= 16 * 1024
        assert text.isprintable() or set(filter(lambda each: not each.isprintable(), text)) <= set("\n\t")
    assert len((run.error or "").encode()) <= 1024
    return run


# Lines

TEXTS: Final[dict[str, Any]] = {
    "large": "x" * LARGE,
    "NUL": "a\0" * 10_000,
    "lone surrogates": "\ud800\udfff" * 10_000,
    "ANSI escapes": "\x1b[31m\x1b[2J\x1b]0;title\x07" * 1_000,
    "many line ends": "\r\n" * (LARGE // 20),
    "bytes": b"\xff" * (LARGE // 20),
    "not text": Unreadable(),
    "endless": Endless(),
    "None": None,
}


@pytest.mark.parametrize("what", TEXTS)
async def test_G10_G12_whatever_is_logged_is_stored_within_its_limit(
    manager: RunManager, database: Path, what: str
) -> None:
    async def work() -> None:
        context = current_run()
        context.log("info", TEXTS[what], field=TEXTS[what])
        context.log("info", "behind it")

    assert (await ended(manager, work)).status == "completed"
    line, behind = rows(database, "SELECT data FROM events WHERE kind = 'log' ORDER BY seq")
    assert len(line["data"]) <= 128 * 1024
    assert len(json.loads(line["data"])["message"].encode()) <= 16 * 1024
    assert json.loads(behind["data"])["message"] == "behind it"


FIELDS: Final[dict[str, dict[str, Any]]] = {
    "large": {"text": "x" * LARGE},
    "many": {f"field{number}": number for number in range(100_000)},
    "a large name": {"x" * LARGE: 1},
    "deep": {"value": deep()},
    "circular": {"value": circular()},
    "not readable": {"value": Unreadable(), "list": [Unreadable()]},
    "endless": {"value": Endless()},
}


@pytest.mark.parametrize("what", FIELDS)
async def test_G10_whatever_the_fields_of_a_line_are_the_line_is_stored_within_its_limit(
    manager: RunManager, database: Path, what: str
) -> None:
    async def work() -> None:
        current_run().log("info", "a line", **FIELDS[what])

    assert (await ended(manager, work)).status == "completed"
    (line,) = rows(database, "SELECT data FROM events WHERE kind = 'log'")
    assert len(line["data"]) <= 128 * 1024
    assert json.loads(line["data"])["message"] == "a line"


# Arguments, results, events

VALUES: Final[dict[str, Callable[[], Any]]] = {
    "large": lambda: "x" * LARGE,
    "many": lambda: list(range(LARGE // 50)),
    "deep": deep,
    "circular": circular,
    "lone surrogates": lambda: "\ud800",
    "a large number": lambda: 10**5_000,
    "not readable": Unreadable,
    "a future": lambda: asyncio.get_running_loop().create_future(),
    "a function": lambda: deep,
}


@pytest.mark.parametrize("what", VALUES)
async def test_G5_a_result_that_cannot_be_stored_fails_the_run_and_says_why(manager: RunManager, what: str) -> None:
    async def work() -> Any:
        return VALUES[what]()

    run = await ended(manager, work)
    assert (run.status, run.result_json) == ("failed", None)
    assert "the result of run" in (run.error or "")


@pytest.mark.parametrize("what", VALUES)
async def test_G10_an_argument_that_cannot_be_stored_is_refused_and_nothing_is_written(
    manager: RunManager, database: Path, what: str
) -> None:
    @job
    async def take(value: Any) -> None:
        raise AssertionError("it has begun")

    with pytest.raises(ConfigurationError, match="argument"):
        await manager.start_run(take(VALUES[what]()), key="k")
    assert statuses(database) == {}
    assert manager.current_run_id("k") is None


@pytest.mark.parametrize("what", VALUES)
async def test_G10_an_event_that_cannot_be_stored_is_refused_and_the_run_goes_on(
    manager: RunManager, database: Path, what: str
) -> None:
    async def work() -> None:
        with pytest.raises(ConfigurationError, match="the data of event 'own'"):
            current_run().emit("own", VALUES[what]())
        current_run().emit("own", "behind it")

    assert (await ended(manager, work)).status == "completed"
    assert [row["data"] for row in rows(database, "SELECT data FROM events WHERE kind = 'own'")] == ['"behind it"']


# Exceptions


class Speechless(Exception):
    def __str__(self) -> str:
        raise SystemExit

    __repr__ = __str__


class Untouchable(Exception):
    """Even its class cannot be asked for."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Own(BaseException):
    pass


def recurse() -> int:
    return recurse() + 1


def chained(length: int) -> ValueError:
    error = ValueError(0)
    for number in range(1, length):
        cause, error = error, ValueError(number)
        error.__cause__ = cause
    return error


def nested(depth: int) -> Exception:
    error: Any = ValueError(0)
    for number in range(depth):
        error = ExceptionGroup(str(number), [error])
    return error


def cycle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "a message of 10 MB": lambda: ValueError("x" * LARGE),
    "paths and lines without end": lambda: ValueError("/home/me/a: b\n" * (LARGE // 140)),
    "1,000 arguments": lambda: ValueError(*["x" * 1_000] * 1_000),
    "NUL, surrogates, escapes": lambda: ValueError("\0\ud800\x1b[31m"),
    "a group of 10,000": lambda: ExceptionGroup("many", [ValueError(number) for number in range(10_000)]),
    "groups in groups": lambda: nested(500),
    "a group with an exit in it": lambda: BaseExceptionGroup("both", [Own(), KeyboardInterrupt(), ValueError()]),
    "a chain of 5,000": lambda: chained(5_000),
    "a chain that is a circle": cycle,
    "a __str__ that raises": Speechless,
    "attributes that raise": Untouchable,
    "a BaseException": Own,
    "a name of 1 MB": type("E" * (LARGE // 10), (Exception,), {}),
}


@pytest.mark.parametrize("what", ERRORS)
async def test_G12_whatever_is_raised_fails_the_run_and_is_stored_within_its_limit(
    manager: RunManager, what: str
) -> None:
    before = resident()

    async def work() -> None:
        raise ERRORS[what]()

    run = await ended(manager, work)
    assert run.status == "failed"
    assert run.error
    assert run.traceback
    assert resident() - before < 256 * MIB


async def test_G12_a_recursion_without_end_fails_the_run(manager: RunManager) -> None:
    async def work() -> int:
        return recurse()

    run = await ended(manager, work)
    assert run.status == "failed"
    assert (run.error or "").startswith("RecursionError: maximum recursion depth exceeded")


async def test_a_line_said_where_the_recursion_ends_fails_nothing_but_its_run(manager: RunManager) -> None:
    def fall(context: RunContext) -> None:
        try:
            fall(context)
        except RecursionError:
            context.log("info", "at the bottom")
            raise

    async def work() -> None:
        fall(current_run())

    run = await ended(manager, work)
    assert run.status == "failed"

    async def answer() -> int:
        return 42

    assert (await ended(manager, answer)).result_json == "42"
