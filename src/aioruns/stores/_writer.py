"""Group commit: everything that waits is stored in one transaction, for every store alike."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from aioruns.errors import StoreUnavailable

__all__ = ["GroupCommit"]

Op = TypeVar("Op")

TEARDOWN: Final = 2.0
"""Seconds that the writer goes on after its event loop began to cancel every task."""


class GroupCommit(Generic[Op]):
    """Commits operations in batches: takes all that wait, commits, resolves their waiters, takes what came meanwhile.

    There are no timers: alone, an operation is committed at once; under load, batches form by themselves.

    Its task cannot be torn by cancellation. When the loop cancels every task, it goes on until ``aclose`` or for two
    seconds, so that runs which end in the same teardown are stored.

    Args:
        commit: Commits a batch atomically and gives, for each operation, its result or the exception it deserves. It is
            called again with the same batch if it was cancelled: operations are idempotent. The flag says so.
    """

    def __init__(self, commit: Callable[[Sequence[Op], bool], Awaitable[Sequence[Any]]]) -> None:
        self._commit = commit
        self._waiting: list[tuple[Op, asyncio.Future[Any]]] = []
        self._batch: list[tuple[Op, asyncio.Future[Any]]] = []
        self._wake = asyncio.Event()
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
        if self._task.done() or (self._closing and not self._waiting and not self._batch):
            raise StoreUnavailable("the store is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((op, future))
        self._wake.set()
        return await future

    async def aclose(self) -> None:
        """Commit what waits, then end. Cancelling the call does not stop that."""
        self._closing = True
        self._wake.set()
        await asyncio.wait((self._task,))

    async def _serve(self) -> None:
        while not self._expired and not (self._closing and not self._waiting and not self._batch):
            try:
                if self._batch:
                    await self._store(again=True)
                elif self._waiting:
                    self._batch, self._waiting = self._waiting, []
                    await self._store(again=False)
                else:
                    self._wake.clear()
                    await self._wake.wait()
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

    async def _store(self, *, again: bool) -> None:
        try:
            results = await self._commit([op for op, _ in self._batch], again)
        except Exception as error:  # noqa: BLE001 - every waiter must be answered, whatever this was
            results = [error] * len(self._batch)
        batch, self._batch = self._batch, []
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
