"""Group commit: everything that waits is stored in one transaction, for every store alike."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from aioruns._aio.tasks import until_done
from aioruns.errors import StoreUnavailable

__all__ = ["GroupCommit"]

Op = TypeVar("Op")

TEARDOWN: Final = 2.0
"""Seconds that the writer goes on after its event loop began to cancel every task."""

LARGEST: Final = 1000
"""Operations in one transaction: enough for what a commit costs not to count, and few enough for other processes,
which wait meanwhile."""

AT_ONCE: Final = 10
"""Operations that are answered in one turn of the event loop, since each of those who wait has something to do then."""

TURNS: Final = 30
"""Turns of the event loop in which a batch is answered, at most: the loop may have other work to do in each of them."""


class GroupCommit(Generic[Op]):
    """Commits operations in batches: takes all that wait, commits, answers those who wait, takes what came meanwhile.

    There are no timers: an operation alone is committed at once, and under load batches form by themselves.

    Cancellation does not tear its task. When the loop cancels every task, the writer goes on until ``aclose`` or for
    two seconds, so that runs which end in the same teardown are stored.

    Args:
        commit: Commits a batch atomically and gives, for each operation, its result or the exception it deserves. The
            writer calls it again with the same batch if it was cancelled: operations are idempotent.
    """

    def __init__(self, commit: Callable[[Sequence[Op]], Awaitable[Sequence[Any]]]) -> None:
        self._commit = commit
        self._waiting: deque[tuple[Op, asyncio.Future[Any]]] = deque()
        self._batch: list[tuple[Op, asyncio.Future[Any]]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._torn = False
        self._expired = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._serve(), name="aioruns-writer", context=contextvars.Context())

    async def submit(self, op: Op) -> Any:
        """Hand in an operation and wait until it is committed. Cancelling the wait does not take the operation back.

        The operation is in line before this first yields to the event loop.

        Raises:
            StoreUnavailable: The writer is closed.
        """
        if self._task.done() or (self._closing and not self._pending):
            raise StoreUnavailable("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((op, future))
        self._wake.set()
        return await future

    @property
    def _pending(self) -> bool:
        return bool(self._waiting or self._batch)

    async def aclose(self) -> None:
        """Commit what waits, then end. Cancelling the call does not stop that."""
        self._closing = True
        self._wake.set()
        await until_done(self._task)

    async def _serve(self) -> None:
        while not self._expired and not (self._closing and not self._pending):
            try:
                if self._pending:
                    await self._store()
                else:
                    self._wake.clear()
                    await self._wake.wait()
            except asyncio.CancelledError:
                if not self._torn:
                    self._torn = True
                    self._loop.call_later(TEARDOWN, self._expire)
        for _, future in (*self._batch, *self._waiting):
            _answer(future, StoreUnavailable("the event loop was torn down before this was known to be stored"))

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    async def _store(self) -> None:
        if not self._batch:  # else its commit was cancelled
            self._batch = [self._waiting.popleft() for _ in range(min(LARGEST, len(self._waiting)))]
        try:
            results = await self._commit([op for op, _ in self._batch])
        except Exception as error:  # noqa: BLE001 - every waiter must be answered, whatever this was
            results = [error] * len(self._batch)
        batch, self._batch = self._batch, []
        answers = zip(batch, results, strict=True)
        try:
            at_once = max(AT_ONCE, len(batch) // TURNS)
            for number, ((_, future), result) in enumerate(answers, 1):
                _answer(future, result)
                if number % at_once == 0:
                    await asyncio.sleep(0)
            # Those who were answered may come with what they do next, and the next batch is to have all of that: a run
            # that was inserted begins in the second turn of the event loop.
            for _ in range(2):
                await asyncio.sleep(0)
        finally:  # cancelled, it answers the rest at once
            for (_, future), result in answers:
                _answer(future, result)


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():  # nobody waits any more
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
