"""Finds functions that block the event loop, from a thread, and reports them with their stacks."""

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
"""Seconds between two signs of life of the event loop while runs execute, and between two looks of the thread."""
BLOCKED_AFTER: Final = 1.0
"""Seconds by which a sign of life may be late."""


class BlockWatch:
    """Reports a run that blocks the event loop, while it is still blocking.

    The event loop notes the time now and then, and a daemon thread checks the note. Both rest while no run is here.

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
        # Made at open: by the time a run starts, the process may have reached its limit of threads.
        self._thread = threading.Thread(target=self._watch, name="aioruns-blocking", daemon=True)

    def start(self) -> None:
        """Start the thread, which rests until ``wake``."""
        self._thread.start()

    def wake(self) -> None:
        """Watch the event loop for as long as there are runs here."""
        if self._timer is None and not self._stopped.is_set():
            self._note_life()
            self._wanted.set()

    def stop(self) -> None:
        """Stop watching, for good."""
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
                continue  # this thread has rested, or the whole process stood still: the loop is not to blame
            held_before, held = held, self._who_holds(looked_at - PERIOD - BLOCKED_AFTER)
            looks = looks + 1 if held == held_before else 0
            # A turn may be long because many tasks are ready; a task that two looks find in one turn has blocked it.
            if held is not None and looks == 1:
                self._report(looked_at - held[0] - PERIOD)

    def _who_holds(self, since: float) -> tuple[float, int] | None:
        """Identify the loop's turn and the task that holds it; None if the loop gave a sign of life after ``since``."""
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
        """Find the context of a task's run; for a task that a function created, only from Python 3.12 on."""
        own = (live.attempt.context for live in self._registry if live.attempt.task is task)
        return next(own, None) or context_of(task)


def _of_the_function(frame: FrameType) -> list[tuple[FrameType, int]]:
    """Return the frames that the event loop called, the outermost first."""
    inner = takewhile(lambda each: not _is_loop(each[0]), traceback.walk_stack(frame))
    return list(inner)[::-1]


def _is_loop(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith(("asyncio.", "aioruns._running.execute"))
