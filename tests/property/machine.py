"""What may happen to managers and to their runs, in any order: the rules of the state machine."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from tests.bounds import CLOSE_BOUND, RESCUE_INTERVAL
from tests.insides import has_drained, is_starting, live_runs, manager_id
from tests.property import strategies as draw
from tests.property.functions import Utterance
from tests.property.inspection import KEYS
from tests.property.model import Model, ModelRun
from tests.property.side_by_side import LONG, SideBySide
from tests.property.watchers import Subscriber, Waiter

from aioruns import RunAlreadyFinished, RunError, RunFilter, RunStatus

__all__ = ["LifecycleMachine"]


class LifecycleMachine(SideBySide):
    """Two managers at most are open on one file; others may have closed, and be outlasted by functions."""

    # Opening and closing

    @initialize(max_running=draw.capacities)
    def open_first(self, max_running: int | None) -> None:
        self.open(max_running)

    @rule(max_running=draw.capacities)
    def open_another(self, max_running: int | None) -> None:
        if len(self.open_processes) < 2:
            self.open(max_running)

    @rule(slot=draw.slots)
    def close(self, slot: int) -> None:
        process = self.process(slot)
        closing = process.spawn(process.manager.aclose())
        self.model.close(self.manager(process))
        outlasting = len(self.model.executing(self.manager(process)))
        self.world.until(lambda: len(live_runs(process.manager)) > outlasting and "functions have not ended")
        self.world.until(lambda: not (closing.done() or has_drained(process.manager)) and "the manager does not close")
        if outlasting:
            self.world.skip(CLOSE_BOUND)
        self.world.until(lambda: not closing.done() and "the manager has not closed")
        closing.result()
        self.settle()

    @rule(slot=draw.slots)
    def kill(self, slot: int) -> None:
        process = self.process(slot)
        self.model.kill(self.manager(process))
        self.bury(process)
        self.settle()

    @rule(slot=draw.slots)
    def lose_lock(self, slot: int) -> None:
        """G7: the file of a lock is deleted. The manager is taken for dead, but lives on, whole again."""
        process = self.process(slot)
        manager = self.manager(process)
        if len(self.open_processes) < 2 or any(run.stubborn for run in self.model.executing(manager)):
            return
        with process.paused():
            Path(f"{self.database}.{manager_id(process.manager)}.lock").unlink()
            self.world.skip(RESCUE_INTERVAL)
            self.world.until(lambda: self.is_alive(process) and "the manager that lost its lock is not taken for dead")
        self.model.lose(manager)
        self.world.skip(RESCUE_INTERVAL)
        self.world.until(lambda: not self.is_alive(process) and "the manager has not taken its lock again")
        self.settle()

    # Starting

    @rule(
        slot=draw.slots,
        job=draw.jobs,
        key=draw.keys,
        join=st.booleans(),
        name=draw.idempotency_keys,
        limited=st.booleans(),
        tags=draw.tags,
    )
    def start(
        self, slot: int, job: str, key: str | None, join: bool, name: str | None, limited: bool, tags: tuple[str, ...]
    ) -> None:
        process = self.process(slot)
        run = self.new_run(process, job, key, name, limited=limited, tags=tags)
        try:
            found = self.model.find(run, join=join)
        except RunError as expected:
            with pytest.raises(type(expected)) as refusal:
                process.run(self.start_run(process, run, join=join))
            assert vars(refusal.value) == vars(expected)
        else:
            handle = process.run(self.start_run(process, run, join=join))
            if found is None:
                self.started(run, handle.id)
            else:
                assert handle.id == found.id
        self.settle()

    @rule(key=draw.keys, job=draw.jobs, count=st.integers(2, 5))
    def start_many_at_once(self, key: str | None, job: str, count: int) -> None:
        """X1, X2: under a key one wins, in whichever process, and the others learn its id."""
        there = [self.process(number) for number in range(count)]
        runs = [self.new_run(process, job, key) for process in there]
        winners_due = count if key is None else int(self.model.holder(key) is None)
        tasks = [process.spawn(self.start_run(process, run)) for process, run in zip(there, runs, strict=True)]
        self.world.until(lambda: not all(task.done() for task in tasks) and "some starts have no answer")
        started = [(task.result().id, run) for task, run in zip(tasks, runs, strict=True) if not task.exception()]
        assert len(started) == winners_due
        for run_id, run in sorted(started, key=lambda each: each[0]):
            self.started(run, run_id)
        active = self.model.holder(key)
        conflicts = [vars(error) for task in tasks if (error := task.exception())]
        assert all(each == {"key": key, "active_run_id": active and active.id} for each in conflicts), conflicts
        self.settle()

    @rule(slot=draw.slots, key=draw.keys, name=draw.idempotency_keys, turns=draw.turns)
    def give_up_starting(self, slot: int, key: str | None, name: str | None, turns: int) -> None:
        """S3: a caller that goes away leaves nothing, or a run that is cancelled unless others may count on it."""
        process = self.process(slot)
        run = self.new_run(process, "obedient", key, name)
        held = self.is_in_the_way(run)
        task = process.spawn(self.start_run(process, run))
        self.turn(turns)
        task.cancel()
        self.world.until(lambda: (not task.done() or is_starting(process.manager)) and "the start goes on")
        run_id = self.inserted(run)
        assert not (held and run_id)
        if run_id:
            self.started(run, run_id)
            if task.cancelled() and name is None:
                self.model.cancel(run)
        elif not task.cancelled():
            assert held
            task.exception()
        self.settle()

    # What happens to runs

    @rule(slot=draw.slots, choice=draw.choices, reason=st.none() | draw.texts)
    def cancel(self, slot: int, choice: int, reason: str | None) -> None:
        process, run = self.process(slot), self.choose(choice)
        if not run.active:
            with pytest.raises(RunAlreadyFinished) as refusal:
                process.run(process.manager.cancel_run(run.id, reason=reason))
            assert refusal.value.run.status == run.status
            return
        waited = run.status is RunStatus.PENDING
        answer = process.run(process.manager.cancel_run(run.id, reason=reason))
        self.model.cancel(run)
        assert answer.status in ([RunStatus.CANCELLED] if waited else [RunStatus.CANCELLING, run.status])
        self.settle()

    @rule(choice=draw.choices, words=st.lists(draw.utterances, min_size=1, max_size=4))
    def say(self, choice: int, words: list[Utterance]) -> None:
        run = self.choose(choice, self.executing)
        for utterance in words:
            self.utter(run, utterance)
        self.settle()

    @rule(choice=draw.choices, words=st.lists(draw.utterances, max_size=2), outcome=draw.outcomes)
    def end(self, choice: int, words: list[Utterance], outcome: Any) -> None:
        run = self.choose(choice, self.model.executing)
        for utterance in words if run.manager.state == "open" else []:
            self.utter(run, utterance)
        self.end_function(run, outcome)
        self.settle()

    @rule()
    def pass_time(self) -> None:
        self.model.pass_time()
        self.world.skip(LONG)
        self.settle()

    @rule(slot=draw.slots)
    def prune(self, slot: int) -> None:
        process = self.process(slot)
        pruned = process.run(process.manager.prune(older_than=timedelta(0)))
        assert pruned == len(self.model.prune())
        self.settle()

    @rule(
        slot=draw.slots,
        what=st.sampled_from(["start", "cancel", "end", "say", "close"]),
        choice=draw.choices,
        key=draw.keys,
        words=draw.utterances,
        outcome=draw.outcomes,
        turns=draw.turns,
    )
    def kill_amid(
        self, slot: int, what: str, choice: int, key: str | None, words: Utterance, outcome: Any, turns: int
    ) -> None:
        """G7: dying in the middle of something leaves what was before, or what came of it; each run for itself."""
        run = self.choose(choice, self.executing)
        role = self.cast.roles[run.part]
        [process] = [each for each in self.processes if each.number == run.manager.number]
        new = self.new_run(process, "obedient", key)
        models = [copy.deepcopy(self.model)]

        def then() -> tuple[Model, ModelRun]:
            models.append(copy.deepcopy(models[-1]))
            return models[-1], models[-1].runs[run.id]

        if what == "start":
            process.spawn(self.start_run(self.process(slot), new))
        elif what == "close":
            process.spawn(process.manager.aclose())
            model, _ = then()
            model.close(model.managers[process.number])
        elif what == "cancel":
            process.spawn(process.manager.cancel_run(run.id))
            for step in (Model.request, Model.cancel):
                step(*then())
        else:
            role.say(words, number := next(self.said))
            if (said := words.said(number)) is not None:
                then()[1].said.append(said)
            if what == "end":
                role.end(outcome)
                model, same = then()
                model.end(same, outcome)
        self.turn(turns)
        self.bury(process)
        self.adopt(models, process.number, new)
        self.settle()

    # Looking

    @rule(slot=draw.slots, choice=draw.choices, after=draw.cursors, count=st.integers(0, 20))
    def subscribe(self, slot: int, choice: int, after: int, count: int) -> None:
        subscriber = Subscriber(self.process(slot), self.choose(choice).id, after)
        subscriber.allow(count)
        self.watchers.append(subscriber)
        self.settle()

    @rule(choice=draw.choices, count=st.integers(1, 20))
    def read_on(self, choice: int, count: int) -> None:
        if self.watchers:
            self.watchers[choice % len(self.watchers)].allow(count)
            self.settle()

    @rule(choice=draw.choices)
    def stop_watching(self, choice: int) -> None:
        if self.watchers:
            self.watchers.pop(choice % len(self.watchers)).leave()
            self.settle()

    @rule(slot=draw.slots, choice=draw.choices)
    def wait(self, slot: int, choice: int) -> None:
        self.watchers.append(Waiter(self.process(slot), self.choose(choice).id))
        self.settle()

    @rule(slot=draw.slots, choice=draw.choices)
    def wait_no_longer(self, slot: int, choice: int) -> None:
        """The wait is over, and the run goes on."""
        process, run = self.process(slot), self.choose(choice, self.model.active)
        with pytest.raises(TimeoutError):
            process.run(process.manager.wait_run(run.id, timeout=0))
        self.settle()

    @rule(slot=draw.slots)
    def look(self, slot: int) -> None:
        process = self.process(slot)
        manager = process.manager

        async def look() -> None:
            for key in KEYS:
                holder, latest = await manager.get_active_run(key), await manager.get_current_or_latest_run(key)
                assert (holder and holder.id) == _id(self.model.holder(key))
                assert (latest and latest.id) == _id(self.model.latest(key))
            for run_id, run in self.model.runs.items():
                assert (await manager.get_run(run_id)).status == run.status
                events = await manager.read_events(run_id)
                assert [(each.seq, each.kind, each.data) for each in events] == self.inspector.streams[run_id]

        process.run(look())

    @rule(
        slot=draw.slots,
        status=draw.status_filters,
        job=st.none() | draw.jobs,
        key=draw.keys,
        tags=draw.tags,
        bounds=draw.bounds,
        limit=st.integers(1, 5),
    )
    def list(
        self,
        slot: int,
        status: set[RunStatus] | None,
        job: str | None,
        key: str | None,
        tags: tuple[str, ...],
        bounds: tuple[int, int, str | None],
        limit: int,
    ) -> None:
        """Pages, one behind the other, give each run that is wanted once, newest first."""
        process = self.process(slot)
        first, last = self.choose(bounds[0]), self.choose(bounds[1])
        wanted: dict[str, Any] = {
            "status": status,
            "job": job,
            "key": key,
            "tags": tags,
            "created_after": first.created_at if bounds[2] in ("after", "both") else None,
            "created_before": last.created_at if bounds[2] in ("before", "both") else None,
        }

        async def walk() -> None:
            found: list[int] = []
            while page := await process.manager.list_runs(
                RunFilter(**wanted), limit=limit, before=found[-1] if found else None
            ):
                assert len(page) <= limit
                found += [run.id for run in page]
            assert found == self.model.listed(**wanted)

        process.run(walk())


def _id(run: ModelRun | None) -> int | None:
    return None if run is None else run.id
