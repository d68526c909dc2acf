"""Managers, in processes of their own, and the model: moved together, and compared."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine
from tests.bounds import RESCUE_INTERVAL
from tests.insides import live_runs, manager_id
from tests.property.functions import Cast, Utterance
from tests.property.inspection import Inspector, unmet_in
from tests.property.model import Model, ModelManager, ModelRun
from tests.property.processes import Process, World
from tests.property.watchers import Subscriber, Waiter
from tests.support import rows

from aioruns import RunError, RunHandle

__all__ = ["LONG", "SideBySide"]

LIMIT, LONG = 1e4, 2e4
"""Seconds that a limited function may execute; and seconds behind which they are over."""


class SideBySide(RuleBasedStateMachine):
    """What the rules share.

    Args:
        tally: Counts what was tried.
    """

    def __init__(self, tally: Callable[..., None]) -> None:
        super().__init__()
        self.tally = tally
        self.folder = tempfile.TemporaryDirectory()
        self.database = Path(self.folder.name) / "runs.db"
        self.world, self.model, self.cast = World(), Model(), Cast()
        self.inspector = Inspector(self.database)
        self.used_ids: set[int] = set()
        self.parts, self.said = itertools.count(1), itertools.count(1)
        self.processes: list[Process] = []
        self.watchers: list[Subscriber | Waiter] = []

    def teardown(self) -> None:
        try:
            for watcher in self.watchers:
                watcher.leave()
            for process in self.processes:
                self.exit(process)
            self.tally("histories of managers")
        finally:
            self.world.close()
            self.folder.cleanup()

    # Processes

    def manager(self, process: Process) -> ModelManager:
        return self.model.managers[process.number]

    @property
    def open_processes(self) -> list[Process]:
        return [process for process in self.processes if self.manager(process).state == "open"]

    def process(self, slot: int) -> Process:
        """Choose an open process; if there is none, open one."""
        if not self.open_processes:
            self.open(None)
        return self.open_processes[slot % len(self.open_processes)]

    def open(self, max_running: int | None) -> None:
        process = Process(self.world, str(self.database), number=len(self.model.managers), max_running=max_running)
        self.model.open(max_running=max_running)
        self.processes.append(process)
        process.run(process.manager.open())
        self.settle()

    def is_alive(self, process: Process) -> bool:
        """Whether others may take a manager for alive: its row is there."""
        return bool(rows(self.database, "SELECT 1 FROM managers WHERE id = ?", manager_id(process.manager)))

    def bury(self, process: Process) -> None:
        """Kill a process; the others look for orphans."""
        process.kill()
        self.tally("kills of managers in their histories")
        self.processes.remove(process)
        self.watchers = [watcher for watcher in self.watchers if watcher.process is not process]
        self.world.skip(RESCUE_INTERVAL)

    def exit(self, process: Process) -> None:
        while functions := self.model.executing(self.manager(process)):
            self.end_function(functions[0], None)
        process.run(process.manager.aclose())
        process.retire()

    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.world.turn()

    # Runs

    def choose(self, choice: int, which: Callable[[], list[ModelRun]] | None = None) -> ModelRun:
        """Choose one of the newest runs; if there is none of that kind, start one."""
        which = which or (lambda: [*self.model.runs.values()])
        if not which():
            process = self.process(choice)
            run = self.new_run(process, "stubborn" if choice % 2 else "obedient", None)
            self.started(run, process.run(self.start_run(process, run)).id)
            self.settle()
        runs = which()
        return runs[-1 - choice % len(runs)]

    def executing(self) -> list[ModelRun]:
        """Return the runs whose functions execute, and may say things."""
        return [run for run in self.model.executing() if run.manager.state == "open"]

    def new_run(self, process: Process, job: str, key: str | None, name: str | None = None, **rest: Any) -> ModelRun:
        return ModelRun(
            id=0, part=next(self.parts), manager=self.manager(process), job=job, key=key, idempotency_key=name, **rest
        )

    async def start_run(self, process: Process, run: ModelRun, *, join: bool = False) -> RunHandle[Any]:
        return await process.manager.start_run(
            self.cast.jobs[run.job](run.part),
            key=run.key,
            on_conflict="join" if join and run.key is not None else "reject",
            idempotency_key=run.idempotency_key,
            timeout=LIMIT if run.limited else None,
            tags=run.tags,
        )

    def started(self, run: ModelRun, run_id: int) -> None:
        assert run_id not in self.used_ids, "the id of another run was used again"
        self.used_ids.add(run_id)
        run.id = run_id
        self.model.start(run)

    def is_in_the_way(self, run: ModelRun) -> bool:
        try:
            return self.model.find(run, join=False) is not None
        except RunError:
            return True

    def inserted(self, run: ModelRun) -> int | None:
        """Find the row of a run whose start was given no answer."""
        stored = self.inspector.rows()
        return next((run_id for run_id, row in stored.items() if row["arguments"] == f'{{"part":{run.part}}}'), None)

    def utter(self, run: ModelRun, utterance: Utterance) -> None:
        number = next(self.said)
        self.cast.roles[run.part].say(utterance, number)
        if (said := utterance.said(number)) is not None:
            run.said.append(said)

    def end_function(self, run: ModelRun, outcome: Any) -> None:
        outlasted = run.manager.state == "closed"
        self.cast.roles[run.part].end(outcome)
        self.model.end(run, outcome)
        if outlasted:
            [process] = [each for each in self.processes if each.number == run.manager.number]
            left = len(self.model.executing(run.manager))
            self.world.until(lambda: len(live_runs(process.manager)) > left and "a function has not ended")
            self.world.skip(RESCUE_INTERVAL)

    # After a death

    def adopt(self, models: list[Model], number: int, new: ModelRun) -> None:
        """Go on with what the death of a process has left of one of several models, run by run."""
        if run_id := self.inserted(new):
            self.used_ids.add(run_id)
            for model in models:
                model.start(new.copy(run_id, model.managers[number]))
        for model in models:
            model.kill(model.managers[number])
        self.model = models[0]
        if self.open_processes:
            self.world.until(lambda: self.orphans(self.model.managers[number]) and "orphans have not been rescued")
        for row in self.inspector.rows().values():
            fates = [model.runs[row["id"]] for model in models]
            fitting = [run for run in fates if run.status == row["status"]]
            assert fitting, f"run {row['id']} is {row['status']}; expected: {[run.path for run in fates]}"
            run = fitting[0]
            run.vague |= any((other.path, other.said) != (run.path, run.said) for other in fates) or row["id"] == run_id
            run.said = max((other.said for other in fates), key=len)
            run.manager = self.model.managers[run.manager.number]
            self.model.runs[run.id] = run

    def orphans(self, manager: ModelManager) -> list[int]:
        """Find the runs of a manager that have not ended."""
        stored = self.inspector.rows()
        return [
            run_id for run_id, row in stored.items() if row["finished_at"] is None and self.owner(run_id) is manager
        ]

    def owner(self, run_id: int) -> ModelManager:
        return self.model.runs[run_id].manager

    # What must hold after every step

    def settle(self) -> None:
        """Let everything happen that the model says happens by itself."""
        self.tally("steps in these histories")
        self.world.until(lambda: next(self.unmet(), None))

    def unmet(self) -> Iterator[str]:
        """Yield what has not happened yet."""
        yield from self.inspector.unmet(self.model, self.cast.roles)
        for process in self.open_processes:
            watched = {each.run_id for each in self.watchers if each.process is process and each.watching}
            yield from unmet_in(process, self.model, watched=len(watched))
        for watcher in self.watchers:
            run, closed = self.model.runs.get(watcher.run_id), self.manager(watcher.process).state != "open"
            yield from watcher.unmet(self.inspector.streams[watcher.run_id], run, closed=closed)
