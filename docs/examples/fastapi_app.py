"""A FastAPI application that starts long work, shows it, and cancels it: ``uvicorn fastapi_app:app``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from aioruns import (
    Progress,
    Run,
    RunAlreadyFinished,
    RunConflict,
    RunManager,
    RunNotFound,
    RunStatus,
    StoreUnavailable,
    current_run,
    job,
)


@job
async def build_report(project: int, chapters: int) -> dict[str, int]:
    """Write the chapters of a project's report."""
    ctx = current_run()
    for chapter in ctx.track(range(1, chapters + 1), step="chapters"):
        await asyncio.sleep(0.1)  # the work
        ctx.log("info", f"chapter {chapter} is written")
    return {"project": project, "chapters": chapters}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, RunManager]]:
    """Open one manager for the whole process; at the end, runs may drain for five seconds."""
    async with RunManager("runs.db", jobs=[build_report], shutdown_grace=5) as manager:
        yield {"manager": manager}


def get_manager(request: Request) -> RunManager:
    """Give endpoints the manager that the lifespan opened."""
    return request.state.manager


Manager = Annotated[RunManager, Depends(get_manager)]
app = FastAPI(lifespan=lifespan)


class ReportRequest(BaseModel):
    """What the client asks for."""

    chapters: int = 3


class RunView(BaseModel):
    """What the client is told of a run."""

    id: int
    job: str
    status: RunStatus
    progress: Progress | None
    result: Any
    error: str | None
    cancel_reason: str | None


@app.post("/projects/{project}/reports", status_code=202, response_model=RunView)
async def start_report(project: int, asked: ReportRequest, manager: Manager, response: Response) -> Run:
    """Start a report; a project has at most one under way."""
    handle = await manager.start_run(build_report(project, asked.chapters), key=f"project:{project}")
    response.headers["Location"] = f"/runs/{handle.id}"
    return await manager.get_run(handle.id)


@app.get("/runs/{run_id}", response_model=RunView)
async def get_run(run_id: int, manager: Manager) -> Run:
    """Show a run, whichever process executes it."""
    return await manager.get_run(run_id)


@app.post("/runs/{run_id}/cancel", status_code=202, response_model=RunView)
async def cancel_run(run_id: int, manager: Manager) -> Run:
    """Ask a run to end; it is ``cancelling`` until its function has ended."""
    return await manager.cancel_run(run_id, reason="asked over HTTP")


@app.exception_handler(RunNotFound)
async def not_found(request: Request, error: RunNotFound) -> JSONResponse:
    """Say that there is no such run."""
    return JSONResponse({"detail": str(error)}, status_code=404)


@app.exception_handler(RunConflict)
async def conflict(request: Request, error: RunConflict) -> JSONResponse:
    """Say which run is in the way."""
    return JSONResponse({"detail": str(error), "active_run_id": error.active_run_id}, status_code=409)


@app.exception_handler(RunAlreadyFinished)
async def already_finished(request: Request, error: RunAlreadyFinished) -> JSONResponse:
    """Say that there is nothing left to cancel."""
    return JSONResponse({"detail": str(error)}, status_code=409)


@app.exception_handler(StoreUnavailable)
async def store_unavailable(request: Request, error: StoreUnavailable) -> JSONResponse:
    """Say that it is worth trying again."""
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "5"})
