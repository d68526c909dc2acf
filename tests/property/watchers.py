"""Who watches runs: subscribers that read as much as they are allowed to, and those who wait for results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from tests.property.model import ModelRun
from tests.property.processes import Process

from aioruns import ManagerClosed, RunCancelled, RunError, RunEvent, RunFailed, RunInterrupted, RunNotFound, RunStatus

__all__ = ["Subscriber", "Waiter"]

StoredEvent = tuple[int, str, Any]
"""``seq``, kind and data."""


class Subscriber:
    """Reads the events of a run, as many as it is allowed to, and notes how the stream ended."""

    def __init__(self, process: Process, run_id: int, after: int) -> None:
        self.process = process
        self.run_id = run_id
        self._after = after
        self._seen: list[RunEvent] = []
        self._allowed = 0
        self._permits = asyncio.Semaphore(0)
        self._end: type[BaseException] | None = None
        self._task = process.spawn(self._read())

    def allow(self, count: int) -> None:
        """Let it read so many more."""
        self._allowed += count
        for _ in range(count):
            self._permits.release()

    def leave(self) -> None:
        """Go away, wherever it is."""
        self._task.cancel()

    @property
    def _hungry(self) -> bool:
        return self._allowed > len(self._seen)

    @property
    def watching(self) -> bool:
        """Whether it has begun to read, and has not come to an end."""
        return self._allowed > 0 and self._end is None

    async def _read(self) -> None:
        stream = self.process.manager.stream_events(self.run_id, self._after)
        try:
            while True:
                await self._permits.acquire()
                self._seen.append(await anext(stream))
        except (StopAsyncIteration, RunError) as end:
            self._end = type(end)
        finally:
            del stream  # left in the middle, and not closed

    def unmet(self, stream: list[StoredEvent], run: ModelRun | None, *, closed: bool) -> Iterator[str]:
        """Check that what was seen is part of the stream without a gap; yield what it is still waiting for.

        Args:
            stream: All events that the run has, or had when it was pruned.
            run: The run, or None if it has been pruned.
            closed: Whether the manager has been closed.
        """
        due = stream[self._after :]
        seen = [(event.seq, event.kind, event.data) for event in self._seen]
        assert seen == due[: len(seen)], f"a subscriber of run {self.run_id} saw {seen} of {due}"
        if self._end is StopAsyncIteration:
            assert len(seen) == len(due), f"the stream of run {self.run_id} ended behind {seen} of {due}"
            assert run is None or not run.active
        elif self._end is not None:
            assert run is None if self._end is RunNotFound else closed and self._end is ManagerClosed, self._end
        elif self._hungry and (len(seen) < len(due) or closed or run is None or not run.active):
            yield f"a subscriber of run {self.run_id} has not seen {due[len(seen) :]} and the end"


class Waiter:
    """Awaits the result of a run."""

    def __init__(self, process: Process, run_id: int) -> None:
        self.process = process
        self.run_id = run_id
        self.task = process.spawn(self._wait())

    def allow(self, count: int) -> None:
        """There is nothing to read."""

    def leave(self) -> None:
        """Wait no longer."""
        self.task.cancel()

    @property
    def watching(self) -> bool:
        """Whether it has no answer yet."""
        return not self.task.done()

    async def _wait(self) -> Any:
        return await self.process.manager.get_handle(self.run_id)

    def unmet(self, _: list[StoredEvent], run: ModelRun | None, *, closed: bool) -> Iterator[str]:
        """Check the answer, once the run has ended; yield what is missing."""
        if not self.task.done():
            if run is None or not run.active or closed:
                yield f"who waits for run {self.run_id} has no answer"
            return
        error = self.task.exception()
        if isinstance(error, ManagerClosed):
            assert closed
        elif run is None:
            assert error is None or isinstance(error, RunNotFound | RunFailed | RunCancelled | RunInterrupted)
        else:
            expected = {
                RunStatus.COMPLETED: type(None),
                RunStatus.FAILED: RunFailed,
                RunStatus.CANCELLED: RunCancelled,
                RunStatus.INTERRUPTED: RunInterrupted,
            }
            assert not run.active, f"run {self.run_id} goes on, and who waits for it has {error!r}"
            assert type(error) is expected[run.status], f"run {self.run_id} is {run.status}: {error!r}"
            assert error is not None or json.dumps(self.task.result()) == json.dumps(run.result)
