"""V1, V2: the values that users get are frozen, small, exact in time, and refuse what makes no sense."""

from __future__ import annotations

import dataclasses
import pickle
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioruns import ConfigurationError, Progress, Run, RunEvent, RunFilter, RunStatus
from aioruns._values.checks import check_tags, check_text
from aioruns._values.model import from_micros, now_micros, to_micros

AT = datetime(2024, 5, 6, 7, 8, 9, 123457, UTC)
RUN = Run(id=1, job="build", status=RunStatus.RUNNING, created_at=AT)
EVENT = RunEvent(1, 1, AT, "log", '{"level": "info"}')


@pytest.mark.parametrize("value", [RUN, EVENT, RunFilter(), Progress(1)], ids=lambda value: type(value).__name__)
def test_values_are_frozen_slotted_and_can_be_pickled(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, 3)
    assert not hasattr(value, "__dict__")
    assert pickle.loads(pickle.dumps(value)) == value


# Time


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_V1_microseconds_come_back_exactly(micros: int) -> None:
    moment = from_micros(micros)
    assert moment.tzinfo is UTC
    assert to_micros(moment, what="it") == micros


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=30))])))
def test_V1_moments_come_back_exactly_from_any_timezone(moment: datetime) -> None:
    assert from_micros(to_micros(moment, what="it")) == moment


def test_V1_naive_moment_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="created_after is a naive datetime"):
        to_micros(datetime(2024, 5, 6), what="created_after")  # noqa: DTZ001 - that is the point


def test_V1_clock_is_utc() -> None:
    before = time.time_ns() // 1000
    assert before <= now_micros() <= time.time_ns() // 1000


# Runs and events


@pytest.mark.parametrize("status", list(RunStatus))
def test_run_is_active_until_it_has_ended(status: RunStatus) -> None:
    run = dataclasses.replace(RUN, status=status, finished_at=None if status.active else AT)
    assert run.active is status.active


def test_arguments_and_result_are_plain_values() -> None:
    run = dataclasses.replace(RUN, arguments_json='{"n": 3}', result_json="[1, null]")
    assert (run.arguments, run.result) == ({"n": 3}, [1, None])
    assert (RUN.arguments, RUN.result) == (None, None)


@pytest.mark.parametrize("status", list(RunStatus))
def test_event_of_a_terminal_status_is_terminal(status: RunStatus) -> None:
    assert (
        dataclasses.replace(EVENT, kind="status", data_json=f'{{"status": "{status}"}}').terminal is not status.active
    )
    assert not dataclasses.replace(EVENT, kind="own", data_json=f'{{"status": "{status}"}}').terminal


def test_V2_unknown_status_raises() -> None:
    with pytest.raises(ValueError, match="'done' is not a valid RunStatus"):
        RunStatus("done")


# Filters


@pytest.mark.parametrize(
    ("status", "statuses"),
    [
        (None, ()),
        ("failed", (RunStatus.FAILED,)),
        (RunStatus.FAILED, (RunStatus.FAILED,)),
        (["failed", RunStatus.RUNNING], (RunStatus.FAILED, RunStatus.RUNNING)),
        ([], ()),
    ],
)
def test_filter_takes_one_status_or_several(status: Any, statuses: tuple[RunStatus, ...]) -> None:
    assert RunFilter(status=status).statuses == statuses


def test_filter_reads_an_iterator_once() -> None:
    which = RunFilter(status=iter(["failed"]), tags=iter(["b", "a", "b"]))
    assert which.statuses == which.statuses == (RunStatus.FAILED,)
    assert which.tags == ("a", "b")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "done"}, "'done' is not a valid RunStatus; the statuses are pending, running"),
        ({"status": ["failed", "done"]}, "'done' is not a valid RunStatus"),
        ({"tags": "nightly"}, r"tags='nightly' is one string; give a list of strings, e.g. tags=\['nightly'\]"),
        ({"tags": [3]}, "a tag must be a string, not int"),
        ({"created_after": datetime(2024, 5, 6)}, r"RunFilter\(created_after=…\) is a naive datetime"),  # noqa: DTZ001
        ({"created_before": datetime(2024, 5, 6)}, r"RunFilter\(created_before=…\) is a naive"),  # noqa: DTZ001
    ],
)
def test_V2_filter_that_makes_no_sense_raises(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RunFilter(**fields)


# Names


def test_tags_are_sorted_without_doubles() -> None:
    assert check_tags(["b", "a", "b"]) == ("a", "b")
    assert check_tags(None) == ()


@pytest.mark.parametrize("text", ["a", "project:3", "größer 🎉", "x" * 512])
def test_fit_text_is_returned(text: str) -> None:
    assert check_text(text, what="key") == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (3, "key must be a string, not int"),
        ("", "key must not be empty"),
        ("x" * 513, "key has 513 characters; at most 512"),
        ("a\x00", "control characters or lone surrogates"),
        ("a\n", "control characters or lone surrogates"),
        ("\x85", "control characters or lone surrogates"),
        ("\ud800", "control characters or lone surrogates"),
    ],
)
def test_unfit_text_is_refused(text: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_text(text, what="key")
