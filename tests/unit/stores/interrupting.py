"""Interrupting a coroutine at one of its awaits, in each of the ways in which that happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

import anyio

__all__ = ["CANCELLED", "Interrupted", "cancelled_early", "cancelled_in_scope", "cancelled_late"]


class Interrupted:
    """Awaited, it runs a coroutine in the same task, and does something at the n-th time that this one waits.

    Args:
        coroutine: What is awaited.
        wait: Which time.
        action: What is done then.
        late: Do it when what the coroutine waits for is there already, just before it learns that.

    Attributes:
        waits: How often the coroutine has waited.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], wait: int, action: Callable[[], object], *, late: bool = False
    ) -> None:
        self._coroutine = coroutine
        self._wait = wait
        self._action = action
        self._late = late
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coroutine.__await__()
        step: Callable[[], asyncio.Future[Any] | None] = partial(next, steps)
        while True:
            try:
                waiting = step()
            except StopIteration as end:
                return end.value
            self.waits += 1
            if self.waits == self._wait:
                if self._late and waiting is not None:
                    waiting.add_done_callback(lambda _: self._action())
                else:
                    self._action()
            try:
                yield waiting
                step = partial(next, steps)
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle, whatever it is
                step = partial(steps.throw, error)


async def cancelled_in_task(coroutine: Coroutine[Any, Any, Any], wait: int, *, late: bool) -> bool:
    """Cancel a coroutine's task when it waits for the n-th time; tell whether it did."""

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        nonlocal interrupted
        interrupted = Interrupted(coroutine, wait, task.cancel, late=late)
        await interrupted

    interrupted: Interrupted | None = None
    task = asyncio.ensure_future(run())
    await asyncio.wait((task,))
    assert interrupted is not None
    assert task.cancelled() == (interrupted.waits >= wait)
    return task.cancelled()


async def cancelled_early(coroutine: Coroutine[Any, Any, Any], wait: int) -> bool:
    return await cancelled_in_task(coroutine, wait, late=False)


async def cancelled_late(coroutine: Coroutine[Any, Any, Any], wait: int) -> bool:
    return await cancelled_in_task(coroutine, wait, late=True)


async def cancelled_in_scope(coroutine: Coroutine[Any, Any, Any], wait: int) -> bool:
    with anyio.CancelScope() as scope:
        await Interrupted(coroutine, wait, scope.cancel)
    return scope.cancelled_caught


CANCELLED = [cancelled_early, cancelled_late, cancelled_in_scope]
"""Each way to cancel a coroutine when it waits for the n-th time; they tell whether it waited so often."""
