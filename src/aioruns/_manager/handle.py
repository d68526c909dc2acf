"""The handle of a run: its id, its end, its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aioruns._jobs.work import Work
from aioruns._running.live import Why
from aioruns._values.checks import check_seconds
from aioruns._values.json import decode
from aioruns._values.status import RunStatus
from aioruns.errors import RunCancelled, RunFailed, RunInterrupted

if TYPE_CHECKING:
    from aioruns._manager.manager import RunManager
    from aioruns._running.live import LiveRun
    from aioruns._values.model import Run, RunEvent

__all__ = ["RunHandle"]

T_co = TypeVar("T_co", covariant=True)


class RunHandle(Generic[T_co]):
    """A run that was started or found: await it for the job's result.

    Attributes:
        id: Id of the run.
        inserted: The run as ``start_run`` left it in the store: newly inserted, or found, if the start joined it or
            repeated its idempotency key. None if ``get_handle`` made the handle.
    """

    __slots__ = ("_live", "_manager", "_work", "id", "inserted")

    def __init__(
        self,
        manager: RunManager,
        run_id: int,
        *,
        live: LiveRun | None,
        work: Work | None,
        inserted: Run | None = None,
    ) -> None:
        self.id: int = run_id
        self.inserted: Run | None = inserted
        self._manager = manager
        self._live = live  # keeps the result for as long as the handle exists
        self._work = work

    def __repr__(self) -> str:
        return f"<RunHandle of run {self.id}>"

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait for the job's result: the object itself if the run ended in this process, else decoded from the store.

        Cancelling the wait leaves the run alone.

        Raises:
            RunFailed: The function raised or timed out; ``__cause__`` is the exception if it ended in this process.
            RunCancelled: The run was cancelled.
            RunInterrupted: The run's process died or shut down first.
            StoreUnavailable: The end of the run could not be stored so far.
            RunNotFound: There is no such run, or it has been pruned meanwhile.
            ManagerClosed: The manager was closed before the run ended.
        """
        return self._result().__await__()

    async def _result(self) -> T_co:
        run = self._outcome() or await self._manager._wait(self.id, self._live, None)  # pyright: ignore[reportPrivateUsage]
        here = self._live.attempt if self._live is not None and Why.LOST not in self._live.attempt.asked else None
        if run.status is RunStatus.COMPLETED:
            if here is not None:
                return here.result
            text = run.result_json or "null"
            return decode(text) if self._work is None else self._work.decode_result(text)
        if run.status is RunStatus.FAILED:
            raise RunFailed(run) from (here.error if here is not None else None)
        if run.status is RunStatus.CANCELLED:
            raise RunCancelled(run)
        raise RunInterrupted(run)

    async def wait(self, timeout: float | None = None) -> Run:
        """Wait until the run has ended, however it ends.

        Args:
            timeout: Seconds to wait at most; None for no limit.

        Returns:
            The run as it is stored.

        Raises:
            TimeoutError: The run has not ended in time, and goes on.
            StoreUnavailable: The end of the run could not be stored so far.
            RunNotFound: There is no such run, or it has been pruned meanwhile.
            ManagerClosed: The manager was closed before the run ended.
        """
        seconds = check_seconds(timeout, what="timeout", zero=True)
        return self._outcome() or await self._manager._wait(self.id, self._live, seconds)  # pyright: ignore[reportPrivateUsage]

    def _outcome(self) -> Run | None:
        """Return the run if it has ended here, even after the manager was closed."""
        return self._live.outcome() if self._live is not None and self._live.ended.is_set() else None

    async def cancel(self, reason: str | None = None) -> Run:
        """Request that the run end; see ``RunManager.cancel_run``."""
        return await self._manager.cancel_run(self.id, reason=reason)

    def events(self, after: int = 0) -> AsyncIterator[RunEvent]:
        """Stream the run's events; see ``RunManager.stream_events``."""
        return self._manager.stream_events(self.id, after=after)
