"""The FastAPI example, under a real server on the loopback interface."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.examples.processes import EXAMPLES, Program, running
from tests.support import eventually, rows, statuses

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Program]:
    arguments = ("-m", "uvicorn", "fastapi_app:app", "--app-dir", str(EXAMPLES), "--port", "0", "--no-access-log")
    async with running(*arguments, folder=tmp_path) as program:
        yield program


@pytest_asyncio.fixture
async def client(server: Program) -> AsyncIterator[httpx.AsyncClient]:
    address = re.search(r"http://127\.0\.0\.1:\d+", await server.prints("Uvicorn running on"))
    assert address is not None
    async with httpx.AsyncClient(base_url=address[0], trust_env=False) as client:
        yield client


async def start(client: httpx.AsyncClient, project: int, chapters: int) -> httpx.Response:
    return await client.post(f"/projects/{project}/reports", json={"chapters": chapters})


async def ended(client: httpx.AsyncClient, run_id: int) -> dict[str, object]:
    """Wait until the application says that a run has ended; return what it says."""

    async def look() -> dict[str, object] | None:
        run = (await client.get(f"/runs/{run_id}")).json()
        return None if run["status"] in ("pending", "running", "cancelling") else run

    return await eventually(look)


async def test_report_is_started_and_shown_to_its_end(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await start(client, 3, chapters=1)
    started = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/runs/{started['id']}")
    assert started["status"] in ("running", "completed")
    assert rows(tmp_path / "runs.db", "SELECT key FROM runs")[0]["key"] == "project:3"

    run = await ended(client, started["id"])
    assert (run["status"], run["result"], run["error"]) == ("completed", {"project": 3, "chapters": 1}, None)
    assert run["progress"] == {"current": 1, "total": 1, "step": "chapters", "message": None}


async def test_X1_second_report_of_a_project_is_refused_until_the_first_has_ended(client: httpx.AsyncClient) -> None:
    first = (await start(client, 3, chapters=10_000)).json()
    second = await start(client, 3, chapters=1)
    assert second.status_code == 409
    assert second.json()["active_run_id"] == first["id"]
    assert (await start(client, 4, chapters=1)).status_code == 202

    cancelling = await client.post(f"/runs/{first['id']}/cancel")
    assert cancelling.status_code == 202
    assert cancelling.json()["status"] in ("cancelling", "cancelled")
    run = await ended(client, first["id"])
    assert (run["status"], run["cancel_reason"]) == ("cancelled", "asked over HTTP")
    assert (await start(client, 3, chapters=1)).status_code == 202


async def test_A3_errors_have_their_own_status(client: httpx.AsyncClient) -> None:
    assert (await client.get("/runs/9")).status_code == 404
    assert (await client.post("/runs/9/cancel")).status_code == 404
    assert (await client.post("/projects/3/reports", json={"chapters": "many"})).status_code == 422
    run = (await start(client, 3, chapters=0)).json()
    await ended(client, run["id"])
    late = await client.post(f"/runs/{run['id']}/cancel")
    assert late.status_code == 409
    assert "has already finished: it is completed" in late.json()["detail"]


async def test_G8_server_that_is_stopped_lets_runs_drain(
    client: httpx.AsyncClient, server: Program, tmp_path: Path
) -> None:
    run = (await start(client, 3, chapters=5)).json()
    server.signal(signal.SIGTERM)
    await server.ends()
    assert statuses(tmp_path / "runs.db") == {run["id"]: "completed"}
    assert server.complaints == []
