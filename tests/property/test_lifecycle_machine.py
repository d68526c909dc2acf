"""A manager against a model of what it promises: starts, joins, cancels and ends in any order that Hypothesis finds."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support import Puppet, eventually, idle, statuses, turns

from aioruns import RunAlreadyFinished, RunConflict, RunManager, RunStatus
from aioruns._lifecycle import ACTIVE, is_allowed

T = TypeVar("T")

MAX_RUNNING = 2
KEYS = [None, "a", "b"]
JOBS = ["puppet", "stubborn"]


@dataclass
class ModelRun:
    """What is promised about one run; its part is what the test calls it."""

    part: int
    job: str
    key: str | None
    status: RunStatus
    asked: bool = False


@dataclass
class Model:
    """Runs without time, store or concurrency, in order of their ids."""

    runs: dict[int, ModelRun] = field(default_factory=dict)

    def with_status(self, *wanted: RunStatus) -> list[int]:
        return [run_id for run_id, run in self.runs.items() if run.status in wanted]

    @property
    def executing(self) -> list[int]:
        return self.with_status(RunStatus.RUNNING, RunStatus.CANCELLING)

    def holder(self, key: str | None) -> int | None:
        active = [run_id for run_id in self.with_status(*ACTIVE) if self.runs[run_id].key == key]
        assert key is None or len(active) <= 1
        return active[0] if active and key is not None else None

    def start(self, run_id: int, part: int, job: str, key: str | None) -> None:
        must_wait = len(self.executing) >= MAX_RUNNING
        self.runs[run_id] = ModelRun(part, job, key, RunStatus.PENDING if must_wait else RunStatus.RUNNING)

    def cancel(self, run_id: int) -> None:
        run = self.runs[run_id]
        run.asked = True
        if run.status is RunStatus.PENDING or run.job == "puppet":
            run.status = RunStatus.CANCELLED
            self.make_room()
        else:
            run.status = RunStatus.CANCELLING

    def end(self, run_id: int, *, returned: bool) -> None:
        run = self.runs[run_id]
        failed = RunStatus.CANCELLED if run.asked else RunStatus.FAILED
        run.status = RunStatus.COMPLETED if returned else failed
        self.make_room()

    def close(self) -> None:
        for run_id in self.with_status(*ACTIVE):
            self.runs[run_id].status = RunStatus.INTERRUPTED

    def make_room(self) -> None:
        waiting = self.with_status(RunStatus.PENDING)
        for run_id in waiting[: max(0, MAX_RUNNING - len(self.executing))]:
            self.runs[run_id].status = RunStatus.RUNNING


class LifecycleMachine(RuleBasedStateMachine):
    """Does the same to a manager and to the model, and compares them after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Path(self.folder.name) / "runs.db"
        self.runner = asyncio.Runner()
        self.model, self.puppet, self.parts = Model(), Puppet(), itertools.count(1)
        self.manager = self.open()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def open(self) -> RunManager:
        async def make() -> RunManager:
            manager = RunManager(self.database, max_running=MAX_RUNNING, shutdown_grace=0)
            await manager.open()
            return manager

        return self.run(make())

    def teardown(self) -> None:
        for run in self.model.runs.values():
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                self.puppet.end(run.part)
        self.run(self.manager.aclose())
        self.runner.close()
        self.folder.cleanup()

    # What can be done

    async def start_run(self, part: int, job: str, key: str | None, on_conflict: Any) -> int:
        call = {"puppet": self.puppet.job, "stubborn": self.puppet.stubborn}[job](part)
        return (await self.manager.start_run(call, key=key, on_conflict=on_conflict)).id

    @rule(job=st.sampled_from(JOBS), key=st.sampled_from(KEYS), join=st.booleans())
    def start(self, job: str, key: str | None, join: bool) -> None:
        part, holder = next(self.parts), self.model.holder(key)
        starting = self.start_run(part, job, key, "join" if join and key is not None else "reject")
        if holder is None:
            run_id = self.run(starting)
            assert run_id > max(self.model.runs, default=0)
            self.model.start(run_id, part, job, key)
        elif join and self.model.runs[holder].job == job:
            assert self.run(starting) == holder
        else:
            try:
                self.run(starting)
            except RunConflict as conflict:
                assert (conflict.key, conflict.active_run_id) == (key, holder)
            else:
                raise AssertionError("two runs hold a key")

    @rule(key=st.sampled_from(KEYS[1:]), count=st.integers(2, 5))
    def start_many_at_once(self, key: str, count: int) -> None:
        parts, holder = [next(self.parts) for _ in range(count)], self.model.holder(key)

        async def start_all() -> list[Any]:
            starts = (self.start_run(part, "puppet", key, "reject") for part in parts)
            return await asyncio.gather(*starts, return_exceptions=True)

        answers = self.run(start_all())
        winners = {answer: part for answer, part in zip(answers, parts, strict=True) if isinstance(answer, int)}
        assert len(winners) == (holder is None)
        for run_id, part in winners.items():
            self.model.start(run_id, part, "puppet", key)
        conflicts = [answer for answer in answers if not isinstance(answer, int)]
        assert {(each.key, each.active_run_id) for each in conflicts} == {(key, self.model.holder(key))}

    @rule(key=st.sampled_from(KEYS), turn=st.integers(0, 60))
    def give_up_starting(self, key: str | None, turn: int) -> None:
        """Whether there is a row is a matter of time; if so, it is cancelled, and in no model."""
        part, holder = next(self.parts), self.model.holder(key)

        async def give_up() -> None:
            task = asyncio.create_task(self.start_run(part, "puppet", key, "reject"))
            await turns(turn)
            task.cancel()
            [answer] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(answer, int):
                assert holder is None
                await self.manager.cancel_run(answer)
            else:
                assert isinstance(answer, asyncio.CancelledError) or (holder and isinstance(answer, RunConflict))
            await idle(self.manager, runs=len(self.model.with_status(*ACTIVE)))

        self.run(give_up())

    @precondition(lambda self: self.model.runs)
    @rule(choice=st.integers(min_value=0))
    def cancel(self, choice: int) -> None:
        run_id = list(self.model.runs)[-1 - choice % len(self.model.runs)]
        before = self.model.runs[run_id].status
        try:
            answer = self.run(self.manager.cancel_run(run_id))
        except RunAlreadyFinished as refusal:
            assert refusal.run.status == before
            assert before not in ACTIVE
        else:
            assert answer.status == ("cancelled" if before == "pending" else "cancelling")
            self.model.cancel(run_id)

    @precondition(lambda self: self.model.executing)
    @rule(choice=st.integers(min_value=0), returned=st.booleans())
    def end(self, choice: int, returned: bool) -> None:
        run_id = self.model.executing[choice % len(self.model.executing)]
        part = self.model.runs[run_id].part
        if returned:
            self.puppet.end(part, part)
        else:
            self.puppet.fail(part, LookupError("told to"))
        self.model.end(run_id, returned=returned)

    @precondition(lambda self: not any(self.model.runs[each].job == "stubborn" for each in self.model.executing))
    @rule()
    def close_and_open(self) -> None:
        self.run(self.manager.aclose())
        self.model.close()
        self.manager = self.open()

    # What must hold

    @invariant()
    def manager_and_model_agree(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        expected = {run_id: run.status.value for run_id, run in self.model.runs.items()}
        await eventually(lambda: self.without_given_up(statuses(self.database)) == expected, timeout=5)
        runs = {run.id: run for run in await self.manager.list_runs(limit=1000)}
        assert self.without_given_up({run_id: run.status.value for run_id, run in runs.items()}) == expected
        assert len(self.model.executing) <= MAX_RUNNING
        for key in ("a", "b"):
            holder = await self.manager.get_active_run(key)
            assert (holder.id if holder else None) == self.model.holder(key) == self.manager.current_run_id(key)
        assert self.manager.current_run_id() == max(self.model.with_status(*ACTIVE), default=None)
        for run_id, model in self.model.runs.items():
            await self.check(runs[run_id], model)

    def without_given_up(self, stored: dict[int, str]) -> dict[int, str]:
        assert {stored[run_id] for run_id in stored.keys() - self.model.runs.keys()} <= {"cancelled"}
        return {run_id: status for run_id, status in stored.items() if run_id in self.model.runs}

    async def check(self, run: Any, model: ModelRun) -> None:
        events = await self.manager.read_events(run.id)
        path = [RunStatus(event.data["status"]) for event in events if event.kind == "status"]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert path[-1] == run.status
        assert path[0] in (RunStatus.PENDING, RunStatus.RUNNING)
        assert all(is_allowed(*step) for step in itertools.pairwise(path))
        never_began = RunStatus.RUNNING not in path
        assert (run.started_at is None) == never_began
        assert not never_began or model.part not in self.puppet.entered
        assert run.active == (run.finished_at is None) == (model.status in ACTIVE)
        assert run.result == (model.part if model.status is RunStatus.COMPLETED else None)
        assert (run.error is None) == (model.status not in (RunStatus.FAILED, RunStatus.INTERRUPTED))


TestLifecycle = LifecycleMachine.TestCase
TestLifecycle.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
