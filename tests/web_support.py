"""What tests of the web share: a real uvicorn on loopback, jobs that its clients start, and runs that have ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

import httpx
import uvicorn
from fastapi import FastAPI
from msgspec import Meta

from aioruns import Run, RunManager, current_run, job

__all__ = [
    "JOBS",
    "add",
    "echo",
    "ended",
    "fail",
    "listening",
    "problem",
    "serving",
    "serving_runs",
    "started",
    "talk",
    "wait_for_cancel",
]


@job
async def add(left: int, right: int = 1) -> int:
    """Add two numbers."""
    return left + right


@job
async def echo(
    text: Annotated[str, Meta(description="What is said", max_length=200)] = "hello",
    times: int | None = None,
    options: dict[str, Any] | None = None,
    mode: Literal["plain", "loud"] = "plain",
) -> dict[str, Any]:
    """Return what it was given."""
    return {"text": text, "times": times, "options": options, "mode": mode}


@job
async def talk(lines: Annotated[int, Meta(ge=0, le=1000)] = 3) -> None:
    """Say something in every way there is."""
    ctx = current_run()
    for number in ctx.track(range(lines), step="talking"):
        ctx.log("info", f"line {number}", number=number)
    ctx.emit("page", {"number": 1})


@job
async def fail(why: str = "it broke") -> None:
    """Fail, and leave a traceback."""
    try:
        raise LookupError("looked up in vain")
    except LookupError:
        current_run().logger.exception("something is wrong")
    raise ValueError(why)


@job
async def wait_for_cancel() -> None:
    """Wait until somebody cancels it."""
    await asyncio.Event().wait()


JOBS = (add, echo, talk, fail, wait_for_cancel)


def listening() -> socket.socket:
    """A socket that listens on a free port of the loopback interface."""
    return socket.create_server(("127.0.0.1", 0))


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an application with uvicorn, in this event loop; gives its base URL. Stops behind the block.

    Args:
        app: Any ASGI application.
        **options: For ``uvicorn.Config``, e.g. ``root_path`` or ``lifespan``.
    """
    config = uvicorn.Config(app, **({"log_config": None, "lifespan": "auto", "timeout_graceful_shutdown": 5} | options))
    server = uvicorn.Server(config)
    with listening() as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(60):
                while not server.started:
                    assert not task.done(), "the server did not start"
                    await asyncio.sleep(0.001)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@contextlib.asynccontextmanager
async def serving_runs(manager: RunManager, *, prefix: str = "", **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the router of an open manager; gives a client whose base URL is the router's prefix.

    Args:
        manager: An open manager.
        prefix: Where the router is included.
        **options: For ``runs_router``.
    """
    from aioruns.web import runs_router

    app = FastAPI()
    app.include_router(runs_router(manager, **options), prefix=prefix)
    async with serving(app) as url, httpx.AsyncClient(base_url=url + prefix, timeout=60) as client:
        yield client


async def started(client: httpx.AsyncClient, name: str, args: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    """Start a run over HTTP; gives what was answered, decoded."""
    response = await client.post("/runs", json={"job": name, "args": dict(args or {}), **fields})
    assert response.status_code == 202, response.text
    return response.json()


async def ended(manager: RunManager, run_id: int) -> Run:
    """Wait until a run has ended."""
    return await manager.wait_run(run_id, timeout=60)


def problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Assert that a response is a problem (RFC 9457) of a kind, and decode it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"urn:aioruns:{kind}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body
