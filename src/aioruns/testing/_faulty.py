"""A store that fails on demand: its calls raise, hang, take long, or take effect and lose their answer."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper
from typing import Any, Final, NamedTuple, TypeVar, cast

from aioruns.abc import Store
from aioruns.errors import StoreUnavailable
from aioruns.stores import open_store

__all__ = ["Fault", "FaultyStore", "StoreCall"]

Verb = TypeVar("Verb", bound=Callable[..., Any])

_VERBS: Final = tuple(name for name, member in vars(Store).items() if inspect.iscoroutinefunction(member))
_Strike = Callable[["Fault"], Awaitable[object]]


class StoreCall(NamedTuple):
    """A call of a store.

    Attributes:
        verb: The name of the method.
        args: Its positional arguments.
        options: Its keyword arguments.
    """

    verb: str
    args: tuple[Any, ...]
    options: dict[str, Any]


class Fault:
    """A fault in some calls of one verb; the methods of ``FaultyStore`` make it.

    Attributes:
        hits: How many calls it has hit so far.
        reached: Set when it has hit the first call.
        released: Set when hanging calls may go on, and the fault spares later ones.
    """

    def __init__(self) -> None:
        self.hits: int = 0
        self.reached: asyncio.Event = asyncio.Event()
        self.released: asyncio.Event = asyncio.Event()

    def release(self) -> None:
        """Let hanging calls go on, and spare later ones."""
        self.released.set()


class _Trap:
    """Decides which calls of a verb a fault hits, and how."""

    def __init__(self, verb: str, *, call: int, times: float, happens: bool, strike: _Strike) -> None:
        if verb not in _VERBS:
            raise ValueError(f"a store has no verb {verb!r} that can fail; its verbs are {', '.join(_VERBS)}")
        if call < 1 or times < 1:
            raise ValueError(f"calls are counted from 1, the next one; not call={call}, times={times}")
        self.fault = Fault()
        self.verb = verb
        self._numbers = itertools.count(1)
        self._first = call
        self._end = call + times
        self._happens = happens
        self._strike = strike

    def catches_next(self) -> bool:
        """Count a call, and tell whether the fault hits it."""
        return self._first <= next(self._numbers) < self._end and not self.fault.released.is_set()

    async def spoil(self, call: Callable[[], Awaitable[Any]]) -> Any:
        self.fault.hits += 1
        self.fault.reached.set()
        if not self._happens:
            await self._strike(self.fault)
            return await call()
        answer = await call()
        await self._strike(self.fault)
        return answer


def _verb(verb: Verb) -> Verb:
    """Make a verb that goes to the wrapped store, unless a fault hits it."""

    async def call(self: FaultyStore, *args: Any, **options: Any) -> Any:
        return await self.call(StoreCall(verb.__name__, args, options))

    return cast("Verb", update_wrapper(call, verb))


class FaultyStore:
    """A store whose calls fail when a test says so; all others go to the wrapped store.

    Give it to a manager in place of a store. Before or after the manager opens, say what is to fail::

        store = FaultyStore(tmp_path / "runs.db")
        store.lose_answer("finish_run")
        async with RunManager(store) as manager:
            handle = await manager.start_run(build(3))
            assert await handle == "built"

    Every awaited verb of ``aioruns.abc.Store`` can fail. A call that is cancelled while it hangs never takes effect,
    unless it already has. If several faults hit one call, the one that was set first counts.

    Args:
        store: A store, or the path or URL of one.

    Attributes:
        calls: The calls so far, in order.
    """

    def __init__(self, store: str | os.PathLike[str] | Store) -> None:
        self.calls: list[StoreCall] = []
        self._store = open_store(store)
        self._traps: list[_Trap] = []
        self._outage: Exception | None = None

    def __repr__(self) -> str:
        return f"<FaultyStore {self._store!r}>"

    def fail(self, verb: str, *, call: int = 1, times: float = 1, error: Exception | None = None) -> Fault:
        """Make calls raise instead of doing anything.

        Args:
            verb: A method of ``aioruns.abc.Store``, e.g. ``finish_run``.
            call: Which call from now on is the first to fail; 1 is the next.
            times: How many calls fail; ``math.inf`` for all that follow.
            error: What they raise; a ``StoreUnavailable`` by default.
        """
        return self._set_trap(verb, call=call, times=times, happens=False, strike=_raise(verb, error))

    def lose_answer(self, verb: str, *, call: int = 1, times: float = 1, error: Exception | None = None) -> Fault:
        """Make calls take effect and then raise, so that their callers do not know what is stored.

        Args:
            verb: As for ``fail``.
            call: As for ``fail``.
            times: As for ``fail``.
            error: As for ``fail``.
        """
        return self._set_trap(verb, call=call, times=times, happens=True, strike=_raise(verb, error))

    def hang(self, verb: str, *, call: int = 1, times: float = 1, happens: bool = False) -> Fault:
        """Make calls hang until the test releases the returned fault; otherwise they hang for ever.

        Args:
            verb: As for ``fail``.
            call: As for ``fail``.
            times: As for ``fail``.
            happens: Whether they take effect first, so that only their answers hang.
        """
        return self._set_trap(verb, call=call, times=times, happens=happens, strike=lambda fault: fault.released.wait())

    def delay(self, verb: str, seconds: float, *, call: int = 1, times: float = 1, happens: bool = False) -> Fault:
        """Make calls take long.

        Args:
            verb: As for ``fail``.
            seconds: How much longer they take.
            call: As for ``fail``.
            times: As for ``fail``.
            happens: Whether they take effect first, so that only their answers are late.
        """
        return self._set_trap(verb, call=call, times=times, happens=happens, strike=lambda _: asyncio.sleep(seconds))

    def away(self, error: Exception | None = None) -> None:
        """Make every call but ``aclose`` raise until ``back``.

        Args:
            error: What they raise; a ``StoreUnavailable`` by default.
        """
        self._outage = error or StoreUnavailable("the test has taken the store away")

    def back(self) -> None:
        """End an outage, release hanging calls, and forget all faults."""
        self._outage = None
        traps, self._traps = self._traps, []
        for trap in traps:
            trap.fault.release()

    def abandon_lease(self, manager_id: str) -> None:
        """See ``Store``. This verb is not awaited and never fails."""
        self.calls.append(StoreCall("abandon_lease", (manager_id,), {}))
        self._store.abandon_lease(manager_id)

    open: Any = _verb(Store.open)
    aclose: Any = _verb(Store.aclose)
    acquire_lease: Any = _verb(Store.acquire_lease)
    release_lease: Any = _verb(Store.release_lease)
    rescue_orphans: Any = _verb(Store.rescue_orphans)
    insert_run: Any = _verb(Store.insert_run)
    claim_run: Any = _verb(Store.claim_run)
    append_events: Any = _verb(Store.append_events)
    request_cancel: Any = _verb(Store.request_cancel)
    finish_run: Any = _verb(Store.finish_run)
    get_run: Any = _verb(Store.get_run)
    get_active_run: Any = _verb(Store.get_active_run)
    get_latest_run: Any = _verb(Store.get_latest_run)
    list_runs: Any = _verb(Store.list_runs)
    count_runs: Any = _verb(Store.count_runs)
    owned_runs: Any = _verb(Store.owned_runs)
    changed_runs: Any = _verb(Store.changed_runs)
    read_events: Any = _verb(Store.read_events)
    prune_runs: Any = _verb(Store.prune_runs)
    wait_changed: Any = _verb(Store.wait_changed)

    def _set_trap(self, verb: str, *, call: int, times: float, happens: bool, strike: _Strike) -> Fault:
        trap = _Trap(verb, call=call, times=times, happens=happens, strike=strike)
        self._traps.append(trap)
        return trap.fault

    async def call(self, call: StoreCall) -> Any:
        """Carry out a call of any verb, or the fault that hits it."""
        self.calls.append(call)
        if self._outage is not None and call.verb != "aclose":
            raise self._outage
        verb = partial(getattr(self._store, call.verb), *call.args, **call.options)
        # Every trap of the verb counts the call.
        catching = [trap for trap in self._traps if trap.verb == call.verb and trap.catches_next()]
        return await (catching[0].spoil(verb) if catching else verb())


def _raise(verb: str, error: Exception | None) -> _Strike:
    async def strike(_: Fault) -> None:
        raise error or StoreUnavailable(f"{verb} was made to fail")

    return strike
