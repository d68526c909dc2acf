"""What a caller may be allowed to do, and the function that decides it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

from starlette.requests import Request

from aioruns import Run

__all__ = ["Action", "Authorize"]

Action: TypeAlias = Literal[
    "list_runs",
    "read_run",
    "start_run",
    "cancel_run",
    "retry_run",
    "read_events",
    "read_log",
    "list_jobs",
    "read_overview",
    "read_health",
    "read_traceback",
    "read_dashboard",
]
"""What a call does. ``read_traceback`` is asked in addition to another action, when the answer has a traceback."""

Authorize: TypeAlias = Callable[[Request, Action, Run | None], Awaitable[bool]]
"""Decides whether a request may do something: ``await authorize(request, action, run)``.

It gets the run if the request is about one that exists. To refuse with 403 it returns False; to refuse with another
status it raises an ``HTTPException``. Refusing ``read_traceback`` only withholds the traceback.
"""
