"""A small world for one schedule, and the judge of what it leaves: what functions did, against what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from pathlib import Path
from typing import Any, Literal

from tests.insides import cancel_requested, executes, is_open, leftovers, live_runs, manager_id, shutdown_grace, stops
from tests.support import eventually, is_path, turns

from aioruns import (
    ManagerClosed,
    RunAlreadyFinished,
    RunConflict,
    RunEvent,
    RunHandle,
    RunManager,
    RunStatus,
    StoreUnavailable,
    current_run,
    job,
)
from aioruns.stores import SQLiteStore
from aioruns.stores.sqlite._lease import Lease
from aioruns.testing import ShuffledEventLoop, run_schedule

End = Literal["returns", "raises", "swallows"]

PROMPT = 0.2
"""Virtual seconds within which who waits is told: commits of another manager are looked for every 0.05 s."""
CLOSE_BOUND = 5 + 1 + 5 + 1
"""Seconds that closing may take beyond its grace: for functions, for stuck ones, for the store, for subscribers."""


class World:
    """A database, the managers on it, and runs whose functions note what they do.

    Attributes:
        chance: Where a scenario draws its circumstances from.
        path: The database.
        managers: Every manager that was opened.
        executing: Runs whose functions execute, by key.
        ends: How the function of each run ended; ``executes`` while it does.
        ended_at: When that was.
        asked: Runs whose owner knew of a request to cancel them when their function ended.
        requested_at: When somebody was told that a run is being cancelled.
        shared: Runs that somebody has a handle of, and that nobody had abandoned by then.
        seen: The terminal status that somebody was told of a run.
        rescued: Whether a living manager was taken for dead, so that its runs may end before their functions do.
    """

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.path = path
        self.chance = chance
        self.managers: list[RunManager] = []
        self.executing: dict[str, int] = {}
        self.ends: dict[int, str] = {}
        self.ended_at: dict[int, float] = {}
        self.asked: set[int] = set()
        self.requested_at: dict[int, float] = {}
        self.shared: set[int] = set()
        self.seen: dict[int, str] = {}
        self.work = job(name="work")(self._work)
        self.plain = job(name="plain")(self._plain)
        self.rescued = False
        self._reader: sqlite3.Connection | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    # Managers

    def manager(self, **options: Any) -> RunManager:
        """Make a manager on the database."""
        options.setdefault("shutdown_grace", 0)
        store = SQLiteStore(self.path, synchronous="normal")
        store._database._synchronous = "off"  # no schedule loses its power, and the disk would take most of the time
        manager = RunManager(store, **options)
        self.managers.append(manager)
        return manager

    @contextlib.asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator[RunManager]:
        """Open a manager on the database; closing it is bounded."""
        manager = self.manager(**options)
        await manager.open()
        try:
            yield manager
        finally:
            await self.close(manager)

    async def close(self, manager: RunManager) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await manager.aclose()
        assert loop.time() - began <= shutdown_grace(manager) + CLOSE_BOUND
        # What has been answered by the store may have its last steps ahead.
        await eventually(lambda: not leftovers(manager), timeout=1)

    # What functions do

    async def _work(self, seconds: float = 0.0, turns: int = 0, end: End = "returns", clean_up: float = 0.0) -> int:
        ctx = current_run()
        assert ctx.id not in self.ends, f"run {ctx.id} was called twice"
        with self._executing(ctx.id, ctx.key):
            try:
                for turn in range(turns):
                    ctx.log("info", f"turn {turn}")
                    await asyncio.sleep(0)
                await asyncio.sleep(seconds)
                if end == "raises":
                    raise LookupError("as asked")
            except asyncio.CancelledError:
                if end != "swallows":
                    raise
            finally:
                if clean_up:
                    await asyncio.sleep(clean_up)
            return ctx.id

    def _plain(self) -> int:
        ctx = current_run()
        with self._executing(ctx.id, ctx.key):
            ctx.log("info", "called")
            return ctx.id

    @contextlib.contextmanager
    def _executing(self, run_id: int, key: str | None) -> Generator[None]:
        if key is not None:
            assert key not in self.executing, f"runs {run_id} and {self.executing[key]} hold {key!r} at once"
            self.executing[key] = run_id
        self.ends[run_id] = "executes"
        try:
            yield
        except asyncio.CancelledError:
            self.ends[run_id] = "was cancelled"
            raise
        except LookupError:
            self.ends[run_id] = "raised"
            raise
        else:
            self.ends[run_id] = "returned"
        finally:
            (row,) = self.read("SELECT status FROM runs WHERE id = ?", run_id)
            assert self.rescued or row["status"] in ("running", "cancelling"), f"T1: run {run_id} executed, {dict(row)}"
            if key is not None:
                del self.executing[key]
            self.ended_at[run_id] = asyncio.get_running_loop().time()
            if self._is_asked(run_id):
                self.asked.add(run_id)

    def _is_asked(self, run_id: int) -> bool:
        return any(cancel_requested(manager, run_id) for manager in self.managers)

    def some_work(self) -> Any:
        """Make a call of a function that takes some time and ends in some way."""
        chance = self.chance
        return self.work(
            seconds=chance.choice([0.0, 0.0, 1.0]),
            turns=chance.choice([0, 0, 1, 5]),
            end=chance.choice(["returns", "returns", "raises", "swallows"]),
            clean_up=chance.choice([0.0, 0.0, 0.5]),
        )

    # What callers do

    async def somewhen(self, longest: int = 60) -> None:
        """Wait for some turns of the event loop."""
        await turns(self.chance.randrange(longest))

    async def start(self, manager: RunManager, call: Any = None, **options: Any) -> RunHandle[Any] | None:
        """Start a run; None if its key is held, or if the manager closes."""
        try:
            handle = await manager.start_run(call or self.some_work(), **options)
        except RunConflict as conflict:
            assert self.read("SELECT id FROM runs WHERE id = ?", conflict.active_run_id)
        except (ManagerClosed, StoreUnavailable):
            assert stops(manager)
        else:
            (row,) = self.read("SELECT * FROM runs WHERE id = ?", handle.id)
            if row["cancel_requested_at"] is None:
                self.shared.add(handle.id)
            return handle
        return None

    async def cancel(self, manager: RunManager, run_id: int) -> None:
        """Cancel a run, if it is not too late."""
        try:
            run = await manager.cancel_run(run_id)
        except RunAlreadyFinished as finished:
            run = finished.run
        except (ManagerClosed, StoreUnavailable):
            assert stops(manager)
            return
        self.note(run.id, run.status)
        if run.active:
            self.requested_at.setdefault(run.id, asyncio.get_running_loop().time())
        if executes(manager, run.id) and not self.rescued:
            assert cancel_requested(manager, run.id), f"S1: run {run.id} executes here and was not told"

    async def look(self, manager: RunManager, key: str) -> None:
        """Read who holds a key: what a manager tells of its own active run, it knows."""
        found = [await manager.get_active_run(key), *await manager.list_runs()]
        active = [row["id"] for row in self.read("SELECT id FROM runs WHERE finished_at IS NULL")]
        for run in found:
            if run is not None and run.manager_id == manager_id(manager) and run.id in active:
                assert run.id in live_runs(manager), f"S1: run {run.id} can be read, and is not registered"
                assert run.key != key or manager.current_run_id(key) == run.id

    async def subscribe(self, manager: RunManager, run_id: int, after: int = 0) -> list[RunEvent] | None:
        """Read a run's events to their end; None if the manager closes before."""
        events: list[RunEvent] = []
        began = asyncio.get_running_loop().time()
        try:
            async for event in manager.stream_events(run_id, after=after):
                events.append(event)
                if event.terminal:
                    self.note(run_id, RunStatus(event.data["status"]), since=began)
                    (row,) = self.read("SELECT status FROM runs WHERE id = ?", run_id)
                    assert row["status"] == event.data["status"], "L5: the end was told before it was stored"
        except (ManagerClosed, StoreUnavailable):
            assert stops(manager)
            return None
        assert events[-1].terminal if events else after
        return events

    async def wait(self, manager: RunManager, run_id: int, timeout: float | None = None) -> None:
        """Wait until a run has ended, or the manager closes, or the time is over."""
        began = asyncio.get_running_loop().time()
        try:
            run = await manager.wait_run(run_id, timeout=timeout)
        except TimeoutError:
            return
        except (ManagerClosed, StoreUnavailable):
            assert stops(manager)
            return
        assert not run.active
        self.note(run_id, run.status, since=began)

    def note(self, run_id: int, status: RunStatus, *, since: float | None = None) -> None:
        """Note what somebody was told of a run: not too early, nothing else later, and promptly if they had waited."""
        if not status.active:
            if since is not None and not self.rescued:
                late = asyncio.get_running_loop().time() - max(since, self.ended_at.get(run_id, 0))
                assert late <= PROMPT or run_id not in self.ended_at, f"run {run_id}: told {late:g} s late"
            assert self.rescued or self.ends.get(run_id) != "executes", (
                f"run {run_id} was told to be {status} while it executed"
            )
            assert self.seen.setdefault(run_id, status) == status

    def task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Create a task; some are cancelled at one of their awaits."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ShuffledEventLoop)
        task = loop.create_task(coroutine)
        self._tasks.append(task)
        if self.chance.random() < 0.3:
            loop.cancel_at(task, loop.awaits(task) + self.chance.randrange(12))
        return task

    @staticmethod
    async def finish(tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Wait for tasks; each has done its work, or was cancelled."""
        for task in tasks:
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    # The judge

    def read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Read the database past the library."""
        if self._reader is None:
            self._reader = sqlite3.connect(self.path, isolation_level=None)
            self._reader.row_factory = sqlite3.Row
        return self._reader.execute(sql, values).fetchall()

    async def idle(self) -> None:
        """Wait until every open manager has nothing to do, and see that it remembers nothing."""
        for manager in self.managers:
            if is_open(manager):
                await eventually(lambda manager=manager: not leftovers(manager), timeout=100)

    def judge(self, *, interrupted: bool = False) -> Counter[str]:
        """Compare what is stored with what functions did, when every manager is closed; count how runs ended."""
        assert self.executing == {}
        self._tasks.clear()  # the frames of their exceptions may refer to anything
        for manager in self.managers:
            assert not leftovers(manager), leftovers(manager)
        assert not self.read("SELECT * FROM managers")
        for lock in self.path.parent.glob(f"{self.path.name}.*.lock"):  # left by a rescue that a close has cut short
            assert Lease(str(self.path), lock.suffixes[-2][1:]).try_acquire(), f"{lock.name} is still held"
        rows = self.read("SELECT * FROM runs ORDER BY id")
        for row in rows:
            self._judge_row(row, interrupted=interrupted)
        return Counter(row["status"] for row in rows)

    def _judge_row(self, row: sqlite3.Row, *, interrupted: bool) -> None:
        end = self.ends.get(row["id"], "never began")
        requested = row["cancel_requested_at"] is not None
        asked = row["id"] in self.asked
        stopped = {"interrupted"} if interrupted else set[str]()
        expected = {
            "returned": {"completed"},
            # Requested by another manager, the function may have ended before its owner knew.
            "raised": {"cancelled"} if asked else {"failed"} | stopped,
            "was cancelled": {"cancelled"} if asked else ({"failed"} if row["timeout"] else set()) | stopped,
            "never began": ({"cancelled"} if requested else set()) | (set() if asked else stopped),
        }[end]
        if self.rescued:
            expected = expected | {"interrupted"}
        ended_at, requested_at = (times.get(row["id"]) for times in (self.ended_at, self.requested_at))
        if ended_at is not None and requested_at is not None and not self.rescued:
            assert asked or ended_at - requested_at <= PROMPT, f"S1: run {row['id']} was not told of its cancel"
        story = f"run {row['id']}: its function {end}, and it is {row['status']}; {dict(row)}"
        assert row["status"] in expected, story
        assert self.seen.get(row["id"], row["status"]) == row["status"], f"T1: told as {self.seen}; {story}"
        assert not (row["id"] in self.shared and row["cancel_reason"] == "start abandoned"), story
        assert row["finished_at"] is not None, story
        assert row["held_key"] is None, story
        events = self.read("SELECT * FROM events WHERE run_id = ? ORDER BY seq", row["id"])
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), story
        path = [event["data"] for event in events if event["kind"] == "status"]
        path = [RunStatus(next(status for status in RunStatus if f'"{status}"' in data)) for data in path]
        assert is_path(path), (path, story)
        assert [status for status in path if not status.active] == [row["status"]], (path, story)
        assert events[-1]["kind"] == "status", story
        if path[0] is RunStatus.PENDING and end == "never began" and path[-2] is RunStatus.PENDING:
            assert row["started_at"] is None, f"C9: {story}"

    def dispose(self) -> None:
        """Delete the database."""
        if self._reader is not None:
            self._reader.close()
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


class Schedules:
    """Runs scenarios, each schedule on a database of its own.

    Args:
        folder: Where databases are made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._template = folder / "template.db"

        async def migrate(_: object) -> None:
            async with RunManager(self._template):
                pass

        run_schedule(migrate, 0)

    def scenario(self, play: Callable[[World], Coroutine[Any, Any, Any]]) -> Callable[[random.Random], Any]:
        """Make a scenario of a function over a world."""

        async def scenario(chance: random.Random) -> Any:
            if chance.random() < 0.1:  # from Python 3.12 on, tasks may take their first step where they are created
                asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", None))
            with self.world(chance) as world:
                result = await play(world)
                assert asyncio.all_tasks() == {asyncio.current_task()}, "tasks are left"
                return result

        scenario.__name__ = play.__name__
        return scenario

    @contextlib.contextmanager
    def world(self, chance: random.Random) -> Generator[World]:
        """Make a world on a fresh database, and delete it."""
        path = self.folder / "schedule.db"
        shutil.copyfile(self._template, path)
        world = World(path, chance)
        try:
            yield world
        finally:
            world.dispose()
