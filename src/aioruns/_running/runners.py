"""Runners, which call functions: a coroutine in the task of its run, a plain function in a thread."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Iterator
from types import FrameType
from typing import Any, Protocol

from aioruns._aio.events import CancelEvent
from aioruns._aio.threads import Thread, start_thread
from aioruns._jobs.work import Work
from aioruns._values.redaction import is_own_frame

__all__ = ["CoroutineRunner", "Outlasted", "Runner", "ThreadRunner"]


class Outlasted(Exception):
    """A thread outlasts the event loop that waits for it."""


class Runner(Protocol):
    """Calls one function, cancels it as far as its kind can be cancelled, and shows its stack."""

    @property
    def thread(self) -> Thread | None:
        """The function's own thread, if it has one."""
        ...

    def run(self, work: Work) -> Awaitable[Any]:
        """Call the function; return an awaitable that gives its result."""
        ...

    def cancel(self) -> None:
        """Cancel the function, whose cancel event is set already."""
        ...

    def stack(self) -> str:
        """Format the function's stack."""
        ...


class CoroutineRunner:
    """Awaits a coroutine in the task of its run."""

    __slots__ = ("_task",)
    thread: Thread | None = None

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def run(self, work: Work) -> Awaitable[Any]:
        """Make the coroutine."""
        return work.begin()

    def cancel(self) -> None:
        """Cancel the task."""
        self._task.cancel()

    def stack(self) -> str:
        """Format the frames of the coroutine and of what it awaits."""
        chain = _frames(self._task.get_coro())
        return "".join(traceback.StackSummary.extract((frame, frame.f_lineno) for frame in chain).format())


class ThreadRunner:
    """Calls a plain function in a thread, which can only be asked to end, and waits until it has ended.

    Args:
        name: Name of the thread.
        cancel_event: Asks the function to end.
        given_up: Done when the manager has given up waiting for functions.
    """

    __slots__ = ("_cancel_event", "_given_up", "_name", "thread")

    def __init__(self, name: str, *, cancel_event: CancelEvent, given_up: asyncio.Future[None]) -> None:
        self.thread: Thread | None = None
        self._name = name
        self._cancel_event = cancel_event
        self._given_up = given_up

    async def run(self, work: Work) -> Any:
        """Start the thread and wait for its end.

        Raises:
            Outlasted: The event loop is being torn down, and its manager has given up.
        """
        thread = self.thread = start_thread(work.begin, name=self._name)
        torn = False
        while not thread.ended.done():
            ends = (thread.ended, self._given_up) if torn else (thread.ended,)
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                torn = True  # only the teardown of the event loop cancels this task
                self._cancel_event.set()
            if torn and self._given_up.done() and not thread.ended.done():
                raise Outlasted
        return thread.outcome()

    def cancel(self) -> None:
        """Do nothing: a thread cannot be cancelled."""

    def stack(self) -> str:
        """Format the frames of the thread."""
        ident = None if self.thread is None else self.thread.ident
        frame = sys._current_frames().get(ident or 0)  # pyright: ignore[reportPrivateUsage]
        return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _frames(awaited: Any) -> Iterator[FrameType]:
    """Yield the frames of a suspended coroutine and of what it awaits; ``Task.get_stack`` gives only the first."""
    while awaited is not None:
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{prefix}_frame", None)
            if frame is not None:
                if not is_own_frame(frame):
                    yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
                break
        else:
            return
