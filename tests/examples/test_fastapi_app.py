"""The FastAPI example, under a real server on the loopback interface."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.examples.processes import Program, served_example
from tests.support import eventually, rows, statuses

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Program, str]]:
    async with served_example("fastapi_app", folder=tmp_path) as served:
        yield served


def of(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{user}"}


@pytest_asyncio.fixture
async def client(server: tuple[Program, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of Ann's."""
    async with httpx.AsyncClient(base_url=server[1], headers=of("ann"), trust_env=False) as client:
        yield client


async def start(client: httpx.AsyncClient, project: int, chapters: int) -> httpx.Response:
    return await client.post(f"/projects/{project}/reports", json={"chapters": chapters})


async def ended(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """Wait until the application says that a run has ended; return what it says."""

    async def look() -> dict[str, Any] | None:
        run = (await client.get(path)).json()
        return None if run["active"] else run

    return await eventually(look)


async def test_report_is_started_and_shown_to_its_end(client: httpx.AsyncClient, tmp_path: Path) -> None:
    answer = await start(client, 3, chapters=1)
    started = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/api/runs/{started['id']}")
    assert rows(tmp_path / "runs.db", "SELECT key FROM runs")[0]["key"] == "project:3"

    run = await ended(client, answer.headers["Location"])
    assert (run["status"], run["result"], run["error"]) == ("completed", {"project": 3, "chapters": 1}, None)
    assert run["progress"] == {"current": 1, "total": 1, "step": "chapters", "message": None}
    assert run["tags"] == ["user:ann"]


async def test_report_is_watched_live(client: httpx.AsyncClient) -> None:
    path = (await start(client, 3, chapters=2)).headers["Location"]
    async with client.stream("GET", f"{path}/events") as stream:
        events = [json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: ")]
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    assert [event["data"]["message"] for event in events if event["kind"] == "log"] == [
        "chapter 1 is written",
        "chapter 2 is written",
    ]
    assert events[-1]["run"]["status"] == "completed"


async def test_X1_second_report_of_a_project_is_refused_until_the_first_has_ended(client: httpx.AsyncClient) -> None:
    path = (await start(client, 3, chapters=10_000)).headers["Location"]
    assert (await start(client, 3, chapters=1)).status_code == 409
    assert (await start(client, 4, chapters=1)).status_code == 202

    cancelling = await client.post(f"{path}/cancel", json={"reason": "too long"})
    assert cancelling.status_code == 202
    assert cancelling.json()["status"] in ("cancelling", "cancelled")
    run = await ended(client, path)
    assert (run["status"], run["cancel_reason"]) == ("cancelled", "too long")
    assert (await start(client, 3, chapters=1)).status_code == 202


async def test_users_see_their_own_runs_and_administrators_all(client: httpx.AsyncClient) -> None:
    path = (await start(client, 3, chapters=0)).headers["Location"]
    await ended(client, path)
    codes = {user: (await client.get(path, headers=of(user))).status_code for user in ("ann", "ben", "cleo", "dan")}
    assert codes == {"ann": 200, "ben": 403, "cleo": 200, "dan": 401}
    assert (await client.get("/api/runs")).status_code == 403
    assert (await client.get("/api/runs", headers=of("cleo"))).json()["items"][0]["id"] == 1
    assert (await client.post(f"{path}/retry")).status_code == 403
    assert (await client.post(f"{path}/retry", headers=of("cleo"))).status_code == 202
    asked = {"job": "build_report", "args": {"project": 3, "chapters": 0}, "tags": ["user:ben"]}
    assert (await client.post("/api/runs", json=asked)).status_code == 403, "nobody starts in another's name"
    del client.headers["Authorization"]
    assert (await client.get(path)).status_code == 401
    assert (await start(client, 3, chapters=0)).status_code == 401


async def test_A3_errors_have_their_own_status(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/runs/9", headers=of("cleo"))).status_code == 404
    assert (await client.get("/api/runs/9")).status_code == 403, "who may not see it is not told that there is none"
    assert (await client.post("/projects/3/reports", json={"chapters": "many"})).status_code == 422
    path = (await start(client, 3, chapters=0)).headers["Location"]
    await ended(client, path)
    late = await client.post(f"{path}/cancel")
    assert late.status_code == 409
    assert late.json()["type"] == "urn:aioruns:run-already-finished"


async def test_G8_server_that_is_stopped_ends_streams_and_lets_runs_drain(
    client: httpx.AsyncClient, server: tuple[Program, str], tmp_path: Path
) -> None:
    path = (await start(client, 3, chapters=8)).headers["Location"]
    async with client.stream("GET", f"{path}/events") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        server[0].signal(signal.SIGTERM)
        assert not any("completed" in line for line in [line async for line in lines])
    await server[0].ends()
    assert statuses(tmp_path / "runs.db") == {1: "completed"}
    assert server[0].complaints == []
