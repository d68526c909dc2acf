"""The table of calls: method, path, endpoint, answer, possible problems, and action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse

from aioruns import RunManager
from aioruns.web import _routes
from aioruns.web._actions import Action, Authorize
from aioruns.web._guard import GuardedRoute
from aioruns.web._overview import OverviewView
from aioruns.web._problems import problems
from aioruns.web._service import Service, allowed
from aioruns.web._streams import MAX_STREAMS, OpenStreams
from aioruns.web._views import EventPage, Health, JobList, RunPage, RunView

__all__ = ["runs_router"]


class _Call(NamedTuple):
    """A call of the API.

    Attributes:
        model: The model of its answer; None for text.
        problems: The kinds of problems that it may have, besides those of every call.
        responses: More about its answers, for the OpenAPI document.
        action: The action that the caller must be allowed; None if the endpoint asks itself, once it knows the run.
    """

    method: str
    path: str
    endpoint: Callable[..., Any]
    model: type[BaseModel] | None
    problems: tuple[str, ...]
    responses: Mapping[int, dict[str, Any]] = {}
    action: Action | None = None


_AWAY: Final = ("store-unavailable", "manager-closed")
_ASKED: Final = ("invalid-request", *_AWAY)
_OF_RUN: Final = ("run-not-found", *_ASKED)
_CHANGE: Final = ("cross-site", "body-too-large", "body-not-json", *_ASKED)


def _header(name: str, description: str) -> dict[str, Any]:
    return {"headers": {name: {"required": True, "description": description, "schema": {"type": "string"}}}}


_ACCEPTED: Final = {202: {"description": "Accepted"}}
_STARTED: Final = {202: {"description": "Started"} | _header("Location", "Path of the run.")}
_MESSAGE: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "`seq` of the event."},
        "event": {"type": "string", "description": "Its `kind`."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventView"},
        },
    },
    "required": ["id", "event", "data"],
}
_STREAM: Final = {
    200: {
        "description": "The events: a stream that ends with the run, or a page.",
        "content": {"text/event-stream": {"itemSchema": _MESSAGE}},  # as OpenAPI 3.2 describes a stream
    },
    204: {"description": "The client has already read the last event of the run: do not reconnect."},
}
_FILE: Final = {200: _header("Content-Disposition", "The name of the file.")}

_CALLS: Final = (
    _Call(
        "POST", "/runs", _routes.start_run, RunView,
        (*_CHANGE, "malformed-json", "job-not-found", "run-conflict", "idempotency-conflict"), _STARTED, "start_run",
    ),
    _Call("GET", "/runs", _routes.list_runs, RunPage, _ASKED, action="list_runs"),
    _Call("GET", "/runs/current", _routes.read_current_run, RunView, _OF_RUN),
    _Call("GET", "/runs/{run_id}", _routes.read_run, RunView, _OF_RUN),
    _Call(
        "POST", "/runs/{run_id}/cancel", _routes.cancel_run, RunView,
        (*_CHANGE, "malformed-json", "run-not-found", "run-already-finished"), _ACCEPTED,
    ),
    _Call(
        "POST", "/runs/{run_id}/retry", _routes.retry_run, RunView,
        (*_CHANGE, "run-not-found", "run-not-retryable", "run-conflict"), _STARTED,
    ),
    _Call("GET", "/runs/{run_id}/events", _routes.read_events, EventPage, (*_OF_RUN, "too-many-streams"), _STREAM),
    _Call("GET", "/runs/{run_id}/log.txt", _routes.read_log, None, _OF_RUN, _FILE),
    _Call("GET", "/jobs", _routes.list_jobs, JobList, (), action="list_jobs"),
    _Call("GET", "/overview", _routes.read_overview, OverviewView, _ASKED, action="read_overview"),
    _Call("GET", "/health", _routes.read_health, Health, _AWAY, action="read_health"),
)  # fmt: skip


def runs_router(
    manager: RunManager, *, authorize: Authorize | None = None, max_streams: int = MAX_STREAMS
) -> APIRouter:
    """Make a router to include in a FastAPI application: the calls of the HTTP API, from ``/runs`` to ``/health``.

    The router answers its own errors, as ``application/problem+json``. The application opens and closes the manager in
    its lifespan; the router needs nothing else of it.

    Args:
        manager: The manager whose runs the router starts and shows.
        authorize: Decides about every call before the router does anything, see ``Authorize``. Without it whoever
            reaches the router may do everything but read tracebacks.
        max_streams: How many event streams may be open at once.
    """
    service = Service(manager, authorize, OpenStreams(max_streams))
    router = APIRouter(route_class=GuardedRoute.of(service), tags=["runs"])
    for call in _CALLS:
        router.add_api_route(
            call.path,
            call.endpoint,
            methods=[call.method],
            status_code=202 if call.method == "POST" else 200,
            response_model=call.model,
            response_class=JSONResponse if call.model else PlainTextResponse,
            responses={**call.responses, **problems("not-allowed", *call.problems)},
            dependencies=[] if call.action is None else [allowed(call.action)],
        )
    return router
