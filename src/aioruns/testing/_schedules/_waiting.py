"""Tell where tasks wait when nothing can happen any more."""

from __future__ import annotations

import asyncio
import linecache
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

__all__ = ["Deadlock", "describe"]


class Deadlock(RuntimeError):
    """Nothing can happen any more, or the program never ends; the message tells where its tasks wait."""


def describe(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Tell where each task waits, in the given order."""
    lines = [f"  {task.get_name()} in {_place(task)}" for task in tasks]
    return "\n".join(lines or ["  none"])


def _place(task: asyncio.Task[Any]) -> str:
    outermost = getattr(task.get_coro(), "__qualname__", repr(task.get_coro()))
    # The innermost frame is in asyncio; the line that calls it tells more.
    frames = [frame for frame in _frames(task.get_coro()) if frame.f_globals.get("__package__") != "asyncio"]
    if not frames:
        return outermost
    file, line = frames[-1].f_code.co_filename, frames[-1].f_lineno
    return f"{outermost}, at {file}:{line}: {linecache.getline(file, line, frames[-1].f_globals).strip()}"


def _frames(awaited: Any) -> Iterator[FrameType]:
    """Follow what a coroutine awaits; ``Task.get_stack`` gives only the first frame."""
    while awaited is not None:
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            if hasattr(awaited, inner):
                frame = getattr(awaited, f"{prefix}_frame")
                if frame is not None:
                    yield frame
                awaited = getattr(awaited, inner)
                break
        else:
            return
