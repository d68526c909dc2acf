"""What is promised about runs, without time, store or concurrency: a pure model, to be read beside the guarantees.

Its verbs are those of ``RunManager``, and raise what that raises. After each of them it is settled: functions that were
asked to end have ended, orphans have been rescued if a manager is open, whoever can begin has begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from tests.support import is_path

from aioruns import ConfigurationError, RunConflict, RunStatus

__all__ = ["Model", "ModelManager", "ModelRun", "Said", "is_storable", "tells"]

S = RunStatus
Said = tuple[str, dict[str, Any]]
"""Kind and data of an event."""


def is_storable(value: Any) -> bool:
    """Tell whether a JSON value has no lone surrogates anywhere."""
    if isinstance(value, dict):
        return all(is_storable(each) for item in value.items() for each in item)
    if isinstance(value, list):
        return all(map(is_storable, value))
    return not isinstance(value, str) or not any("\ud800" <= letter <= "\udfff" for letter in value)


def tells(stored: list[Said], said: list[Said]) -> bool:
    """Tell whether a stream holds what was said, in order; progress may be replaced by newer progress of its step."""
    rest = iter(stored)
    due = next(rest, None)
    for index, one in enumerate(said):
        if one == due:
            due = next(rest, None)
        elif not _is_replaced(one, said[index + 1 :]):
            return False
    return due is None


def _is_replaced(one: Said, later: list[Said]) -> bool:
    newer = next((data for kind, data in later if kind == "progress"), None)
    return one[0] == "progress" and newer is not None and newer["step"] == one[1]["step"]


@dataclass(kw_only=True, eq=False)
class ModelManager:
    """A manager: ``open``; ``closed``, and alive as long as functions outlast it; or ``dead``."""

    number: int
    max_running: int | None
    state: Literal["open", "closed", "dead"] = "open"


@dataclass(kw_only=True, eq=False)
class ModelRun:
    """One run. Its function plays a part; if it is stubborn, it ends when it wants to and not when it is asked to.

    Attributes:
        executing: Its function executes.
        path: The statuses that it had.
        limited: Its function may not execute for ever.
        said: What its function has said.
        vague: What happened to it last was torn by the death of its process: its path and stream are not predicted.
    """

    id: int
    part: int
    manager: ModelManager
    job: str
    key: str | None
    idempotency_key: str | None = None
    tags: tuple[str, ...] = ()
    limited: bool = False
    path: list[RunStatus] = field(default_factory=list)
    executing: bool = False
    asked: bool = False
    timed_out: bool = False
    result: Any = None
    error: str | None = None
    said: list[Said] = field(default_factory=list)
    vague: bool = False
    created_at: datetime | None = None

    @property
    def status(self) -> RunStatus:
        return self.path[-1]

    @property
    def active(self) -> bool:
        return self.status.active

    @property
    def stubborn(self) -> bool:
        return self.job == "stubborn"

    def copy(self, run_id: int, manager: ModelManager) -> ModelRun:
        """Give the same run, not started yet, for another model."""
        return replace(self, id=run_id, manager=manager, path=[], said=[])

    def become(self, status: RunStatus) -> None:
        assert is_path([*self.path[-1:], status])
        self.path.append(status)
        if not self.active:
            self.executing = False


class Model:
    """All runs that there are, in the order of their ids, and all managers that there were."""

    def __init__(self) -> None:
        self.managers: list[ModelManager] = []
        self.runs: dict[int, ModelRun] = {}

    # Looking

    def active(self, manager: ModelManager | None = None) -> list[ModelRun]:
        return [run for run in self.runs.values() if run.active and manager in (None, run.manager)]

    def executing(self, manager: ModelManager | None = None) -> list[ModelRun]:
        return [run for run in self.runs.values() if run.executing and manager in (None, run.manager)]

    def holder(self, key: str | None) -> ModelRun | None:
        """Return the run that holds a key: G2, there is one at most."""
        holders = [run for run in self.active() if run.key == key is not None]
        assert len(holders) <= 1
        return next(iter(holders), None)

    def latest(self, key: str) -> ModelRun | None:
        return self.holder(key) or next((run for run in reversed(self.runs.values()) if run.key == key), None)

    def current_id(self, manager: ModelManager, key: str | None) -> int | None:
        here = (run.id for run in reversed(self.active(manager)) if key in (None, run.key))
        return next(here, None)

    # Managers

    def open(self, *, max_running: int | None) -> ModelManager:
        manager = ModelManager(number=len(self.managers), max_running=max_running)
        self.managers.append(manager)
        self._settle()
        return manager

    def close(self, manager: ModelManager) -> None:
        """G8: functions that end when asked to are interrupted; others keep their rows, and the manager alive."""
        manager.state = "closed"
        for run in self.active(manager):
            if not (run.executing and run.stubborn):
                run.become(S.INTERRUPTED)
            elif run.status is S.RUNNING:
                run.become(S.CANCELLING)
                run.asked = True
        self._settle()

    def kill(self, manager: ModelManager) -> None:
        """G7: its runs are orphans."""
        manager.state = "dead"
        for run in self.active(manager):
            run.executing = False
        self._settle()

    def lose(self, manager: ModelManager) -> None:
        """G7: taken for dead by mistake, a manager loses what it has, and goes on with what it starts from then on."""
        for run in self.active(manager):
            run.become(S.INTERRUPTED)
        self._settle()

    # Runs

    def find(self, wanted: ModelRun, *, join: bool) -> ModelRun | None:
        """Find the run that stands in the way of a start and serves its purpose.

        Raises:
            ConfigurationError: The idempotency key belongs to another job.
            RunConflict: The key is held.
        """
        for run in self.runs.values():
            if run.idempotency_key == wanted.idempotency_key is not None:
                if run.job != wanted.job:
                    raise ConfigurationError("the idempotency key belongs to another job")
                return run
        holder = self.holder(wanted.key)
        if holder is not None and not (join and holder.job == wanted.job):
            raise RunConflict(holder.key or "", holder.id)
        return holder

    def start(self, run: ModelRun) -> None:
        """Start a run in whose way nothing stands; it waits if there is no capacity."""
        must_wait = not self._has_room(run.manager) or any(not each.executing for each in self.active(run.manager))
        self.runs[run.id] = run
        run.become(S.PENDING if must_wait else S.RUNNING)
        run.executing = not must_wait

    def cancel(self, run: ModelRun) -> None:
        """G3: what waits ends here and now; what executes, when its function has ended."""
        self.request(run)
        if run.executing and not run.stubborn:
            run.become(S.CANCELLED)
        self._settle()

    def request(self, run: ModelRun) -> None:
        """Do the first half of a cancel, at which a process may die."""
        if run.status is not S.CANCELLING:
            run.asked = True
            run.become(S.CANCELLED if run.status is S.PENDING else S.CANCELLING)

    def end(self, run: ModelRun, outcome: Any) -> None:
        """G3, C4: finished work is never thrown away; an exception is a failure, unless the run was to be cancelled."""
        run.executing = False
        if run.manager.state == "open":
            error = type(outcome).__name__ if isinstance(outcome, BaseException) else None
            if error is None and not is_storable(outcome):
                error = "NotStorable"
            if error is None:
                run.become(S.COMPLETED)
                run.result = outcome
            elif run.asked:
                run.become(S.CANCELLED)
            else:
                run.become(S.FAILED)
                run.error = "TimeoutError" if run.timed_out else error
        self._settle()

    def pass_time(self) -> None:
        """Let the time of every function be over that has not for ever."""
        for run in self.executing():
            run.timed_out = run.timed_out or run.limited
            if run.timed_out and not run.stubborn:
                run.become(S.FAILED)
                run.error = "TimeoutError"
        self._settle()

    def prune(self) -> list[int]:
        pruned = [run.id for run in self.runs.values() if not run.active]
        for run_id in pruned:
            del self.runs[run_id]
        return pruned

    def listed(
        self,
        *,
        status: Iterable[str] | None,
        job: str | None,
        key: str | None,
        tags: Iterable[str],
        created_after: datetime | None,
        created_before: datetime | None,
    ) -> list[int]:
        return [
            run.id
            for run in reversed(self.runs.values())
            if (status is None or run.status in status)
            and (job is None or run.job == job)
            and (key is None or run.key == key)
            and set(tags) <= set(run.tags)
            and run.created_at is not None
            and (created_after is None or run.created_at >= created_after)
            and (created_before is None or run.created_at < created_before)
        ]

    # What happens by itself

    def _settle(self) -> None:
        for manager in self.managers:
            if manager.state == "closed" and not self.executing(manager):
                manager.state = "dead"
        if any(manager.state == "open" for manager in self.managers):
            self._rescue()
        for run in self.active():
            if run.status is S.PENDING and run.manager.state == "open" and self._has_room(run.manager):
                run.become(S.RUNNING)
                run.executing = True

    def _rescue(self) -> None:
        for run in self.active():
            if run.manager.state == "dead":
                run.become(S.INTERRUPTED)

    def _has_room(self, manager: ModelManager) -> bool:
        return manager.max_running is None or len(self.executing(manager)) < manager.max_running
