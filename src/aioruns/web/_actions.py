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
"""What a call does. ``read_traceback`` is asked beside another action, when there is a traceback to be shown."""

Authorize: TypeAlias = Callable[[Request, Action, Run | None], Awaitable[bool]]
"""Decides whether a request may do something: ``await authorize(request, action, run)``.

It is given the run, if the request is about one that exists. False refuses with 403, and an ``HTTPException`` with its
own status; of ``read_traceback`` both mean that the traceback is withheld.
"""
