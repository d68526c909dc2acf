"""The calls of the API over a real uvicorn: what each answers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.support import Puppet, eventually
from tests.web_support import JOBS, ended, problem, serving_runs, started, wait_for_cancel

from aioruns import RunManager, RunStatus, current_run, job

pytestmark = pytest.mark.asyncio


async def test_a_run_is_started_and_can_be_read_where_the_answer_says(
    client: httpx.AsyncClient, web_manager: RunManager
) -> None:
    response = await client.post(
        "/runs",
        json={
            "job": "add",
            "args": {"left": 2},
            "key": "k",
            "idempotency_key": "once",
            "timeout": 60,
            "tags": ["b", "a"],
            "triggered_by": "a test",
        },
    )
    assert response.status_code == 202
    run = response.json()
    assert response.headers["location"] == f"/runs/{run['id']}"
    await ended(web_manager, run["id"])
    stored = (await client.get(response.headers["location"])).json()
    assert stored | {"created_at": 0, "started_at": 0, "finished_at": 0} == {
        "id": run["id"],
        "job": "add",
        "status": "completed",
        "active": False,
        "key": "k",
        "attempt": 1,
        "timeout": 60,
        "tags": ["a", "b"],
        "triggered_by": "a test",
        "retry_of": None,
        "error": None,
        "created_at": 0,
        "started_at": 0,
        "finished_at": 0,
        "cancel_requested_at": None,
        "cancel_reason": None,
        "progress": None,
        "idempotency_key": "once",
        "arguments": {"left": 2},
        "result": 3,
        "traceback": None,
    }
    assert datetime.fromisoformat(stored["created_at"]).utcoffset() == timedelta(0)
    assert stored["created_at"].endswith("Z")


async def test_a_key_that_is_held_is_a_conflict_or_joined(client: httpx.AsyncClient) -> None:
    first = await started(client, "wait_for_cancel", key="k")
    body = problem(await client.post("/runs", json={"job": "wait_for_cancel", "key": "k"}), 409, "run-conflict")
    assert body["active_run_id"] == first["id"]
    assert (await started(client, "wait_for_cancel", key="k", on_conflict="join"))["id"] == first["id"]
    assert (await client.get("/runs/current", params={"key": "k"})).json()["id"] == first["id"]


async def test_the_same_idempotency_key_gives_the_same_run(client: httpx.AsyncClient) -> None:
    first = await started(client, "add", {"left": 1}, idempotency_key="once")
    assert (await started(client, "add", {"left": 1}, idempotency_key="once"))["id"] == first["id"]
    problem(await client.post("/runs", json={"job": "fail", "idempotency_key": "once"}), 409, "idempotency-conflict")


async def test_a_cancelled_run_is_cancelled_once(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    run = await started(client, "wait_for_cancel")
    response = await client.post(f"/runs/{run['id']}/cancel", json={"reason": "not needed"})
    assert response.status_code == 202
    assert response.json()["status"] == "cancelling"
    assert response.json()["cancel_reason"] == "not needed"
    assert (await ended(web_manager, run["id"])).status is RunStatus.CANCELLED
    body = problem(await client.post(f"/runs/{run['id']}/cancel"), 409, "run-already-finished")
    assert "cancelled" in body["detail"]


async def test_a_run_is_retried_with_its_arguments(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    first = await started(client, "add", {"left": 5}, key="k", tags=["t"])
    await ended(web_manager, first["id"])
    response = await client.post(f"/runs/{first['id']}/retry")
    assert response.status_code == 202
    again = response.json()
    assert response.headers["location"] == f"/runs/{again['id']}"
    assert again["id"] != first["id"]
    assert (again["retry_of"], again["arguments"], again["key"], again["tags"]) == (
        first["id"],
        {"left": 5},
        "k",
        ["t"],
    )
    assert (await ended(web_manager, again["id"])).result == 6


async def test_what_cannot_be_retried_says_why(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    async def bare() -> None: ...

    @job
    async def unknown() -> None: ...

    running = await started(client, "wait_for_cancel", key="k")
    problem(await client.post(f"/runs/{running['id']}/retry"), 409, "run-not-retryable")
    for call in bare(), unknown():
        handle = await web_manager.start_run(call)
        await handle
        problem(await client.post(f"/runs/{handle.id}/retry"), 409, "run-not-retryable")
    ended_one = await web_manager.start_run(wait_for_cancel(), key="other")
    await ended_one.cancel()
    await ended_one.wait()
    holder = await web_manager.start_run(wait_for_cancel(), key="other")
    body = problem(await client.post(f"/runs/{ended_one.id}/retry"), 409, "run-conflict")
    assert body["active_run_id"] == holder.id


async def test_a_run_that_does_not_exist_is_not_found(client: httpx.AsyncClient) -> None:
    for path in "/runs/9", "/runs/9/events", "/runs/9/log.txt", "/runs/current?key=nobody":
        problem(await client.get(path), 404, "run-not-found")
    for verb in "cancel", "retry":
        problem(await client.post(f"/runs/9/{verb}"), 404, "run-not-found")


async def test_a_job_that_does_not_exist_is_not_found(client: httpx.AsyncClient) -> None:
    problem(await client.post("/runs", json={"job": "nobody"}), 404, "job-not-found")


async def test_runs_are_listed_by_what_they_are(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    for number in range(3):
        await ended(
            web_manager, (await started(client, "add", {"left": number}, key="k", tags=["t", f"{number}"]))["id"]
        )
    await ended(web_manager, (await started(client, "fail", triggered_by="somebody"))["id"])

    async def ids(**params: Any) -> list[int]:
        return [run["id"] for run in (await client.get("/runs", params=params)).json()["items"]]

    assert await ids() == [4, 3, 2, 1]
    assert await ids(status="failed") == [4]
    assert await ids(status=["failed", "completed"], limit=2) == [4, 3]
    assert await ids(job="add", key="k", tag=["t", "1"]) == [2]
    assert await ids(triggered_by="somebody") == [4]
    assert await ids(key="other") == []
    page = (await client.get("/runs", params={"limit": 3})).json()
    assert page["next"] == 2
    assert (await client.get("/runs", params={"limit": 3, "before": page["next"]})).json() == {
        "items": [run for run in (await client.get("/runs")).json()["items"] if run["id"] == 1],
        "next": None,
    }
    assert "arguments" not in page["items"][0]


JSON = {"Accept": "application/json"}


async def test_G6_pages_of_events_have_every_event_once(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    run = await started(client, "talk", {"lines": 20})
    await ended(web_manager, run["id"])
    seen: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = (await client.get(f"/runs/{run['id']}/events", params={"after": after, "limit": 7}, headers=JSON)).json()
        assert len(page["items"]) <= 7
        seen += page["items"]
        after = page["next"]
    assert [event["seq"] for event in seen] == [*range(1, len(seen) + 1)]
    assert [event["data"]["message"] for event in seen if event["kind"] == "log"] == [f"line {n}" for n in range(20)]
    assert [event["seq"] for event in seen if "run" in event] == [len(seen)]
    assert seen[-1]["run"] == (await client.get(f"/runs/{run['id']}")).json()
    beyond = await client.get(f"/runs/{run['id']}/events", params={"after": len(seen)}, headers=JSON)
    assert beyond.json() == {"items": [], "next": None}


async def test_a_page_of_events_of_an_active_run_can_be_followed(client: httpx.AsyncClient) -> None:
    run = await started(client, "wait_for_cancel")
    page = (await client.get(f"/runs/{run['id']}/events", headers=JSON)).json()
    assert page["next"] == page["items"][-1]["seq"]
    again = await client.get(f"/runs/{run['id']}/events", headers=JSON | {"Last-Event-ID": str(page["next"])})
    assert again.json() == {"items": [], "next": page["next"]}


async def test_G10_a_page_of_large_events_ends_early(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    @job
    async def shout() -> None:
        for _ in range(120):
            current_run().emit("noise", "x" * 60_000)
            await current_run().flush()

    handle = await web_manager.start_run(shout())
    await handle
    response = await client.get(f"/runs/{handle.id}/events", params={"limit": 1000}, headers=JSON)
    assert len(response.content) < 5 * 1024 * 1024
    rest = await client.get(f"/runs/{handle.id}/events", params={"after": response.json()["next"]}, headers=JSON)
    assert len(response.json()["items"]) + len(rest.json()["items"]) == 122


async def test_the_log_is_a_file(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    run = await started(client, "talk", {"lines": 150})  # more than a page
    await ended(web_manager, run["id"])
    response = await client.get(f"/runs/{run['id']}/log.txt")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="run-{run["id"]}.log"'
    lines = [line.split(maxsplit=1)[1] for line in response.text.splitlines()]
    assert lines == [
        "STATUS   running",
        *(f'INFO     line {number} {{"number":{number}}}' for number in range(150)),
        "STATUS   completed",
    ]


async def test_jobs_are_listed_with_the_schema_of_their_arguments(client: httpx.AsyncClient) -> None:
    jobs = {each["name"]: each for each in (await client.get("/jobs")).json()["items"]}
    assert list(jobs) == [job.name for job in JOBS]
    assert jobs["add"]["description"] == "Add two numbers."
    assert jobs["add"]["arguments"]["required"] == ["left"]
    assert jobs["add"]["arguments"]["properties"]["right"] == {"title": "right", "type": "integer", "default": 1}


async def test_a_job_whose_hints_cannot_be_used_is_listed_and_refused(
    open_manager: Callable[..., Awaitable[RunManager]],
) -> None:
    @job
    async def broken(value: Nowhere) -> None:  # noqa: F821 # pyright: ignore[reportUndefinedVariable]
        ...

    async with serving_runs(await open_manager(jobs=[broken])) as client:
        assert [each["name"] for each in (await client.get("/jobs")).json()["items"]] == ["broken"]
        problem(await client.post("/runs", json={"job": "broken", "args": {"value": 1}}), 422, "invalid-request")


async def test_the_overview_counts_runs(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    for name in "talk", "talk", "fail":
        await ended(web_manager, (await started(client, name))["id"])
    await started(client, "wait_for_cancel")
    shown = (await client.get("/overview", params={"hours": 1})).json()
    totals = {status: sum(period["counts"][status] for period in shown["periods"]) for status in RunStatus}
    assert totals == dict.fromkeys(RunStatus, 0) | {"completed": 2, "failed": 1, "running": 1}
    assert {job["job"]: (job["runs"], sum(job["durations"])) for job in shown["jobs"]} == {
        "fail": (1, 1),
        "talk": (2, 2),
        "wait_for_cancel": (1, 0),
    }
    starts = [datetime.fromisoformat(period["start"]) for period in shown["periods"]]
    assert starts[0] == datetime.fromisoformat(shown["since"])
    assert {later - earlier for earlier, later in itertools.pairwise(starts)} == {timedelta(seconds=shown["width"])}
    assert len(starts) == 61


async def test_a_result_may_be_nested_as_deeply_as_it_can_be_stored(
    client: httpx.AsyncClient, web_manager: RunManager
) -> None:
    @job
    async def deep() -> Any:
        nested: list[Any] = []
        for _ in range(600):
            nested = [nested]
        return nested

    handle = await web_manager.start_run(deep())
    await handle.wait()
    response = await client.get(f"/runs/{handle.id}")
    assert f'"result":{"[" * 601}{"]" * 601}' in response.text
    stream = await client.get(f"/runs/{handle.id}/events")
    assert f'"result":{"[" * 601}{"]" * 601}' in stream.text


async def test_health_is_the_managers_and_the_stores(client: httpx.AsyncClient, web_manager: RunManager) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}
    await web_manager.aclose()
    response = await client.get("/health")
    problem(response, 503, "manager-closed")
    assert int(response.headers["retry-after"]) > 0


async def test_a_closing_manager_starts_nothing_and_says_when_to_come_back(
    client: httpx.AsyncClient, web_manager: RunManager
) -> None:
    puppet = Puppet()
    await web_manager.start_run(puppet.stubborn(1))
    await puppet.enters(1)
    closing = asyncio.create_task(web_manager.aclose())
    await eventually(lambda: puppet.asked)
    response = await client.post("/runs", json={"job": "add", "args": {"left": 1}})
    problem(response, 503, "manager-closed")
    assert int(response.headers["retry-after"]) > 0
    puppet.end(1)
    await closing


async def test_json_is_read_whatever_its_charset_is_called(client: httpx.AsyncClient) -> None:
    body = json.dumps({"job": "add", "args": {"left": 1}})
    for content_type in "application/json", "application/json; charset=utf-8", "Application/JSON":
        assert (await client.post("/runs", content=body, headers={"content-type": content_type})).status_code == 202
