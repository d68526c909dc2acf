"""Which of two media types an ``Accept`` header prefers."""

from __future__ import annotations

import pytest

from aioruns.web._accept import prefers


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("", False),
        ("*/*", False),
        ("text/event-stream", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("application/json", True),
        ("Application/JSON", True),
        ("application/json;charset=utf-8", True),
        ("application/*", True),
        ("application/json, text/plain, */*", True),
        ("application/json;q=0.5, */*;q=0.1", True),
        ("application/json;q=0.5, */*", False),
        ("application/json, text/event-stream", False),
        ("text/event-stream;q=0.9, application/json", True),
        ("text/event-stream, application/json;q=0.9", False),
        ("application/json;q=0, */*;q=0.1", False),
        ("text/event-stream;q=0, */*", True),
        ("application/json;q=x", True),
        (",;,q=1", False),
    ],
)
def test_json_is_given_to_who_would_rather_have_it(accept: str, json: bool) -> None:
    assert prefers(accept, "application/json", to="text/event-stream") is json
