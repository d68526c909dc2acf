"""A store whose calls answer, or raise ``StoreUnavailable``: one that hangs or fails in an unknown way is away, too."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from aioruns.abc import Store
from aioruns.errors import RunError, StoreUnavailable

__all__ = ["bounded"]

log = logging.getLogger("aioruns")

SHORTEST: Final = 2.0
"""Seconds that every call has at least: more than ``wait_changed`` waits by itself."""
LATE: Final = 0.5
"""Seconds for which the event loop must have stood still when a timer is so late."""


def bounded(store: Store, *, patience: float) -> Store:
    """Give a store whose calls end within a time and raise our errors only; opening and closing are left as they are.

    A call that ran out of time, or failed in an unknown way, has an unknown outcome, as ``StoreUnavailable`` says.

    Args:
        store: The store that is asked.
        patience: Seconds for an answer, two at least.
    """
    return cast("Store", _Bounded(store, max(patience, SHORTEST)))


class _Bounded:
    """One timer serves all calls: they have the same time, so the first to come is the first to be late.

    ``asyncio.timeout`` would leave a timer for each, which keeps the context of a run until long after its end.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self.store = store
        self.seconds = seconds
        self.loop = asyncio.get_running_loop()
        self.calls: dict[asyncio.Task[Any], float] = {}  # deadlines, in order
        self.given_up: dict[asyncio.Task[Any], str] = {}  # why
        self.timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def aclose(self) -> None:
        try:
            await self.store.aclose()
        finally:
            for task in self.calls:  # nobody answers them any more
                self._give_up(task, "the store was closed before it answered")
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    def wait_until(self, when: float) -> None:
        self.timer = self.loop.call_at(when, self._give_up_late, when, context=contextvars.Context())

    def _give_up_late(self, due: float) -> None:
        self.timer = None
        now = self.loop.time()
        if now - due > LATE:  # the event loop stood still: the answers may have come, and wait behind this
            self.wait_until(now + LATE)
            return
        for task, deadline in self.calls.items():
            if deadline > now:
                self.wait_until(deadline)
                return
            self._give_up(task, f"the store has not answered within {self.seconds:g} s")

    def _give_up(self, task: asyncio.Task[Any], why: str) -> None:
        if task not in self.given_up:
            self.given_up[task] = why
            task.cancel()


def _verb(name: str) -> Callable[..., Awaitable[Any]]:
    async def ask(self: _Bounded, *args: Any, **options: Any) -> Any:
        task = cast("asyncio.Task[Any]", asyncio.current_task(self.loop))
        cancellations = task.cancelling()
        deadline = self.loop.time() + self.seconds
        self.calls[task] = deadline
        if self.timer is None:
            self.wait_until(deadline)
        try:
            return await getattr(self.store, name)(*args, **options)
        except asyncio.CancelledError:
            if task in self.given_up and task.cancelling() - 1 <= cancellations:  # nobody but us has cancelled it
                raise StoreUnavailable(self.given_up[task]) from None
            raise
        except RunError:
            raise
        except Exception as error:
            log.exception("the store failed in a way that is not known")
            raise StoreUnavailable(f"the store failed: {type(error).__name__}: {error}") from error
        finally:
            del self.calls[task]
            if self.given_up.pop(task, None):
                task.uncancel()

    return ask


for _name in """
    acquire_lease release_lease rescue_orphans insert_run claim_run append_events request_cancel finish_run get_run
    get_active_run get_latest_run list_runs count_runs owned_runs changed_runs read_events prune_runs wait_changed
""".split():
    setattr(_Bounded, _name, _verb(_name))
