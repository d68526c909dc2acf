"""Tools of the suite: an open store with the manager that it serves, and values for its verbs."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any, ClassVar, Final

import pytest
import pytest_asyncio

from aioruns._values.model import Run, RunEvent
from aioruns._values.status import RunStatus
from aioruns.abc import Ending, Fence, NewEvent, NewRun, Store

__all__ = ["FAR", "NOW", "ContractCase", "Owner", "check_gapless", "said", "serving", "statuses_of"]

NOW: Final = 1_760_000_000_123_456
"""A time, in microseconds."""
FAR: Final = 10_000
"""More events than a test stores."""


def said(ordinal: int, *, kind: str = "log", data: str | None = None, at: int = NOW) -> NewEvent:
    """Make an event; by default, a log line that contains the ordinal."""
    return NewEvent(ordinal, at, kind, f'{{"ordinal":{ordinal}}}' if data is None else data)


def statuses_of(events: Iterable[RunEvent]) -> list[str]:
    """Return the statuses that a stream passes through."""
    return [event.data["status"] for event in events if event.kind == "status"]


def check_gapless(events: Iterable[RunEvent]) -> None:
    """Check that the events of a stream are numbered 1, 2, 3 and so on."""
    sequence = [event.seq for event in events]
    assert sequence == list(range(1, len(sequence) + 1))


class Owner:
    """An open store, and the manager that it serves."""

    def __init__(self, store: Store) -> None:
        self.store: Store = store
        self.manager_id: str = uuid.uuid4().hex
        self.fence: Fence = Fence(self.manager_id, 1)
        self._tokens = itertools.count(1)

    def new(self, **fields: Any) -> NewRun:
        """Describe a run of this manager; by default, one that is ``running``."""
        defaults: dict[str, Any] = {
            "manager_id": self.manager_id,
            "token": next(self._tokens),
            "job": "build",
            "status": RunStatus.RUNNING,
            "created_at": NOW,
        }
        return NewRun(**{**defaults, **fields})

    async def insert(self, **fields: Any) -> Run:
        """Insert a run when no other run stands in the way."""
        run, inserted = await self.store.insert_run(self.new(**fields))
        assert inserted
        return run

    async def insert_as(self, status: RunStatus, **fields: Any) -> Run:
        """Insert a run and bring it to a status."""
        if status is RunStatus.PENDING:
            return await self.insert(status=status, **fields)
        run = await self.insert(**fields)
        if status is RunStatus.CANCELLING:
            cancelling = await self.store.request_cancel(run.id, at=NOW + 1)
            assert cancelling is not None
            return cancelling
        return run if status is RunStatus.RUNNING else await self.finish(run, status)

    async def finish(
        self, run: Run, status: RunStatus = RunStatus.COMPLETED, *, at: int = NOW + 2, **fields: Any
    ) -> Run:
        """End a run of this manager."""
        return await self.store.finish_run(run.id, self.fence, Ending(status=status, at=at, **fields))

    async def read(self, run: Run) -> Run:
        """Read a run that must exist."""
        found = await self.store.get_run(run.id)
        assert found is not None
        return found

    async def events(self, run: Run) -> list[RunEvent]:
        """Read all events of a run."""
        return await self.store.read_events(run.id, after=0, limit=FAR)


@contextlib.asynccontextmanager
async def serving(store: Store) -> AsyncGenerator[Owner]:
    """Open a store and acquire a lease for its manager; close the store and let the lease go at the end."""
    owner = Owner(store)
    await store.open()
    try:
        await store.acquire_lease(owner.manager_id, at=NOW)
        yield owner
    finally:
        await store.aclose()
        store.abandon_lease(owner.manager_id)


class ContractCase:
    """The fixtures of the suite."""

    pytestmark: ClassVar[Any] = pytest.mark.asyncio
    shareable: ClassVar[bool] = True

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        """Return a function that makes stores on the same data; subclasses override this."""
        raise NotImplementedError("override the fixture make_store")

    @pytest_asyncio.fixture
    async def owner(self, make_store: Callable[[], Store]) -> AsyncIterator[Owner]:
        """Yield an open store whose manager has its lease."""
        async with serving(make_store()) as owner:
            yield owner

    @pytest_asyncio.fixture
    async def other(self, owner: Owner, make_store: Callable[[], Store]) -> AsyncIterator[Owner]:
        """Yield a second store on the same data."""
        del owner  # requested only so that it opens first
        self.skip_unless_shareable()
        async with serving(make_store()) as other:
            yield other

    def skip_unless_shareable(self) -> None:
        """Skip the test if there can be no second store."""
        if not self.shareable:
            pytest.skip("this store cannot be opened twice on the same data")
