"""The real roles of a manager, wired as the engine wires them, on a fake store; two of them note what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, cast

from aioruns import Run, redact_secrets
from aioruns._jobs.work import work_of
from aioruns._running.blocking import BlockWatch
from aioruns._running.cancel import Canceller
from aioruns._running.capacity import Capacity
from aioruns._running.execute import Executor
from aioruns._running.feed import EventFeed
from aioruns._running.live import Attempt, LiveRun
from aioruns._running.outbox import Budget
from aioruns._running.registry import Registry
from aioruns._running.start import Starter
from aioruns._running.state import ManagerState
from aioruns._running.watch import Watcher
from aioruns.abc import Store

__all__ = ["NotingFeed", "RolesOnFakeStore", "live_run"]


class NotingFeed(EventFeed):
    """A feed that notes whom it wakes.

    Attributes:
        told: A note for each call.
    """

    def __init__(self, store: Store, state: ManagerState, told: list[str]) -> None:
        super().__init__(store, state)
        self.told = told

    def notify(self, run_id: int) -> None:
        self.told.append(f"notify {run_id}")
        super().notify(run_id)

    def notify_all(self) -> None:
        self.told.append("notify all")
        super().notify_all()


class NotingRegistry(Registry):
    """A registry that notes which runs it takes in and lets go."""

    def __init__(self, state: ManagerState, told: list[str]) -> None:
        super().__init__(state)
        self.told = told

    def add(self, live: LiveRun) -> None:
        self.told.append(f"add {live.run.id}")
        super().add(live)

    def remove(self, live: LiveRun) -> None:
        if live.run.id in self:
            self.told.append(f"forget {live.run.id}")
        super().remove(live)


def live_run(call: object, run: Run | None = None, *, values: Sequence[tuple[ContextVar[Any], Any]] = ()) -> LiveRun:
    """Make a run that is not registered, and whose outbox nobody empties."""
    attempt = Attempt(budget=Budget(on_filled=lambda _: None), redact=redact_secrets)
    live = LiveRun(work_of(call), attempt, values)
    if run is not None:
        live.attach(run)
    return live


class RolesOnFakeStore:
    """The roles of a manager whose id is ``manager``; a subclass is the store that they work on.

    Attributes:
        told: What feed and registry were told, in order.
    """

    def __init__(
        self,
        *,
        max_running: int | None = None,
        patience: float = 60,
        redact: Callable[[str], str] = redact_secrets,
        context_vars: Sequence[ContextVar[Any]] = (),
    ) -> None:
        store = cast("Store", self)
        self.told: list[str] = []
        self.state = ManagerState()
        self.state.manager_id = "manager"
        self.registry = NotingRegistry(self.state, self.told)
        self.capacity = Capacity(max_running)
        self.feed = NotingFeed(store, self.state, self.told)
        self.executor = Executor(
            store, self.state, self.registry, self.capacity, self.feed, BlockWatch(self.registry), redact=redact,
            patience=patience,
        )  # fmt: skip
        self.canceller = Canceller(store, self.state, self.registry, self.executor, self.feed, redact=redact)
        self.watcher = Watcher(store, self.state, self.registry, self.feed, self.executor, self.canceller)
        self.starter = Starter(
            store, self.state, self.registry, self.capacity, self.executor, self.canceller, self.watcher,
            budget=Budget(on_filled=lambda _: None), redact=redact, context_vars=context_vars,
        )  # fmt: skip

    def register(self, live: LiveRun) -> LiveRun:
        """Register a run as a start does, with a slot if there is one."""
        self.capacity.reserve(live)
        self.registry.add(live)
        return live

    def leftovers(self) -> dict[str, object]:
        """Tell what is still remembered: nothing, when no run executes or waits here and nothing is in doubt."""
        roles = (self.registry, self.capacity, self.feed, self.executor, self.canceller, self.watcher, self.starter)
        return {name: what for role in roles for name, what in role.leftovers().items() if what}
