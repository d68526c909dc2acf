"""How an attempt ended, decided from what its function came to and what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support import now_micros
from tests.unit.running.executor_on_fake_store import gives, said
from tests.unit.running.roles_on_fake_store import live_run

from aioruns import Run, RunStatus, job, redact_secrets
from aioruns._running.live import LiveRun, Phase, Why
from aioruns._running.outcome import decide
from aioruns.abc import Ending

pytestmark = pytest.mark.asyncio


@job
async def build() -> None: ...


def ended(*asked: Why, result: Any = None, error: BaseException | None = None) -> LiveRun:
    """Make a run whose function was asked to end, and is over."""
    live = live_run(build())
    live.attach(
        Run(id=7, job="build", status=RunStatus.RUNNING, manager_id="m", timeout=5.0, created_at=datetime.now(UTC))
    )
    live.attempt.enter(Phase.LAUNCHED)
    live.attempt.enter(Phase.EXECUTING)
    for why in asked:
        if why is Why.CANCELLED:
            live.request_cancel(at=123, reason="enough")
        else:
            live.attempt.ask_to_end(why)
    live.attempt.result, live.attempt.error = result, error
    live.attempt.end()
    return live


def decided(live: LiveRun, *, stopping: bool = False, redact: Callable[[str], str] = redact_secrets) -> Ending:
    return decide(live, stopping=stopping, redact=redact)


C, T, X, LOST = Why.CANCELLED, Why.TIMED_OUT, Why.CLOSING, Why.LOST
RETURNED, RAISED, TORN = None, ValueError, asyncio.CancelledError


@pytest.mark.parametrize(
    ("asked", "error", "stopping", "status"),
    [
        # nobody asked
        ((), RETURNED, False, "completed"),
        ((), RAISED, False, "failed"),
        ((), TORN, False, "failed"),
        ((), RETURNED, True, "completed"),
        ((), RAISED, True, "failed"),
        ((), TORN, True, "interrupted"),
        # a user did, whoever did so too
        ((C,), TORN, False, "cancelled"),
        ((C,), RAISED, False, "cancelled"),
        ((C, T), TORN, False, "cancelled"),
        ((T, C), TORN, False, "cancelled"),
        ((C, X), TORN, True, "cancelled"),
        ((X, C), TORN, True, "cancelled"),
        # its time was over
        ((T,), TORN, False, "failed"),
        ((T,), RAISED, False, "failed"),
        ((T,), RETURNED, False, "completed"),
        # its manager did
        ((X,), TORN, True, "interrupted"),
        ((X,), RAISED, True, "interrupted"),
        ((X,), RETURNED, True, "completed"),
        ((T, X), TORN, True, "interrupted"),
        # it belongs to another manager: what is decided here is refused by the store
        ((LOST,), TORN, False, "failed"),
    ],
)
async def test_E1_how_a_run_ended_depends_on_what_its_function_came_to_and_who_asked(
    asked: tuple[Why, ...], error: type[BaseException] | None, stopping: bool, status: str
) -> None:
    live = ended(*asked, error=None if error is None else error("mine"))
    ending = decided(live, stopping=stopping)
    assert ending.status == status
    assert (ending.error is None) is (status in ("completed", "cancelled"))
    requested = (123, "enough") if Why.CANCELLED in asked else (None, None)
    assert (ending.cancel_requested_at, ending.cancel_reason) == requested
    assert abs(ending.at - now_micros()) < 60_000_000


async def test_a_result_is_stored_as_json_and_only_that_of_a_function_that_returned() -> None:
    assert decided(ended(result={"a": [1]})).result_json == '{"a":[1]}'
    assert decided(ended(result=1, error=ValueError())).result_json is None


async def test_a_result_that_cannot_be_stored_is_the_runs_failure() -> None:
    live = ended(result=object())
    ending = decided(live)
    assert (ending.status, ending.result_json) == ("failed", None)
    assert "the result of run 7" in str(ending.error)
    assert "_running" not in str(ending.traceback)
    assert live.attempt.error is not None


async def test_N3_a_cancellation_that_nobody_asked_for_says_so() -> None:
    ending = decided(ended(error=asyncio.CancelledError()))
    assert ending.error == "CancelledError: the task was cancelled, and not through cancel_run"


async def test_G8_a_run_that_its_manager_has_interrupted_says_so_and_has_no_traceback() -> None:
    ending = decided(ended(Why.CLOSING, error=asyncio.CancelledError()))
    assert (ending.error, ending.traceback) == ("the manager was closed before the run ended", None)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyError("in the clean-up")], ids=repr)
async def test_a_time_out_names_the_time_and_what_the_function_raised_instead(error: BaseException) -> None:
    live = ended(Why.TIMED_OUT, error=error)
    assert decided(live).error == "TimeoutError: the run was still executing after 5 s"
    assert isinstance(live.attempt.error, TimeoutError)
    assert live.attempt.error.__cause__ is (error if isinstance(error, KeyError) else None)


@pytest.mark.parametrize("why", [Why.CANCELLED, Why.CLOSING])
async def test_what_a_function_raised_that_was_asked_to_end_is_kept_as_a_warning_and_redacted(why: Why) -> None:
    live = ended(why, error=ValueError("hunter2"))
    (event,) = decided(live, redact=lambda text: text.replace("hunter2", "***")).events
    data = json.loads(event.data)
    assert (event.kind, data["level"]) == ("log", "warning")
    assert data["message"] == "asked to end, the function raised ValueError: ***"


async def test_a_cancellation_that_was_asked_for_is_not_worth_a_warning() -> None:
    for why in (Why.CANCELLED, Why.CLOSING):
        assert said(decided(ended(why, error=asyncio.CancelledError()))) == ""


async def test_what_was_said_and_is_not_stored_goes_with_the_end_and_the_outbox_closes() -> None:
    live = ended()
    live.attempt.context.log("info", "the last words")
    assert "the last words" in said(decided(live))
    assert live.attempt.outbox.closed


class Hostile(Exception):
    """Raises when its class is looked at, a number of times, as an interrupt from the keyboard may."""

    times = 0

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.times:
            self.times -= 1
            raise KeyboardInterrupt
        return Hostile


async def test_E5_an_interrupt_while_the_end_is_decided_changes_nothing() -> None:
    error = Hostile("mine")
    error.times = 1
    ending = decided(ended(error=error))
    assert error.times == 0
    assert (ending.status, ending.error) == ("failed", "Hostile: mine")


async def test_E5_an_exception_that_cannot_be_looked_at_is_the_runs_failure(caplog: pytest.LogCaptureFixture) -> None:
    error = Hostile("mine")
    error.times = 1000
    live = ended(error=error)
    ending = decided(live)
    assert (ending.status, ending.result_json) == ("failed", None)
    assert str(ending.error).endswith("ended with a value or an exception that cannot be looked at")
    assert isinstance(live.attempt.error, RuntimeError)
    [record] = caplog.records
    assert record.args == (7,)


async def test_the_end_of_a_run_that_never_began_is_decided_like_any_other() -> None:
    coroutine = gives()
    live = live_run(coroutine, ended().run)
    live.attempt.error = MemoryError("no room for a task")
    live.attempt.end()
    ending = decided(live)
    assert (ending.status, ending.error) == ("failed", "MemoryError: no room for a task")
    live.work.discard()
