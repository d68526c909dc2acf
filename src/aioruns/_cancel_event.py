"""The event that asks a function to end: awaited on the event loop, or waited for in a thread."""

from __future__ import annotations

import asyncio
import threading
from types import CoroutineType
from typing import Any, Literal

from aioruns.errors import ConfigurationError

__all__ = ["CancelEvent"]


class CancelEvent(asyncio.Event):
    """The event that is set when cancel is requested; it can be awaited on the event loop's thread only."""

    def __init__(self) -> None:
        super().__init__()
        self._loop_thread = threading.get_ident()
        self._threads: threading.Event | None = None
        self._creation = threading.Lock()

    def set(self) -> None:
        """Set the event and wake the threads that wait for it."""
        super().set()
        with self._creation:
            if self._threads is not None:
                self._threads.set()

    def wait(self) -> CoroutineType[Any, Any, Literal[True]]:
        """Wait until cancel is requested.

        Raises:
            ConfigurationError: Called on another thread than the event loop's.
        """
        if threading.get_ident() != self._loop_thread:
            raise ConfigurationError(
                "cancel_event cannot be awaited in a plain function:"
                " use ctx.wait_cancelled(timeout) or ctx.cancel_requested"
            )
        return super().wait()

    def wait_in_thread(self, timeout: float | None) -> bool:
        """Block this thread until cancel is requested, ``timeout`` seconds at most; return whether it is.

        Raises:
            ConfigurationError: Called on the event loop's thread, which it would block.
        """
        if threading.get_ident() == self._loop_thread:
            raise ConfigurationError(
                "wait_cancelled would block the event loop: in an async function, await ctx.cancel_event.wait()"
            )
        with self._creation:
            if self._threads is None:
                self._threads = threading.Event()
                if self.is_set():
                    self._threads.set()
        return self._threads.wait(timeout)
