"""Wires the roles of an open manager together: each gets those below it that it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from aioruns._aio.tasks import OwnedTasks
from aioruns._running.blocking import BlockWatch
from aioruns._running.bounded import BoundedStore
from aioruns._running.cancel import Canceller
from aioruns._running.capacity import Capacity
from aioruns._running.execute import Executor
from aioruns._running.feed import EventFeed
from aioruns._running.flush import Flusher
from aioruns._running.read import Reader
from aioruns._running.registry import Registry
from aioruns._running.start import Starter
from aioruns._running.state import ManagerState
from aioruns._running.watch import Watcher
from aioruns._values.redaction import Redact
from aioruns.abc import Store

__all__ = ["Engine", "Settings"]


class Settings(Struct, frozen=True, kw_only=True):
    """The parameters of a manager.

    Attributes:
        store: The store, which is opened and closed with the manager.
        max_running: How many runs may execute at once; None for no limit.
        shutdown_grace: Seconds that runs may go on when the manager closes.
        redact: Removes from errors what must not be shown.
        context_vars: Context variables that are copied from the starter into its run.
        patience: Seconds that the store may be away before whoever waits is told.
    """

    store: Store
    max_running: int | None
    shutdown_grace: float
    redact: Redact
    context_vars: Sequence[ContextVar[Any]]
    patience: float


class Engine:
    """The roles of one open manager, on the event loop that made it.

    Attributes:
        loop: That event loop.
        tasks: The tasks that serve the manager as a whole.
        capturing: Whether ``logging`` is being captured for this manager.
    """

    def __init__(self, settings: Settings) -> None:
        redact, patience = settings.redact, settings.patience
        store = self.store = BoundedStore(settings.store, patience=patience)
        state = self.state = ManagerState()
        self.loop = asyncio.get_running_loop()
        self.tasks = OwnedTasks()
        self.capturing = False
        self.rescuer: asyncio.Task[None] | None = None
        self.close_lock = asyncio.Lock()

        registry = self.registry = Registry(state)
        capacity = self.capacity = Capacity(settings.max_running)
        self.blocking = BlockWatch(registry)
        feed = self.feed = EventFeed(store, state)
        self.flusher = Flusher(store, feed, patience=patience)
        self.reader = Reader(store, registry, feed)
        self.executor = Executor(
            store, state, registry, capacity, feed, self.blocking, redact=redact, patience=patience
        )
        self.canceller = Canceller(store, state, registry, self.executor, feed, redact=redact)
        self.watcher = Watcher(store, state, registry, feed, self.executor, self.canceller)
        self.starter = Starter(
            store,
            state,
            registry,
            capacity,
            self.executor,
            self.canceller,
            self.watcher,
            budget=self.flusher.budget,
            redact=redact,
            context_vars=settings.context_vars,
        )

    def leftovers(self) -> dict[str, object]:
        """Report what is still remembered or under way: nothing, when no run executes or waits here."""
        roles = (
            self.registry, self.capacity, self.feed, self.flusher, self.executor, self.canceller, self.watcher,
            self.starter, self.store,
        )  # fmt: skip
        found = {name: what for role in roles for name, what in role.leftovers().items()}
        return {name: what for name, what in found.items() if what}
