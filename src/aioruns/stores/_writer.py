"""Group commit: everything that waits is stored in one transaction, for every store alike."""

from __future__ import annotations

import asyncio
import contextvars
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
"""Turns of the event loop in which a batch is answered, at most: it may have other work to do in each of them."""

JOIN: Final = 2
"""Turns of the event loop in which those who were answered may come with what they do next: a run that was inserted
begins in the second. The next batch has all of that, and is not begun for the first few."""


class GroupCommit(Generic[Op]):
    """Commits operations in batches: takes all that wait, commits, resolves their waiters, takes what came meanwhile.

    There are no timers: alone, an operation is committed at once, in the task that hands it in, which saves two turns
    of the event loop; under load, batches form by themselves.

    Its task cannot be torn by cancellation. When the loop cancels every task, it goes on until ``aclose`` or for two
    seconds, so that runs which end in the same teardown are stored.

    Args:
        commit: Commits a batch atomically and gives, for each operation, its result or the exception it deserves. It is
            called again with the same batch if it was cancelled: operations are idempotent.
    """

    def __init__(self, commit: Callable[[Sequence[Op]], Awaitable[Sequence[Any]]]) -> None:
        self._commit = commit
        self._waiting: list[tuple[Op, asyncio.Future[Any]]] = []
        self._batch: list[tuple[Op, asyncio.Future[Any]]] = []
        self._wake = asyncio.Event()
        self._quiet = False  # the last batch was a single operation: the next is likely to be one too
        self._lone = False  # an operation is being committed in the task that handed it in
        self._answering = False  # a batch is being answered: who belongs to the next one is on the way
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._torn = False
        self._expired = False
        self._task = self._loop.create_task(self._serve(), name="aioruns-writer", context=contextvars.Context())

    async def submit(self, op: Op) -> Any:
        """Hand in an operation and wait until it is committed. Cancelling the wait does not take the operation back.

        The operation is in line before this first yields to the event loop.

        Raises:
            StoreUnavailable: The writer is closed.
        """
        if self._task.done() or (self._closing and not self._pending):
            raise StoreUnavailable("the store is closed")
        if self._quiet and not self._pending and not self._torn:
            return await self._commit_alone(op)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((op, future))
        if not self._lone:
            self._wake.set()
        return await future

    @property
    def _pending(self) -> bool:
        return bool(self._waiting or self._batch or self._lone)

    async def _commit_alone(self, op: Op) -> Any:
        self._lone = True
        try:
            (answer,) = await self._commit((op,))
        except asyncio.CancelledError:
            # It may be stored or not, and what comes next may count on it: the writer makes sure.
            unheard: asyncio.Future[Any] = self._loop.create_future()
            unheard.cancel()
            self._batch = [(op, unheard)]
            raise
        finally:
            self._lone = False
            if self._pending or self._closing:
                self._wake.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Commit what waits, then end. Cancelling the call does not stop that."""
        self._closing = True
        self._wake.set()
        await until_done(self._task)

    async def _serve(self) -> None:
        while not self._expired and not (self._closing and not self._pending):
            try:
                if self._lone or (self._answering and not self._torn) or not (self._batch or self._waiting):
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                if not self._batch:
                    self._batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
                    self._quiet = len(self._batch) == 1
                await self._store()
            except asyncio.CancelledError:
                if not self._torn:
                    self._torn = True
                    self._loop.call_later(TEARDOWN, self._expire)
        for _, future in self._batch + self._waiting:
            if not future.done():
                future.set_exception(
                    StoreUnavailable("the event loop was torn down before this was known to be stored")
                )

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    async def _store(self) -> None:
        try:
            results = await self._commit([op for op, _ in self._batch])
        except Exception as error:  # noqa: BLE001 - every waiter must be answered, whatever this was
            results = [error] * len(self._batch)
        batch, self._batch = self._batch, []
        self._answering = True
        self._answer([future for _, future in batch], results, max(AT_ONCE, len(batch) // TURNS), JOIN)

    def _answer(self, waiters: Sequence[asyncio.Future[Any]], results: Sequence[Any], at_once: int, turns: int) -> None:
        """Resolve waiters, some in each turn of the event loop; then let the next batch begin."""
        # The rest is seen to first: an interrupt from the keyboard may be raised in here.
        if len(waiters) > at_once:
            self._loop.call_soon(self._answer, waiters[at_once:], results[at_once:], at_once, turns)
        elif turns:
            self._loop.call_soon(self._answer, (), (), at_once, turns - 1)
        else:
            self._answering = False
            self._wake.set()
        for future, result in zip(waiters[:at_once], results, strict=False):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
