"""What callers do with a manager whose store fails: one function for each scenario."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tests.fault.store_judge import judge, rests
from tests.fault.store_world import World, until, writing
from tests.support import from_micros, rows, turns

from aioruns import RunFilter, RunNotFound

__all__ = ["SCENARIOS", "Scenario"]

Act = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """What callers do.

    Attributes:
        act: The callers.
        max_running: Of their manager.
        closes: Whether runs are left to ``aclose``.
    """

    act: Act
    max_running: int | None = None
    closes: bool = False


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(*, max_running: int | None = None, closes: bool = False) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        SCENARIOS[act.__name__] = Scenario(act, max_running, closes)
        return act

    return add


@scenario()
async def complete(world: World) -> None:
    await world.start("a", key="k")
    await world.result("a")


@scenario()
async def fail(world: World) -> None:
    await world.start("a", key="k", says=1, fails=True)
    await world.result("a")


@scenario()
async def say_and_flush(world: World) -> None:
    await world.start("a", says=7)
    await world.result("a")


@scenario()
async def cancel_running(world: World) -> None:
    await world.start("a", key="k", says=1, waits=True)
    await world.entered("a")
    await world.cancel("a")
    await world.result("a")


@scenario(max_running=1)
async def cancel_pending(world: World) -> None:
    await world.start("a", key="k", waits=True)
    await world.start("b", key="l", waits=True)
    await world.cancel("b")
    await world.result("b")
    world.gate("a").set()
    await world.result("a")


@scenario(max_running=1)
async def wait_for_capacity(world: World) -> None:
    for label in ("a", "b", "c"):
        await world.start(label, key=f"of {label}", says=1)
    await asyncio.gather(*map(world.result, ("a", "b", "c")))


@scenario()
async def time_out(world: World) -> None:
    await world.start("a", key="k", waits=True, timeout=0.5)
    await world.result("a")


@scenario()
async def conflict(world: World) -> None:
    await world.start("a", key="k", waits=True)
    await world.start("b", key="k")
    world.gate("a").set()
    await asyncio.gather(world.result("a"), world.result("b"))


@scenario()
async def join(world: World) -> None:
    await world.start("a", key="k", waits=True)
    await world.start("b", key="k", on_conflict="join", waits=True)
    world.gate("a").set()
    world.gate("b").set()
    await asyncio.gather(world.result("a"), world.result("b"))


@scenario()
async def start_all_at_once(world: World) -> None:
    labels = [f"{number}" for number in range(6)]
    await asyncio.gather(*(world.start(label, key=f"k{int(label) % 2}", says=1) for label in labels))
    await asyncio.gather(*map(world.result, labels))


@scenario()
async def ask_again_by_idempotency_key(world: World) -> None:
    for label in ("a", "b", "c"):
        await world.start(label, idempotency_key="once", says=1)
        await world.result(label)
    assert len(rows(world.database, "SELECT * FROM runs WHERE idempotency_key IS NOT NULL")) <= 1


@scenario()
async def subscribe(world: World) -> None:
    await world.start("a", key="k", says=5, waits=True)
    listening = asyncio.gather(*(world.listen("a") for _ in range(3)))
    await world.entered("a")
    world.gate("a").set()
    await world.result("a")
    await listening
    await world.listen("a")


@scenario()
async def look_on(world: World) -> None:
    """The runs are those of another manager; the one whose store fails waits for them, and cancels one."""
    other = await world.another()
    for label in ("a", "b"):
        await world.start(label, manager=other, says=3, waits=True, key=label)
    looking = asyncio.gather(*map(world.listen, ("a", "b")), *map(world.ended, ("a", "b")))
    await world.cancel("b")
    world.gate("a").set()
    await looking


@scenario()
async def be_looked_on(world: World) -> None:
    """The runs are those of the manager whose store fails; another one waits for them, and cancels one."""
    other = await world.another()
    for label in ("a", "b"):
        await world.start(label, says=3, waits=True, key=label)
        await world.entered(label)
    looking = asyncio.gather(*(world.listen(label, other) for label in ("a", "b")))
    await world.cancel("b", other)
    await world.result("b")
    world.gate("a").set()
    await world.result("a")
    await looking


@scenario()
async def read(world: World) -> None:
    await world.start("a", key="k", says=3, waits=True)
    if (handle := world.handles["a"]) is None:
        return
    manager = world.manager
    for _ in ("while it executes", "afterwards"):
        for what, reading in {
            "get_run": manager.get_run(handle.id),
            "get_active_run": manager.get_active_run("k"),
            "get_current_or_latest_run": manager.get_current_or_latest_run("k"),
            "list_runs": manager.list_runs(RunFilter(key="k")),
            "count_runs": manager.count_runs(since=from_micros(0), width=timedelta(hours=1)),
            "read_events": manager.read_events(handle.id),
        }.items():
            world.answers.append(("a", await world.ask(what, reading)))
        world.gate("a").set()
        await world.result("a")


@scenario()
async def prune(world: World) -> None:
    for label in ("a", "b"):
        await world.start(label, key=label)
        await world.result(label)
    await rests(world)
    judge(world)
    while await world.ask("prune", world.manager.prune(older_than=timedelta(0))) is None:
        await asyncio.sleep(1)
    assert rows(world.database) == []
    if (handle := world.handles["a"]) is not None:
        answer = await world.ask("get_run", world.manager.get_run(handle.id), RunNotFound)
        assert answer is None or isinstance(answer, RunNotFound)
    world.handles.clear()
    world.answers.clear()


@scenario()
async def rescue_the_dead(world: World) -> None:
    """Twice there is a run of a manager that has died."""
    for number in (1, 2):
        await leave_orphan(world, f"orphan {number}")
        await until(lambda: not world.active_rows(), f"orphan {number} is rescued")


async def leave_orphan(world: World, label: str) -> None:
    async with writing(world.database) as connection:
        connection.execute("INSERT INTO managers VALUES (?, 1, 'here', 1)", (label,))
        connection.execute(
            "INSERT INTO runs (job, status, key, held_key, shared, manager_id, token, attempt, tags, triggered_by,"
            " created_at, started_at) VALUES ('play', 'running', ?, ?, 0, ?, 1, 1, '[]', ?, 1, 1)",
            (label,) * 4,
        )


@scenario()
async def abandon_starts(world: World) -> None:
    for label, count in (("a", 1), ("b", 3), ("c", 6)):
        await world.abandon(label, after=count)


@scenario(max_running=1)
async def abandon_a_start_that_waits(world: World) -> None:
    await world.start("a", key="a", waits=True)
    await world.abandon("b", after=2)
    await asyncio.sleep(1)
    world.gate("a").set()
    await world.result("a")


@scenario(closes=True)
async def close_with_runs(world: World) -> None:
    for label in ("a", "b"):
        await world.start(label, key=label, says=3, waits=True)
        await world.entered(label)
    world.callers += [asyncio.ensure_future(call) for call in (world.result("a"), world.listen("b"))]
    await turns(3)


@scenario(max_running=1, closes=True)
async def close_with_runs_that_wait(world: World) -> None:
    for label in ("a", "b", "c"):
        await world.start(label, key=label, waits=True)
    world.callers += [asyncio.ensure_future(world.result(label)) for label in ("a", "b", "c")]
    await turns(3)


@scenario(closes=True)
async def close_while_starting(world: World) -> None:
    world.callers += [asyncio.ensure_future(world.start(label, key=label, waits=True)) for label in ("a", "b")]
    await turns(2)


@scenario(closes=True)
async def close_with_a_run_that_does_not_end(world: World) -> None:
    await world.start("a", key="a", says=1, waits=True)
    await world.start("stubborn", key="b", says=1, waits=True, stubborn=True)
    await world.entered("stubborn")
    world.callers += [asyncio.ensure_future(call) for call in (world.result("a"), world.result("stubborn"))]
    await turns(3)
