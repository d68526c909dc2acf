"""``create_app`` under a real server: alone and mounted, with a token and with ``authorize``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from tests.support import statuses
from tests.web_support import JOBS, add, serving

from aioruns import ConfigurationError, ManagerClosed, Run, RunManager
from aioruns.web import Action, create_app

pytestmark = pytest.mark.asyncio

TOKEN = "the-token-of-the-tests"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

OpenManager = Callable[..., Awaitable[RunManager]]


@asynccontextmanager
async def visiting(app: Any, *, token: str | None = TOKEN, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application; gives a client that shows the token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with serving(app, **options) as url, httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        yield client


def without_token(client: httpx.AsyncClient) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=client.base_url, timeout=60)


# Alone


async def test_its_lifespan_opens_the_manager_and_closes_it(database: Path) -> None:
    manager = RunManager(database, jobs=JOBS)
    async with visiting(create_app(manager, token=TOKEN)) as client:
        assert (await client.get("/api/health")).json() == {"status": "ok"}
        started = await client.post("/api/runs", json={"job": "add", "args": {"left": 1}})
        assert (started.status_code, started.headers["location"]) == (202, "/api/runs/1")
        assert (await client.get(started.headers["location"])).json()["job"] == "add"
    with pytest.raises(ManagerClosed):
        manager.current_run_id()
    assert statuses(database) == {1: "completed"}


async def test_a_manager_that_is_open_already_stays_open(manager: RunManager) -> None:
    async with visiting(create_app(manager, token=TOKEN)) as client:
        assert (await client.get("/api/health")).status_code == 200
    assert manager.current_run_id() is None


async def test_either_permission_or_a_token_is_demanded_where_it_is_made(manager: RunManager) -> None:
    async def authorize(request: Request, action: Action, run: Run | None) -> bool:
        return True

    with pytest.raises(ConfigurationError, match=r"authorize=.*token="):
        create_app(manager)
    with pytest.raises(ConfigurationError, match=r"authorize=.*token="):
        create_app(manager, authorize=authorize, token=TOKEN)
    with pytest.raises(ConfigurationError, match="visible ASCII"):
        create_app(manager, token="")


async def test_the_token_opens_page_files_and_api(manager: RunManager) -> None:
    async with visiting(create_app(manager, token=TOKEN), token=None) as client:
        assert (await client.get("/")).status_code == 401
        assert (await client.get("/api/runs")).status_code == 401
        page = await client.get("/", params={"token": TOKEN})
        assert page.status_code == 200
        assert "<html" in page.text
        assert (await client.get("/")).text == page.text, "by the cookie"
        assert (await client.get("/api/runs")).json() == {"items": [], "next": None}
        assert (await client.get("/static/app.js")).headers["content-type"] == "text/javascript; charset=utf-8"


async def test_every_answer_tells_the_browser_what_not_to_do(manager: RunManager) -> None:
    app = create_app(manager, token=TOKEN)

    async def break_down(request: Request) -> None:
        raise RuntimeError("the secret is 42")

    app.add_route("/break", break_down)  # pyright: ignore[reportArgumentType]
    async with visiting(app) as client, without_token(client) as stranger:
        run_id = (await client.post("/api/runs", json={"job": "nothing"})).status_code
        assert run_id == 404
        answers = [
            await stranger.get("/"),
            await stranger.get("/api/runs"),
            await stranger.get("/static/app.js"),
            await client.get("/", headers={"Host": "evil.example"}),
            await client.get("/"),
            await client.head("/"),
            await client.get("/nothing"),
            await client.put("/"),
            await client.get("/static/nothing"),
            await client.get("/api/openapi.json"),
            await client.get("/api/runs?limit=x"),
            await client.get("/break"),
        ]
        codes = [answer.status_code for answer in answers]
        assert codes == [401, 401, 200, 421, 200, 200, 404, 405, 404, 200, 422, 500]
        for answer in answers:
            assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
            cached = "no-cache" if answer.url.path == "/static/app.js" else "no-store"
            assert answer.headers["cache-control"] == cached
            assert "secret" not in answer.text
        for answer in (answers[1], answers[3], *answers[6:9], *answers[10:]):
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code


ELSEWHERE = (
    "/static/../_token.py",
    "/static/%2e%2e/_token.py",
    "/static/..%2f_token.py",
    "/static/..%5c_token.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/app.js/",
    "/static/app.js%00.css",
    "/static/",
    "/static/.",
    "/static",
    "/dashboard/app.js",
    "/index.html",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/api",
    "/api/",
    "/api/runs/",
)


async def test_no_path_leads_anywhere_else(manager: RunManager) -> None:
    async with visiting(create_app(manager, token=TOKEN)) as client:
        for path in ELSEWHERE:
            answer = await client.get(httpx.URL(client.base_url).copy_with(raw_path=path.encode()))
            assert (answer.status_code, answer.json()["title"]) == (404, "Not Found"), path


async def test_an_error_that_nobody_foresaw_is_a_problem_without_its_text(
    manager: RunManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(*args: object, **options: object) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(manager, "list_runs", break_down)
    async with visiting(create_app(manager, token=TOKEN)) as client:
        answer = await client.get("/api/runs")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["title"] == "Internal Server Error"
    assert "secret" not in answer.text


async def test_the_description_tells_of_the_token_and_of_its_place(manager: RunManager) -> None:
    async with visiting(create_app(manager, token=TOKEN)) as client:
        document = (await client.get("/api/openapi.json")).json()
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert document["servers"] == [{"url": "/"}]
    assert all(path.startswith("/api/") for path in document["paths"])
    for path in document["paths"].values():
        for operation in path.values():
            assert {"401", "421"} <= operation["responses"].keys()


# Names


OWN_NAMES = ("localhost", "127.0.0.1:1", "[::1]", "[::1]:80", "LOCALHOST:80")
OTHER_NAMES = (
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:80",
    "localhost@evil",
    "[::2]",
    "",
    "*",
    "a b",
)


async def test_a_name_that_leads_here_from_elsewhere_is_refused(manager: RunManager) -> None:
    async with visiting(create_app(manager, token=TOKEN)) as client:
        for host in OWN_NAMES:
            assert (await client.get("/api/runs", headers={"Host": host})).status_code == 200, host
        for host in OTHER_NAMES:
            for path in ("/", "/static/app.js", "/api/runs", f"/?token={TOKEN}"):
                answer = await client.get(path, headers={"Host": host})
                assert (answer.status_code, answer.json()["type"]) == (421, "urn:aioruns:wrong-host"), host
                assert "set-cookie" not in answer.headers


async def test_names_can_be_allowed_alone_in_groups_or_all(manager: RunManager) -> None:
    async def codes(allowed: str, *hosts: str) -> list[int]:
        app = create_app(manager, token=TOKEN, allowed_hosts=[allowed])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            return [(await client.get("/api/jobs", headers=headers | {"Host": host})).status_code for host in hosts]

    assert await codes("Runs.example.org", "runs.Example.org:443", "localhost", "example.org") == [200, 421, 421]
    assert await codes("*.example.org", "a.runs.example.org", "example.org", "evilexample.org") == [200, 421, 421]
    assert await codes("*", "anything", "") == [200, 200]


# With the application's own permissions


class Guard:
    """Takes note of what it is asked, and allows what it is told to."""

    def __init__(self, *allowed: Action) -> None:
        self.allowed = allowed
        self.asked: list[Action] = []

    async def __call__(self, request: Request, action: Action, run: Run | None) -> bool:
        self.asked.append(action)
        return action in self.allowed


async def test_authorize_decides_about_the_page_its_files_and_the_description(manager: RunManager) -> None:
    for guard, code in ((Guard("read_dashboard"), 200), (Guard("list_runs"), 403)):
        async with visiting(create_app(manager, authorize=guard), token=None) as client:
            for path in ("/", "/static/app.js", "/api/openapi.json"):
                answer = await client.get(path, headers={"Host": "any.example"})
                assert answer.status_code == code
                assert code == 200 or answer.json()["type"] == "urn:aioruns:not-allowed"
        assert guard.asked == ["read_dashboard"] * 3


async def test_every_route_asks_for_permission(manager: RunManager) -> None:
    guard = Guard()
    async with visiting(create_app(manager, authorize=guard), token=None) as client:
        document = Guard("read_dashboard")
        async with visiting(create_app(manager, authorize=document), token=None) as other:
            paths = (await other.get("/api/openapi.json")).json()["paths"]
        calls = [(method, path.replace("{run_id}", "1")) for path, methods in paths.items() for method in methods]
        assert len(calls) >= 11
        for method, path in [*calls, ("get", "/"), ("get", "/static/app.js"), ("get", "/api/openapi.json")]:
            guard.asked.clear()
            content: dict[str, Any] = {"json": {"job": "add", "args": {"left": 1}}} if path == "/api/runs" else {}
            if method == "get":
                content = {"params": {"key": "x"}} if path.endswith("current") else {}
            answer = await client.request(method, path, **content)
            assert (answer.status_code, len(guard.asked)) == (403, 1), (method, path, answer.text)


# Mounted


@asynccontextmanager
async def mounted(
    open_manager: OpenManager, parent: type[FastAPI | Starlette], path: str, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    manager = await open_manager(jobs=[add])
    app = create_app(manager, token=TOKEN)
    whole: Any = Starlette(routes=[Mount(path, app)]) if parent is Starlette else FastAPI()
    if isinstance(whole, FastAPI):
        whole.mount(path, app)
    async with visiting(whole, **options) as client:
        yield client


@pytest.mark.parametrize("root_path", ["", "/outer"])
@pytest.mark.parametrize("parent", [Starlette, FastAPI])
async def test_mounted_it_works_below_its_place(
    open_manager: OpenManager, parent: type[FastAPI | Starlette], root_path: str
) -> None:
    async with mounted(open_manager, parent, "/runs-admin", root_path=root_path) as client:
        place = f"{root_path}/runs-admin"
        asked = await client.get("/runs-admin", params={"token": TOKEN})
        assert asked.is_redirect
        assert httpx.URL(asked.headers["location"]).path == f"{place}/"
        assert httpx.URL(asked.headers["location"]).params["token"] == TOKEN

        page = await client.get("/runs-admin/", params={"token": TOKEN})
        assert page.status_code == 200
        assert f"Path={place}/" in page.headers["set-cookie"]
        assert (await client.get("/runs-admin/static/app.js")).status_code == 200
        started = await client.post("/runs-admin/api/runs", json={"job": "add", "args": {"left": 1}})
        assert started.headers["location"] == f"{place}/api/runs/1"
        document = (await client.get("/runs-admin/api/openapi.json")).json()
        assert document["servers"] == [{"url": place}]
        async with without_token(client) as stranger:
            assert (await stranger.get("/runs-admin/")).status_code == 401
            assert (await stranger.get("/runs-admin/api/runs")).status_code == 401
            assert (await stranger.get("/runs-admin/static/app.js")).status_code == 200


class LikeLitestar:
    """Hands requests on as Litestar does: no ``root_path``, a slash at the end of each path, ``raw_path`` as sent."""

    def __init__(self, app: Any, place: str) -> None:
        self._app = app
        self._place = place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(self._place).rstrip("/") + "/"
        await self._app({**scope, "path": path, "root_path": ""}, receive, send)


async def test_mounted_in_litestar_it_finds_out_where_it_is(open_manager: OpenManager) -> None:
    app = LikeLitestar(create_app(await open_manager(jobs=[add]), token=TOKEN), "/a/runs-admin")
    async with visiting(app, lifespan="off") as client:
        asked = await client.get("/a/runs-admin", params={"token": TOKEN})
        assert (asked.status_code, asked.headers["location"]) == (307, f"./runs-admin/?token={TOKEN}")
        page = await client.get("/a/runs-admin/", params={"token": TOKEN})
        assert page.status_code == 200
        assert "Path=/a/runs-admin/" in page.headers["set-cookie"]
        started = await client.post("/a/runs-admin/api/runs", json={"job": "add", "args": {"left": 1}})
        assert started.headers["location"] == "/a/runs-admin/api/runs/1"
        assert (await client.get("/a/runs-admin/static/app.js")).status_code == 200
        assert (await client.get("/a/runs-admin/api/nothing")).status_code == 404


async def test_before_its_parent_has_opened_the_manager_it_says_so(database: Path) -> None:
    app = Starlette(routes=[Mount("/runs-admin", create_app(RunManager(database), token=TOKEN))])
    async with visiting(app) as client:
        answer = await client.get("/runs-admin/api/runs")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:aioruns:manager-closed")
    assert "retry-after" in answer.headers


# Streams


async def test_events_pass_its_layers_one_by_one(open_manager: OpenManager) -> None:
    manager = await open_manager(jobs=JOBS)
    async with visiting(create_app(manager, token=TOKEN)) as client:
        run_id = (await client.post("/api/runs", json={"job": "wait_for_cancel"})).json()["id"]
        async with client.stream("GET", f"/api/runs/{run_id}/events") as stream:
            assert stream.headers["content-security-policy"] == POLICY
            assert stream.headers["cache-control"] == "no-cache"
            lines = stream.aiter_lines()
            assert await anext(lines) == "id: 1", "although the run goes on"
            await client.post(f"/api/runs/{run_id}/cancel")
            async with asyncio.timeout(60):
                rest = [line async for line in lines]
        assert any('"cancelled"' in line for line in rest)


async def test_no_more_streams_than_allowed_are_open(open_manager: OpenManager) -> None:
    manager = await open_manager(jobs=JOBS)
    async with visiting(create_app(manager, token=TOKEN, max_streams=1)) as client, AsyncExitStack() as stack:
        run_id = (await client.post("/api/runs", json={"job": "wait_for_cancel"})).json()["id"]
        await stack.enter_async_context(client.stream("GET", f"/api/runs/{run_id}/events"))
        assert (await client.get(f"/api/runs/{run_id}/events")).status_code == 503


async def test_tracebacks_are_shown_to_who_has_the_token(open_manager: OpenManager) -> None:
    manager = await open_manager(jobs=JOBS)
    async with visiting(create_app(manager, token=TOKEN)) as client:
        run_id = (await client.post("/api/runs", json={"job": "fail"})).json()["id"]
        await manager.wait_run(run_id)
        assert "ValueError: it broke" in (await client.get(f"/api/runs/{run_id}")).json()["traceback"]
