"""An application with the router of aioruns, as users have it; its settings come from the environment.

It has a few routes more, which tell the tests what they cannot see from outside.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import anyio
from fastapi import FastAPI, Request, Response
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.insides import live_runs

from aioruns import RunManager, current_run, job
from aioruns.web import runs_router

go = asyncio.Event()


@job
async def emit(events: int, size: int = 0, pause: float = 0) -> int:
    """Say numbers; pause after each."""
    for number in range(events):
        current_run().emit("number", {"number": number, "padding": "x" * size})
        await asyncio.sleep(pause)
    return events


@job
async def wait() -> None:
    """Say one thing, then execute until it is told to end, over HTTP."""
    current_run().emit("waiting", None)
    await go.wait()


@job
async def follow(events: int, size: int = 0) -> None:
    """Say numbers once it is told to, a few at a time, each of which is stored before the next is said."""
    await go.wait()
    for number in range(events):
        current_run().emit("number", {"number": number, "padding": "x" * size})
        if number % 10 == 0:
            await current_run().flush()


async def pass_on(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Do what a middleware does that looks at requests and answers."""
    response = await call_next(request)
    response.headers["X-Seen"] = request.method
    return response


class GiveUp:
    """A middleware that cancels what a client has asked for when it has gone; others do so after a time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def watch() -> None:
            while (message := await receive())["type"] != "http.disconnect":
                messages.put_nowait(message)
            handling.cancel_scope.cancel()

        async with anyio.create_task_group() as handling:
            handling.start_soon(watch)
            await self._app(scope, messages.get, send)
            handling.cancel_scope.cancel()


def take_note_of(number: signal.Signals) -> None:
    """Set a handler of the application's own, which hands the signal on to the server's."""

    def handle(number: int, frame: FrameType | None) -> None:
        print("the application saw", signal.Signals(number).name, flush=True)
        assert callable(servers)
        servers(number, frame)

    servers = signal.signal(number, handle)


manager = RunManager("runs.db", jobs=[emit, follow, wait], shutdown_grace=float(os.environ.get("GRACE", "5")))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the manager open while the server serves."""
    if "TAKE_NOTE" in os.environ:
        take_note_of(signal.SIGTERM)
    async with manager:
        yield
    print("the manager is closed", flush=True)


app = FastAPI(lifespan=lifespan)
app.include_router(runs_router(manager, max_streams=int(os.environ.get("MAX_STREAMS", "10000"))))
match os.environ.get("MIDDLEWARE"):
    case "passing on":
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    case "giving up":
        app.add_middleware(GiveUp)
    case other:
        assert other in (None, "no")


@app.post("/go", status_code=204)
async def let_go() -> None:
    """Let the runs that wait end."""
    go.set()


@app.get("/memory")
async def memory() -> int:
    """Tell how many bytes are resident."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@app.get("/executing")
async def executing() -> list[int]:
    """Tell which runs this process has a task for."""
    return live_runs(manager)
