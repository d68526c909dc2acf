"""Statements by name, batches in few sizes, rows as values."""

from __future__ import annotations

import re
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioruns._values.model import LONGER_THAN, Progress, RunCount, from_micros
from aioruns._values.status import RunStatus
from aioruns.stores.sqlite._columns import COLUMNS, SUMMARY, run_of
from aioruns.stores.sqlite._queries import chunks, count_of, event_of, many, query


@given(st.integers(min_value=0, max_value=1000))
def test_chunks_hold_everything_in_order(count: int) -> None:
    assert list(chain.from_iterable(chunks(range(count)))) == list(range(count))


def test_chunks_come_in_seven_sizes_and_the_largest_first() -> None:
    sizes = [[len(chunk) for chunk in chunks(range(count))] for count in range(300)]
    assert set(chain.from_iterable(sizes)) == {1, 2, 4, 8, 16, 32, 64}
    assert all(each == sorted(each, reverse=True) for each in sizes)


def test_chunks_are_few() -> None:
    assert [len(chunk) for chunk in chunks(range(191))] == [64, 64, 32, 16, 8, 4, 2, 1]


def test_statement_is_read_with_its_columns() -> None:
    assert query("get_run").strip() == f"SELECT {COLUMNS} FROM runs WHERE id = ?"


def test_G7_statements_need_no_file_once_they_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later there may be no file descriptor left."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("io.open", fail)
    monkeypatch.setattr("builtins.open", fail)
    query.cache_clear()
    assert query("get_run")


def test_statement_for_several_rows_binds_them_all() -> None:
    assert "VALUES (?, ?, ?, ?), (?, ?, ?, ?)" in many("find_ends", 2, 4)


ROW = (
    3, "build", "running", "a", "start-1", 2, "m", 2.5, '["blue", "red"]', "cron", 2, "{}", None, None, None,
    5, 6, None, 7, "enough", '{"current":1,"total":null,"step":"extract"}',
)  # fmt: skip


def test_row_becomes_a_run() -> None:
    run = run_of(ROW)
    assert (run.id, run.job, run.status, run.attempt, run.tags) == (3, "build", RunStatus.RUNNING, 2, ("blue", "red"))
    assert (run.triggered_by, run.retry_of, run.arguments) == ("cron", 2, {})
    assert (run.created_at, run.started_at, run.finished_at) == (from_micros(5), from_micros(6), None)
    assert (run.cancel_requested_at, run.cancel_reason) == (from_micros(7), "enough")
    assert run.progress == Progress(1, None, "extract")


def test_V2_unknown_status_raises() -> None:
    with pytest.raises(KeyError, match="paused"):
        run_of((*ROW[:2], "paused", *ROW[3:]))


def test_summary_has_the_columns_of_a_run_but_for_the_large_ones() -> None:
    wanted = ["NULL" if name in ("arguments", "result", "traceback") else name for name in COLUMNS.split(", ")]
    assert SUMMARY.split(", ") == wanted


def test_row_becomes_an_event() -> None:
    event = event_of(3, (4, 5, "log", 2, '{"message":"a\\u0000b"}'))
    assert (event.run_id, event.seq, event.at, event.kind, event.attempt) == (3, 4, from_micros(5), "log", 2)
    assert event.data == {"message": "a\0b"}


def test_row_becomes_a_count() -> None:
    count = count_of((5, "build", "failed", 0.1, 7))
    assert count == RunCount(start=from_micros(5), job="build", status=RunStatus.FAILED, longer_than=0.1, runs=7)


def test_durations_are_in_the_classes_that_are_documented() -> None:
    ladder = re.findall(r"WHEN micros >= (\d+) THEN ([\d.]+)", query("count_runs"))
    assert [(int(micros), float(seconds)) for micros, seconds in reversed(ladder)] == [
        (round(seconds * 1e6), seconds) for seconds in LONGER_THAN
    ]
