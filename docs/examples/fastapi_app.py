"""A FastAPI application whose users start long-running work and watch their own: ``uvicorn fastapi_app:app``.

Ann and Ben see the runs that they started; Cleo, who is an administrator, sees and starts everything.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from aioruns import Run, RunConflict, RunManager, StoreUnavailable, current_run, job
from aioruns.web import Action, runs_router


@job
async def build_report(project: int, chapters: int) -> dict[str, int]:
    """Write the chapters of a project's report."""
    ctx = current_run()
    for chapter in ctx.track(range(1, chapters + 1), step="chapters"):
        await asyncio.sleep(0.1)  # the work
        ctx.log("info", f"chapter {chapter} is written")
    return {"project": project, "chapters": chapters}


# One manager for the whole process. It opens nothing until the lifespan opens it.
manager = RunManager("runs.db", jobs=[build_report], shutdown_grace=5)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the manager; at the end, runs may drain for five seconds."""
    async with manager:
        yield


@dataclass
class User:
    """A user of the application."""

    name: str
    admin: bool = False


USERS = {"token-of-ann": User("ann"), "token-of-ben": User("ben"), "token-of-cleo": User("cleo", admin=True)}
bearer = HTTPBearer(auto_error=False)  # or OAuth2, or a session cookie: whatever the application has


def get_user(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> User:
    """Return who makes a request; stands in for a table of sessions, or the claims of a signed token."""
    user = USERS.get(credentials.credentials) if credentials else None
    if user is None:
        raise HTTPException(401, "show a token that is known", {"WWW-Authenticate": "Bearer"})
    return user


async def authorize(request: Request, action: Action, run: Run | None) -> bool:
    """Let users see and cancel their own runs, without tracebacks; let administrators do everything."""
    user = get_user(await bearer(request))
    if user.admin:
        return True
    return run is not None and f"user:{user.name}" in run.tags and action not in ("retry_run", "read_traceback")


app = FastAPI(lifespan=lifespan)
app.include_router(runs_router(manager, authorize=authorize), prefix="/api")


class ReportRequest(BaseModel):
    """The body of a user's request."""

    chapters: int = 3


@app.post("/projects/{project}/reports", status_code=202)
async def start_report(
    project: int, asked: ReportRequest, user: Annotated[User, Depends(get_user)], response: Response
) -> dict[str, int]:
    """Start a report in the user's name; a project builds at most one at a time."""
    try:
        handle = await manager.start_run(
            build_report(project, asked.chapters), key=f"project:{project}", tags=[f"user:{user.name}"]
        )
    except RunConflict as conflict:
        raise HTTPException(409, str(conflict)) from None
    except StoreUnavailable:
        raise HTTPException(503, "try again later", {"Retry-After": "5"}) from None
    response.headers["Location"] = f"/api/runs/{handle.id}"
    return {"id": handle.id}
