"""A store whose calls answer in time, or raise ``StoreUnavailable``: a database that hangs is one that is away."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aioruns.abc import Store
from aioruns.errors import StoreUnavailable

__all__ = ["bounded"]

SHORTEST: Final = 2.0
"""Seconds that every call has at least: more than ``wait_changed`` waits by itself."""


def bounded(store: Store, *, patience: float) -> Store:
    """Give a store every call of which ends within a time; opening and closing take what they take.

    A call that ran out of time has an unknown outcome, like one that was cancelled or raised ``StoreUnavailable``.

    Args:
        store: The store that is asked.
        patience: Seconds for an answer, two at least.
    """
    return cast("Store", _Bounded(store, max(patience, SHORTEST)))


class _Call:
    """A call under way, in the task that waits for it."""

    __slots__ = ("cancelling", "deadline", "late", "task")

    def __init__(self, deadline: float) -> None:
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.cancelling = self.task.cancelling()
        self.deadline = deadline
        self.late = False


class _Bounded:
    """One timer serves all calls: they have the same time, so the first to come is the first to be late.

    ``asyncio.timeout`` would leave a timer for each, which keeps the context of a run until long after its end.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self.store = store
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._calls: dict[_Call, None] = {}  # in order
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def aclose(self) -> None:
        try:
            await self.store.aclose()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def call(self, verb: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        call = _Call(self._loop.time() + self.seconds)
        self._calls[call] = None
        if self._timer is None:
            self._wait_for(call)
        try:
            return await verb(*args, **kwargs)
        except asyncio.CancelledError:
            if call.late and call.task.cancelling() - 1 <= call.cancelling:  # nobody but us has cancelled it
                raise StoreUnavailable(f"the store has not answered within {self.seconds:g} s") from None
            raise
        finally:
            del self._calls[call]
            if call.late:
                call.task.uncancel()

    def _wait_for(self, call: _Call) -> None:
        self._timer = self._loop.call_at(call.deadline, self._cancel_late, context=contextvars.Context())

    def _cancel_late(self) -> None:
        self._timer = None
        now = self._loop.time()
        for call in self._calls:
            if call.deadline > now:
                self._wait_for(call)
                return
            if not call.late:
                call.late = True
                call.task.cancel()


def _verb(name: str) -> Callable[..., Awaitable[Any]]:
    def ask(self: _Bounded, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return self.call(getattr(self.store, name), *args, **kwargs)

    return ask


for _name in """
    acquire_lease release_lease rescue_orphans insert_run claim_run append_events request_cancel finish_run get_run
    get_active_run get_latest_run list_runs owned_runs read_events prune_runs wait_changed
""".split():
    setattr(_Bounded, _name, _verb(_name))
