"""Functions that block the event loop: found by a thread, and reported with the stack of where they stand."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from itertools import takewhile
from types import FrameType
from typing import Any, Final

from aioruns._jobs.context import RunContext, context_of
from aioruns._running.registry import Registry

__all__ = ["BlockWatch"]

log = logging.getLogger("aioruns")

PERIOD: Final = 0.5
"""Seconds between two signs of life of the event loop, while runs execute; and between two looks at them."""
BLOCKED_AFTER: Final = 1.0
"""Seconds for which a sign of life may be late."""


class BlockWatch:
    """Tells of a run that keeps the event loop from turning, while it does so and nothing else can be told.

    The event loop notes the time now and then, and a daemon thread looks at the note. While no run executes, both rest.

    Args:
        registry: The runs that execute here.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._alive_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        # Begun at open: a process may be at its limit of threads when a run starts.
        self._thread = threading.Thread(target=self._watch, name="aioruns-blocking", daemon=True)

    def start(self) -> None:
        """Begin to rest."""
        self._thread.start()

    def wake(self) -> None:
        """Watch, as long as there are runs."""
        if self._timer is None and not self._stopped.is_set():
            self._note_life()
            self._wanted.set()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        self._wanted.set()
        if self._timer is not None:
            self._timer.cancel()

    def _note_life(self) -> None:
        self._alive_at = time.monotonic()
        self._timer = None
        if len(self._registry):
            self._timer = self._loop.call_later(PERIOD, self._note_life)
        else:
            self._wanted.clear()

    def _watch(self) -> None:
        looked_at = 0.0
        held: tuple[float, int] | None = None
        looks = 0
        while True:
            self._wanted.wait()
            if self._stopped.wait(PERIOD):
                return
            looked_before, looked_at = looked_at, time.monotonic()
            if looked_at - looked_before > 2 * PERIOD:
                continue  # this thread has rested, or the whole process stood still: no fault of the loop's
            held_before, held = held, self._who_holds(looked_at - PERIOD - BLOCKED_AFTER)
            looks = looks + 1 if held == held_before else 0
            # A turn may be long because there is much to do; who is found twice in one has held the loop meanwhile.
            if held is not None and looks == 1:
                self._report(looked_at - held[0] - PERIOD)

    def _who_holds(self, since: float) -> tuple[float, int] | None:
        """Identify the turn of the loop, if it has lasted since a time, and the task whose step it is in."""
        alive_at = self._alive_at
        if alive_at > since or not self._wanted.is_set():
            return None
        return alive_at, id(asyncio.current_task(self._loop))

    def _report(self, late: float) -> None:
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage]
        if task is None or frame is None or self._stopped.is_set():
            return
        stack = "".join(traceback.StackSummary.extract(_of_the_function(frame)).format())
        context = self._context_of(task)
        run = "no run of ours" if context is None else f"run {context.id}"
        log.warning(
            "the event loop has not turned for %.1f s: %s, task %r blocks it\n%s", late, run, task.get_name(), stack
        )
        if context is not None:
            context.write_line(
                "warning",
                f"the event loop has not turned for {late:.1f} s: this function blocks it; its stack is attached",
                trace=stack,
            )

    def _context_of(self, task: asyncio.Task[Any]) -> RunContext | None:
        """Find the run that a task belongs to; of the tasks that a function creates, from Python 3.12 on."""
        own = (live.attempt.context for live in self._registry if live.attempt.task is task)
        return next(own, None) or context_of(task)


def _of_the_function(frame: FrameType) -> list[tuple[FrameType, int]]:
    """Give the frames between the event loop and where it stands, the outermost first."""
    inner = takewhile(lambda each: not _is_loop(each[0]), traceback.walk_stack(frame))
    return list(inner)[::-1]


def _is_loop(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith(("asyncio.", "aioruns._running.execute"))
