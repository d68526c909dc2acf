"""The event that asks a function to end: awaited on the event loop, or waited for in a thread."""

from __future__ import annotations

import asyncio
import threading
from types import CoroutineType
from typing import Any, Literal

from aioruns.errors import ConfigurationError

__all__ = ["CancelEvent"]


_creation = threading.Lock()
"""One for all: it is held for the moment in which the first thread that waits makes the event it waits for."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class CancelEvent(asyncio.Event):
    """The event that is set when cancel is requested; it can be awaited on the event loop's thread only.

    Every run has one, and of most runs nobody ever waits for it: it does without what ``asyncio.Event`` keeps for those
    who wait, 0.7 KB, until somebody does.
    """

    def __init__(self) -> None:
        self._home = _running_loop()
        self._requested = False
        self._waiting: tuple[asyncio.Future[Literal[True]], ...] = ()
        self._threads: threading.Event | None = None

    def __repr__(self) -> str:
        return f"<CancelEvent {'set' if self._requested else 'unset'}>"

    def is_set(self) -> bool:
        """Whether cancel is requested. Safe in any thread."""
        return self._requested

    def set(self) -> None:
        """Set the event and wake those who wait for it."""
        self._requested = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(True)
        with _creation:
            if self._threads is not None:
                self._threads.set()

    def clear(self) -> None:
        """Take the request back for who looks from now on; the task has been cancelled all the same."""
        self._requested = False

    async def _wait(self) -> Literal[True]:
        if self._requested:
            return True
        waiter: asyncio.Future[Literal[True]] = asyncio.get_running_loop().create_future()
        self._waiting = (*self._waiting, waiter)
        try:
            return await waiter
        finally:
            self._waiting = tuple(each for each in self._waiting if each is not waiter)

    def wait(self) -> CoroutineType[Any, Any, Literal[True]]:
        """Wait until cancel is requested.

        Raises:
            ConfigurationError: Called on another thread than the event loop's.
        """
        if _running_loop() is not self._home:
            raise ConfigurationError(
                "cancel_event cannot be awaited in a plain function:"
                " use ctx.wait_cancelled(timeout) or ctx.cancel_requested"
            )
        return self._wait()

    def wait_in_thread(self, timeout: float | None) -> bool:
        """Block this thread until cancel is requested, ``timeout`` seconds at most; return whether it is.

        Raises:
            ConfigurationError: Called on the event loop's thread, which it would block.
        """
        if _running_loop() is self._home:
            raise ConfigurationError(
                "wait_cancelled would block the event loop: in an async function, await ctx.cancel_event.wait()"
            )
        with _creation:
            if self._threads is None:
                self._threads = threading.Event()
                if self.is_set():
                    self._threads.set()
        return self._threads.wait(timeout)
