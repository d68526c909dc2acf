"""The endpoints: what each allowed call does. They raise errors, which ``GuardedRoute`` answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from fastapi import Header, Query
from pydantic import Field, TypeAdapter, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from aioruns import ConfigurationError, Job, Run, RunFilter, RunHandle, RunStatus
from aioruns._jobs.arguments import arguments_schema, call_from_json
from aioruns._values.json import NotStorable
from aioruns.web._accept import prefers
from aioruns.web._log_text import log_text
from aioruns.web._overview import MAX_HOURS, overview
from aioruns.web._problems import Refusal, invalid
from aioruns.web._service import Service, TheService, allowed_run
from aioruns.web._sse import event_stream
from aioruns.web._views import MAX_ID, CancelRequest, Name, StartRequest, answer, summary_json

__all__ = [
    "cancel_run",
    "list_jobs",
    "list_runs",
    "read_current_run",
    "read_events",
    "read_health",
    "read_log",
    "read_overview",
    "read_run",
    "retry_run",
    "start_run",
]

MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of events beyond which a page ends early."""
HEALTH_TIMEOUT: Final = 5.0
"""Seconds within which a healthy store answers."""

Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Seq = Annotated[int, Field(ge=0, le=MAX_ID)]


def _if_given(kind: Any) -> WithJsonSchema:
    """Describe an optional parameter by the type that it has when given: nothing in a URL is null."""
    return WithJsonSchema(TypeAdapter(kind).json_schema())


OneName = Annotated[Name | None, _if_given(Name), Query()]


async def start_run(asked: StartRequest, request: Request, service: TheService) -> Response:
    """Start a run of a job.

    The server answers as soon as the run is stored; follow it at `Location` or through its events.
    """
    manager = service.manager
    job = manager.jobs.get(asked.job)
    if job is None:
        raise Refusal("job-not-found", f"no job is called {asked.job!r}")
    call = call_from_json(job, asked.args)
    try:
        handle = await manager.start_run(call, **asked.model_dump(exclude={"job", "args"}))
    except NotStorable as error:
        raise invalid(("args", "body", str(error))) from None
    except ConfigurationError as error:
        if asked.idempotency_key is None:
            raise
        raise Refusal("idempotency-conflict", str(error)) from None  # everything else has been checked before
    return await _started(service, request, handle, folder=_path(request))


async def list_runs(
    service: TheService,
    status: Annotated[Sequence[RunStatus], Query(max_length=len(RunStatus), description="Any of these.")] = (),
    job: OneName = None,
    key: OneName = None,
    tag: Annotated[Sequence[Name], Query(max_length=20, description="All of these.")] = (),
    triggered_by: OneName = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 50,
    before: Annotated[Id | None, _if_given(Id), Query(description="Only runs with a lower id.")] = None,
) -> Response:
    """List runs, newest first."""
    where = RunFilter(status=status or None, job=job, key=key, tags=tag, triggered_by=triggered_by)
    runs = await service.manager.list_runs(where, limit=limit, before=before, summary=True)
    more = runs[-1].id if len(runs) == limit and runs[-1].id > 1 else None
    return answer({"items": [summary_json(run) for run in runs], "next": more})


async def read_current_run(
    service: TheService, request: Request, key: Annotated[Name, Query(description="The exact key.")]
) -> Response:
    """Show the run that holds a key; if none does, show the newest run with that key."""
    run = await service.manager.get_current_or_latest_run(key)
    await service.check(request, "read_run", run)
    if run is None:
        raise Refusal("run-not-found", f"no run has the key {key!r}")
    return answer(await service.show(request, run))


async def read_run(run: Annotated[Run, allowed_run("read_run")], request: Request, service: TheService) -> Response:
    """Show a run."""
    return answer(await service.show(request, run))


async def cancel_run(
    run: Annotated[Run, allowed_run("cancel_run")],
    request: Request,
    service: TheService,
    asked: CancelRequest | None = None,
) -> Response:
    """Request the cancellation of a run.

    The run is `cancelling` until its function has ended; a `pending` run is `cancelled` at once.
    """
    cancelled = await service.manager.cancel_run(run.id, reason=asked and asked.reason)
    return answer(await service.show(request, cancelled), 202)


async def retry_run(run: Annotated[Run, allowed_run("retry_run")], request: Request, service: TheService) -> Response:
    """Retry a run that has ended: start a new run with the same job, arguments, key, timeout and tags."""
    try:
        handle = await service.manager.retry_run(run.id, triggered_by="http")
    except ConfigurationError as error:
        raise Refusal("run-not-retryable", str(error)) from None
    return await _started(service, request, handle, folder=_path(request).rsplit("/", 2)[0])


async def _started(service: Service, request: Request, handle: RunHandle[Any], *, folder: str) -> Response:
    run = handle.inserted or await service.manager.get_run(handle.id)
    return answer(await service.show(request, run), 202, location=f"{folder}/{run.id}")


async def read_events(
    run: Annotated[Run, allowed_run("read_events")],
    request: Request,
    service: TheService,
    after: Annotated[Seq, Query(description="Only events with a higher `seq`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most.")] = 500,
    last_event_id: Annotated[
        Seq | None,
        _if_given(Seq),
        Header(alias="Last-Event-ID", description="The last event that the client has seen; overrides `after`."),
    ] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """Follow a run's events as Server-Sent Events, beginning with the stored ones; or read a page of them as JSON.

    A stream ends after the last event of the run; 204 means that the client has already read that. `limit` applies
    only to pages.
    """
    after = after if last_event_id is None else last_event_id
    view = await service.viewer(request, run)
    if not prefers(accept, "application/json", to="text/event-stream"):
        return await event_stream(service.manager, run, after=after, view=view, streams=service.streams)
    items: list[msgspec.Raw] = []
    size, more = 0, after if run.active else None
    async for events in service.events(run.id, after):
        for event in events:
            items.append(msgspec.Raw(await view(event)))
            size += len(event.data_json)
            more = None if event.terminal else event.seq
            if len(items) == limit or size > MAX_PAGE_BYTES:
                return answer({"items": items, "next": more})
    return answer({"items": items, "next": more})


async def read_log(run: Annotated[Run, allowed_run("read_log")], request: Request, service: TheService) -> Response:
    """Download the log of a run so far, with its changes of status, as text."""
    traceback = await service.shows_tracebacks(request, run)
    return StreamingResponse(
        log_text(service.events(run.id, 0), traceback=traceback),
        media_type="text/plain; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="run-{run.id}.log"',
            "X-Content-Type-Options": "nosniff",
        },
    )


async def list_jobs(service: TheService) -> Response:
    """List the jobs that can be started, with the JSON Schema of their arguments."""
    return answer({"items": [_job_json(job) for job in service.manager.jobs.values()]})


def _job_json(job: Job[..., Any]) -> dict[str, Any]:
    return {
        "name": job.name,
        "description": inspect.getdoc(job.function) or "",
        "arguments": arguments_schema(job),
        "timeout": job.timeout,  # infinity becomes null, because JSON has none
        "cancel_grace": job.cancel_grace,
    }


async def read_overview(
    service: TheService, hours: Annotated[int, Query(ge=1, le=MAX_HOURS, description="How far to look back.")] = 24
) -> Response:
    """Count runs by time and status, and by job and duration."""
    return answer(await overview(service.manager, hours, datetime.now(UTC)))


async def read_health(service: TheService) -> Response:
    """Tell whether the manager is open and its store can be read."""
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT):
            await service.manager.list_runs(limit=1, summary=True)
    except TimeoutError:
        raise Refusal("store-unavailable", f"the store has not answered within {HEALTH_TIMEOUT:g} s") from None
    return answer({"status": "ok"})


def _path(request: Request) -> str:
    """Return the path of a request as its client knows it.

    Servers prefix the path with the root path, as ASGI demands. A framework whose application was given the root path
    does not.
    """
    scope = request.scope
    root: str = scope.get("app_root_path", scope.get("root_path", "")).rstrip("/")
    path: str = scope["path"]
    return quote(path if path.startswith(f"{root}/") else root + path)
