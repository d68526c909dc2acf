"""An attempt: its phases, and how its function is asked to end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.bounds import patch_bounds
from tests.support import eventually, turns
from tests.unit.running.roles_on_fake_store import live_run

from aioruns import ManagerClosed, Run, RunStatus, StoreUnavailable, job, redact_secrets
from aioruns._aio.threads import Thread
from aioruns._jobs.work import Work
from aioruns._running.live import NEXT, Attempt, LiveRun, Phase, Why
from aioruns._running.outbox import Budget
from aioruns.abc import Fence

pytestmark = pytest.mark.asyncio

W, L, E, END = Phase.WAITING, Phase.LAUNCHED, Phase.EXECUTING, Phase.OVER
ALLOWED = {(W, L), (W, END), (L, E), (L, END), (E, END)}


class FakeRunner:
    """Notes how often its function is cancelled."""

    thread: Thread | None = None

    def __init__(self) -> None:
        self.cancelled = 0

    def run(self, work: Work) -> Awaitable[Any]:
        raise NotImplementedError

    def cancel(self) -> None:
        self.cancelled += 1

    def stack(self) -> str:
        return "where it stands\n"


def attempt_in(phase: Phase, runner: FakeRunner | None = None) -> Attempt:
    attempt = Attempt(budget=Budget(on_filled=lambda _: None), redact=redact_secrets)
    for step in {W: (), L: (L,), E: (L, E), END: (L, E, END)}[phase]:
        attempt.enter(step)
    attempt.runner = runner
    return attempt


def said(attempt: Attempt) -> str:
    return "\n".join(event.data for event in attempt.outbox.take())


# Phases


@pytest.mark.parametrize("after", Phase)
@pytest.mark.parametrize("before", Phase)
async def test_an_attempt_goes_through_its_phases_in_their_order_and_no_other_way(before: Phase, after: Phase) -> None:
    attempt = attempt_in(before)
    assert (after in NEXT[before]) is ((before, after) in ALLOWED)
    if (before, after) in ALLOWED:
        attempt.enter(after)
        assert attempt.phase is after
    else:
        with pytest.raises(RuntimeError, match=f"an attempt that is {before.value} cannot become {after.value}"):
            attempt.enter(after)
        assert attempt.phase is before
    assert attempt.over is (attempt.phase is Phase.OVER)


async def test_the_table_knows_every_phase_and_the_last_one_is_never_left() -> None:
    assert set(NEXT) == set(Phase)
    assert [phase for phase, following in NEXT.items() if not following] == [Phase.OVER]


@pytest.mark.parametrize("phase", Phase)
async def test_an_attempt_can_be_ended_in_every_phase_also_again(phase: Phase) -> None:
    attempt = attempt_in(phase)
    attempt.end()
    attempt.end()
    assert attempt.over


# Asking the function to end


@pytest.mark.parametrize("phase", [W, L])
async def test_N1_before_its_task_has_taken_its_first_step_the_event_alone_asks(phase: Phase) -> None:
    attempt = attempt_in(phase, runner := FakeRunner())
    attempt.ask_to_end(Why.CANCELLED)
    assert attempt.cancel_event.is_set()
    assert (runner.cancelled, attempt.asked) == (0, (Why.CANCELLED,))


async def test_C6_a_function_that_executes_is_cancelled_at_once_and_again_when_it_is_asked_again() -> None:
    attempt = attempt_in(E, runner := FakeRunner())
    for count, why in enumerate((Why.CANCELLED, Why.CLOSING, Why.LOST), 1):
        attempt.ask_to_end(why)
        assert runner.cancelled == count
    assert attempt.cancel_event.is_set()
    assert attempt.asked == (Why.CANCELLED, Why.CLOSING, Why.LOST)


async def test_a_function_that_is_over_is_asked_nothing_but_the_reason_is_noted() -> None:
    attempt = attempt_in(END, runner := FakeRunner())
    attempt.ask_to_end(Why.LOST)
    attempt.ask_to_end(Why.CANCELLED, grace=0.001)
    assert (runner.cancelled, attempt.cancel_event.is_set()) == (0, False)
    assert attempt.asked == (Why.LOST, Why.CANCELLED)
    assert (attempt._grace, attempt._report) == (None, None)


async def test_a_function_has_its_grace_and_no_more_time_when_it_is_asked_again() -> None:
    attempt = attempt_in(E, runner := FakeRunner())
    attempt.ask_to_end(Why.CANCELLED, grace=0.01)
    grace = attempt._grace
    attempt.ask_to_end(Why.CANCELLED, grace=1000)
    assert attempt.cancel_event.is_set()
    assert (runner.cancelled, attempt._grace) == (0, grace)
    await eventually(lambda: runner.cancelled)
    assert attempt._grace is None


async def test_whoever_gives_no_grace_ends_the_grace_of_another() -> None:
    attempt = attempt_in(E, runner := FakeRunner())
    attempt.ask_to_end(Why.CANCELLED, grace=1000)
    grace = attempt._grace
    assert grace is not None
    attempt.ask_to_end(Why.CLOSING)
    assert (runner.cancelled, grace.cancelled(), attempt._grace) == (1, True, None)


async def test_a_function_that_ends_in_its_grace_is_not_cancelled_afterwards() -> None:
    attempt = attempt_in(E, runner := FakeRunner())
    attempt.ask_to_end(Why.CANCELLED, grace=0.001)
    attempt.end()
    await asyncio.sleep(0.01)
    assert runner.cancelled == 0


async def test_a_clock_asks_when_the_time_is_over_and_then_gives_the_grace() -> None:
    attempt = attempt_in(E, runner := FakeRunner())
    attempt.start_clock(0.001, grace=0.001)
    await eventually(lambda: attempt.asked)
    assert (attempt.asked, attempt.cancel_event.is_set()) == ((Why.TIMED_OUT,), True)
    await eventually(lambda: runner.cancelled)


async def test_without_a_limit_there_is_no_clock() -> None:
    attempt = attempt_in(E)
    attempt.start_clock(None, grace=1)
    assert attempt._limit is None


async def test_R1_nothing_is_left_to_come_when_a_function_has_ended() -> None:
    attempt = attempt_in(E, FakeRunner())
    attempt.start_clock(1000, grace=1000)
    attempt.ask_to_end(Why.CANCELLED, grace=1000)
    timers = [attempt._limit, attempt._grace, attempt._report]
    attempt.end()
    assert [timer is not None and timer.cancelled() for timer in timers] == [True] * 3


async def test_R1_a_timer_does_not_keep_the_context_of_whoever_asked() -> None:
    class Of:
        """What a context variable of a run holds."""

    variable: contextvars.ContextVar[Of] = contextvars.ContextVar("variable")
    attempt = attempt_in(E, FakeRunner())

    async def ask() -> weakref.ref[Of]:
        variable.set(value := Of())
        attempt.start_clock(1000, grace=1000)
        attempt.ask_to_end(Why.CANCELLED, grace=1000)
        return weakref.ref(value)

    kept = await asyncio.create_task(ask())
    await turns(2)
    gc.collect()
    assert kept() is None
    attempt.end()


# Telling where it stands


async def test_of_a_function_that_does_not_end_its_stack_is_written_to_the_log_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patch_bounds(monkeypatch, report_after=0.001)
    attempt = attempt_in(E, FakeRunner())
    attempt.ask_to_end(Why.CANCELLED)
    report = attempt._report
    attempt.ask_to_end(Why.CLOSING)
    assert attempt._report is report
    text = ""

    def told() -> str:
        nonlocal text
        return (text := said(attempt))

    await eventually(told)
    assert "the function still executes" in text
    assert "where it stands" in text
    assert text.count("still executes") == 1


@pytest.mark.parametrize("phase", [W, L, END])
async def test_of_a_function_that_does_not_execute_there_is_no_stack_to_report(phase: Phase) -> None:
    attempt = attempt_in(phase, FakeRunner())
    attempt.report_stack()
    assert said(attempt) == ""


async def test_before_it_has_a_runner_an_attempt_stands_nowhere() -> None:
    assert attempt_in(W).stack() == ""


# The run whose attempt it is


@job(cancel_grace=1000)
async def patient() -> None: ...


def make_live(phase: Phase = W, status: RunStatus = RunStatus.RUNNING) -> LiveRun:
    live = live_run(patient())
    run = Run(id=3, job="patient", status=status, key="k", attempt=2, manager_id="m", created_at=datetime.now(UTC))
    live.attach(run)
    for step in {W: (), L: (L,), E: (L, E), END: (END,)}[phase]:
        live.attempt.enter(step)
    return live


async def test_a_run_that_is_inserted_knows_its_row_and_so_does_its_context() -> None:
    assert not live_run(patient()).inserted
    live = make_live()
    context = live.attempt.context
    assert live.inserted
    assert (context.id, context.key, context.attempt, context.owner) == (3, "k", 2, "m")
    assert (live.fence, live.attempt.outbox.owner) == (Fence("m", 2), live)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
async def test_a_run_waits_until_its_task_has_taken_its_first_step(phase: Phase, status: RunStatus) -> None:
    assert make_live(phase, status).waits is (status is RunStatus.PENDING and phase in (W, L))


async def test_C4_of_several_requests_to_cancel_the_first_one_counts_and_each_asks_the_function() -> None:
    live = make_live(E)
    live.attempt.runner = FakeRunner()
    live.request_cancel(at=1, reason="first")
    live.request_cancel(at=2, reason="second")
    assert (live.cancel_requested_at, live.cancel_reason) == (1, "first")
    assert live.attempt.asked == (Why.CANCELLED, Why.CANCELLED)
    assert live.attempt._grace is not None, "it has the grace of its job"
    live.attempt.end()


async def test_a_request_that_comes_when_the_function_is_over_changes_nothing() -> None:
    live = make_live(END)
    live.request_cancel(at=1, reason="too late")
    assert (live.cancel_requested_at, live.cancel_reason, live.attempt.asked) == (None, None, ())


@pytest.mark.parametrize("failure", [StoreUnavailable("away"), ManagerClosed("it goes on")])
async def test_G5_whoever_waits_is_told_why_there_is_no_end_each_with_an_exception_of_its_own(
    failure: StoreUnavailable | ManagerClosed,
) -> None:
    live = make_live()
    live.give_up(failure)
    assert live.ended.is_set()
    raised: list[BaseException] = []
    for _ in range(2):
        with pytest.raises(type(failure), match=str(failure)) as caught:
            live.outcome()
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert [error.__cause__ for error in raised] == [failure, failure]


async def test_the_outcome_of_a_run_that_has_ended_is_its_row() -> None:
    live = make_live()
    assert live.outcome() is live.run
