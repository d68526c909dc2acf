"""Cases: one call of one verb of the store fails in one way in one scenario; how they are found, played and judged."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import math
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fault.store_judge import closes, finds_keys_free, finds_nothing_active, judge, rests
from tests.fault.store_scenarios import SCENARIOS
from tests.fault.store_world import LATE, PATIENCE, UNKNOWN, World, writing

from aioruns.abc import Store
from aioruns.testing import Fault, FaultyStore, run_schedule

__all__ = ["FOREVER", "STORM", "WAYS", "Case", "Trouble", "cases", "opens", "run"]

FOREVER = ALL = math.inf
VERBS = [name for name, member in vars(Store).items() if inspect.iscoroutinefunction(member)]
Set = Callable[[FaultyStore, str, int], Fault]


@contextlib.asynccontextmanager
async def away(world: World) -> AsyncIterator[None]:
    """Let the whole store be away."""
    world.store.away()
    yield


@contextlib.asynccontextmanager
async def locked(world: World) -> AsyncIterator[None]:
    """Let somebody else lock the database: what is in line waits, and may happen when nobody waits for it any more."""
    async with writing(world.database):
        yield


@dataclass(frozen=True)
class Way:
    """A way to fail.

    Attributes:
        set: Sets it for one call of a verb, or for all from that on.
        lasts: Seconds until it is over.
        during: What else there is until then, from that call on.
    """

    set: Set
    lasts: float = 0
    during: Callable[[World], contextlib.AbstractAsyncContextManager[None]] | None = None


def reach(store: FaultyStore, verb: str, call: int) -> Fault:
    """Let a call be, and take note of it."""
    return store.delay(verb, 0, call=call)


WAYS = {
    "raises": Way(lambda store, verb, call: store.fail(verb, call=call)),
    "raises for long": Way(lambda store, verb, call: store.fail(verb, call=call, times=ALL), LATE),
    "raises something unknown": Way(lambda store, verb, call: store.fail(verb, call=call, error=UNKNOWN)),
    "raises something unknown for long": Way(
        lambda store, verb, call: store.fail(verb, call=call, times=ALL, error=UNKNOWN), LATE
    ),
    "loses its answer": Way(lambda store, verb, call: store.lose_answer(verb, call=call)),
    "loses its answers for long": Way(lambda store, verb, call: store.lose_answer(verb, call=call, times=ALL), LATE),
    "loses its answer to something unknown": Way(
        lambda store, verb, call: store.lose_answer(verb, call=call, error=UNKNOWN)
    ),
    "hangs for ever": Way(lambda store, verb, call: store.hang(verb, call=call), FOREVER),
    "happens and hangs for ever": Way(lambda store, verb, call: store.hang(verb, call=call, happens=True), FOREVER),
    "hangs for long": Way(lambda store, verb, call: store.hang(verb, call=call, times=ALL), LATE),
    "happens and hangs for long": Way(
        lambda store, verb, call: store.hang(verb, call=call, times=ALL, happens=True), LATE
    ),
    "is late": Way(lambda store, verb, call: store.delay(verb, 1, call=call)),
    "happens and is late": Way(lambda store, verb, call: store.delay(verb, 1, call=call, happens=True)),
    "takes the whole store away": Way(lambda store, verb, call: store.fail(verb, call=call), LATE, away),
    "meets a lock": Way(reach, PATIENCE + 0.5, locked),
}
SINGLE = [way for way in WAYS.values() if way.lasts in (0, FOREVER)]
OPENING = ("open", "acquire_lease")


def storm(store: FaultyStore, verb: str, seed: int) -> Fault:
    """Let every third call fail in a way of its own, once the manager has been opened."""
    chance = random.Random(seed)
    for each, call in itertools.product(VERBS, range(1, 20)):
        if each not in OPENING and chance.random() < 1 / 3:
            chance.choice(SINGLE).set(store, each, call)
    return reach(store, verb, 1)


STORM = "begins a storm"
WAYS[STORM] = Way(storm, LATE)


@dataclass(frozen=True)
class Case:
    """One call of one verb that fails in one way in one scenario."""

    scenario: str
    verb: str = ""
    call: int = 0
    way: str = ""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.verb}, call {self.call}, {self.way}"


class Trouble:
    """A fault, from when it is set until it is over."""

    def __init__(self, world: World, case: Case) -> None:
        self.way = WAYS.get(case.way)
        self._world = world
        self._fault = Fault() if self.way is None else self.way.set(world.store, case.verb, case.call)
        self._over = asyncio.ensure_future(self._end())

    @property
    def came(self) -> bool:
        """Whether a call has failed."""
        return self._fault.hits > 0

    @property
    def lasts(self) -> float:
        """For how many seconds."""
        return 0 if self.way is None else self.way.lasts

    async def _end(self) -> None:
        await self._fault.reached.wait()
        assert self.way is not None
        async with self.way.during(self._world) if self.way.during is not None else contextlib.nullcontext():
            if self.lasts < FOREVER:
                await asyncio.sleep(self.lasts)
                self._world.store.back()

    async def passes(self) -> None:
        """Wait until it is over, if it has come."""
        if self.came:
            await self._over


async def play(case: Case, database: Path) -> tuple[Counter[str], bool]:
    """Play a case and judge it; return how often each verb was called, and whether a call has failed."""
    scenario = SCENARIOS[case.scenario]
    world = World(database, max_running=scenario.max_running)
    trouble = Trouble(world, case)
    calls: Counter[str] = Counter()
    if await opens(world, trouble):
        await scenario.act(world)
        if not scenario.closes:
            await trouble.passes()  # else another manager may have to end the runs
            await rests(world)
            calls += world.count_calls()
            await finds_keys_free(world, world.manager, "another start")
            world.store.calls.clear()
            await trouble.passes()
        await closes(world)
    calls += world.count_calls()
    world.store.back()
    await trouble.passes()
    await world.ask("closing", world.manager.aclose())  # again, or in vain, or behind an opening that was cancelled
    await world.store.aclose()  # where the manager's call was the one that failed
    await finds_nothing_active(world)
    judge(world, closed=scenario.closes, rescued=scenario.closes and trouble.lasts == LATE)
    return calls, trouble.came


async def opens(world: World, trouble: Trouble) -> bool:
    """Open the manager. How long that takes is the store's affair: whoever does not want to wait cancels it."""
    opening = asyncio.ensure_future(world.open())
    if trouble.lasts == FOREVER:
        await asyncio.wait((opening,), timeout=LATE)
        if not opening.done():
            opening.cancel()
            await asyncio.wait((opening,))
            return False
    return await opening


def run(case: Case, folder: Path, seed: int) -> tuple[Counter[str], bool]:
    """Play a case in the schedule that belongs to a seed."""
    folder.mkdir()
    try:
        return run_schedule(lambda _: play(case, folder / "runs.db"), seed)
    except BaseException as error:
        error.add_note(f"This was {case}; schedule {seed}. It is replayed by: run({case!r}, tmp_path / 'case', {seed})")
        raise
    finally:
        shutil.rmtree(folder)


def cases(scenario: str, folder: Path) -> list[Case]:
    """Find every case of a scenario: what it calls while nothing fails, in a few schedules."""
    calls: Counter[str] = Counter()
    for seed in range(3):
        calls |= run(Case(scenario), folder, seed)[0]
    every = ((verb, call) for verb, count in sorted(calls.items()) for call in range(1, count + 1))
    return [Case(scenario, verb, call, way) for (verb, call), way in itertools.product(every, WAYS) if way != STORM]
