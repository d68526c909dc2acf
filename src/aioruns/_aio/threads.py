"""Call plain functions on threads of their own, and await them on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

__all__ = ["Thread", "in_thread", "start_thread"]

T = TypeVar("T")


class Thread(threading.Thread):
    """A daemon thread that calls one function; ``ended`` resolves when the function has really ended.

    A thread of a pool would not do: a pool is bounded, shared with the application, and delays the interpreter's exit.
    """

    def __init__(self, function: Callable[[], Any], *, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._loop = asyncio.get_running_loop()
        self._function = function
        self._context = contextvars.copy_context()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - even SystemExit is the function's outcome, for ``outcome`` to raise
            self.error = error
        with contextlib.suppress(RuntimeError):  # the event loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def outcome(self) -> Any:
        """Return what the function returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.value


def start_thread(function: Callable[[], Any], *, name: str) -> Thread:
    """Start a function on a daemon thread of its own, in a copy of the caller's context."""
    thread = Thread(function, name=name)
    thread.start()
    return thread


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function that blocks for a moment, on a thread. Cancelling the wait does not stop the function.

    anyio's threads will not do: if the event loop is closed abruptly, for instance by a second interrupt, an idle one
    of them delays the interpreter's exit.
    """
    thread = start_thread(partial(function, *args), name="aioruns-files")
    await thread.ended
    return cast("T", thread.outcome())
