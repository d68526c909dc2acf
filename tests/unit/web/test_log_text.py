"""The log as text: each thing said is a line, and nothing can pass for another."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioruns import RunEvent
from aioruns.web._log_text import log_lines

AT = datetime(2026, 11, 23, 12, 30, 1, 5, UTC)
STAMP = "2026-11-23T12:30:01.000005Z"


def text(kind: str, *, shows_traceback: bool = True, **data: Any) -> str:
    return log_lines(RunEvent(1, 1, AT, kind, json.dumps(data)), traceback=shows_traceback)


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("log", {"level": "info", "message": "it is done"}, "INFO     it is done\n"),
        ("log", {"level": "warning", "message": "m", "logger": "app.db"}, "WARNING  app.db: m\n"),
        ("log", {"level": "info", "message": "m", "fields": {"n": 1}}, 'INFO     m {"n":1}\n'),
        ("log", {"level": "info", "message": "two\nlines\n"}, "INFO     two\n    lines\n"),
        ("log", {"level": "info", "message": ""}, "INFO\n"),
        ("log", {"level": "info", "message": "a\tb\r\x1b[31m\x9b\x00"}, "INFO     a\tb\\r\\x1b[31m\\x9b\\x00\n"),
        ("log", {"level": "info", "message": "\u2028\u202e\u2066"}, "INFO     \\u2028\\u202e\\u2066\n"),
        ("log", {"level": "a\nb", "message": "m"}, "A\n    B      m\n"),
        ("log", {"level": "error", "message": "m", "traceback": "T\n  at x"}, "ERROR    m\n    T\n      at x\n"),
        ("status", {"status": "running"}, "STATUS   running\n"),
        ("status", {"status": "failed", "error": "E: x"}, "STATUS   failed: E: x\n"),
        ("status", {"status": "cancelling", "reason": "late"}, "STATUS   cancelling: late\n"),
    ],
)  # fmt: skip
def test_what_is_said_is_a_line(kind: str, data: dict[str, Any], shown: str) -> None:
    assert text(kind, **data) == f"{STAMP} {shown}"


@pytest.mark.parametrize("kind", ["progress", "step", "page"])
def test_what_is_no_log_is_left_out(kind: str) -> None:
    assert text(kind, message="m", level="info") == ""


def test_a_traceback_is_left_out_for_who_may_not_read_it() -> None:
    shown = text("log", level="error", message="m", traceback="T", shows_traceback=False)
    assert shown == f"{STAMP} ERROR    m\n"


@given(message=st.text(), level=st.text(min_size=1), fields=st.dictionaries(st.text(), st.text()))
def test_no_text_can_pass_for_a_line_of_its_own(message: str, level: str, fields: dict[str, str]) -> None:
    shown = text("log", level=level, message=message, fields=fields)
    first, *others = shown.removesuffix("\n").split("\n")
    assert first.startswith(STAMP)
    assert all(line.startswith("    ") for line in others)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", shown)
    assert len(shown.splitlines()) == len(shown.split("\n")) - 1
