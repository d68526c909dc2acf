"""The Starlette example, under a real server on the loopback interface."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.examples.processes import Program, served_example
from tests.support import eventually, statuses

pytestmark = pytest.mark.asyncio

PASSWORD = "the password of the tests"


@pytest_asyncio.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Program, str]]:
    monkeypatch.setenv("STAFF_PASSWORD", PASSWORD)
    async with served_example("starlette_app", folder=tmp_path) as served:
        yield served


@pytest_asyncio.fixture
async def client(server: tuple[Program, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the staff's."""
    async with httpx.AsyncClient(base_url=server[1], auth=("anybody", PASSWORD), trust_env=False) as client:
        yield client


async def test_the_dashboard_is_mounted_for_the_staff(client: httpx.AsyncClient) -> None:
    assert "/runs/" in (await client.get("/", auth=None)).text
    asked = await client.get("/runs")
    assert asked.is_redirect
    page = await client.get(asked.headers["Location"])
    assert page.status_code == 200
    assert "static/app.js" in page.text
    assert (await client.get("/runs/static/app.js")).status_code == 200
    for path in ("/runs/", "/runs/static/app.js", "/runs/api/runs"):
        for wrong in (("anybody", "wrong"), None):
            async with httpx.AsyncClient(base_url=client.base_url, auth=wrong, trust_env=False) as stranger:
                refused = await stranger.get(path)
                assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="staff"')
        damaged = await client.get(path, auth=None, headers={"Authorization": "Basic x"})
        assert damaged.status_code == 401


async def test_runs_are_started_and_cancelled_through_it(client: httpx.AsyncClient) -> None:
    (described,) = (await client.get("/runs/api/jobs")).json()["items"]
    assert (described["name"], described["description"]) == ("send_letters", "Send letters to the subscribers.")
    started = await client.post("/runs/api/runs", json={"job": "send_letters", "args": {"count": 10_000}})
    assert (started.status_code, started.headers["Location"]) == (202, "/runs/api/runs/1")
    assert (await client.post("/runs/api/runs/1/cancel")).status_code == 202

    async def cancelled() -> bool:
        return (await client.get("/runs/api/runs/1")).json()["status"] == "cancelled"

    await eventually(cancelled)


async def test_G8_server_that_is_stopped_lets_runs_drain(
    client: httpx.AsyncClient, server: tuple[Program, str], tmp_path: Path
) -> None:
    await client.post("/runs/api/runs", json={"job": "send_letters", "args": {"count": 5}})
    server[0].signal(signal.SIGTERM)
    await server[0].ends()
    assert statuses(tmp_path / "runs.db") == {1: "completed"}
    assert server[0].complaints == []
