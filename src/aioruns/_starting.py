"""The start section: row, event, current id, task; in one piece, whoever is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Protocol
from weakref import WeakValueDictionary

from aioruns._active import ActiveRun
from aioruns._lifecycle import RunStatus
from aioruns._model import Run, now_micros
from aioruns._owned import OwnedTasks, insist
from aioruns._tickets import Ticket
from aioruns.abc import NewRun, Store
from aioruns.errors import StoreUnavailable

__all__ = ["Starter"]


class _Runs(Protocol):
    def add(self, active: ActiveRun) -> None: ...


class _Slots(Protocol):
    def reserve(self) -> bool: ...
    def release(self) -> None: ...
    def enqueue(self, active: ActiveRun) -> None: ...
    def withdraw(self) -> None: ...


class Starter:
    """Starts runs, each in a section of its own that its caller cannot tear.

    Args:
        store: Where rows go; its unique index decides who holds a key.
        manager_id: The manager that will execute the runs.
        registry: Where runs are registered.
        capacity: Who may execute at once.
        launch: Creates the task of a run.
        fail: Ends a run that could not be spawned; ``ended`` is set when that is stored, or cannot be at present.
        cancel_abandoned: Cancels a run whose starter went away, unless somebody else shares it.
        on_doubt: Called when it is not known whether a row was inserted.
    """

    def __init__(
        self,
        store: Store,
        manager_id: str,
        registry: _Runs,
        capacity: _Slots,
        *,
        launch: Callable[[ActiveRun], None],
        fail: Callable[[ActiveRun, BaseException], None],
        cancel_abandoned: Callable[[int], Coroutine[Any, Any, None]],
        on_doubt: Callable[[], None],
    ) -> None:
        self._store = store
        self._manager_id = manager_id
        self._registry = registry
        self._capacity = capacity
        self._launch = launch
        self._fail = fail
        self._cancel_abandoned = cancel_abandoned
        self._on_doubt = on_doubt
        self._tokens = itertools.count(1)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._sections = OwnedTasks()
        self._abandonments = OwnedTasks()

    @property
    def busy(self) -> bool:
        """Whether a section is under way, so that a row may be stored that is not registered yet."""
        return bool(self._sections)

    async def settle(self, timeout: float | None = None) -> None:
        """Wait for the sections that are under way, ``timeout`` seconds at most; cancelling it changes nothing."""
        await self._sections.settle(timeout)

    async def start(self, ticket: Ticket) -> Run:
        """Start a run, or find the one to join; return its row.

        The section goes on when the caller is cancelled; the run is cancelled then.

        Raises:
            RunConflict: The key is held by another run.
            ConfigurationError: The idempotency key belongs to another job.
            StoreUnavailable: The row could not be inserted.
        """
        section = self._sections.create(self._section(ticket))
        try:
            # Neither a shield nor a scope of anyio protects from every way of cancelling: a task that only we know
            # does.
            await asyncio.wait((section,))
        except asyncio.CancelledError:
            section.add_done_callback(lambda _: self._abandon(ticket, section))
            raise
        run, inserted = section.result()
        if not inserted:
            ticket.check_shared(run)
        return run

    async def _section(self, ticket: Ticket) -> tuple[Run, bool]:
        try:
            async with self._lock(ticket.key):
                run, inserted = await self._insert(ticket)
                # No await since the row came back: whoever reads it finds the run registered.
                failure = self._spawn(ticket.active, run) if inserted and run.active else None
        except BaseException:
            ticket.active.work.discard()
            raise
        if not ticket.active.is_attached(run.id):
            ticket.active.work.discard()
        if failure is not None:
            await ticket.active.ended.wait()  # behind the lock: while the store is away, other starts get their answer
            raise failure
        return run, inserted

    def _lock(self, key: str | None) -> contextlib.AbstractAsyncContextManager[object]:
        if key is None:  # nobody to exclude
            return contextlib.nullcontext()
        return self._locks.setdefault(key, asyncio.Lock())

    async def _insert(self, ticket: Ticket) -> tuple[Run, bool]:
        active = ticket.active
        active.has_slot = self._capacity.reserve()
        new = self._row(ticket)
        to_begin = False
        try:
            # Only the teardown of the event loop cancels this task. It ends soon, and with an answer: a run has begun.
            (run, inserted), _ = await insist(lambda: self._store.insert_run(new))
            to_begin = inserted and run.active  # the answer may have been lost, and somebody has cancelled it meanwhile
        except StoreUnavailable:
            self._on_doubt()
            raise
        finally:
            if not to_begin:
                self._give_back_slot(active)
        return run, inserted

    def _spawn(self, active: ActiveRun, run: Run) -> BaseException | None:
        """Register a run whose row is stored, and begin to execute it or let it wait; return what went wrong."""
        active.attach(run)
        try:
            self._registry.add(active)
            if active.has_slot:
                self._launch(active)
            else:
                self._capacity.enqueue(active)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the row must not stay active
            self._fail(active, error)
            return error
        return None

    def _give_back_slot(self, active: ActiveRun) -> None:
        if active.has_slot:
            self._capacity.release()
        else:
            self._capacity.withdraw()

    def _row(self, ticket: Ticket) -> NewRun:
        return NewRun(
            manager_id=self._manager_id,
            token=next(self._tokens),
            job=ticket.active.work.name,
            status=RunStatus.RUNNING if ticket.active.has_slot else RunStatus.PENDING,
            created_at=now_micros(),
            key=ticket.key,
            idempotency_key=ticket.idempotency_key,
            join=ticket.on_conflict == "join",
            timeout=ticket.timeout,
            tags=ticket.tags,
            triggered_by=ticket.triggered_by,
            arguments_json=ticket.active.work.arguments_json,
        )

    def _abandon(self, ticket: Ticket, section: asyncio.Task[tuple[Run, bool]]) -> None:
        """Cancel what a section has inserted whose caller went away."""
        if section.cancelled() or section.exception() is not None:
            ticket.active.work.discard()  # the section may have been cancelled before its first step
            return
        run, inserted = section.result()
        if inserted:
            self._abandonments.create(self._cancel_abandoned(run.id))
