"""The start section: row, event, current id, task; in one piece, whoever is cancelled."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol
from weakref import WeakValueDictionary

from aioruns._aio.tasks import OwnedTasks, insist, settle
from aioruns._running.live import ActiveRun
from aioruns._running.request import Ticket
from aioruns._values.model import Run
from aioruns._values.status import RunStatus
from aioruns._values.times import now_micros
from aioruns.abc import NewRun, Store

__all__ = ["Starter"]


class _Runs(Protocol):
    def add(self, active: ActiveRun) -> None: ...


class _Slots(Protocol):
    def reserve(self) -> bool: ...
    def release(self) -> None: ...
    def enqueue(self, active: ActiveRun) -> None: ...
    def withdraw(self) -> None: ...


class Starter:
    """Starts runs, each in a section of its own that its caller cannot tear: cancelled, it is completed without it.

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
        self._loop = asyncio.get_running_loop()
        self._tokens = itertools.count(1)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._under_way: dict[asyncio.Future[None], asyncio.Lock | None] = {}  # sections, and their keys' locks
        self._abandoned = OwnedTasks()

    @property
    def busy(self) -> bool:
        """Whether a section is under way, so that a row may be stored that is not registered yet."""
        return bool(self._under_way)

    async def settle(self, timeout: float | None = None) -> None:
        """Wait for the sections that are under way, ``timeout`` seconds at most; cancelling it changes nothing."""
        await settle(self._under_way, timeout)

    async def start(self, ticket: Ticket) -> Run:
        """Start a run, or find the one to join; return its row.

        Cancelled, the section is completed by a task of our own; the run is cancelled then.

        Raises:
            RunConflict: The key is held by another run.
            ConfigurationError: The idempotency key belongs to another job.
            StoreUnavailable: The row could not be inserted.
        """
        active = ticket.active
        try:
            new = self._row(ticket)
            section = await self._enter(ticket.key)
        except BaseException:
            active.work.discard()
            raise
        new.created_at = now_micros()  # not before the key's last run has ended
        if self._capacity.reserve():
            active.has_slot = True
            new.status = RunStatus.RUNNING
        try:
            run, inserted = await self._store.insert_run(new)
        except asyncio.CancelledError:
            # The row may have been stored. Neither a shield nor a scope of anyio protects from every way of cancelling:
            # a task that only we know does, and it goes on with the section.
            self._hand_over(ticket, new, section)
            raise
        except BaseException:
            self._withdraw(ticket)
            self._leave(section)
            raise
        # No await since the row came back: whoever reads it finds the run registered.
        failure = self._begin(ticket, run, inserted)
        self._leave(section)
        if failure is not None:
            await active.ended.wait()
            raise failure
        if not inserted:
            ticket.check_shared(run)
        return run

    async def _enter(self, key: str | None) -> asyncio.Future[None]:
        """Begin a section, alone with its key; the future is for ``_leave``, in whichever task that is."""
        section = self._loop.create_future()
        self._under_way[section] = None  # from now on: a manager that closes waits for those that wait for a key, too
        if key is not None:
            lock = self._locks.setdefault(key, asyncio.Lock())
            try:
                await lock.acquire()
            except BaseException:
                self._leave(section)
                raise
            self._under_way[section] = lock
        return section

    def _leave(self, section: asyncio.Future[None]) -> None:
        lock = self._under_way.pop(section)
        section.set_result(None)
        if lock is not None:
            lock.release()

    def _hand_over(self, ticket: Ticket, new: NewRun, section: asyncio.Future[None]) -> None:
        completion = self._abandoned.create(self._complete(ticket, new))
        completion.add_done_callback(partial(self._abandon, ticket, new, section))

    async def _complete(self, ticket: Ticket, new: NewRun) -> int | None:
        """Complete a section whose caller went away while the row was being inserted; return the run to cancel."""
        (run, inserted), _ = await insist(lambda: self._store.insert_run(new))
        failure = self._begin(ticket, run, inserted)
        return run.id if inserted and failure is None else None

    def _abandon(
        self, ticket: Ticket, new: NewRun, section: asyncio.Future[None], completion: asyncio.Task[int | None]
    ) -> None:
        """End a section whose caller went away; cancel what it has inserted."""
        if completion.cancelled():  # before its first step, by the teardown of the event loop, which does that once
            self._hand_over(ticket, new, section)
            return
        self._leave(section)  # first: a start that waits for the key may join the run, which then is not cancelled
        if completion.exception() is not None:
            self._withdraw(ticket)
        elif (run_id := completion.result()) is not None:
            self._abandoned.create(self._cancel_abandoned(run_id))

    def _begin(self, ticket: Ticket, run: Run, inserted: bool) -> BaseException | None:
        """Let the run begin whose row was inserted, in the turn that brought the answer; return what went wrong."""
        if inserted and run.active:  # the answer may have been lost, and somebody has cancelled it meanwhile
            return self._spawn(ticket.active, run)
        self._give_back_slot(ticket.active)
        ticket.active.work.discard()
        return None

    def _withdraw(self, ticket: Ticket) -> None:
        """Take a start back whose row could not be inserted, or may have been nevertheless."""
        self._give_back_slot(ticket.active)
        ticket.active.work.discard()
        self._on_doubt()

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
            status=RunStatus.PENDING,
            created_at=now_micros(),
            key=ticket.key,
            idempotency_key=ticket.idempotency_key,
            join=ticket.on_conflict == "join",
            timeout=ticket.timeout,
            tags=ticket.tags,
            triggered_by=ticket.triggered_by,
            retry_of=ticket.retry_of,
            arguments_json=ticket.active.work.arguments_json,
        )
