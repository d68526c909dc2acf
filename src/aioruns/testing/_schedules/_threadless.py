"""``threadless``: callbacks of the event loop do what libraries would do on threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final
from unittest import mock

import anyio
import anyio.lowlevel
import anyio.to_thread

from aioruns._aio import threads
from aioruns._running import blocking
from aioruns.stores.sqlite import _connections, _lease  # pyright: ignore[reportPrivateUsage]
from aioruns.testing._schedules._loop import ShuffledEventLoop
from aioruns.testing._schedules._outcome import Outcome

__all__ = ["threadless"]

BUSY: Final = 5
"""SQLite's primary result code for a database that somebody else has locked: https://sqlite.org/rescode.html#busy"""
PATIENCE: Final = 5.0
"""Virtual seconds that a statement waits for the lock of another connection."""
PAUSE: Final = 0.002
"""Virtual seconds after which to try a statement again that found the database locked."""

_Request = tuple[asyncio.Future[Any] | None, Callable[[], Any]]
_driver: Any = _connections.aiosqlite.core  # through the only module that may import it
_STOPPED: Final = getattr(_driver, "_STOP_RUNNING_SENTINEL", object())  # the answer of a thread that ends


@contextlib.contextmanager
def threadless() -> Generator[None]:
    """Let a program in a ``ShuffledEventLoop`` do without threads, so that the seed decides its whole order.

    Within the block, the loop turns these into callbacks, which it executes in one turn and answers in a later one:

    - statements of SQLite connections that are opened within the block. SQLite is real, and each connection executes
      its statements in order; one that finds the database locked by another connection waits in virtual time;
    - ``anyio.to_thread.run_sync``; ``asyncio.to_thread`` needs no help;
    - jobs that are plain functions. They execute in one turn, so they must not wait for anything.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(_driver, "SimpleQueue", _Connection))
        stack.enter_context(mock.patch.object(_driver, "Thread", _NoThread))
        stack.enter_context(mock.patch.object(anyio.to_thread, "run_sync", _run_sync))
        stack.enter_context(mock.patch.object(threads.Thread, "start", _start))
        stack.enter_context(mock.patch.object(_lease, "PATIENCE", 0))  # while it waits, the holder could not go on
        for verb in ("start", "wake"):
            stack.enter_context(mock.patch.object(blocking.BlockWatch, verb, _rest))
        yield


def _loop() -> ShuffledEventLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, ShuffledEventLoop):
        raise RuntimeError("threadless() works only in a ShuffledEventLoop")  # noqa: TRY004 - there is no argument
    return loop


async def _run_sync(
    func: Callable[..., Any],
    *args: Any,
    abandon_on_cancel: bool = False,
    cancellable: bool = False,
    limiter: Any = None,
) -> Any:
    """Stand in for ``anyio.to_thread.run_sync``: shielded from scopes, as the original is."""
    await anyio.lowlevel.checkpoint()
    async with limiter or contextlib.nullcontext():
        with anyio.CancelScope(shield=not (abandon_on_cancel or cancellable)):
            call = partial(contextvars.copy_context().run, func, *args)
            return await _loop().run_in_executor(None, call)


def _start(thread: threads.Thread) -> None:
    """Stand in for ``Thread.start``."""
    loop = _loop()
    loop.call_in_turn(loop.new_source(), thread.run)


def _rest(_: blocking.BlockWatch) -> None:
    """Stand in for the verbs of ``BlockWatch``, whose thread watches real time."""


class _NoThread:
    """Stands in for the thread of a connection, whose queue serves itself."""

    def __init__(self, **options: Any) -> None: ...
    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...


class _Connection:
    """Stands in for the queue of a connection, and does what its thread would do."""

    def __class_getitem__(cls, _: object) -> type[_Connection]:
        return cls  # the driver subscripts the name where it declares a type

    def __init__(self) -> None:
        self._loop = _loop()
        self._source = self._loop.new_source()
        self._requests: deque[_Request] = deque()
        self._stopped = False
        self._waits_since: float | None = None

    def put_nowait(self, request: _Request) -> None:
        """Take a request. Once the event loop is closed, it is the last one, which closes the connection."""
        self._requests.append(request)
        if self._loop.is_closed():
            while self._requests:
                Outcome(self._requests.popleft()[1])
        elif len(self._requests) == 1 and not self._stopped:
            self._loop.call_in_turn(self._source, self._serve)

    def _serve(self) -> None:
        future, function = self._requests[0]
        outcome = Outcome(function)
        if self._is_to_wait(outcome):
            self._loop.call_later(PAUSE, self._serve)
            return
        if hasattr(outcome.value, "cursor") and hasattr(outcome.value, "execute"):  # a new connection
            outcome.value.execute("PRAGMA busy_timeout = 0")  # we wait instead, in virtual time
        self._requests.popleft()
        if future is not None:
            self._loop.call_in_turn(self._source, outcome.tell, future)
        self._stopped = outcome.value is _STOPPED
        if self._requests and not self._stopped:
            self._loop.call_in_turn(self._source, self._serve)

    def _is_to_wait(self, outcome: Outcome) -> bool:
        now = self._loop.time()
        since = now if self._waits_since is None else self._waits_since
        waits = getattr(outcome.error, "sqlite_errorcode", 0) & 0xFF == BUSY and now - since < PATIENCE
        self._waits_since = since if waits else None
        return waits
