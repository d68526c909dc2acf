"""The open event streams of this process: how many there may be, and how all of them end at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import ClassVar, Final, Self

__all__ = ["MAX_STREAMS", "SIGNALS", "OpenStreams", "TooManyStreams", "end_streams", "signals_left_alone"]

MAX_STREAMS: Final = 10_000
"""How many event streams one router may have open at once, by default."""

STOPPING: Final = 10.0
"""Seconds after a signal during which new streams end at once: within this time a stopping server closes its sockets;
after it, an application that only took note of the signal goes on as before."""

SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))
"""The signals that stop servers; the last one exists only on Windows."""


class TooManyStreams(Exception):
    """A router has as many event streams open as it may.

    Attributes:
        limit: How many it may have.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit: int = limit

    def __str__(self) -> str:
        return f"{self.limit} event streams are open, and no more are allowed: try again later"


def end_streams() -> None:
    """End every open event stream of this process; each response is completed, and its client reconnects.

    A server that shuts down waits for open streams. Under uvicorn and hypercorn on the main thread, the signal that
    stops the server also ends the streams; elsewhere call this when the shutdown begins. You may call it from any
    thread and from signal handlers; it does not wait.
    """
    for loop, streams in _open.copy().items():
        with contextlib.suppress(RuntimeError):  # the event loop is closed, and its streams with it
            loop.call_soon_threadsafe(streams.end)


@contextlib.contextmanager
def signals_left_alone() -> Generator[None]:
    """Chain no signal handlers within the block, because a signal does not stop the server there."""
    _ChainedHandler.wanted = False
    try:
        yield
    finally:
        _ChainedHandler.wanted = True


class OpenStreams:
    """Counts the open event streams of one router, and makes them end with the server.

    Args:
        limit: How many may be open at once.
    """

    def __init__(self, limit: int = MAX_STREAMS) -> None:
        self._limit = limit
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def check(self) -> None:
        """Raise ``TooManyStreams`` if no more may be opened."""
        if self._count >= self._limit:
            raise TooManyStreams(self._limit)

    @contextlib.contextmanager
    def opened(self, end: Callable[[], object]) -> Generator[None]:
        """Count a stream as open within the block.

        Args:
            end: Ends the stream; called on its event loop, possibly at once.
        """
        loop = asyncio.get_running_loop()
        if (streams := _open.get(loop)) is None:
            streams = _open[loop] = _LoopStreams()
        self._count += 1
        streams.add(end)
        try:
            if time.monotonic() < _ChainedHandler.called_at + STOPPING:
                end()
            yield
        finally:
            self._count -= 1
            streams.remove(end)
            if not streams:
                del _open[loop]


class _LoopStreams:
    """The open streams of one event loop. While there are any, the signals that stop its server also end them."""

    def __init__(self) -> None:
        self._ends: set[Callable[[], object]] = set()
        self._handlers: list[_ChainedHandler] = []
        # Only the main thread may set signal handlers.
        if _ChainedHandler.wanted and threading.current_thread() is threading.main_thread():
            self._handlers = [handler for each in SIGNALS if (handler := _ChainedHandler.install(each))]

    def __bool__(self) -> bool:
        return bool(self._ends)

    def add(self, end: Callable[[], object]) -> None:
        self._ends.add(end)

    def remove(self, end: Callable[[], object]) -> None:
        self._ends.discard(end)
        if not self._ends:
            for handler in self._handlers:
                handler.remove()

    def end(self) -> None:
        for end in tuple(self._ends):
            end()


_open: Final[dict[asyncio.AbstractEventLoop, _LoopStreams]] = {}


class _ChainedHandler:
    """Wraps the handler of a signal: it ends the streams, and then calls that handler.

    For signals of ``loop.add_signal_handler``, that handler does nothing; the event loop learns of them in another way,
    which still works. Signals without a Python handler are left alone.
    """

    wanted: ClassVar[bool] = True
    called_at: ClassVar[float] = -math.inf

    def __init__(self, number: signal.Signals, previous: Callable[[int, FrameType | None], object]) -> None:
        self._number = number
        self._previous = previous

    @classmethod
    def install(cls, number: signal.Signals) -> Self | None:
        previous = signal.getsignal(number)
        if not callable(previous):
            return None
        handler = cls(number, previous)
        signal.signal(number, handler)
        return handler

    def remove(self) -> None:
        """Restore the wrapped handler. If somebody has set another one since, leave it; it may call this one."""
        if signal.getsignal(self._number) is self:
            signal.signal(self._number, self._previous)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        _ChainedHandler.called_at = time.monotonic()
        end_streams()
        self._previous(number, frame)
