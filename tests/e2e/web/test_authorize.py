"""Who may do what: every call asks, and what is refused has not happened; tracebacks are asked for by themselves."""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support import each_statement, rows
from tests.web_support import add, ended, problem, serving, serving_runs, started

from aioruns import Run, RunManager
from aioruns.web import Action, create_app, runs_router

pytestmark = pytest.mark.asyncio

BODIES: dict[tuple[str, str], Any] = {("POST", "/runs"): {"job": "add", "args": {"left": 1}}}
QUERIES: dict[tuple[str, str], dict[str, str]] = {("GET", "/runs/current"): {"key": "k"}}
ACTIONS: dict[tuple[str, str], Action] = {
    ("POST", "/runs"): "start_run",
    ("GET", "/runs"): "list_runs",
    ("GET", "/runs/current"): "read_run",
    ("GET", "/runs/{run_id}"): "read_run",
    ("POST", "/runs/{run_id}/cancel"): "cancel_run",
    ("POST", "/runs/{run_id}/retry"): "retry_run",
    ("GET", "/runs/{run_id}/events"): "read_events",
    ("GET", "/runs/{run_id}/log.txt"): "read_log",
    ("GET", "/jobs"): "list_jobs",
    ("GET", "/overview"): "read_overview",
    ("GET", "/health"): "read_health",
}
ABOUT_RUNS = [call for call in ACTIONS if "{run_id}" in call[1] or call in QUERIES]


async def nobody(request: Request, action: Action, run: Run | None) -> bool:
    return False


async def everybody(request: Request, action: Action, run: Run | None) -> bool:
    return True


def calls_of(manager: RunManager) -> list[tuple[str, str]]:
    """Walk the routes of the router itself, so that none can be forgotten here."""
    routes = runs_router(manager, authorize=nobody).routes
    assert all(isinstance(route, APIRoute) for route in routes)
    return [(method, route.path) for route in routes if isinstance(route, APIRoute) for method in route.methods or ()]


async def ask(client: httpx.AsyncClient, call: tuple[str, str], run_id: int = 1) -> httpx.Response:
    method, path = call
    return await client.request(method, path.format(run_id=run_id), json=BODIES.get(call), params=QUERIES.get(call, {}))


async def test_every_call_has_an_action(web_manager: RunManager) -> None:
    assert sorted(calls_of(web_manager)) == sorted(ACTIONS)
    assert {*ACTIONS.values(), "read_traceback", "read_dashboard"} == {*typing.get_args(Action)}


async def test_every_call_is_refused_before_anything_is_done(web_manager: RunManager, database: Path) -> None:
    run = await web_manager.start_run(add(1), key="k")
    await run
    stored = [tuple(row) for row in rows(database)]
    asked: list[tuple[str, int | None]] = []

    async def note(request: Request, action: Action, run: Run | None) -> bool:
        asked.append((action, run and run.id))
        return False

    async with serving_runs(web_manager, authorize=note) as client:
        for call in calls_of(web_manager):
            executed: list[str] = []
            with each_statement(executed.append):
                response = await ask(client, call)
            problem(response, 403, "not-allowed")
            about_runs = call in ABOUT_RUNS
            assert asked.pop() == (ACTIONS[call], run.id if about_runs else None)
            assert asked == []
            statements = [sql for sql in executed if "runs" in sql or "events" in sql]
            # Where it is about a run, that row alone has been read: authorize is told of it.
            assert all("FROM runs WHERE" in sql for sql in statements), statements
            assert about_runs or statements == []
    assert [tuple(row) for row in rows(database)] == stored


async def test_every_call_is_answered_to_who_may(web_manager: RunManager) -> None:
    await (await web_manager.start_run(add(1), key="k"))
    async with serving_runs(web_manager, authorize=everybody) as client:
        for call in calls_of(web_manager):
            assert (await ask(client, call)).status_code in ((409,) if call[1].endswith("cancel") else (200, 202)), call


async def test_who_may_do_nothing_is_not_told_which_runs_there_are(web_manager: RunManager) -> None:
    async with serving_runs(web_manager, authorize=nobody) as client:
        missing = {call: (await ask(client, call)).content for call in ABOUT_RUNS}
        await (await web_manager.start_run(add(1), key="k"))
        assert missing == {call: (await ask(client, call)).content for call in ABOUT_RUNS}


async def test_authorize_sees_the_run_and_the_request(web_manager: RunManager) -> None:
    async def owner(request: Request, action: Action, run: Run | None) -> bool:
        return run is None or run.triggered_by == request.headers.get("x-user")

    async with serving_runs(web_manager, authorize=owner) as client:
        await started(client, "add", {"left": 1}, triggered_by="ann")
        assert (await client.get("/runs/1", headers={"x-user": "ann"})).status_code == 200
        problem(await client.get("/runs/1", headers={"x-user": "bob"}), 403, "not-allowed")
        problem(await client.get("/runs/2", headers={"x-user": "bob"}), 404, "run-not-found")


async def test_arguments_are_not_discussed_with_who_may_not_start(web_manager: RunManager) -> None:
    async with serving_runs(web_manager, authorize=nobody) as client:
        for asked in {"job": "add", "args": {"wrong": 1}}, {"job": "unknown"}, {"no": "job"}:
            problem(await client.post("/runs", json=asked), 403, "not-allowed")


async def test_what_authorize_raises_is_answered_as_a_problem(
    web_manager: RunManager, subtests: pytest.Subtests
) -> None:
    async def sign_in(request: Request, action: Action, run: Run | None) -> bool:
        raise HTTPException(401, "sign in first", {"WWW-Authenticate": 'Basic realm="runs"'})

    async with serving_runs(web_manager, authorize=sign_in) as client:
        for call in ACTIONS:
            with subtests.test(call=call):
                response = await ask(client, call)
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == 'Basic realm="runs"'
                assert response.headers["content-type"] == "application/problem+json"
                assert response.json() == {
                    "type": "about:blank",
                    "title": "Unauthorized",
                    "status": 401,
                    "detail": "sign in first",
                }


async def test_an_error_of_the_application_stays_the_applications(web_manager: RunManager) -> None:
    class NoSession(Exception): ...

    async def broken(request: Request, action: Action, run: Run | None) -> bool:
        raise NoSession

    app = FastAPI()

    @app.exception_handler(NoSession)
    async def send_away(request: Request, error: Exception) -> Any:
        return PlainTextResponse("who are you?", 418)

    app.include_router(runs_router(web_manager, authorize=broken))
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/runs")).status_code == 418


async def test_every_path_of_the_application_is_refused_to_who_may_nothing(
    web_manager: RunManager, database: Path, subtests: pytest.Subtests
) -> None:
    app = create_app(web_manager, authorize=nobody)
    await (await web_manager.start_run(add(1), key="k"))
    stored = [tuple(row) for row in rows(database)]
    calls = [(method, f"/api{path}") for method, path in calls_of(web_manager)]
    calls += [
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
    ]
    assert {("GET", "/"), ("GET", "/static/{path:path}"), ("GET", "/api/openapi.json")} <= {*calls}
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        for method, path in calls:
            with subtests.test(method=method, path=path):
                known = (method, path.removeprefix("/api"))
                response = await client.request(
                    method,
                    path.replace("{path:path}", "style.css").format(run_id=1),
                    json=BODIES.get(known),
                    params=QUERIES.get(known, {}),
                )
                assert response.status_code == 403
                assert method == "HEAD" or response.json()["type"] == "urn:aioruns:not-allowed"
    assert [tuple(row) for row in rows(database)] == stored


# Tracebacks

JSON = {"Accept": "application/json"}
MARK = "Traceback (most recent call last)"


async def test_no_answer_shows_a_traceback_without_permission(web_manager: RunManager) -> None:
    async def no_tracebacks(request: Request, action: Action, run: Run | None) -> bool:
        return action != "read_traceback"

    async def refusing(request: Request, action: Action, run: Run | None) -> bool:
        if action == "read_traceback":
            raise HTTPException(403)
        return True

    for authorize in None, no_tracebacks, refusing:
        async with serving_runs(web_manager, authorize=authorize) as client:
            run = await started(client, "fail", key="k")
            await ended(web_manager, run["id"])
            shown = [
                await client.get(f"/runs/{run['id']}"),
                await client.get("/runs/current?key=k"),
                await client.get("/runs"),
                await client.get(f"/runs/{run['id']}/events"),
                await client.get(f"/runs/{run['id']}/events", headers=JSON),
                await client.get(f"/runs/{run['id']}/log.txt"),
                await client.post(f"/runs/{run['id']}/retry"),
                await client.post("/runs", json={"job": "fail", "key": "l", "idempotency_key": "once"}),
            ]
            await ended(web_manager, shown[-2].json()["id"])
            again = shown[-1].json()["id"]
            await ended(web_manager, again)
            shown.append(await client.post("/runs", json={"job": "fail", "key": "l", "idempotency_key": "once"}))
            shown.append(await client.post(f"/runs/{again}/cancel"))
            for response in shown:
                assert response.status_code in (200, 202, 409)
                assert MARK not in response.text
                assert "web_support.py" not in response.text
            line = next(e for e in shown[4].json()["items"] if e["kind"] == "log")
            assert line["data"]["traceback"] is None
            assert line["data"]["message"] == "something is wrong"


async def test_tracebacks_are_shown_to_who_may_read_them(
    web_manager: RunManager, open_manager: Callable[..., Awaitable[RunManager]]
) -> None:
    async with serving_runs(web_manager, authorize=everybody) as client:
        run = await started(client, "fail", key="k", idempotency_key="once")
        await ended(web_manager, run["id"])
        assert MARK in (await client.get(f"/runs/{run['id']}")).json()["traceback"]
        assert MARK in (await client.get("/runs/current?key=k")).json()["traceback"]
        page = (await client.get(f"/runs/{run['id']}/events", headers=JSON)).json()["items"]
        assert MARK in page[-1]["run"]["traceback"]
        assert MARK in next(event for event in page if event["kind"] == "log")["data"]["traceback"]
        assert (await client.get(f"/runs/{run['id']}/events")).text.count(MARK) == 2
        assert (await client.get(f"/runs/{run['id']}/log.txt")).text.count(f"\n    {MARK}") == 1
        assert MARK in (await started(client, "fail", idempotency_key="once"))["traceback"]
