"""What the endpoints of one router share: the manager, the decision who may do what, and the open streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Path
from starlette.exceptions import HTTPException
from starlette.requests import Request

from aioruns import Run, RunEvent, RunManager, RunNotFound
from aioruns.web._actions import Action, Authorize
from aioruns.web._problems import Refusal
from aioruns.web._streams import OpenStreams
from aioruns.web._views import MAX_ID, event_json, run_json

__all__ = ["SERVICE", "RunId", "Service", "TheService", "allowed", "allowed_run"]

SERVICE: Final = "aioruns.service"
"""The key of the router's service in a request's scope."""

PAGE: Final = 100
"""How many events to read at once, each of 64 KiB at most."""


@dataclass(frozen=True, slots=True)
class Service:
    """What the endpoints of one router share.

    Attributes:
        manager: The manager whose runs they show and start.
        authorize: Decides who may do what; without it everybody may do everything but read tracebacks.
        streams: The open event streams.
    """

    manager: RunManager
    authorize: Authorize | None
    streams: OpenStreams

    async def check(self, request: Request, action: Action, run: Run | None = None) -> None:
        """Raise if the caller may not do this."""
        if self.authorize is not None and not await self.authorize(request, action, run):
            raise Refusal("not-allowed", f"you may not {action.replace('_', ' ')} here")

    async def find(self, request: Request, action: Action, run_id: int) -> Run:
        """Read a run that the caller may do something with.

        A caller who may not do it with any run does not learn whether the run exists.
        """
        try:
            run = await self.manager.get_run(run_id)
        except RunNotFound:
            await self.check(request, action)
            raise
        await self.check(request, action, run)
        return run

    async def shows_tracebacks(self, request: Request, run: Run) -> bool:
        """Tell whether the caller may read the tracebacks of a run."""
        try:
            return self.authorize is not None and bool(await self.authorize(request, "read_traceback", run))
        except HTTPException:  # another way to refuse
            return False

    async def show(self, request: Request, run: Run) -> dict[str, Any]:
        """Show a run to a caller; ask whether to show the traceback only if there is one."""
        traceback = run.traceback is not None and await self.shows_tracebacks(request, run)
        return run_json(run, traceback=traceback)

    async def viewer(self, request: Request, run: Run) -> Callable[[RunEvent], Awaitable[bytes]]:
        """Make the function that shows a run's events to a caller, the last event with the ended run."""
        traceback = await self.shows_tracebacks(request, run)

        async def view(event: RunEvent) -> bytes:
            shown = event_json(event, traceback=traceback)
            if event.terminal:
                shown["run"] = run_json(await self.manager.get_run(event.run_id), traceback=traceback)
            return msgspec.json.encode(shown)

        return view

    async def events(self, run_id: int, after: int) -> AsyncIterator[list[RunEvent]]:
        """Read a run's stored events, a few at a time, so that large ones do not pile up in memory."""
        while events := await self.manager.read_events(run_id, after=after, limit=PAGE):
            yield events
            if len(events) < PAGE:
                break
            after = events[-1].seq


def _service_of(request: Request) -> Service:
    return request.scope[SERVICE]


TheService = Annotated[Service, Depends(_service_of)]
RunId = Annotated[int, Path(ge=1, le=MAX_ID)]


def allowed(action: Action) -> Any:
    """Make a dependency that refuses callers who may not do something that is not about one run."""

    async def check(request: Request, service: TheService) -> None:
        await service.check(request, action)

    return Depends(check)


def allowed_run(action: Action) -> Any:
    """Make a dependency that reads the run in the path, if the caller may do something with it."""

    async def find(request: Request, service: TheService, run_id: RunId) -> Run:
        return await service.find(request, action, run_id)

    return Depends(find)
