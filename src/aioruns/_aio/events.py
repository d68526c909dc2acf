"""``CancelEvent``, which asks a function to end, on the event loop or in a thread; and its base ``LazyEvent``."""

from __future__ import annotations

import asyncio
import threading
from types import CoroutineType
from typing import Any, Literal

from aioruns.errors import ConfigurationError

__all__ = ["CancelEvent", "LazyEvent"]


_creation = threading.Lock()
"""One lock for all events: the first thread that waits for an event holds it while it makes a ``threading.Event``."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class LazyEvent(asyncio.Event):
    """An event that allocates nothing for waiters until there is one; ``asyncio.Event`` takes 0.7 KB at once.

    Every run has two of them, and nobody ever waits for most of these.
    """

    def __init__(self) -> None:
        self._happened = False
        self._waiting: tuple[asyncio.Future[Literal[True]], ...] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'set' if self._happened else 'unset'}>"

    def is_set(self) -> bool:
        """Return whether it is set. Safe in any thread."""
        return self._happened

    def set(self) -> None:
        """Set the event and wake its waiters."""
        self._happened = True
        waiting, self._waiting = self._waiting, ()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(True)

    def clear(self) -> None:
        """Clear the event; whoever calls ``wait`` from now on waits."""
        self._happened = False

    def wait(self) -> CoroutineType[Any, Any, Literal[True]]:
        """Wait until it is set. Cancelling the wait changes nothing."""
        return self._wait()

    async def _wait(self) -> Literal[True]:
        if self._happened:
            return True
        waiter: asyncio.Future[Literal[True]] = asyncio.get_running_loop().create_future()
        self._waiting = (*self._waiting, waiter)
        try:
            return await waiter
        except BaseException:
            self._waiting = tuple(each for each in self._waiting if each is not waiter)
            raise


class CancelEvent(LazyEvent):
    """The event that is set when cancel is requested; only the event loop's thread can await it.

    A job that clears it hides the request from later readers; its task is cancelled all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._home = _running_loop()
        self._threads: threading.Event | None = None

    def set(self) -> None:
        """Set the event and wake its waiters."""
        super().set()
        with _creation:
            if self._threads is not None:
                self._threads.set()

    def wait(self) -> CoroutineType[Any, Any, Literal[True]]:
        """Wait until cancel is requested.

        Raises:
            ConfigurationError: The caller is not on the event loop's thread.
        """
        if _running_loop() is not self._home:
            raise ConfigurationError(
                "cancel_event cannot be awaited in a plain function:"
                " use ctx.wait_cancelled(timeout) or ctx.cancel_requested"
            )
        return super().wait()

    def wait_in_thread(self, timeout: float | None) -> bool:
        """Block this thread until cancel is requested, ``timeout`` seconds at most; return whether it has been.

        Raises:
            ConfigurationError: The caller is on the event loop's thread, which the wait would block.
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
