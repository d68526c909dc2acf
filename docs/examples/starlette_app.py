"""A Starlette application with a dashboard for its staff below ``/runs/``: ``uvicorn starlette_app:app``."""

import asyncio
import base64
import binascii
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from aioruns import Run, RunManager, current_run, job
from aioruns.web import Action, create_app


@job
async def send_letters(count: int, language: str = "en") -> int:
    """Send letters to the subscribers."""
    for number in current_run().track(range(count), step="letters"):
        await asyncio.sleep(0.1)  # the work
        current_run().log("info", f"letter {number + 1} is on its way", language=language)
    return count


manager = RunManager("runs.db", jobs=[send_letters], shutdown_grace=5)
password = os.environ.get("STAFF_PASSWORD") or secrets.token_urlsafe()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Open the manager here: Starlette does not run the lifespan of a mounted application."""
    async with manager:
        yield


async def authorize(request: Request, action: Action, run: Run | None) -> bool:
    """Ask for the password of the staff, who may do everything."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            _, _, given = base64.b64decode(credentials).partition(b":")
        except binascii.Error:
            given = b""
        if secrets.compare_digest(given, password.encode()):
            return True
    raise HTTPException(401, "this is for the staff", {"WWW-Authenticate": 'Basic realm="staff"'})


async def home(request: Request) -> PlainTextResponse:
    """Stand in for the rest of the application."""
    return PlainTextResponse("Hello. The letters are sent from /runs/.")


app = Starlette(
    routes=[Route("/", home), Mount("/runs", create_app(manager, authorize=authorize))],
    lifespan=lifespan,
)
